//go:build linux

package cmantool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// TestJoin_EightLinks: altname gives the cluster up to eight networks, of which
// any one is enough.
func TestJoin_EightLinks(t *testing.T) {
	const links = 8
	l := newLab(t, corotest.Options{Links: links})
	var conf strings.Builder
	conf.WriteString("<cluster name=\"lab\" config_version=\"1\">\n<cman two_node=\"1\" expected_votes=\"1\"/>\n<totem token=\"4000\"/>\n<clusternodes>\n")
	for _, n := range l.Nodes {
		fmt.Fprintf(&conf, "<clusternode name=\"n%d\" nodeid=\"%d\">\n", n.ID, n.ID)
		for i := 1; i < links; i++ {
			fmt.Fprintf(&conf, "<altname name=\"10.77.%d.%d\"/>\n", i, n.ID)
		}
		conf.WriteString("</clusternode>\n")
	}
	conf.WriteString("</clusternodes>\n</cluster>\n")
	for _, n := range l.Nodes {
		text := strings.Replace(conf.String(), "<clusternodes>", fmt.Sprintf("<logging to_syslog=\"no\" logfile=\"%s/log\"/>\n<clusternodes>", n.Dir), 1)
		if err := os.WriteFile(filepath.Join(n.Dir, "cluster.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l.ok(int(n.ID), "join -w -t 60")
	}
	n := l.Nodes[0]
	for _, n := range l.Nodes {
		n.WaitMembers(2)
	}
	stay := []*stayer{newStayer(t, l.Nodes[0]), newStayer(t, l.Nodes[1])}
	// connected waits until the nodes reach each other on those links and no
	// others, and the ring turns.
	connected := func(want string) {
		t.Helper()
		for i, n := range l.Nodes {
			l.Eventually(fmt.Sprintf("node %d uses the links %s", n.ID, want), func() error {
				got, err := linksTo(n, l.Nodes[1-i].ID)
				if err != nil || got != want {
					return fmt.Errorf("links %q, %v", got, err)
				}
				return nil
			})
		}
		stay[0].turn(t)
	}
	connected("01234567")
	if out := l.ok(1, "nodes -a -n n2"); !strings.Contains(out, "Addresses: 10.77.0.2 10.77.1.2 10.77.2.2 10.77.3.2 10.77.4.2 10.77.5.2 10.77.6.2 10.77.7.2 \n") {
		t.Errorf("addresses:\n%s", out)
	}
	// knet is patient with new links; this many answers end that.
	for _, n := range l.Nodes {
		l.Eventually("answers on link 0", func() error {
			out, err := n.Command("corosync-cmapctl", "-m", "stats", "-g", fmt.Sprintf("stats.knet.node%d.link0.rx_pong_packets", 3-n.ID)).CombinedOutput()
			text, count := string(out), 0
			if _, serr := fmt.Sscan(text[strings.LastIndex(text, "=")+1:], &count); err != nil || serr != nil || count < 12 {
				return fmt.Errorf("%v: %s", err, out)
			}
			return nil
		})
	}
	n.Cut(0)
	connected("1234567")
	n.Cut(1, 2, 3, 4, 6, 7)
	connected("5")
	n.Heal(0)
	connected("05")
	n.Cut(5)
	connected("0")
	for i, s := range stay {
		if left := s.left(); len(left) > 0 {
			t.Errorf("node %d saw members go: %v", i+1, left)
		}
	}
	n.Heal()
	l.ok(2, "leave -w -t 60")
	l.ok(1, "leave -w -t 60")
}

// linksTo is on which links a node reaches another, as digits.
func linksTo(n *corotest.Node, other uint32) (got string, err error) {
	err = n.In(func() error {
		c, err := corosync.DialCfg(context.Background(), corosync.Config{})
		if err != nil {
			return err
		}
		defer c.Close()
		st, err := c.Node(context.Background(), other)
		for _, link := range st.Links {
			if link.Enabled && link.Connected {
				got += fmt.Sprint(link.Number)
			}
		}
		return err
	})
	return got, err
}

// stayer is a member of a group on a node, which sees whether others go.
type stayer struct {
	*corosync.CPG
	turned chan struct{}

	mu   sync.Mutex
	gone []corosync.Moved
}

func newStayer(t *testing.T, n *corotest.Node) *stayer {
	t.Helper()
	s := &stayer{turned: make(chan struct{}, 1)}
	if err := n.In(func() (err error) {
		s.CPG, err = corosync.DialCPG(t.Context(), corosync.Config{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Join(t.Context(), "stay", n.ID); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			ev, err := s.Next(context.Background())
			if err != nil {
				return
			}
			switch ev := ev.(type) {
			case corosync.ConfChg:
				s.mu.Lock()
				s.gone = append(s.gone, ev.Left...)
				s.mu.Unlock()
			case corosync.Message:
				select {
				case s.turned <- struct{}{}:
				default: // nobody waits on the other node
				}
			}
		}
	}()
	return s
}

// turn waits until the ring's token has gone round.
func (s *stayer) turn(t *testing.T) {
	t.Helper()
	if err := s.Multicast(t.Context(), []byte("turn")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.turned:
	case <-time.After(corotest.Patience):
		t.Fatal("the ring does not turn")
	}
}

func (s *stayer) left() []corosync.Moved {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}
