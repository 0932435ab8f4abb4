//go:build linux

package corosync_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// figures are what both sides measure: a call of each service, and a round trip.
var figures = [...]string{"cfg", "cmap", "quorum", "votequorum", "trip"}

// median of some durations.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkBesideC compares calls and a multicast's way to its own delivery
// with the C libraries on the same daemon, in turns. It needs the
// libraries' headers and prints medians and ratios; "make bench" runs it.
func BenchmarkBesideC(b *testing.B) {
	corotest.Need(b)
	c := filepath.Join(b.TempDir(), "bench")
	if out, err := exec.Command("cc", "-O2", "-o", c, "testdata/bench.c", "-lcfg", "-lcmap", "-lquorum", "-lvotequorum", "-lcpg").CombinedOutput(); err != nil {
		b.Fatalf("build the C side: %v\n%s", err, out)
	}
	for _, nodes := range []int{1, 2} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			lab := corotest.Start(b, corotest.Options{Nodes: nodes})
			node := lab.Nodes[0]
			// Short rounds: what else the machine does meets both sides.
			const rounds, each = 21, 300
			var theirs, ours [len(figures)][]time.Duration
			for range rounds {
				out, err := node.Command(c, fmt.Sprint(each)).Output()
				if err != nil {
					b.Fatal(err)
				}
				words := strings.Fields(string(out))
				if len(words) != len(figures) {
					b.Fatalf("the C side printed %q", out)
				}
				for i, v := range goSide(b, node, each) {
					ns, err := strconv.Atoi(words[i])
					if err != nil {
						b.Fatal(err)
					}
					theirs[i] = append(theirs[i], time.Duration(ns))
					ours[i] = append(ours[i], v)
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, name := range figures {
				b.ReportMetric(float64(median(ours[i])), name+"-ns")
				b.ReportMetric(float64(median(ours[i]))/float64(median(theirs[i])), name+"/C")
			}
		})
	}
}

// BenchmarkMemory counts what a connection costs: memory of this process, and
// what the daemon makes in /dev/shm.
func BenchmarkMemory(b *testing.B) {
	corotest.Need(b)
	lab := corotest.Start(b, corotest.Options{})
	node := lab.Nodes[0]
	ctx := context.Background()
	for _, service := range []struct {
		name string
		dial func() (interface{ Close() error }, error)
	}{
		{"cpg", func() (interface{ Close() error }, error) { return corosync.DialCPG(ctx, corosync.Config{}) }},
		{"quorum", func() (interface{ Close() error }, error) { return corosync.DialQuorum(ctx, corosync.Config{}) }},
	} {
		b.Run(service.name, func(b *testing.B) {
			const conns = 8
			before, shm := resident(b), shared(b, node)
			var all []interface{ Close() error }
			for range conns {
				if err := node.In(func() error {
					c, err := service.dial()
					all = append(all, c)
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(resident(b)-before)/conns, "KiB/conn")
			b.ReportMetric(float64(shared(b, node)-shm)/conns, "shm-KiB/conn")
			for _, c := range all {
				c.Close()
			}
		})
	}
}

// resident is the memory of this process after a collection, in KiB.
func resident(b *testing.B) int {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRss:")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// shared is what is in the node's /dev/shm, in KiB.
func shared(b *testing.B, node *corotest.Node) int {
	out, err := node.Command("du", "-sk", "/dev/shm").Output()
	if err != nil {
		b.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(out), &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// goSide does what testdata/bench.c does.
func goSide(b *testing.B, node *corotest.Node, n int) (out [len(figures)]time.Duration) {
	ctx := context.Background()
	var g *corosync.Cfg
	var m *corosync.CMap
	var q *corosync.Quorum
	var v *corosync.VoteQuorum
	var p *corosync.CPG
	if err := node.In(func() (err error) {
		if g, err = corosync.DialCfg(ctx, corosync.Config{}); err != nil {
			return err
		}
		if m, err = corosync.DialCMap(ctx, corosync.Config{}); err != nil {
			return err
		}
		if q, err = corosync.DialQuorum(ctx, corosync.Config{}); err != nil {
			return err
		}
		if v, err = corosync.DialVoteQuorum(ctx, corosync.Config{}); err != nil {
			return err
		}
		p, err = corosync.DialCPG(ctx, corosync.Config{})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{g, m, q, v, p} {
		defer c.Close()
	}
	if err := p.Join(ctx, "bench", 4711); err != nil {
		b.Fatal(err)
	}
	msg := make([]byte, 64)
	for i, call := range [...]func() error{
		func() error { _, err := g.LocalNode(ctx); return err },
		func() error { _, err := m.String(ctx, "totem.cluster_name"); return err },
		func() error { _, err := q.Quorate(ctx); return err },
		func() error { _, err := v.Info(ctx, 0); return err },
		func() error {
			if err := p.Multicast(ctx, msg); err != nil {
				return err
			}
			for {
				ev, err := p.Next(ctx)
				if _, is := ev.(corosync.Message); is || err != nil {
					return err
				}
			}
		},
	} {
		t := make([]time.Duration, n)
		for k := range t {
			at := time.Now()
			if err := call(); err != nil {
				b.Fatal(err)
			}
			t[k] = time.Since(at)
		}
		out[i] = median(t)
	}
	return out
}
