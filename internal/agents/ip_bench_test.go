package agents

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/haobox/haobox/platform/netif"
	"github.com/haobox/haobox/platform/netif/netlabtest"
	"github.com/haobox/haobox/platform/platformtest"
)

// BenchmarkIP_1000Checks is 1,000 status checks of 300 addresses as rgmanager
// makes them, in its own process. The limit of the project is 50 ms.
func BenchmarkIP_1000Checks(b *testing.B) {
	lab := netlabtest.New(b, "n1")
	const count, checks = 300, 1000
	lab.Address("n1", "eth0", "10.1.0.1/16")
	name := func(i int) string { return fmt.Sprintf("10.1.%d.%d/16", 1+i/200, 1+i%200) }
	for i := range count {
		lab.Address("n1", "eth0", name(i))
	}
	lab.In("n1", func() {
		net, err := netif.Open(true)
		if err != nil {
			b.Fatal(err)
		}
		defer net.Close()
		agent := IP(func() (Net, error) { return net, nil }, func(int, int) error { return nil })
		env := platformtest.NewEnv(b)
		env.Env.Log = slog.New(slog.DiscardHandler)
		for b.Loop() {
			for i := range checks {
				c, err := agent.NewCallFor(env.Env, "status", 0, name(i%count), []Param{{"address", name(i % count)}, {"monitor_link", "1"}})
				if err != nil {
					b.Fatal(err)
				}
				if code := agent.Do(b.Context(), c); code != OK {
					b.Fatalf("status of %s: %d", name(i%count), code)
				}
			}
		}
	})
}
