package zvmsim

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/smapi"
)

// drawFault draws any rule.
func drawFault(t *rapid.T) Fault {
	some := func(label string, words ...string) string { return rapid.SampledFrom(words).Draw(t, label) }
	text := "do=" + some("do", "drop", "close-after-id", "lost-answer", "not-executed", "late,delay=2s", "truncate,at=7", "silence",
		"silence-after-id", "silence-after-work", "reset", "stall-id,delay=1s", "stall-response,delay=1s", "stall-bytes,delay=1s",
		"one-byte", "one-write", "length,value=-1", "array,value=+1", "wrong-id", "garbage", "code,rc=396,rs=1", "auth", "async,delay=2s", "refuse")
	f, err := ParseFault(text + fmt.Sprintf(",count=%d,skip=%d,probability=0.5", rapid.IntRange(1, 3).Draw(t, "count"), rapid.IntRange(0, 2).Draw(t, "skip")))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

// drawEvent draws any event for connections up to conns.
func drawEvent(t *rapid.T, conns int) Event {
	guest := rapid.SampledFrom([]string{"CNODE1", "CNODE2", "CNODE9"}).Draw(t, "guest")
	member := rapid.SampledFrom([]string{"ZVM1", "ZVM2"}).Draw(t, "member")
	conn := ConnID(rapid.IntRange(1, conns).Draw(t, "conn"))
	switch rapid.IntRange(0, 13).Draw(t, "event") {
	case 0:
		return LogOff{Guest: guest}
	case 1:
		return LogOn{Guest: guest, Member: member}
	case 2:
		return Die{Guest: guest}
	case 3:
		return SetGuest{Guest: guest, Member: member, State: rapid.SampledFrom([]State{Off, On, Stopping}).Draw(t, "state")}
	case 4:
		return SetMember{Member: member, State: MemberState(rapid.IntRange(0, 5).Draw(t, "member state"))}
	case 5:
		return AddFault{drawFault(t)}
	case 6:
		return RemoveFault{rapid.IntRange(0, 3).Draw(t, "fault")}
	case 7:
		return Hangup{conn}
	case 8:
		return HookDone{Ticket: uint64(rapid.IntRange(1, 10).Draw(t, "ticket"))}
	case 9:
		return HookDone{Ticket: uint64(rapid.IntRange(1, 10).Draw(t, "ticket")), Err: errTest}
	case 10:
		return HalfClose{conn}
	default:
		function := rapid.SampledFrom([]string{smapi.ImageActivate, smapi.ImageDeactivate, smapi.ImageRecycle, smapi.ImageStatusQuery, smapi.EventSubscribe}).Draw(t, "function")
		req := request(function, guest)
		switch function {
		case smapi.ImageDeactivate:
			req = deactivate(guest, rapid.SampledFrom([]string{"IMMED", "", "WITHIN 2"}).Draw(t, "force"))
		case smapi.EventSubscribe:
			req.Params = smapi.AppendString(nil, "")
		}
		return Request{Conn: conn, Request: req}
	}
}

// TestProperty_AnyHistory lets anything happen in any order, twice with one
// seed, and looks at what must hold at every moment.
func TestProperty_AnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := cluster(func(s *System) {
			s.Guests[0].LogoffHook = rapid.Bool().Draw(rt, "hook")
			s.Delays.LogoffSpread = time.Second
			s.Delays.Answer = time.Duration(rapid.IntRange(0, 1).Draw(rt, "answer")) * time.Second
			s.Members[0].Workers = 1
		})
		cfg.Seed = rapid.Uint64().Draw(rt, "seed")
		a, _, err := New(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		b, _, _ := New(cfg)
		now := figure21
		conns := 0
		state := map[string]State{"CNODE1": On, "CNODE2": On}
		open, asked, audited := map[ConnID]bool{}, 0, 0
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(rt, "ms")) * time.Millisecond)
			var ev Event
			if conns == 0 || rapid.IntRange(0, 3).Draw(rt, "connect") == 0 {
				conns++
				ev = Connect{Conn: ConnID(conns), Member: rapid.SampledFrom([]string{"ZVM1", "ZVM2"}).Draw(rt, "member")}
			} else {
				ev = drawEvent(rt, conns)
			}
			if r, ok := ev.(Request); ok && a.conns[r.Conn] != nil && !a.conns[r.Conn].asked {
				asked++
			}
			got := a.Step(now, ev)
			if c, ok := ev.(Connect); ok {
				open[c.Conn] = true
			}
			for _, action := range got {
				switch action := action.(type) {
				case Send:
					if !open[action.Conn] {
						rt.Fatalf("%+v on a connection that is closed", action)
					}
					action.Bytes()
				case Push:
					if !open[action.Conn] {
						rt.Fatalf("%+v on a connection that is closed", action)
					}
				case Close:
					if !open[action.Conn] {
						rt.Fatalf("%+v twice", action)
					}
					if action.How != EndSilence {
						delete(open, action.Conn)
					}
				case Changed:
					if action.From != state[action.Guest] || action.From == action.To {
						rt.Fatalf("%+v, but the guest was %v", action, state[action.Guest])
					}
					state[action.Guest] = action.To
				case Audit:
					audited++
				}
			}
			if r, ok := ev.(Hangup); ok {
				delete(open, r.Conn)
			}
			if diff := cmp.Diff(got, b.Step(now, ev), cmp.Comparer(func(x, y error) bool {
				return (x == nil) == (y == nil) && (x == nil || x.Error() == y.Error())
			})); diff != "" {
				rt.Fatalf("two runs with one seed differ:\n%s", diff)
			}
			checkCore(rt, a, state)
		}
		// At last every request has its audit, if the members let it.
		for _, m := range []string{"ZVM1", "ZVM2"} {
			audited += countAudits(a.Step(now, SetMember{Member: m, State: MemberUp}))
		}
		for {
			at, ok := a.Next()
			if !ok {
				break
			}
			audited += countAudits(a.Step(at, Tick{}))
		}
		if audited > asked {
			rt.Fatalf("%d audits for %d requests", audited, asked)
		}
		for _, m := range a.Members() {
			if m.Busy != 0 || m.Queued != 0 {
				rt.Fatalf("at last %s has %d busy workers and %d requests that wait", m.Name, m.Busy, m.Queued)
			}
		}
	})
}

func countAudits(actions []Action) (n int) {
	for _, a := range actions {
		if _, ok := a.(Audit); ok {
			n++
		}
	}
	return n
}

// checkCore looks at what must hold after every step.
func checkCore(t *rapid.T, c *Core, state map[string]State) {
	users := map[string]int{}
	for _, g := range c.Guests() {
		if g.State != state[g.Name] {
			t.Fatalf("%s is %v, but the actions say %v", g.Name, g.State, state[g.Name])
		}
		if g.State == On || g.State == Stopping {
			users[g.Member]++
		}
		if g.Recycling && g.State != Stopping {
			t.Fatalf("%s is %v and is to be logged on again", g.Name, g.State)
		}
		pending := g.State == Starting || g.State == Stopping
		if pending && !g.Waiting && !g.HookFailed && !c.hasTimer(g.Name) {
			t.Fatalf("%s is %v and nothing will end that", g.Name, g.State)
		}
		if m := c.member(g.Member); m.state == MemberDown && g.State != Off {
			t.Fatalf("%s is %v on %s, which is down", g.Name, g.State, g.Member)
		}
	}
	for _, m := range c.Members() {
		if m.Users != DefaultOtherUsers+users[m.Name] {
			t.Fatalf("%s counts %d users, %d guests are on", m.Name, m.Users, users[m.Name])
		}
	}
	for i := 1; i < len(c.timers); i++ {
		if c.timers[i].at.Before(c.timers[i-1].at) {
			t.Fatal("the timers are not in their order")
		}
	}
}

func (c *Core) hasTimer(name string) bool {
	for _, t := range c.timers {
		if t.guest != nil && t.guest.name == name && t.gen == t.guest.gen {
			return true
		}
	}
	return false
}

// TestProperty_StatusOffIsTrue: whatever the faults, an answer "inactive" from
// the member of a guest that was forced, with no logon since, means that it is
// off.
func TestProperty_StatusOffIsTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := authorized("CNODE1")
		for range rapid.IntRange(0, 4).Draw(rt, "faults") {
			f := drawFault(rt)
			if f.Garbage || f.Code {
				continue // these lie on purpose
			}
			cfg.Faults = append(cfg.Faults, f)
		}
		c, _, err := New(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		now := figure21
		for id := ConnID(1); id < 30; id++ {
			req := request(smapi.ImageStatusQuery, "CNODE1")
			if rapid.Bool().Draw(rt, "force") {
				req = deactivate("CNODE1", "IMMED")
			}
			c.Step(now, Connect{Conn: id})
			for _, a := range c.Step(now, Request{Conn: id, Request: req}) {
				s, ok := a.(Send)
				if !ok || !s.Body {
					continue
				}
				off := s.Response.Return == 200 && s.Response.Reason == 12 || req.Function == smapi.ImageStatusQuery && s.Response.Reason == 12
				if g, _ := c.Guest("", "CNODE1"); off && g.State != Off {
					rt.Fatalf("%s answers %d/%d while the guest is %v", req.Function, s.Response.Return, s.Response.Reason, g.State)
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(rt, "ms")) * time.Millisecond)
		}
	})
}

func BenchmarkForceAndLogon(b *testing.B) {
	c, _, err := New(authorized("CNODE1", "CNODE2"))
	if err != nil {
		b.Fatal(err)
	}
	now := figure21
	id := ConnID(0)
	ask := func(req smapi.Request) {
		id++
		c.Step(now, Connect{Conn: id})
		c.Step(now, Request{Conn: id, Request: req})
		c.Step(now, Hangup{id})
	}
	off, on := deactivate("CNODE1", "IMMED"), request(smapi.ImageActivate, "CNODE1")
	b.ReportAllocs()
	for b.Loop() {
		ask(off)
		now = now.Add(2 * time.Second)
		ask(on)
		now = now.Add(2 * time.Second)
	}
}
