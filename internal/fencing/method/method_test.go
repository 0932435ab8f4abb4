package method

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/clusterconf"
)

// conf is a configuration with a node CNODE1 of these children, and devices d1,
// d2 ... of the given lines.
func conf(t interface{ Fatal(...any) }, node, devices string) *clusterconf.Config {
	text := `<cluster name="Z" config_version="1"><clusternodes><clusternode name="CNODE1" nodeid="1"><altname name="alt1.example.com"/>` + node +
		`</clusternode><clusternode name="CNODE2.example.com" nodeid="2"/></clusternodes><fencedevices>` + devices + `</fencedevices></cluster>`
	doc, err := clusterconf.Parse("cluster.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return clusterconf.Decode(doc)
}

var epoch = time.Unix(1388500000, 0)

// play runs a run to its end: each agent ends as the answers say, by the text
// "AGENT ACTION" of what it was asked; each takes a second.
func play(t interface{ Fatal(...any) }, c *clusterconf.Config, mode Mode, opt Options, answer func(s Start) Ended) (asked []string, done Done, run *Run) {
	now := epoch
	run, actions, err := New(now, mode, c, "CNODE1", opt)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if len(actions) != 1 {
			t.Fatal(fmt.Sprintf("%d actions", len(actions)))
		}
		switch a := actions[0].(type) {
		case Start:
			asked = append(asked, a.Agent+" "+strings.ReplaceAll(strings.TrimSpace(string(a.Stdin)), "\n", " "))
			ev := answer(a)
			ev.ID = a.ID
			now = now.Add(time.Second)
			actions = run.Step(now, ev)
		case Done:
			return asked, a, run
		}
	}
	t.Fatal("no end")
	return nil, Done{}, nil
}

func lines(d Done) (out []string) {
	for _, e := range d.Result.Entries {
		l := e.Line("CNODE1")
		if e.Detail != "" {
			l += " (" + e.Detail + ")"
		}
		out = append(out, l)
	}
	return out
}

func TestRun(t *testing.T) {
	t.Parallel()
	const two = `<fencedevice name="d1" agent="one"/><fencedevice name="d2" agent="two"/>`
	const zvm = `<fencedevice name="d1" agent="fence_zvmip" ipaddr="a"/><fencedevice name="d2" agent="/opt/fence_zvm"/>`
	for _, tc := range []struct {
		name, node, devices string
		mode                Mode
		opt                 Options
		// exits are the exit statuses in order; the rest succeed. -1 is a
		// signal, -2 the limit, -3 no such program, -4 no process.
		exits []int
		asked []string
		ok    bool
		lines []string
		undef bool
		off   bool
	}{
		{name: "the specification's example", devices: `<fencedevice agent="fence_zvmip" ipaddr="1.2.3.4" login="L" name="d1" passwd="p w"/>`,
			node:  `<fence><method name="a"><device name="d1" port="LINUX1" action="reboot" delay="5"/></method></fence>`,
			asked: []string{"fence_zvmip port=LINUX1 action=reboot delay=5 nodename=CNODE1 agent=fence_zvmip ipaddr=1.2.3.4 login=L passwd=p w"},
			ok:    true, lines: []string{"CNODE1 dev 0.0 agent fence_zvmip result: success"}},
		{name: "nodename of the configuration stays", devices: two,
			node:  `<fence><method name="a"><device name="d1" nodename="x" z="1"/></method></fence>`,
			asked: []string{"one nodename=x z=1 agent=one"}, ok: true, lines: []string{"CNODE1 dev 0.0 agent one result: success"}},
		{name: "a key in both places goes out twice", devices: `<fencedevice name="d1" agent="one" k="2"/>`,
			node:  `<fence><method name="a"><device name="d1" k="1"/></method></fence>`,
			asked: []string{"one k=1 nodename=CNODE1 agent=one k=2"}, ok: true, lines: []string{"CNODE1 dev 0.0 agent one result: success"}},
		{name: "dual power as the original wants it", devices: two,
			node: `<fence><method name="a"><device name="d1" action="off"/><device name="d2" action="off"/>` +
				`<device name="d1" action="on"/><device name="d2" action="on"/></method></fence>`,
			asked: []string{"one action=off nodename=CNODE1 agent=one", "two action=off nodename=CNODE1 agent=two",
				"one action=on nodename=CNODE1 agent=one", "two action=on nodename=CNODE1 agent=two"},
			ok: true, lines: []string{"CNODE1 dev 0.0 agent one result: success", "CNODE1 dev 0.1 agent two result: success",
				"CNODE1 dev 0.2 agent one result: success", "CNODE1 dev 0.3 agent two result: success"}},
		{name: "a failed device ends its method and the next method is tried", devices: two,
			node:  `<fence><method name="a"><device name="d1" p="1"/><device name="d2"/></method><method name="b"><device name="d2"/></method></fence>`,
			exits: []int{1}, asked: []string{"one p=1 nodename=CNODE1 agent=one", "two nodename=CNODE1 agent=two"}, ok: true,
			lines: []string{"CNODE1 dev 0.0 agent one result: error from agent (exit status 1)", "CNODE1 dev 1.0 agent two result: success"}},
		{name: "an SSI with a method for each server: the second is not asked", devices: zvm,
			node:  `<fence><method name="a"><device name="d1" port="L"/></method><method name="b"><device name="d2" port="L"/></method></fence>`,
			asked: []string{"fence_zvmip port=L nodename=CNODE1 agent=fence_zvmip ipaddr=a"}, ok: true,
			lines: []string{"CNODE1 dev 0.0 agent fence_zvmip result: success"}},
		{name: "an SSI with all servers in one method: each must confirm off before any switches on", devices: zvm,
			node: `<fence><method name="a"><device name="d1" port="L"/><device name="d2" port="L"/></method></fence>`,
			asked: []string{"fence_zvmip port=L nodename=CNODE1 action=off agent=fence_zvmip ipaddr=a", "/opt/fence_zvm port=L nodename=CNODE1 action=off agent=/opt/fence_zvm",
				"fence_zvmip port=L nodename=CNODE1 action=on agent=fence_zvmip ipaddr=a", "/opt/fence_zvm port=L nodename=CNODE1 action=on agent=/opt/fence_zvm"},
			ok: true, lines: []string{"CNODE1 dev 0.0 agent fence_zvmip result: success", "CNODE1 dev 0.1 agent /opt/fence_zvm result: success"}},
		{name: "one server that does not confirm fails the method, and nothing is switched on", devices: zvm,
			node:  `<fence><method name="a"><device name="d1" port="L"/><device name="d2" port="L"/></method></fence>`,
			exits: []int{0, 1},
			asked: []string{"fence_zvmip port=L nodename=CNODE1 action=off agent=fence_zvmip ipaddr=a", "/opt/fence_zvm port=L nodename=CNODE1 action=off agent=/opt/fence_zvm"},
			lines: []string{"CNODE1 dev 0.0 agent fence_zvmip result: success", "CNODE1 dev 0.1 agent /opt/fence_zvm result: error from agent (exit status 1)"}},
		{name: "off is enough", devices: two,
			node:  `<fence><method name="a"><device name="d1" action="reboot"/><device name="d2" action="reboot"/></method></fence>`,
			exits: []int{0, 0, 1, 0}, ok: true,
			asked: []string{"one nodename=CNODE1 action=off agent=one", "two nodename=CNODE1 action=off agent=two", "one nodename=CNODE1 action=on agent=one", "two nodename=CNODE1 action=on agent=two"},
			lines: []string{"CNODE1 dev 0.0 agent one result: success", "CNODE1 dev 0.1 agent two result: success",
				"CNODE1 dev 0.0 agent one result: error from agent (the node is off, but was not switched on: exit status 1)"}},
		{name: "agents whose default is not known are left alone", devices: two,
			node:  `<fence><method name="a"><device name="d1"/><device name="d2"/></method></fence>`,
			asked: []string{"one nodename=CNODE1 agent=one", "two nodename=CNODE1 agent=two"}, ok: true,
			lines: []string{"CNODE1 dev 0.0 agent one result: success", "CNODE1 dev 0.1 agent two result: success"}},
		{name: "verify: off is believed", devices: two, node: `<fence><method name="a"><device name="d1" action="off" verify="1"/></method></fence>`,
			exits: []int{0, 2}, ok: true, asked: []string{"one action=off nodename=CNODE1 agent=one", "one nodename=CNODE1 action=status agent=one"},
			lines: []string{"CNODE1 dev 0.0 agent one result: success"}},
		{name: "verify: an agent that did nothing is found out", devices: `<fencedevice name="d1" agent="one" verify="1" action="off"/>`,
			node: `<fence><method name="a"><device name="d1"/></method></fence>`, exits: []int{0, 0},
			asked: []string{"one nodename=CNODE1 agent=one action=off", "one nodename=CNODE1 action=status agent=one"},
			lines: []string{"CNODE1 dev 0.0 agent one result: status on (the agent reported success, its status says otherwise)"}},
		{name: "verify: an unknown status is not off", devices: two, node: `<fence><method name="a"><device name="d1" action="off" verify="1"/></method></fence>`,
			exits: []int{0, 1}, asked: []string{"one action=off nodename=CNODE1 agent=one", "one nodename=CNODE1 action=status agent=one"},
			lines: []string{"CNODE1 dev 0.0 agent one result: status error (the agent reported success, its status says otherwise)"}},
		{name: "verify: a reboot is off, status, on", devices: zvm, node: `<fence><method name="a"><device name="d1" verify="1"/></method></fence>`,
			exits: []int{0, 2, 0}, ok: true,
			asked: []string{"fence_zvmip nodename=CNODE1 action=off agent=fence_zvmip ipaddr=a", "fence_zvmip nodename=CNODE1 action=status agent=fence_zvmip ipaddr=a", "fence_zvmip nodename=CNODE1 action=on agent=fence_zvmip ipaddr=a"},
			lines: []string{"CNODE1 dev 0.0 agent fence_zvmip result: success"}},
		{name: "verify: a foreign agent without an action leaves the node off", devices: two, node: `<fence><method name="a"><device name="d1" verify="1"/></method></fence>`,
			exits: []int{0, 2}, ok: true, asked: []string{"one nodename=CNODE1 action=off agent=one", "one nodename=CNODE1 action=status agent=one"},
			lines: []string{"CNODE1 dev 0.0 agent one result: success"}},
		{name: "all ways in which an agent fails", devices: two,
			node:  `<fence><method name="a"><device name="d1"/></method><method name="b"><device name="d1"/></method><method name="c"><device name="d1"/></method><method name="d"><device name="d1"/></method><method name="e"><device name="d1"/></method></fence>`,
			exits: []int{-1, -2, -3, -4, 2},
			asked: slicesRepeat("one nodename=CNODE1 agent=one", 5),
			lines: []string{"CNODE1 dev 0.0 agent one result: error from agent (the agent was killed)", "CNODE1 dev 1.0 agent one result: error from agent (the agent was ended by its limit)",
				"CNODE1 dev 2.0 agent one result: error from agent (the agent could not be started)", "CNODE1 dev 3.0 agent one result: error from fork (no process could be started)",
				"CNODE1 dev 4.0 agent one result: error from agent (exit status 2)"}},
		{name: "no method", devices: two, undef: true, lines: []string{"CNODE1 dev 0.0 agent none result: error no method"}},
		{name: "a method without a device is tried and fails", devices: two, node: `<fence><method name="a"/><method name="b"><device name="d2"/></method></fence>`,
			asked: []string{"two nodename=CNODE1 agent=two"}, ok: true,
			lines: []string{"CNODE1 dev 0.0 agent none result: error no device", "CNODE1 dev 1.0 agent two result: success"}},
		{name: "a device that is not there, and one without an agent", devices: `<fencedevice name="d1"/>`,
			node:  `<fence><method name="a"><device name="none"/></method><method name="b"><device name="d1"/></method></fence>`,
			lines: []string{"CNODE1 dev 0.0 agent none result: error config agent", "CNODE1 dev 1.0 agent none result: error config agent"}},
		{name: "arguments that are too long", devices: `<fencedevice name="d1" agent="one" x="` + strings.Repeat("x", 4070) + `"/>`,
			node:  `<fence><method name="a"><device name="d1"/></method></fence>`,
			lines: []string{"CNODE1 dev 0.0 agent one result: error config args"}},
		{name: "an argument that would be two", devices: `<fencedevice name="d1" agent="one" nodename="x" y="a&#10;action=off"/>`,
			node:  `<fence><method name="a"><device name="d1"/></method></fence>`,
			lines: []string{"CNODE1 dev 0.0 agent one result: error config args"}},
		{name: "two methods of one name are the first twice", devices: two,
			node:  `<fence><method name="a"><device name="d1"/></method><method name="a"><device name="d2"/></method></fence>`,
			exits: []int{1, 1}, asked: slicesRepeat("one nodename=CNODE1 agent=one", 2),
			lines: []string{"CNODE1 dev 0.0 agent one result: error from agent (exit status 1)", "CNODE1 dev 1.0 agent one result: error from agent (exit status 1)"}},
		{name: "unfencing runs all even after failures", mode: ModeUnfence, devices: two,
			node:  `<unfence><device name="d1" action="on"/><device name="none"/><device name="d2" action="on"/></unfence>`,
			exits: []int{1}, asked: []string{"one action=on nodename=CNODE1 agent=one", "two action=on nodename=CNODE1 agent=two"},
			lines: []string{"CNODE1 dev 0.0 agent one result: error from agent (exit status 1)", "CNODE1 dev 0.1 agent none result: error config agent", "CNODE1 dev 0.2 agent two result: success"}},
		{name: "unfencing succeeds", mode: ModeUnfence, devices: two, node: `<unfence><device name="d1" action="on"/></unfence>`, ok: true,
			asked: []string{"one action=on nodename=CNODE1 agent=one"}, lines: []string{"CNODE1 dev 0.0 agent one result: success"}},
		{name: "nothing to unfence", mode: ModeUnfence, devices: two, undef: true, lines: []string{"CNODE1 dev 0.0 agent none result: error no device"}},
		{name: "status: on", mode: ModeStatus, devices: two,
			node:  `<fence><method name="a"><device name="d1" action="off"/></method><method name="b"><device name="d2" option="off"/></method></fence>`,
			exits: []int{2, 0}, ok: true, asked: []string{"one nodename=CNODE1 action=status agent=one", "two nodename=CNODE1 action=status agent=two"},
			lines: []string{"CNODE1 dev 0.0 agent one result: status off", "CNODE1 dev 1.0 agent two result: status on"}},
		{name: "status: a fence device's reboot is not asked for", mode: ModeStatus, devices: `<fencedevice name="d1" agent="one" action="reboot"/>`,
			node: `<fence><method name="a"><device name="d1"/></method></fence>`, exits: []int{2}, ok: true, off: true,
			asked: []string{"one nodename=CNODE1 action=status agent=one"}, lines: []string{"CNODE1 dev 0.0 agent one result: status off"}},
		{name: "status: an error ends it", mode: ModeStatus, devices: two,
			node:  `<fence><method name="a"><device name="d1"/></method><method name="b"><device name="d2"/></method></fence>`,
			exits: []int{1}, asked: []string{"one nodename=CNODE1 action=status agent=one"}, lines: []string{"CNODE1 dev 0.0 agent one result: status error"}},
		{name: "status: of one method", mode: ModeStatus, opt: Options{Method: 2}, devices: two,
			node:  `<fence><method name="a"><device name="d1"/></method><method name="b"><device name="d2"/></method></fence>`,
			exits: []int{2}, ok: true, off: true, asked: []string{"two nodename=CNODE1 action=status agent=two"}, lines: []string{"CNODE1 dev 1.0 agent two result: status off"}},
		{name: "status: of a method that is not there", mode: ModeStatus, opt: Options{Method: 2}, devices: two,
			node: `<fence><method name="a"><device name="d1"/></method></fence>`, lines: []string{"CNODE1 dev 1.0 agent none result: error method number"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			asked, done, _ := play(t, conf(t, tc.node, tc.devices), tc.mode, tc.opt, func(Start) Ended {
				exit := 0
				if n < len(tc.exits) {
					exit = tc.exits[n]
				}
				n++
				switch exit {
				case -1:
					return Ended{Exit: -1, Failure: Killed}
				case -2:
					return Ended{Exit: -1, Failure: TimedOut}
				case -3:
					return Ended{Exit: -1, Failure: CannotExec}
				case -4:
					return Ended{Exit: -1, Failure: CannotFork}
				}
				return Ended{Exit: exit}
			})
			if diff := cmp.Diff(tc.asked, asked); diff != "" {
				t.Errorf("agents (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.lines, lines(done)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if done.Result.OK != tc.ok || done.Undefined != tc.undef || done.Off != tc.off {
				t.Errorf("ok %v, undefined %v, off %v; want %v, %v, %v", done.Result.OK, done.Undefined, done.Off, tc.ok, tc.undef, tc.off)
			}
		})
	}
}

func slicesRepeat(s string, n int) (out []string) {
	for range n {
		out = append(out, s)
	}
	return out
}

func TestNew_RefusesToFenceItself(t *testing.T) {
	t.Parallel()
	c := conf(t, "", "")
	for _, name := range []string{"CNODE1", "CNODE1.example.com", "alt1"} {
		if _, _, err := Fence(epoch, c, name, Options{Local: "CNODE1"}); !errors.Is(err, ErrSelf) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := New(epoch, ModeStatus, c, "CNODE1", Options{Local: "CNODE1"}); err != nil {
		t.Errorf("status: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	c := conf(t, "", "")
	for _, tc := range []struct{ name, want string }{
		{"CNODE1", "CNODE1"}, {"CNODE1.example.com", "CNODE1"}, {"cnode1", ""}, {"ALT1", "CNODE1"}, {"alt1.other", "CNODE1"},
		{"CNODE2.example.com", "CNODE2.example.com"}, {"CNODE2", ""}, {"", ""},
	} {
		got := ""
		if n := Find(c, tc.name); n != nil {
			got = n.Name
		}
		if got != tc.want {
			t.Errorf("Find(%q) = %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestRun_LimitsSecretsAndStrays(t *testing.T) {
	t.Parallel()
	c := conf(t, `<fence><method name="a"><device name="d1" agent_limit="7" snmp_community="SEC"/></method><method name="b"><device name="d2" agent_limit="999999"/></method><method name="c"><device name="d3"/></method></fence>`,
		`<fencedevice name="d1" agent="one" passwd="SECRET"/><fencedevice name="d2" agent="two"/><fencedevice name="d3" agent="three"/>`)
	var limits []time.Duration
	run, actions, err := Fence(epoch, c, "CNODE1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := run.Step(epoch, Ended{ID: 99}); got != nil {
		t.Errorf("the end of a stranger gave %v", got)
	}
	for {
		s, is := actions[0].(Start)
		if !is {
			break
		}
		if strings.Contains(fmt.Sprint(s.Stdin, s.Stdin.LogValue()), "SECRET") {
			t.Errorf("a password in %v", s.Stdin)
		}
		if len(limits) == 0 && !cmp.Equal(s.Hide, []string{"SECRET", "SEC"}) { // or "***RET" would be shown
			t.Errorf("to be hidden: %q", s.Hide)
		}
		limits = append(limits, s.Limit)
		actions = run.Step(epoch, Ended{ID: s.ID, Exit: 1})
	}
	if diff := cmp.Diff([]time.Duration{7 * time.Second, time.Hour, DefaultAgentLimit}, limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	if got, want := run.Args()[0].Text, "snmp_community=*** nodename=CNODE1 agent=one passwd=*** "; got != want {
		t.Errorf("arguments shown as %q, want %q", got, want)
	}
	if got := run.Step(epoch, Ended{ID: 3}); got != nil {
		t.Errorf("after the end: %v", got)
	}
}

// TestRun_Overflow: 8 methods of 8 devices give more entries than are kept.
func TestRun_Overflow(t *testing.T) {
	t.Parallel()
	var node strings.Builder
	for m := range 9 {
		fmt.Fprintf(&node, `<method name="m%d">%s</method>`, m, strings.Repeat(`<device name="d1"/>`, 9))
	}
	n := 0
	_, done, _ := play(t, conf(t, "<fence>"+node.String()+"</fence>", `<fencedevice name="d1" agent="one"/>`), ModeFence, Options{}, func(Start) Ended {
		if n++; n%8 == 0 {
			return Ended{Exit: 1}
		}
		return Ended{}
	})
	if done.Result.OK || len(done.Result.Entries) != MaxEntries || done.Overflow != MaxMethods*MaxDevices-MaxEntries {
		t.Errorf("ok %v, %d entries, overflow %d", done.Result.OK, len(done.Result.Entries), done.Overflow)
	}
}

// TestRun_OffIsNeverClaimedAmiss: whatever agents answer, a run that succeeded
// had a method in which every device was switched off, verified where wanted.
func TestRun_OffIsNeverClaimedAmiss(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type device struct {
			agent, action string
			verify        bool
		}
		var methods [][]device
		var node, devices strings.Builder
		for m := range rapid.IntRange(0, 3).Draw(t, "methods") {
			var all []device
			fmt.Fprintf(&node, `<method name="m%d">`, m)
			for d := range rapid.IntRange(0, 3).Draw(t, "devices") {
				dev := device{rapid.SampledFrom([]string{"fence_zvm", "other"}).Draw(t, "agent"), rapid.SampledFrom([]string{"", "off", "reboot"}).Draw(t, "action"), rapid.Bool().Draw(t, "verify")}
				name := fmt.Sprintf("x%d.%d", m, d)
				fmt.Fprintf(&devices, `<fencedevice name="%s" agent="%s"/>`, name, dev.agent)
				fmt.Fprintf(&node, `<device name="%s" id="%d.%d"`, name, m, d)
				if dev.action != "" {
					fmt.Fprintf(&node, ` action="%s"`, dev.action)
				}
				if dev.verify {
					node.WriteString(` verify="1"`)
				}
				node.WriteString(`/>`)
				all = append(all, dev)
			}
			node.WriteString(`</method>`)
			methods = append(methods, all)
		}
		done := map[string]bool{}     // switched off
		verified := map[string]bool{} // and seen off
		_, end, _ := play(t, conf(t, "<fence>"+node.String()+"</fence>", devices.String()), ModeFence, Options{}, func(s Start) Ended {
			var id, action string
			for _, l := range strings.Split(string(s.Stdin), "\n") {
				if v, ok := strings.CutPrefix(l, "id="); ok {
					id = v
				}
				if v, ok := strings.CutPrefix(l, "action="); ok {
					action = v
				}
			}
			exit := rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "exit")
			switch {
			case action == "status":
				verified[id] = exit == 2
			case action == "on":
				if len(done) == 0 {
					t.Fatal("on before off")
				}
			default:
				done[id] = exit == 0
			}
			return Ended{Exit: exit}
		})
		want := false
		for m, all := range methods {
			good := len(all) > 0
			for d, dev := range all {
				id := fmt.Sprintf("%d.%d", m, d)
				good = good && done[id] && (!dev.verify || verified[id])
			}
			want = want || good
		}
		if end.Result.OK != want {
			t.Fatalf("OK is %v, want %v; %v", end.Result.OK, want, lines(end))
		}
	})
}
