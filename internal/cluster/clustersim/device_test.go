package clustersim_test

import (
	"context"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
)

// TestDevice: a vote of a quorum device is good for the ring in which it was
// given; a new ring says nothing of quorum before the device was polled in it,
// or is dead.
func TestDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// poll says whether the device is polled in the new ring, and cast how.
		poll, cast bool
		after      time.Duration // of the new ring until it says something
	}{
		{name: "it votes", poll: true, cast: true},
		{name: "it does not vote", poll: true},
		{name: "it is dead", after: 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := clustersim.New(clustersim.Config{DeviceVotes: 1, Token: time.Second, Nodes: []clustersim.NodeConfig{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2"}}})
			s.Start(1)
			s.Start(2)
			s.Run(time.Second)
			e, err := s.Engine(1)
			if err != nil {
				t.Fatal(err)
			}
			d, ctx := e.(cluster.Device), context.Background()
			var told []bool
			if _, err := e.Watch(func(ev cluster.Event) {
				if q, is := ev.(cluster.Quorum); is {
					told = append(told, q.Quorate)
				}
			}); err != nil {
				t.Fatal(err)
			}
			poll := func(cast bool) {
				t.Helper()
				ring, _ := s.Ring(1)
				if err := d.PollDevice(ctx, "disk", cast, ring); err != nil {
					t.Fatal(err)
				}
				s.Run(10 * time.Millisecond)
			}
			if err := d.RegisterDevice(ctx, "disk"); err != nil {
				t.Fatal(err)
			}
			poll(true)
			if quorate, votes := s.Votes(1); !quorate || !votes {
				t.Fatalf("with both nodes and the device: quorum %v, votes of the device %v", quorate, votes)
			}
			s.Run(9 * time.Second)
			poll(true)
			told = nil
			s.Partition([]cluster.NodeID{1})
			s.Run(2 * time.Second)
			if quorate, votes := s.Votes(1); quorate || votes || len(told) > 0 {
				t.Fatalf("the new ring did not wait: quorum %v, votes of the device %v, told %v", quorate, votes, told)
			}
			if c.poll {
				poll(c.cast)
			}
			s.Run(c.after)
			quorate, votes := s.Votes(1)
			if quorate != c.cast || votes != c.cast || len(told) != 1 || told[0] != c.cast {
				t.Errorf("quorum %v, votes of the device %v, told %v, want %v", quorate, votes, told, c.cast)
			}
		})
	}
}
