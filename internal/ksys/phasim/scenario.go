package phasim

import (
	"fmt"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

// Scenario is a story with its expected end.
type Scenario struct {
	Name, About string
	// Steps are the injections.
	Steps []ScenarioStep
	// Until is its length in seconds.
	Until int
	// Want are the scripts' calls in order, with their exit statuses; equal
	// ones in a row count once.
	Want []string
	// Owner is where the group is at the end, "" for nowhere, and Result the
	// final judgement of ksysstatus.
	Owner  string
	Result ksys.Health
}

// ScenarioStep injects What on Node at a time in seconds, for so many.
type ScenarioStep struct {
	At, For    int
	Node, What string
}

const (
	n1 = "ksys7001"
	n2 = "ksys7002"
)

// begun is how every scenario begins: the group comes online on the first
// node, which is the group leader.
func begun(more ...string) []string {
	return append([]string{n1 + " startupmonksys 1", n1 + " startksys 0", n1 + " startupmonksys 0", n1 + " longrunmonksys 0"}, more...)
}

// moved is how the group comes online on the second node.
func moved() []string {
	return []string{n2 + " startupmonksys 1", n2 + " startksys 0", n2 + " startupmonksys 0", n2 + " longrunmonksys 0"}
}

// Scenarios are the built-in stories with two nodes that the event loop
// tells; those about the setup are in the tests of phaksyssetup.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "normal", About: "the group comes online on the group leader and stays", Until: 500, Want: begun(), Owner: n1},
		{Name: "daemon-crash", About: "the daemon dies once and is restarted on its node", Until: 800,
			Steps: []ScenarioStep{{At: 300, Node: n1, What: "vmr crash"}},
			Want:  begun(n1+" longrunmonksys 2", n1+" stopksys 0", n1+" startksys 0", n1+" longrunmonksys 0"), Owner: n1},
		{Name: "daemon-crash-twice", About: "the daemon dies twice; the leader stays, so no node may carry the group", Until: 1000,
			Steps: []ScenarioStep{{At: 300, Node: n1, What: "vmr crash"}, {At: 520, Node: n1, What: "vmr crash"}},
			Want: begun(n1+" longrunmonksys 2", n1+" stopksys 0", n1+" startksys 0", n1+" longrunmonksys 0",
				n1+" longrunmonksys 2", n1+" stopksys 0", n2+" startupmonksys 1", n2+" startksys 1", n2+" stopksys 0"),
			Result: ksys.HealthFail},
		{Name: "node-crash", About: "the node crashes and returns; the group moves and stays there", Until: 1200,
			Steps: []ScenarioStep{{At: 300, Node: n1, What: "node reboot 300"}},
			Want:  append(begun(), moved()...), Owner: n2},
		{Name: "leader-move", About: "group leadership moves without a failure; the group follows", Until: 1200,
			Steps: []ScenarioStep{{At: 300, Node: n1, What: "leader move " + n2}},
			Want: append(begun(n1+" longrunmonksys 1", n1+" stopksys 0", n1+" startksys 1", n1+" longrunmonksys 1", n1+" stopksys 0"),
				moved()...),
			Owner: n2, Result: ksys.HealthWarn},
		{Name: "vm-failure-during-move", About: "the node crashes while it recovers a virtual machine; the restart elsewhere resumes it", Until: 900,
			Steps: []ScenarioStep{{At: 330, Node: n1, What: "node reboot 200"}},
			Want:  append(begun(), moved()...), Owner: n2},
		{Name: "stuck-stopping", About: "the daemon never leaves stopping", Until: 600,
			Steps:  []ScenarioStep{{At: 0, Node: n1, What: "vmr stuck-stopping"}},
			Want:   []string{n1 + " startupmonksys 1", n1 + " startksys 2", n1 + " stopksys 1"},
			Result: ksys.HealthFail},
		{Name: "stale-flag-after-reboot", About: "a node crashes before the first long-running call; its flag file must not count later", Until: 1400,
			Steps: []ScenarioStep{{At: 60, Node: n1, What: "node reboot 120"}, {At: 700, Node: n2, What: "node reboot 200"}},
			Want: append(append([]string{n1 + " startupmonksys 1", n1 + " startksys 0", n1 + " startupmonksys 0"}, moved()...),
				n1+" startupmonksys 2", n1+" startksys 0", n1+" startupmonksys 0", n1+" longrunmonksys 0"),
			Owner: n1},
		{Name: "leader-unknown", About: "no node can name the leader; nobody may take the group", Until: 1200,
			Steps: []ScenarioStep{{At: 300, Node: "*", What: "leader unknown"}},
			Want: begun(n1+" longrunmonksys 4", n1+" stopksys 0", n1+" startksys 4", n1+" longrunmonksys 0", n1+" longrunmonksys 4",
				n1+" stopksys 0", n2+" startupmonksys 1", n2+" startksys 4", n2+" stopksys 0"),
			Result: ksys.HealthFail},
		{Name: "split", About: "the peer domain splits; both halves name a leader", Until: 700,
			Steps: []ScenarioStep{{At: 300, Node: "*", What: "split " + n1 + "|" + n2}},
			Want:  begun(), Owner: n1, Result: ksys.HealthFail},
	}
}

// FindScenario returns the scenario of that name.
func FindScenario(name string) (Scenario, error) {
	var names []string
	for _, sc := range Scenarios() {
		if sc.Name == name {
			return sc, nil
		}
		names = append(names, sc.Name)
	}
	return Scenario{}, fmt.Errorf("scenario %q: unknown; there are %s", name, strings.Join(names, ", "))
}

// Prepare schedules the scenario's injections.
func (sc Scenario) Prepare(w *World) error {
	for _, st := range sc.Steps {
		i, err := w.ParseInjection(st.Node, strings.Fields(st.What), time.Duration(st.At)*time.Second, time.Duration(st.For)*time.Second)
		if err != nil {
			return err
		}
		w.Inject(i)
	}
	return nil
}

// Check compares the calls with the expected ones.
func (sc Scenario) Check(calls []string) error {
	got := Collapse(calls)
	if strings.Join(got, "\n") != strings.Join(sc.Want, "\n") {
		return fmt.Errorf("scenario %s: calls\n  %s\nwant\n  %s", sc.Name, strings.Join(got, "\n  "), strings.Join(sc.Want, "\n  "))
	}
	return nil
}

// Collapse drops calls that equal the one before.
func Collapse(calls []string) []string {
	var out []string
	for _, c := range calls {
		if len(out) == 0 || out[len(out)-1] != c {
			out = append(out, c)
		}
	}
	return out
}
