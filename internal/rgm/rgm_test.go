package rgm

import (
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
)

// parse reads a configuration for tests.
func parse(t testing.TB, text string) Config {
	t.Helper()
	doc, err := clusterconf.Parse("cluster.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cfg := clusterconf.Decode(doc)
	return Config{Config: cfg, Set: cfg.Set(restree.Builtin())}
}

const oneNode = `<cluster name="c" config_version="1"><clusternodes><clusternode name="lnxa" nodeid="1"/></clusternodes>
<rm><service name="web"><ip address="10.0.0.1"/><script name="s" file="/bin/true"/></service>
<service name="off" autostart="0"/></rm></cluster>`

// TestCore_OneNode: a node alone joins, stops everything once, and starts what
// is to be started by itself.
func TestCore_OneNode(t *testing.T) {
	t.Parallel()
	self := cluster.Member{Node: 1, Instance: 7}
	c := New(Options{Self: self, Name: "lnxa"})
	now := time.Unix(1000, 0)
	var calls, logs []string
	var queue []Event
	ring := cluster.RingID{Node: 1, Seq: 4}
	queue = append(queue, parse(t, oneNode).event(), Engine{cluster.Membership{Ring: ring, Members: []cluster.NodeID{1}}}, Engine{cluster.Quorum{Ring: ring, Quorate: true}},
		Engine{cluster.View{Group: Group, Ring: ring, Members: []cluster.Member{self}, Joined: []cluster.Change{{Member: self, Reason: cluster.Joined}}}})
	for len(queue) > 0 {
		ev := queue[0]
		queue = queue[1:]
		for _, a := range c.Step(now, ev) {
			switch a := a.(type) {
			case Send:
				queue = append(queue, Engine{cluster.Message{Group: Group, From: self, Payload: a.Payload}})
			case RunAgent:
				calls = append(calls, a.Call.Action+" "+a.Call.Node.ID())
				queue = append(queue, AgentEnded{ID: a.ID})
			case Log:
				logs = append(logs, a.Text)
			}
		}
	}
	st := c.Status()
	if len(st.Services) != 2 || st.Services[1].State != Started || st.Services[1].Owner != 1 || st.Services[0].State != Disabled {
		t.Errorf("services %+v\n%q\n%q", st.Services, calls, logs)
	}
	want := []string{"stop service:off", "stop script:s", "stop ip:10.0.0.1", "stop service:web", "start service:web", "start ip:10.0.0.1", "start script:s"}
	got := map[string]bool{}
	for _, x := range calls {
		got[x] = true
	}
	for _, x := range want {
		if !got[x] {
			t.Errorf("%q did not happen: %q", x, calls)
		}
	}
}

// TestCore_QuorumForAMoment: a node that loses and regains quorum before its
// word of the loss came back works again.
func TestCore_QuorumForAMoment(t *testing.T) {
	t.Parallel()
	self := cluster.Member{Node: 1, Instance: 7}
	c := New(Options{Self: self, Name: "lnxa"})
	ring := cluster.RingID{Node: 1, Seq: 4}
	step := func(queue ...Event) {
		for len(queue) > 0 {
			ev := queue[0]
			queue = queue[1:]
			for _, a := range c.Step(time.Unix(1000, 0), ev) {
				switch a := a.(type) {
				case Send:
					queue = append(queue, Engine{cluster.Message{Group: Group, From: self, Payload: a.Payload}})
				case RunAgent:
					queue = append(queue, AgentEnded{ID: a.ID})
				}
			}
		}
	}
	quorum := func(is bool) Event { return Engine{cluster.Quorum{Ring: ring, Quorate: is}} }
	step(parse(t, `<cluster name="c" config_version="1"><clusternodes><clusternode name="lnxa" nodeid="1"/></clusternodes><rm/></cluster>`).event(),
		Engine{cluster.Membership{Ring: ring, Members: []cluster.NodeID{1}}}, quorum(true),
		Engine{cluster.View{Group: Group, Ring: ring, Members: []cluster.Member{self}, Joined: []cluster.Change{{Member: self, Reason: cluster.Joined}}}})
	if !c.Ready() {
		t.Fatal("it does not work")
	}
	step(quorum(false), quorum(true))
	if !c.Ready() {
		t.Error("it does not work again")
	}
}

func (c Config) event() Event { return c }

// TestCore_OffAsOfItsOwnRing: fenced says that a node is off as of a ring in
// which its engine is up again, before its fenced has joined. That is no word
// about what it runs now.
func TestCore_OffAsOfItsOwnRing(t *testing.T) {
	t.Parallel()
	conf := strings.Replace(oneNode, "</clusternodes>", `<clusternode name="lnxb" nodeid="2"/></clusternodes>`, 1)
	for _, tc := range []struct {
		name   string
		events []Event
		starts bool
	}{
		{"off in the ring that it is in", []Event{NodeSafe{Node: 2, Ring: 4}}, false},
		{"and it goes later", []Event{NodeSafe{Node: 2, Ring: 4}, ringOf(8, 1)}, false},
		{"the word comes before the ring", []Event{NodeSafe{Node: 2, Ring: 8}, ringOf(8, 1, 2), ringOf(12, 1)}, false},
		{"off in the ring after it went", []Event{ringOf(8, 1), NodeSafe{Node: 2, Ring: 8}}, true},
		{"and the word comes before the ring", []Event{NodeSafe{Node: 2, Ring: 8}, ringOf(8, 1)}, true},
		{"it left the domain in order", []Event{NodeSafe{Node: 2, Ring: 4, Left: true}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := &alone{self: cluster.Member{Node: 1, Instance: 7}, now: time.Unix(1000, 0)}
			a.c = New(Options{Self: a.self})
			ring := cluster.RingID{Node: 1, Seq: 4}
			a.step(parse(t, conf))
			a.step(ringOf(4, 1, 2))
			a.step(Engine{cluster.Quorum{Ring: ring, Quorate: true}})
			a.step(Engine{cluster.View{Group: Group, Ring: ring, Members: []cluster.Member{a.self}, Joined: []cluster.Change{{Member: a.self, Reason: cluster.Joined}}}})
			for _, ev := range tc.events {
				a.step(ev)
				if m, is := ev.(Engine); is {
					r := m.Event.(cluster.Membership).Ring
					a.step(Engine{cluster.Quorum{Ring: r, Quorate: true}})
					a.step(Engine{cluster.View{Group: Group, Ring: r, Members: []cluster.Member{a.self}}})
				}
				a.now = a.now.Add(100 * time.Millisecond)
				a.step(Tick{})
			}
			if got := a.c.Status().Services[1].State; (got == Started) != tc.starts {
				t.Errorf("the service is %v", got)
			}
		})
	}
}

func ringOf(seq uint64, members ...cluster.NodeID) Engine {
	return Engine{cluster.Membership{Ring: cluster.RingID{Node: 1, Seq: seq}, Members: members}}
}
