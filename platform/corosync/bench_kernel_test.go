//go:build linux

package corosync_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// BenchmarkBesideC compares a call and a multicast's way to its own delivery
// with the C libraries on the same daemon, in turns. It needs libcfg-dev and
// libcpg-dev (tools/setup libcfg-dev libcpg-dev) and prints medians and ratios:
//
//	go test -run '^$' -bench BesideC ./platform/corosync
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
			const rounds, each = 5, 2000
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
