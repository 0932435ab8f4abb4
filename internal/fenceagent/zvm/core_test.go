package zvm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

func TestCore(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		action string
		world  *world
		plan   func(p *Plan)
		// want is the outcome: "ok", "already", "on", "off", or the start of
		// the fault's text.
		want string
		// calls are the functions called, repetitions of a call left out.
		calls string
		// warning is part of a warning that must be given; "" for none.
		warning string
	}{
		{
			name: "off asks, forces, and waits for not active", action: "off", world: newWorld(powerOn),
			want: "ok", calls: "Status_Query Deactivate Status_Query",
		},
		{
			name: "off of a guest that is off changes nothing", action: "off", world: newWorld(powerOff),
			want: "already", calls: "Status_Query Name_Query_DM",
		},
		{
			name: "off of a guest that is going off joins in", action: "off",
			world: func() *world {
				w := newWorld(powerStopping)
				w.members[0].until = w.now.Add(time.Second)
				return w
			}(),
			want: "ok", calls: "Status_Query",
		},
		{
			name: "a misspelt guest is not fenced", action: "off",
			world: func() *world { w := newWorld(powerOff); w.known = false; return w }(),
			want:  "Failed: Unable to obtain correct plug status or plug is not available: no guest CNODE1 in the directory: refusing to report it as fenced",
			calls: "Status_Query Name_Query_DM",
		},
		{
			name: "missing_as_off=1 said aloud fences a misspelt guest", action: "off",
			world: func() *world { w := newWorld(powerOff); w.known = false; return w }(),
			plan:  func(p *Plan) { p.MissingExplicit = true },
			want:  "already", calls: "Status_Query",
		},
		{
			name: "without a directory the default believes it, and says so", action: "off",
			world: func() *world { w := newWorld(powerOff); w.members[0].noDirectory = true; return w }(),
			want:  "already", calls: "Status_Query Name_Query_DM Query_DM", warning: "directory could not be asked",
		},
		{
			name: "without a directory verify_plug=1 does not", action: "off",
			world: func() *world { w := newWorld(powerOff); w.members[0].noDirectory = true; return w }(),
			plan:  func(p *Plan) { p.Verify = VerifyAlways },
			want:  "Failed: Unable to obtain correct plug status", calls: "Status_Query Name_Query_DM Query_DM",
		},
		{
			name: "without a directory missing_as_off=0 does not", action: "off",
			world: func() *world { w := newWorld(powerOff); w.members[0].noDirectory = true; return w }(),
			plan:  func(p *Plan) { p.MissingAsOff, p.MissingExplicit = false, true },
			want:  "Failed: Unable to obtain correct plug status", calls: "Status_Query Name_Query_DM Query_DM",
		},
		{
			name: "verify_plug=0 does not ask", action: "off", world: newWorld(powerOff),
			plan: func(p *Plan) { p.Verify = VerifyNever },
			want: "already", calls: "Status_Query",
		},
		{
			name: "status 200/4 and verify_plug=0 follow missing_as_off", action: "off",
			world: func() *world {
				w := newWorld(powerOff)
				w.faults = []fault{{kind: "code", ret: 200, reason: 4}}
				return w
			}(),
			plan: func(p *Plan) { p.Verify, p.MissingAsOff = VerifyNever, false },
			want: "Failed: Unable to obtain correct plug status", calls: "Status_Query",
		},
		{
			name: "a Deactivate without authority ends at once", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "code", ret: 100, reason: 16}}
				return w
			}(),
			want:  "Failed: The user does not have the correct privileges to do the requested action.: SMAPI Image_Deactivate returned 100/16",
			calls: "Status_Query Deactivate",
		},
		{
			name: "a wrong password ends at once", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{kind: "code", ret: 120}}
				return w
			}(),
			want:  "Unable to connect/login to fencing device: SMAPI Image_Status_Query returned 120/0",
			calls: "Status_Query",
		},
		{
			name: "a lost answer to Deactivate is looked after, not believed", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "lose"}}
				return w
			}(),
			want: "ok", calls: "Status_Query Deactivate Status_Query",
		},
		{
			name: "a Deactivate that was dropped is sent again", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "drop"}}
				return w
			}(),
			want: "ok", calls: "Status_Query Deactivate Status_Query Deactivate Status_Query",
		},
		{
			name: "a Deactivate that was accepted and not done is sent again", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "lie"}}
				return w
			}(),
			want: "ok", calls: "Status_Query Deactivate Status_Query Deactivate Status_Query",
		},
		{
			name: "a Deactivate that says not active is not believed while the guest is on", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "code", ret: 200, reason: 12}}
				return w
			}(),
			want: "ok", calls: "Status_Query Deactivate Status_Query Deactivate Status_Query",
		},
		{
			name: "a status that says not active and names the guest is no answer", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{kind: "code", reason: 12, names: []string{"CNODE1"}}}
				return w
			}(),
			want: "ok", calls: "Status_Query Deactivate Status_Query",
		},
		{
			name: "a guest that does not go off is a failure", action: "off",
			world: func() *world { w := newWorld(powerOn); w.logoff = time.Hour; return w }(),
			want:  "Failed: Timed out waiting to power OFF", calls: "Status_Query Deactivate Status_Query",
		},
		{
			name: "a server that refuses is asked until the limit", action: "off",
			world: func() *world { w := newWorld(powerOn); w.members[0].closed = true; return w }(),
			want:  "Unable to connect/login to fencing device", calls: "Status_Query",
		},
		{
			name: "a server that refuses twice is asked a third time", action: "off",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{kind: "refuse"}, {kind: "refuse"}}
				return w
			}(),
			want: "ok", calls: "Status_Query Deactivate Status_Query",
		},
		{
			name: "a silent server is unknown, not off", action: "off",
			world: func() *world { w := newWorld(powerOff); w.members[0].dead = true; return w }(),
			want:  "Connection timed out", calls: "Status_Query",
		},
		{
			name: "WITHIN is not sent twice", action: "off",
			world: func() *world { w := newWorld(powerOn); w.logoff = 8 * time.Second; return w }(),
			plan:  func(p *Plan) { p.ForceTime = "WITHIN 8" },
			want:  "ok", calls: "Status_Query Deactivate Status_Query",
		},
		{
			name: "on of a guest that is off", action: "on", world: newWorld(powerOff),
			want: "ok", calls: "Status_Query Activate Status_Query",
		},
		{
			name: "on of a guest that is on", action: "on", world: newWorld(powerOn),
			want: "already", calls: "Status_Query",
		},
		{
			name: "on is tried once more", action: "on",
			world: func() *world {
				w := newWorld(powerOff)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "lie"}}
				return w
			}(),
			plan: func(p *Plan) { p.PowerTimeout, p.LookLimit = 2*time.Second, time.Second },
			want: "ok", calls: "Status_Query Activate Status_Query Activate Status_Query",
		},
		{
			name: "on of an unknown guest says why", action: "on",
			world: func() *world { w := newWorld(powerOff); w.known = false; return w }(),
			want:  "Failed: Timed out waiting to power ON: SMAPI Image_Activate returned 200/4", calls: "Status_Query Activate",
		},
		{
			name: "reboot is off, proof, on, proof", action: "reboot", world: newWorld(powerOn),
			want: "ok", calls: "Status_Query Deactivate Status_Query Activate Status_Query",
		},
		{
			name: "reboot of a guest that is off is only on", action: "reboot", world: newWorld(powerOff),
			want: "ok", calls: "Status_Query Name_Query_DM Activate Status_Query",
		},
		{
			name: "a reboot whose on part fails has fenced", action: "reboot",
			world: func() *world { w := newWorld(powerOn); w.logon = time.Hour; return w }(),
			want:  "ok", calls: "Status_Query Deactivate Status_Query Activate Status_Query Activate Status_Query Activate Status_Query Activate Status_Query Activate Status_Query Activate Status_Query",
			warning: "Timed out waiting to power ON",
		},
		{
			name: "cycle is proven by the activation time", action: "reboot", world: newWorld(powerOn),
			plan: func(p *Plan) { p.Cycle = true },
			want: "ok", // the calls differ in how often it looked
		},
		{
			name: "cycle without an activation time is proven by seeing it off", action: "reboot",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {kind: "code", ret: 900, reason: 12}}
				return w
			}(),
			plan: func(p *Plan) { p.Cycle = true },
			want: "ok", calls: "Status_Query Query_Activate_Time Recycle Status_Query Activate Status_Query",
		},
		{
			name: "a Recycle that was accepted and not done ends in off and on", action: "reboot",
			world: func() *world {
				w := newWorld(powerOn)
				w.faults = []fault{{function: smapi.ImageStatusQuery}, {function: smapi.ImageQueryActivateTime}, {kind: "lie"}}
				return w
			}(),
			plan:    func(p *Plan) { p.Cycle = true },
			want:    "ok", // the calls differ in how often it looked
			warning: "cannot be proven",
		},
		{
			name: "status on", action: "status", world: newWorld(powerOn), want: "on", calls: "Status_Query",
		},
		{
			name: "status off", action: "status", world: newWorld(powerOff), want: "off", calls: "Status_Query Name_Query_DM",
		},
		{
			name: "status of a misspelt guest is no answer", action: "status",
			world: func() *world { w := newWorld(powerOff); w.known = false; return w }(),
			want:  "Failed: Unable to obtain correct plug status", calls: "Status_Query Name_Query_DM",
		},
		{
			name: "in an SSI cluster the guest is forced where it runs, and every member asked after that", action: "off",
			world: newWorld(powerOff, powerOn),
			want:  "ok", calls: "Status_Query@1 Status_Query@2 Deactivate@2 Status_Query@2 Status_Query@1",
		},
		{
			name: "in an SSI cluster a silent member makes off unknown", action: "off",
			world: func() *world { w := newWorld(powerOn, powerOff); w.members[1].closed = true; return w }(),
			want:  "Unable to connect/login to fencing device: ZVM2: ",
		},
		{
			name: "ssi_unreachable=ignore takes the word of the others", action: "off",
			world: func() *world { w := newWorld(powerOn, powerOff); w.members[1].closed = true; return w }(),
			plan:  func(p *Plan) { p.Unreachable = UnreachableIgnored },
			want:  "ok", warning: "does not answer and is ignored",
		},
		{
			name: "ssi_unreachable=down asks SSI_Query", action: "off",
			world: func() *world {
				w := newWorld(powerOn, powerOff)
				w.members[1].closed = true
				w.members[0].lines = []string{"Joined", "Down"}
				return w
			}(),
			plan: func(p *Plan) { p.Unreachable = UnreachableDown },
			want: "ok", warning: "SSI_Query says that it is down",
		},
		{
			name: "ssi_unreachable=down fails for a member that is only isolated", action: "off",
			world: func() *world {
				w := newWorld(powerOn, powerOff)
				w.members[1].closed = true
				w.members[0].lines = []string{"Joined", "Isolated"}
				return w
			}(),
			plan: func(p *Plan) { p.Unreachable = UnreachableDown },
			want: "Unable to connect/login to fencing device: ZVM2: ", warning: "0 are down",
		},
		{
			name: "in an SSI cluster a reboot activates where the guest ran", action: "reboot",
			world: newWorld(powerOff, powerOn),
			want:  "ok", calls: "Status_Query@1 Status_Query@2 Deactivate@2 Status_Query@2 Status_Query@1 Activate@2 Status_Query@2",
		},
		{
			name: "in an SSI cluster on means on anywhere", action: "on", world: newWorld(powerOff, powerOn),
			want: "already", calls: "Status_Query@1 Status_Query@2",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := tc.world.plan(tc.action)
			if tc.plan != nil {
				tc.plan(&p)
			}
			o, _ := tc.world.run(t, p)
			if got := describe(tc.action, o); !strings.HasPrefix(got, tc.want) {
				t.Errorf("outcome %q, want %q; calls %s", got, tc.want, tc.world.functions())
			}
			if diff := cmp.Diff(tc.calls, tc.world.functions()); tc.calls != "" && diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			warnings := strings.Join(tc.world.log, "\n")
			if tc.warning == "" && warnings != "" || !strings.Contains(warnings, tc.warning) {
				t.Errorf("warnings %q, want %q", warnings, tc.warning)
			}
		})
	}
}

// describe is an outcome in a word, or the error's text.
func describe(action string, o Outcome) string {
	switch {
	case o.Err != nil:
		return o.Err.Error()
	case o.Already:
		if action == "status" {
			return "status already"
		}
		return "already"
	case action == "status" && o.On:
		return "on"
	case action == "status":
		return "off"
	}
	return "ok"
}

// TestCore_NeverLies is the promise of the agents: whatever goes wrong, "off"
// is only said of a guest that is off, and "rebooted" only of one that was.
func TestCore_NeverLies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(make([]power, rapid.IntRange(1, 3).Draw(t, "members"))...)
		if home := rapid.IntRange(-1, len(w.members)-1).Draw(t, "home"); home >= 0 {
			w.members[home].power = powerOn
		}
		for i := range w.members {
			switch rapid.SampledFrom([]string{"", "", "", "closed", "dead", "no directory"}).Draw(t, "system") {
			case "closed":
				w.members[i].closed = true
			case "dead":
				w.members[i].dead = true
			case "no directory":
				w.members[i].noDirectory = true
			}
		}
		w.known = rapid.Bool().Draw(t, "known") || w.active()
		w.logoff = time.Duration(rapid.IntRange(0, 40_000).Draw(t, "logoff")) * time.Millisecond
		w.logon = time.Duration(rapid.IntRange(0, 40_000).Draw(t, "logon")) * time.Millisecond
		w.faults = rapid.SliceOfN(rapid.Custom(drawFault), 0, 12).Draw(t, "faults")
		p := w.plan(rapid.SampledFrom([]string{fenceagent.Off, fenceagent.Reboot, fenceagent.On, fenceagent.Status}).Draw(t, "action"))
		p.Cycle = rapid.Bool().Draw(t, "cycle")
		p.Verify = rapid.SampledFrom([]Verify{VerifyAuto, VerifyAlways, VerifyNever}).Draw(t, "verify")
		p.MissingAsOff = rapid.Bool().Draw(t, "missing")
		p.MissingExplicit = rapid.Bool().Draw(t, "explicit")
		lies := false
		for _, f := range w.faults {
			// A server that forges the answer of a status query, or an
			// activation time, cannot be seen through.
			lies = lies || f.kind == "code" && f.ret == 0 && f.reason == 12
		}
		o, took := w.run(t, p)
		off := !w.active() || lies
		switch {
		case o.Err != nil:
		case p.Action == fenceagent.Off && !off:
			t.Fatalf("off of a guest that is on: %s", w.functions())
		case p.Action == fenceagent.Reboot && !w.wasOff && !lies:
			t.Fatalf("reboot of a guest that was never off: %s", w.functions())
		case p.Action == fenceagent.Status && !o.On && !off:
			t.Fatalf("status off of a guest that is on: %s", w.functions())
		case (p.Action == fenceagent.Off || p.Action == fenceagent.Status && !o.On) && !w.known && p.Verify == VerifyAlways && !lies:
			t.Fatalf("off of a guest that does not exist: %s", w.functions())
		}
		// Two stages of at most look + power + one call, three attempts.
		if limit := 4*(p.LookLimit+p.PowerTimeout+p.CallLimit) + 3*p.CallLimit; took > limit {
			t.Fatalf("took %v, more than %v: %s", took, limit, w.functions())
		}
	})
}

func drawFault(t *rapid.T) fault {
	f := fault{
		kind:  rapid.SampledFrom([]string{"", "refuse", "lose", "drop", "lie", "code"}).Draw(t, "kind"),
		delay: time.Duration(rapid.IntRange(0, 12_000).Draw(t, "delay")) * time.Millisecond,
	}
	if f.kind == "lie" {
		f.function = rapid.SampledFrom([]string{smapi.ImageDeactivate, smapi.ImageRecycle, smapi.ImageActivate}).Draw(t, "function")
	}
	if f.kind == "code" {
		c := rapid.SampledFrom([][2]int{{0, 12}, {100, 16}, {120, 0}, {200, 4}, {200, 8}, {200, 12}, {200, 16}, {396, 1}, {900, 8}, {900, 12}, {900, 99}, {592, 7}, {24, 413}}).Draw(t, "code")
		f.ret, f.reason = c[0], c[1]
		if f.ret == 0 {
			f.function = smapi.ImageStatusQuery
		}
		if f.ret == 200 {
			f.function = smapi.ImageDeactivate
		}
	}
	return f
}
