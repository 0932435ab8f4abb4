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
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// BenchmarkBesideC compares a call and a multicast's way to its own delivery
// with the C libraries on the same daemon, in turns. It needs libcfg-dev and
// libcpg-dev and prints medians and ratios; "make bench" runs it.
func BenchmarkBesideC(b *testing.B) {
	corotest.Need(b)
	c := filepath.Join(b.TempDir(), "bench")
	if out, err := exec.Command("cc", "-O2", "-o", c, "testdata/bench.c", "-lcfg", "-lcpg").CombinedOutput(); err != nil {
		b.Fatalf("build the C side: %v\n%s", err, out)
	}
	for _, nodes := range []int{1, 2} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			lab := corotest.Start(b, corotest.Options{Nodes: nodes})
			node := lab.Nodes[0]
			// Short rounds: what else the machine does meets both sides.
			const rounds, each = 21, 300
			var cCall, cTrip, goCall, goTrip []time.Duration
			for range rounds {
				out, err := node.Command(c, fmt.Sprint(each)).Output()
				if err != nil {
					b.Fatal(err)
				}
				var x, y time.Duration
				if _, err := fmt.Sscan(strings.TrimSpace(string(out)), &x, &y); err != nil {
					b.Fatal(err)
				}
				cCall, cTrip = append(cCall, x), append(cTrip, y)
				x, y = goSide(b, node, each)
				goCall, goTrip = append(goCall, x), append(goTrip, y)
			}
			median := func(all []time.Duration) float64 {
				slices.Sort(all)
				return float64(all[len(all)/2])
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(goCall), "call-ns")
			b.ReportMetric(median(goCall)/median(cCall), "call/C")
			b.ReportMetric(median(goTrip), "trip-ns")
			b.ReportMetric(median(goTrip)/median(cTrip), "trip/C")
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
func goSide(b *testing.B, node *corotest.Node, n int) (call, trip time.Duration) {
	ctx := context.Background()
	var g *corosync.Cfg
	var p *corosync.CPG
	if err := node.In(func() (err error) {
		if g, err = corosync.DialCfg(ctx, corosync.Config{}); err == nil {
			p, err = corosync.DialCPG(ctx, corosync.Config{})
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	defer p.Close()
	t := make([]time.Duration, n)
	for i := range t {
		at := time.Now()
		if _, err := g.LocalNode(ctx); err != nil {
			b.Fatal(err)
		}
		t[i] = time.Since(at)
	}
	slices.Sort(t)
	call = t[n/2]
	if err := p.Join(ctx, "bench", 4711); err != nil {
		b.Fatal(err)
	}
	msg := make([]byte, 64)
	for i := range t {
		at := time.Now()
		if err := p.Multicast(ctx, msg); err != nil {
			b.Fatal(err)
		}
		for {
			ev, err := p.Next(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, is := ev.(corosync.Message); is {
				break
			}
		}
		t[i] = time.Since(at)
	}
	slices.Sort(t)
	return call, t[n/2]
}
