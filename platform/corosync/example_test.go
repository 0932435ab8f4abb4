//go:build linux

package corosync_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/haobox/haobox/platform/corosync"
)

// The name of the cluster, from the store.
func Example() {
	ctx := context.Background()
	m, err := corosync.DialCMap(ctx, corosync.Config{})
	if errors.Is(err, corosync.ErrNotRunning) {
		fmt.Println("no cluster here")
		return
	} else if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	name, err := m.String(ctx, "totem.cluster_name")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(name)
}

// A member of a group says hello, and shows what all members see in the same
// order, until the daemon ends.
func ExampleCPG() {
	ctx := context.Background()
	c, err := corosync.DialCPG(ctx, corosync.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Join(ctx, "example", 0); err != nil {
		log.Fatal(err)
	}
	if err := c.Multicast(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	for {
		ev, err := c.Next(ctx)
		if err != nil {
			log.Print(err) // membership is lost: dial and join again
			return
		}
		switch ev := ev.(type) {
		case corosync.ConfChg:
			fmt.Println(len(ev.Members), "members,", len(ev.Joined), "came,", len(ev.Left), "went")
		case corosync.Message:
			fmt.Printf("node %d says %s\n", ev.From.Node, ev.Payload)
		}
	}
}

// A node is told of members and quorum. Act on the ring as well: a node that was
// frozen never loses quorum in its own eyes.
func ExampleQuorum() {
	ctx := context.Background()
	q, err := corosync.DialQuorum(ctx, corosync.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	if err := q.Track(ctx); err != nil {
		log.Fatal(err)
	}
	for {
		ev, err := q.Next(ctx)
		if err != nil {
			log.Print(err)
			return
		}
		switch ev := ev.(type) {
		case corosync.RingChange:
			fmt.Println("ring", ev.Ring.Seq, "of nodes", ev.Members)
		case corosync.QuorumState:
			fmt.Println("quorate:", ev.Quorate)
		}
	}
}
