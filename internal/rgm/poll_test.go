package rgm

import (
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// TestStatusPollInterval: checks come as the agents want them; if the
// configuration says how often services are looked at, not more often. What is
// asked for by an event is checked at once.
func TestStatusPollInterval(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, attrs string
		least, most int // checks in ten minutes
	}{
		{"as the agent wants", ``, 55, 60},
		{"seldom", ` status_poll_interval="60"`, 9, 11},
		{"more often than the agent wants", ` status_poll_interval="1"`, 55, 60},
		{"not valid", ` status_poll_interval="0"`, 55, 60},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			self := cluster.Member{Node: 1, Instance: 7}
			c := New(Options{Self: self, Name: "lnxa"})
			now, checks := time.Unix(1000, 0), 0
			ring := cluster.RingID{Node: 1, Seq: 4}
			step := func(queue ...Event) {
				for len(queue) > 0 {
					ev := queue[0]
					queue = queue[1:]
					for _, a := range c.Step(now, ev) {
						switch a := a.(type) {
						case Send:
							queue = append(queue, Engine{cluster.Message{Group: Group, From: self, Payload: a.Payload}})
						case RunAgent:
							if a.Call.Action == "status" {
								checks++
							}
							queue = append(queue, AgentEnded{ID: a.ID})
						}
					}
				}
			}
			conf := strings.Replace(`<cluster name="c" config_version="1"><clusternodes><clusternode name="lnxa" nodeid="1"/></clusternodes>
<rm><service name="web"><script name="s" file="/bin/true"><action name="status" depth="0" interval="10"/></script></service></rm></cluster>`, "<rm>", "<rm"+tc.attrs+">", 1)
			step(parse(t, conf).event(), Engine{cluster.Membership{Ring: ring, Members: []cluster.NodeID{1}}}, Engine{cluster.Quorum{Ring: ring, Quorate: true}},
				Engine{cluster.View{Group: Group, Ring: ring, Members: []cluster.Member{self}, Joined: []cluster.Change{{Member: self, Reason: cluster.Joined}}}})
			checks = 0
			for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(TickEvery) {
				step(Tick{})
			}
			if checks < tc.least || checks > tc.most {
				t.Errorf("%d checks in ten minutes, want %d to %d", checks, tc.least, tc.most)
			}
			checks = 0
			step(Check{Service: "service:web", Resource: "script:s"})
			step(Tick{})
			if checks != 1 {
				t.Errorf("%d checks after an event", checks)
			}
		})
	}
}
