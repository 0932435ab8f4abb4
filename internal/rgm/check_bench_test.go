package rgm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// alone is a core on a cluster of one node, stepped until nothing is left to do.
type alone struct {
	c    *Core
	self cluster.Member
	now  time.Time
	runs int
}

func newAlone(t testing.TB, conf string) *alone { return newAloneWith(t, conf, Options{}) }

func newAloneWith(t testing.TB, conf string, opt Options) *alone {
	a := &alone{self: cluster.Member{Node: 1, Instance: 7}, now: time.Unix(1000, 0)}
	opt.Self = a.self
	a.c = New(opt)
	ring := cluster.RingID{Node: 1, Seq: 4}
	a.step(parse(t, conf))
	a.step(Engine{cluster.Membership{Ring: ring, Members: []cluster.NodeID{1}}})
	a.step(Engine{cluster.Quorum{Ring: ring, Quorate: true}})
	a.step(Engine{cluster.View{Group: Group, Ring: ring, Members: []cluster.Member{a.self}, Joined: []cluster.Change{{Member: a.self, Reason: cluster.Joined}}}})
	return a
}

// step steps the core and everything that follows at once; agents succeed.
func (a *alone) step(ev Event) {
	queue := []Event{ev}
	for len(queue) > 0 {
		ev := queue[0]
		queue = queue[1:]
		for _, x := range a.c.Step(a.now, ev) {
			switch x := x.(type) {
			case Send:
				queue = append(queue, Engine{cluster.Message{Group: Group, From: a.self, Payload: x.Payload}})
			case RunAgent:
				a.runs++
				queue = append(queue, AgentEnded{ID: x.ID})
			}
		}
	}
}

// manyIPs is a configuration with n services of one address each.
func manyIPs(n int) string {
	var b strings.Builder
	b.WriteString(`<cluster name="c" config_version="1"><clusternodes><clusternode name="lnxa" nodeid="1"/></clusternodes><rm>`)
	for i := range n {
		fmt.Fprintf(&b, `<service name="s%04d"><ip address="10.0.%d.%d"/></service>`, i, i/250, i%250+1)
	}
	b.WriteString("</rm></cluster>")
	return b.String()
}

// BenchmarkCheck is one status check among 1,000 services, without its agent.
func BenchmarkCheck(b *testing.B) {
	a := newAlone(b, manyIPs(1000))
	for _, s := range a.c.Status().Services {
		if s.State != Started {
			b.Fatalf("%s is %v", s.Name, s.State)
		}
	}
	a.runs = 0
	for b.Loop() {
		for end := a.runs + 1; a.runs < end; {
			a.now = a.now.Add(100 * time.Millisecond)
			a.step(Tick{})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(a.runs), "ns/check")
}
