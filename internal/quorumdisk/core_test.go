package quorumdisk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var errIO = errors.New("input/output error")

// bed is one core, with other nodes as data on the disk.
type bed struct {
	t    *testing.T
	c    *Core
	cfg  Config
	now  Time
	disk Blocks
	// beats are the nodes whose heartbeat changes with each cycle.
	beats map[int]bool
	// hang leaves calls unanswered, fail answers them with errIO.
	hang, fail bool
	all        []Action
	log        []string
	reading    bool
	writing    []WriteBlock
	exit       *Exit
	reboot     string
	report     Report
	voted      Poll
	timer      time.Duration
}

func config(node int) Config {
	return Config{Node: node, Interval: time.Second, TKO: 4, TKOUp: 2, UpgradeWait: 2, MasterWait: 3, Reboot: true, AllowKill: true,
		VoteTimeout: 10 * time.Second, Incarnation: 77}
}

// newBed is a core before its start; all are in one ring.
func newBed(t *testing.T, cfg Config) *bed {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, c: New(cfg), cfg: cfg, now: Time{Wall: 1300000000}, beats: map[int]bool{}}
	b.tell(Members{Ring: Ring{1, 4}, Nodes: MaskOf(1, 2, 3, 4)})
	return b
}

// other puts a node on the disk; its heart beats.
func (b *bed) other(id int, s State, f func(*Status)) {
	st := &b.disk.Node(id).Status
	st.Updater, st.Node, st.State = uint32(id), uint32(id), s
	if st.Incarnation == 0 {
		st.Incarnation = uint64(1000 + id)
	}
	if st.Timestamp == 0 {
		st.Timestamp = 1300000000
	}
	if f != nil {
		f(st)
	}
	b.beats[id] = true
}

func (b *bed) own() Status { return b.disk.Node(b.cfg.Node).Status }

// tell steps the core and answers its calls of the disk at once.
func (b *bed) tell(ev Event) {
	b.t.Helper()
	for _, a := range b.c.Step(b.now, ev) {
		b.all = append(b.all, a)
		switch a := a.(type) {
		case ReadDisk:
			b.reading = true
		case WriteBlock:
			b.writing = append(b.writing, a)
		case Log:
			b.log = append(b.log, a.Text)
		case Exit:
			b.exit = &a
		case Reboot:
			b.reboot = a.Reason
		case Publish:
			b.report = a.Report
		case Poll:
			b.voted = a
		case SetTimer:
			b.timer = a.At
		case Register:
			b.tell(Registered{})
		}
	}
	b.answer()
}

func (b *bed) answer() {
	b.t.Helper()
	for !b.hang && (b.reading || len(b.writing) > 0) {
		if b.reading {
			b.reading = false
			for id := range b.beats {
				b.disk.Node(id).Status.Timestamp++
			}
			blocks := b.disk
			if b.fail {
				for i := range blocks {
					blocks[i].Err = errIO
				}
			}
			b.tell(Read{&blocks})
			continue
		}
		w := b.writing[0]
		b.writing = b.writing[1:]
		if b.fail {
			b.tell(Wrote{w.Node, errIO})
			continue
		}
		*b.disk.Node(w.Node) = Block{Status: w.Status}
		if w.Node != b.cfg.Node {
			delete(b.beats, w.Node)
		}
		b.tell(Wrote{w.Node, nil})
	}
}

// cycles lets time pass.
func (b *bed) cycles(n int) {
	b.t.Helper()
	for range n {
		b.now.Mono += b.cfg.Interval
		b.now.Wall++
		b.tell(Timer{})
	}
}

// run starts the core and brings it through its initialization: its state is
// Running then, if nothing speaks against it.
func (b *bed) run() {
	b.t.Helper()
	b.tell(Start{})
	b.cycles(b.cfg.TKO)
	if b.own().State != StateRunning {
		b.t.Fatalf("after the initialization the state is %v\n%s", b.own().State, strings.Join(b.log, "\n"))
	}
}

func (b *bed) logged(text string) bool {
	return slices.ContainsFunc(b.log, func(l string) bool { return strings.Contains(l, text) })
}

func (b *bed) wantLog(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		if !b.logged(text) {
			b.t.Errorf("no line %q in\n%s", text, strings.Join(b.log, "\n"))
		}
	}
}

// master makes it master, alone.
func (b *bed) master() {
	b.t.Helper()
	b.run()
	for range 20 {
		if b.own().State == StateMaster {
			return
		}
		b.cycles(1)
	}
	b.t.Fatalf("no master:\n%s", strings.Join(b.log, "\n"))
}

// follow brings up a node 2 whose master is node 1, in one ring.
func follow(t *testing.T, f func(*Config)) *bed {
	t.Helper()
	cfg := config(2)
	if f != nil {
		f(&cfg)
	}
	b := newBed(t, cfg)
	b.other(1, StateMaster, func(s *Status) { s.MasterMask = MaskOf(1, 2) })
	b.run()
	b.cycles(3)
	if want := (Poll{Ring{1, 4}, !cfg.MasterWins}); b.voted != want || b.report.Master != 1 {
		t.Fatalf("follower: vote %+v, report %+v", b.voted, b.report)
	}
	return b
}

func TestStart_Initializes(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.tell(Start{})
	if s := b.own(); s.State != StateInitializing || s.Updater != 1 || s.Node != 1 || s.Incarnation != 77 {
		t.Errorf("first heartbeat: %+v", s)
	}
	b.cycles(3)
	if b.own().State != StateInitializing || b.logged("Initialization complete") {
		t.Error("initialized too early")
	}
	if slices.ContainsFunc(b.all, func(a Action) bool { _, is := a.(Poll); return is }) {
		t.Error("it votes before it is registered")
	}
	b.cycles(1)
	b.wantLog("Quorum Daemon Initializing", "Initial score 1/1", "Initialization complete", "Score sufficient for master operation (1/1; required=1); upgrading")
	if b.own().State != StateRunning || b.voted.Cast {
		t.Errorf("%v, %+v", b.own().State, b.voted)
	}
}

// TestElection_Alone: two cycles of upgrade_wait, three of master_wait, and the
// vote only when the block says Master.
func TestElection_Alone(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.run()
	var got []string
	for range 8 {
		b.cycles(1)
		got = append(got, fmt.Sprint(b.own().State, b.own().Message, b.own().Sequence, b.voted.Cast))
	}
	want := []string{"Running none 1 false", "Running bid 2 false", "Running bid 2 false", "Running bid 2 false", "Master none 2 true", "Master none 2 true", "Master none 2 true", "Master none 2 true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, strings.Join(b.log, "\n"))
	}
	if b.own().MasterMask != MaskOf(1) || b.own().Online != MaskOf(1) || b.report.Master != 1 {
		t.Errorf("%+v", b.own())
	}
	last := b.all[len(b.all)-8:]
	vote := slices.IndexFunc(last, func(a Action) bool { p, is := a.(Poll); return is && p.Cast })
	write := slices.IndexFunc(last, func(a Action) bool { _, is := a.(WriteBlock); return is })
	if vote < write || write < 0 {
		t.Errorf("it votes before its heartbeat is written: %v", last)
	}
}

func TestElection_NeedsEveryAck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		set  func(s *Status, seq uint16)
		want State
	}{
		{"silence", func(*Status, uint16) {}, StateRunning},
		{"accepted", func(s *Status, seq uint16) { s.Message, s.Argument, s.Sequence = MessageAck, 1, seq }, StateMaster},
		{"an earlier bid accepted", func(s *Status, seq uint16) { s.Message, s.Argument, s.Sequence = MessageAck, 1, seq-1 }, StateRunning},
		{"another node accepted", func(s *Status, seq uint16) { s.Message, s.Argument, s.Sequence = MessageAck, 3, seq }, StateRunning},
		{"refused", func(s *Status, seq uint16) { s.Message, s.Argument, s.Sequence = MessageNack, 1, seq }, StateRunning},
	} {
		b := newBed(t, config(1))
		b.other(2, StateRunning, nil)
		b.other(3, StateRunning, nil)
		b.run()
		for range 15 {
			b.cycles(1)
			for id := 2; id <= 3; id++ {
				s := &b.disk.Node(id).Status
				s.Message, s.Argument, s.Sequence = MessageAck, 1, b.own().Sequence
				if id == 3 {
					s.Message, s.Argument = MessageNone, 0
					tc.set(s, b.own().Sequence)
				}
			}
		}
		if got := b.own().State; got != tc.want {
			t.Errorf("%s: %v, want %v\n%s", tc.name, got, tc.want, strings.Join(b.log, "\n"))
		}
	}
}

// TestElection_WaitsForNodesThatStart: a node that was heard but is not up yet
// may be another candidate.
func TestElection_WaitsForNodesThatStart(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.run()
	b.cycles(3)
	if b.own().Message != MessageBid {
		t.Fatalf("no bid: %+v", b.own())
	}
	b.other(2, StateInitializing, nil)
	for range 3 {
		b.cycles(1)
		if b.own().State == StateMaster {
			t.Fatal("it did not wait for a node that starts")
		}
	}
	delete(b.beats, 2) // it was nothing
	b.cycles(12)
	if b.own().State != StateMaster {
		t.Errorf("it waits for ever:\n%s", strings.Join(b.log, "\n"))
	}
}

// TestElection_StaleDisk: blocks of a cluster that went down long ago count for
// nothing but the wait for its votes.
func TestElection_StaleDisk(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(3))
	b.tell(Members{Ring: Ring{3, 8}, Nodes: MaskOf(3)})
	b.other(1, StateMaster, func(s *Status) { s.MasterMask = MaskOf(1, 2, 3) })
	b.other(2, StateRunning, nil)
	clear(b.beats)
	b.master()
	if b.voted.Cast {
		t.Error("it votes although the old master's votes may still count")
	}
	b.cycles(12)
	if !b.voted.Cast || b.own().MasterMask != MaskOf(3) {
		t.Errorf("%+v %+v", b.voted, b.own())
	}
}

func TestAck_TheLowestBidBelow(t *testing.T) {
	t.Parallel()
	bid := func(s *Status) { s.Message, s.Sequence = MessageBid, 9 }
	b := newBed(t, config(3))
	b.other(1, StateRunning, nil)
	b.other(4, StateRunning, bid)
	b.run()
	b.cycles(4)
	if s := b.own(); s.Message != MessageNone {
		t.Errorf("a bid of a higher node is answered: %+v", s)
	}
	b.other(2, StateRunning, bid)
	b.cycles(4)
	if s := b.own(); s.Message != MessageAck || s.Argument != 2 || s.Sequence != 9 {
		t.Errorf("%+v", s)
	}
	b.other(1, StateRunning, func(s *Status) { s.Message, s.Sequence = MessageBid, 5 })
	b.cycles(1)
	if s := b.own(); s.Message != MessageAck || s.Argument != 1 || s.Sequence != 5 {
		t.Errorf("%+v", s)
	}
}

// TestAck_DropsOwnBid for a lower one.
func TestAck_DropsOwnBid(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(2))
	b.run()
	b.cycles(3)
	if b.own().Message != MessageBid {
		t.Fatalf("%+v", b.own())
	}
	b.other(1, StateRunning, func(s *Status) { s.Message, s.Sequence = MessageBid, 5 })
	b.cycles(5)
	if s := b.own(); s.Message != MessageAck || s.Argument != 1 {
		t.Errorf("%+v", s)
	}
}

// TestAck_OfAStrangerTakesTheVoteBack, before the word is on the disk; a bid in
// the own part leaves it standing.
func TestAck_OfAStrangerTakesTheVoteBack(t *testing.T) {
	t.Parallel()
	for _, stranger := range []bool{false, true} {
		cfg := config(3)
		b := newBed(t, cfg)
		b.other(2, StateMaster, func(s *Status) { s.MasterMask = MaskOf(2, 3) })
		b.other(1, StateRunning, nil)
		if stranger {
			b.tell(Members{Ring: Ring{2, 8}, Nodes: MaskOf(2, 3)})
		}
		b.run()
		b.cycles(3)
		if !b.voted.Cast {
			t.Fatal("no vote at first")
		}
		delete(b.beats, 2) // the master falls silent
		b.cycles(6)
		if !b.voted.Cast {
			t.Error("the vote does not outlast the election")
		}
		b.other(1, StateRunning, func(s *Status) { s.Message, s.Sequence = MessageBid, 5 })
		b.all = nil
		b.cycles(1)
		if b.own().Message != MessageAck {
			t.Fatalf("no ack: %+v", b.own())
		}
		poll := slices.Index(b.all, Action(Poll{b.voted.Ring, false}))
		write := slices.IndexFunc(b.all, func(a Action) bool { w, is := a.(WriteBlock); return is && w.Node == 3 })
		if stranger != (poll >= 0 && poll < write) {
			t.Errorf("stranger %v: vote taken back at %d, written at %d", stranger, poll, write)
		}
	}
}

// TestEvict_OnTheMissAfterTKO: by the master, with a notice and an end of the
// node's cluster manager.
func TestEvict_OnTheMissAfterTKO(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kill, member, want bool
	}{{true, true, true}, {false, true, false}, {true, false, false}} {
		cfg := config(1)
		cfg.AllowKill = tc.kill
		b := newBed(t, cfg)
		if !tc.member {
			b.tell(Members{Ring: Ring{1, 8}, Nodes: MaskOf(1)})
		}
		b.other(2, StateRunning, func(s *Status) { s.Message, s.Argument = MessageAck, 1 })
		b.run()
		for range 10 {
			b.disk.Node(2).Status.Sequence = b.own().Sequence
			b.cycles(1)
		}
		if b.own().State != StateMaster || !b.own().Online.Has(2) || b.own().MasterMask.Has(2) != tc.member {
			t.Fatalf("%+v\n%s", b.own(), strings.Join(b.log, "\n"))
		}
		delete(b.beats, 2)
		b.cycles(4)
		if !b.own().Online.Has(2) || b.disk.Node(2).Status.State != StateRunning {
			t.Error("evicted before tko cycles")
		}
		b.cycles(1)
		want := Status{Updater: 1, Node: 2, State: StateEvicted, Timestamp: uint64(b.now.Wall)}
		if diff := cmp.Diff(want, b.disk.Node(2).Status); diff != "" || b.own().Online.Has(2) || !b.c.Evicted(2) {
			t.Errorf("notice (-want +got):\n%s", diff)
		}
		if got := slices.Contains(b.all, Action(Kill{2})); got != tc.want {
			t.Errorf("%+v: kill %v", tc, got)
		}
		b.cycles(1)
		b.wantLog("Node 2 missed an update (2/4)", "Node 2 DOWN", "Writing eviction notice for node 2", "Node 2 evicted")
	}
}

func TestEvict_OnlyByTheMaster(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	b.other(3, StateRunning, nil)
	b.cycles(5)
	delete(b.beats, 3)
	b.cycles(8)
	if b.disk.Node(3).Status.State != StateRunning || b.own().Online.Has(3) {
		t.Errorf("%+v %+v", b.disk.Node(3).Status, b.own())
	}
}

// TestUndead: who writes on after it was declared dead is evicted by anybody.
func TestUndead(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	b.other(3, StateRunning, nil)
	b.cycles(5)
	delete(b.beats, 3)
	b.cycles(6)
	b.other(3, StateRunning, nil)
	b.cycles(1)
	b.wantLog("Node 3 is undead.", "Writing eviction notice (again) for node 3")
	if s := b.disk.Node(3).Status; s.State != StateEvicted || s.Updater != 2 {
		t.Errorf("%+v", s)
	}
	// After a reboot it is another life.
	b.cycles(2)
	b.other(3, StateRunning, func(s *Status) { s.Incarnation, s.Timestamp = 5555, 1400000000 })
	b.cycles(5)
	if !b.own().Online.Has(3) || b.c.Evicted(3) {
		t.Errorf("it does not come back:\n%s", strings.Join(b.log, "\n"))
	}
}

func TestOwnBlock(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		updater uint32
		state   State
		reboot  bool
		exit    bool
	}{
		{"its own", 1, StateRunning, false, false},
		{"mkqdisk", 0, StateNone, false, false},
		{"evicted", 2, StateEvicted, true, false},
		{"something else", 2, StateRunning, false, true},
	} {
		b := newBed(t, config(1))
		b.master()
		b.disk.Node(1).Status = Status{Updater: tc.updater, Node: 1, State: tc.state}
		b.cycles(1)
		if (b.reboot != "") != tc.reboot || (b.exit != nil) != tc.exit {
			t.Errorf("%s: reboot %q, exit %v", tc.name, b.reboot, b.exit)
		}
		if (tc.reboot || tc.exit) && b.voted.Cast && !slices.Contains(b.all, Action(Unregister{})) {
			t.Errorf("%s: its vote stands", tc.name)
		}
	}
}

func TestScore_TooLow(t *testing.T) {
	t.Parallel()
	for _, reboot := range []bool{true, false} {
		cfg := config(1)
		cfg.Reboot = reboot
		b := newBed(t, cfg)
		b.master()
		b.tell(Score{1, 2})
		b.cycles(1)
		b.wantLog("Score insufficient for master operation (1/2; required=2); downgrading")
		if (b.reboot != "") != reboot || b.voted.Cast {
			t.Errorf("reboot %v: %q, vote %v", reboot, b.reboot, b.voted)
		}
		if reboot {
			if b.own().State != StateMaster {
				t.Error("the block was written again: the others shall see a silent node")
			}
			continue
		}
		if b.own().State != StateNone || b.own().Online.Has(1) {
			t.Errorf("%+v", b.own())
		}
		b.tell(Score{2, 2})
		b.cycles(8)
		if b.own().State != StateMaster || !b.voted.Cast {
			t.Errorf("%+v", b.own())
		}
	}
}

func TestScore_AtStart(t *testing.T) {
	t.Parallel()
	cfg := config(1)
	cfg.StopCman, cfg.MinScore = true, 3
	b := newBed(t, cfg)
	b.tell(Score{1, 2})
	b.tell(Start{})
	b.cycles(5)
	b.wantLog("Minimum score (3) is impossible to achieve (heuristic total = 2)", "Telling CMAN to leave the cluster; qdisk is not available")
	if b.exit == nil || b.exit.Code != 255 || !slices.Contains(b.all, Action(LeaveCluster{})) {
		t.Errorf("%+v", b.exit)
	}
}

// TestVote_NewRing is answered in the same step.
func TestVote_NewRing(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	b.tell(Members{Ring: Ring{1, 8}, Nodes: MaskOf(1, 2)})
	if b.voted != (Poll{Ring{1, 8}, true}) {
		t.Errorf("with the master: %+v", b.voted)
	}
	b.tell(Members{Ring: Ring{2, 12}, Nodes: MaskOf(2)})
	if b.voted != (Poll{Ring{2, 12}, false}) {
		t.Errorf("without the master: %+v", b.voted)
	}
	b.cycles(5)
	if b.voted.Cast {
		t.Errorf("without the master, later: %+v", b.voted)
	}
	b.tell(Members{Ring: Ring{1, 16}, Nodes: MaskOf(1, 2)})
	b.cycles(1)
	if b.voted != (Poll{Ring{1, 16}, true}) {
		t.Errorf("with the master again: %+v", b.voted)
	}
	b.disk.Node(1).Status.MasterMask = MaskOf(1)
	b.cycles(1)
	if b.voted.Cast {
		t.Error("a vote although the master does not count it in")
	}
}

// TestVote_NewRingWithoutADisk: a vote is not renewed on what was read long ago.
func TestVote_NewRingWithoutADisk(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	b.hang = true
	b.cycles(3)
	b.tell(Members{Ring: Ring{1, 8}, Nodes: MaskOf(1, 2)})
	if b.voted != (Poll{Ring{1, 8}, false}) {
		t.Errorf("%+v", b.voted)
	}
}

func TestVote_MasterWins(t *testing.T) {
	t.Parallel()
	b := follow(t, func(c *Config) { c.MasterWins = true })
	b.cycles(3)
	if b.voted.Cast {
		t.Error("a follower votes in master-wins mode")
	}
	cfg := config(1)
	cfg.MasterWins = true
	b = newBed(t, cfg)
	b.master()
	if !b.voted.Cast {
		t.Error("the master does not vote")
	}
}

// TestVote_Hold: a master waits for the votes of a node that fell silent in
// another part; not if it is in the same one, or left in order.
func TestVote_Hold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		ring   Mask
		leaves bool
		hold   bool
	}{
		{"silent elsewhere", MaskOf(2), false, true},
		{"silent here", MaskOf(1, 2), false, false},
		{"left in order", MaskOf(2), true, false},
	} {
		b := newBed(t, config(2))
		b.tell(Members{Ring: Ring{2, 8}, Nodes: tc.ring})
		b.other(1, StateMaster, func(s *Status) { s.MasterMask = MaskOf(1) })
		b.run()
		b.cycles(4)
		heard := b.now.Mono
		delete(b.beats, 1)
		if tc.leaves {
			b.disk.Node(1).Status.State = StateNone
		}
		for b.own().State != StateMaster {
			b.cycles(1)
			if b.now.Mono > time.Minute {
				t.Fatalf("%s: no master:\n%s", tc.name, strings.Join(b.log, "\n"))
			}
		}
		if b.voted.Cast == tc.hold {
			t.Errorf("%s: votes %v at once", tc.name, b.voted.Cast)
		}
		for !b.voted.Cast {
			b.cycles(1)
		}
		if after := b.now.Mono - heard; tc.hold && after < b.cfg.VoteTimeout+2*b.cfg.Interval {
			t.Errorf("%s: it votes %v after the other's last heartbeat", tc.name, after)
		}
	}
}

// TestDisk_Hangs: the others hear of it, and the vote is taken back in time.
func TestDisk_Hangs(t *testing.T) {
	t.Parallel()
	for _, timeout := range []bool{false, true} {
		cfg := config(1)
		cfg.IOTimeout = timeout
		b := newBed(t, cfg)
		b.master()
		began := b.now.Mono
		b.hang = true
		b.cycles(1)
		for b.now.Mono < began+10*time.Second && b.reboot == "" {
			b.now.Mono = max(b.timer, b.now.Mono+1)
			b.tell(Timer{})
			if d := b.now.Mono - began; b.voted.Cast != (d < 4*time.Second) {
				t.Fatalf("after %v it votes: %v", d, b.voted.Cast)
			}
		}
		b.wantLog("qdiskd: read (system call) has hung for 2 seconds", "In 2 more seconds, we will be evicted")
		if !slices.Contains(b.all, Action(Announce{CallRead})) {
			t.Error("the others are not told")
		}
		if (b.reboot != "") != timeout {
			t.Errorf("io_timeout %v: reboot %q", timeout, b.reboot)
		}
		if timeout {
			b.wantLog("Failed to send a heartbeat within 4 seconds (4.000000) - REBOOTING")
			continue
		}
		b.hang = false
		b.answer()
		b.wantLog("The quorum disk was out of reach for too long: abdicating")
		if b.own().State == StateMaster || b.voted.Cast {
			t.Errorf("it is master again at once: %+v", b.own())
		}
		b.cycles(9)
		if b.own().State != StateMaster || !b.voted.Cast {
			t.Errorf("it is not master again: %+v", b.own())
		}
	}
}

func TestDisk_Errors(t *testing.T) {
	t.Parallel()
	cfg := config(1)
	cfg.MaxErrorCycles = 3
	b := newBed(t, cfg)
	b.master()
	b.fail = true
	b.all = nil
	b.cycles(2)
	if slices.ContainsFunc(b.all, func(a Action) bool { p, is := a.(Poll); return is && p.Cast }) {
		t.Error("the vote is renewed without a disk")
	}
	b.fail = false
	b.cycles(1)
	b.fail = true
	b.cycles(2)
	if b.exit != nil {
		t.Error("errors are counted although a good cycle was between them")
	}
	b.cycles(1)
	b.wantLog("Error reading node ID block 1 and all others: input/output error", "Error writing to quorum disk: input/output error", "Too many I/O errors; giving up.")
	if b.exit == nil || b.exit.Code != 0 || !slices.Contains(b.all, Action(Unregister{})) || b.own().State != StateMaster {
		t.Errorf("%+v", b.exit)
	}
}

// TestDisk_FaultsAreLoggedOnce: a fault that lasts is in the log when it begins,
// when it becomes another one, and at pauses that grow; not in every cycle, and
// not for each of sixteen blocks.
func TestDisk_FaultsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	const all, write = "Error reading node ID block 1 and all others: ", "Error writing to quorum disk: input/output error"
	gone, zeros := errIO, ErrMagic
	for _, tc := range []struct {
		name  string
		cycle func(b *bed, i int)
		n     int
		want  []string
	}{
		{"a disk that vanishes", func(b *bed, i int) { b.fail = true }, 8 * 60,
			[]string{all + gone.Error(), write, all + gone.Error() + " (for 60 seconds)", write + " (for 60 seconds)",
				all + gone.Error() + " (for 180 seconds)", write + " (for 180 seconds)", all + gone.Error() + " (for 420 seconds)", write + " (for 420 seconds)"}},
		{"another fault", func(b *bed, i int) {
			for id := 1; id <= MaxNodes; id++ {
				if b.disk.Node(id).Err = gone; i >= 10 {
					b.disk.Node(id).Err = zeros
				}
			}
		}, 30, []string{all + gone.Error(), all + zeros.Error()}},
		{"one block, now and then", func(b *bed, i int) {
			if b.disk.Node(9).Err = nil; i%3 == 0 {
				b.disk.Node(9).Err = ErrDataCRC
			}
		}, 58, []string{"Error reading node ID block 9: " + ErrDataCRC.Error()}},
		{"again after a minute", func(b *bed, i int) { b.fail = i < 2 || i >= 70 }, 75, []string{all + gone.Error(), write, all + gone.Error(), write}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, config(1))
			b.master()
			b.log = nil
			for i := range tc.n {
				tc.cycle(b, i)
				b.cycles(1)
			}
			var got []string
			for _, l := range b.log {
				if strings.HasPrefix(l, "Error ") {
					got = append(got, l)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDisk_SlowIsLoggedOnce: a disk that takes 2.5 s for every read is in the log
// like other faults, and so is the disk of another node; the others hear of every
// call that hangs.
func TestDisk_SlowIsLoggedOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.master()
	b.log, b.all = nil, nil
	const cycles = 100 // of 3.5 s: 2.5 s and an interval
	for range cycles {
		b.hang = true
		b.cycles(1)
		for _, d := range []time.Duration{2 * time.Second, time.Second / 2} {
			b.now.Mono += d
			b.tell(Timer{})
		}
		b.tell(PeerHung{Node: 3, Call: CallWrite})
		b.hang = false
		b.answer()
	}
	var got []string
	for _, l := range b.log {
		if strings.Contains(l, "hung") || strings.Contains(l, "qdisk cycle") {
			got = append(got, l)
		}
	}
	want := []string{}
	for _, again := range []string{"", " (for 63 seconds)", " (for 186 seconds)"} {
		want = append(want, "qdiskd: read (system call) has hung for 2 seconds"+again, "qdiskd on node 3 reports hung write()"+again,
			"qdisk cycle took more than 1 second to complete (2.500000)"+again)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	told := 0
	for _, a := range b.all {
		if a == (Announce{CallRead}) {
			told++
		}
	}
	if told != cycles {
		t.Errorf("the others heard of %d calls of %d", told, cycles)
	}
}

// TestMaster_NamesMembersWithoutTheDaemon: in the log as faults are; nodes that
// start, and nodes outside of the cluster, are not meant.
func TestMaster_NamesMembersWithoutTheDaemon(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.tell(Members{Ring: Ring{1, 8}, Nodes: MaskOf(1, 2)})
	b.master()
	b.other(4, StateInitializing, nil)
	b.tell(Members{Ring: Ring{1, 12}, Nodes: MaskOf(1, 2, 4)})
	b.cycles(70)
	delete(b.beats, 4)
	b.cycles(10)
	var got []string
	for _, l := range b.log {
		if strings.Contains(l, "not running") {
			got = append(got, l)
		}
	}
	want := []string{"node 2 is up but not running qdiskd", "node 2 is up but not running qdiskd (for 60 seconds)", "node 4 is up but not running qdiskd"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDisk_TornBlock counts as a missed heartbeat of its node, and costs nobody
// else anything; a sector that cannot be read costs this node its vote.
func TestDisk_TornBlock(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.master()
	b.disk.Node(9).Err = ErrDataCRC
	b.cycles(6)
	if !b.voted.Cast {
		t.Error("a torn block costs the vote")
	}
	b.wantLog("Error reading node ID block 9: checksum of the block's data is wrong")
	b.disk.Node(9).Err = errIO
	b.cycles(6)
	if b.voted.Cast {
		t.Error("it votes with a disk that it cannot read")
	}
	b = follow(t, nil)
	b.disk.Node(1).Err = ErrHeaderCRC
	b.cycles(5)
	if b.own().Online.Has(1) {
		t.Error("a node whose block stays torn is not missed")
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(2))
	b.master()
	b.other(1, StateMaster, nil)
	b.cycles(3)
	b.wantLog("Master conflict: abdicating")
	if b.own().State != StateRunning || b.voted.Cast {
		t.Errorf("the higher one: %+v %+v", b.own(), b.voted)
	}
	b = newBed(t, config(2))
	b.master()
	b.other(3, StateMaster, nil)
	b.cycles(4)
	if b.own().State != StateMaster || b.voted.Cast {
		t.Errorf("the lower one: %v, vote %v", b.own().State, b.voted.Cast)
	}
}

// TestClock_AnyWay: whatever the wall clock does, the heartbeat changes.
func TestClock_AnyWay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t, config(1))
		b.tell(Start{})
		last := b.own().Timestamp
		for i, jump := range rapid.SliceOfN(rapid.Int64Range(-3, 3), 1, 40).Draw(rt, "jumps") {
			b.now.Wall += jump - 1 // cycles adds one
			b.cycles(1)
			if b.own().Timestamp == last {
				rt.Fatalf("cycle %d: the time stamp stays %d", i, last)
			}
			last = b.own().Timestamp
		}
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.master()
	b.all = nil
	b.tell(Stop{})
	b.wantLog("Unregistering quorum device.")
	var order []string
	for _, a := range b.all {
		switch a := a.(type) {
		case Unregister:
			order = append(order, "unregister")
		case WriteBlock:
			order = append(order, "write "+a.Status.State.String())
		case Exit:
			order = append(order, fmt.Sprint("exit ", a.Code))
		}
	}
	if diff := cmp.Diff([]string{"unregister", "write None", "exit 0"}, order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b.c.Step(b.now, Timer{}) != nil {
		t.Error("something happens after the end")
	}

	b = newBed(t, config(1))
	b.tell(Start{})
	b.cycles(1)
	b.tell(Stop{})
	b.wantLog("Shutdown request received during initialization")
	if b.exit == nil || b.own().State != StateNone {
		t.Errorf("%+v %+v", b.exit, b.own())
	}

	// A disk that hangs does not keep it.
	b = newBed(t, config(1))
	b.master()
	b.hang = true
	b.cycles(1)
	b.tell(Stop{})
	b.cycles(5)
	if b.exit == nil || !slices.Contains(b.all, Action(Unregister{})) {
		t.Errorf("%+v", b.exit)
	}
}

// TestStop_MasterWins: the master waits for its successor.
func TestStop_MasterWins(t *testing.T) {
	t.Parallel()
	cfg := config(1)
	cfg.MasterWins = true
	for _, successor := range []bool{true, false} {
		b := newBed(t, cfg)
		b.other(2, StateRunning, func(s *Status) { s.Message, s.Argument = MessageAck, 1 })
		b.run()
		for range 10 {
			b.disk.Node(2).Status.Sequence = b.own().Sequence
			b.cycles(1)
		}
		b.tell(Stop{})
		b.cycles(2)
		if b.exit != nil || b.own().State != StateExiting {
			t.Fatalf("%+v %+v\n%s", b.exit, b.own(), strings.Join(b.log, "\n"))
		}
		if successor {
			b.other(2, StateMaster, nil)
			b.cycles(2)
			b.wantLog("New master elected: 2")
		} else {
			delete(b.beats, 2)
			b.cycles(7)
			b.wantLog("No other nodes are active. Exiting")
		}
		if b.exit == nil || b.own().State != StateNone {
			t.Errorf("successor %v: %+v %+v", successor, b.exit, b.own())
		}
	}
}

func TestPeers(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	delete(b.beats, 1)
	b.cycles(4)
	b.tell(PeerHung{Node: 1, Call: CallWrite})
	b.wantLog("qdiskd on node 1 reports hung write()")
	b.cycles(4)
	if !b.own().Online.Has(1) {
		t.Error("its misses are not forgotten")
	}
	for _, id := range []int{0, 2, 17, -1} {
		b.tell(PeerHung{Node: id, Call: CallRead}) // nothing to do with it
	}
	b.cycles(1)
	if b.own().Online.Has(1) {
		t.Error("it is missed no more")
	}
	b.wantLog("Node 1 DOWN")
}

func TestPeer_LeavesInOrder(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	b.other(1, StateNone, nil)
	b.cycles(1)
	b.wantLog("Node 1 shutdown")
	if b.c.Evicted(1) || b.own().Online.Has(1) {
		t.Error("it is not forgotten")
	}
	b = follow(t, nil)
	b.other(1, StateExiting, nil)
	b.cycles(2)
	b.wantLog("Node 1 is about to leave")
}

func TestReload(t *testing.T) {
	t.Parallel()
	cfg := config(1)
	cfg.MasterWins, cfg.Reboot = true, false
	b := newBed(t, cfg)
	b.master()
	n := config(1)
	n.Interval, n.TKO, n.IOTimeout, n.Reboot, n.MaxErrorCycles = time.Minute, 50, true, true, 7
	b.tell(Reload{n})
	b.wantLog("Vote count changed! Disabling master-wins")
	got := b.c.cfg
	if got.Interval != time.Second || got.TKO != 4 || !got.IOTimeout || got.Reboot || got.MaxErrorCycles != 7 || got.MasterWins {
		t.Errorf("%+v", got)
	}
}

func TestReport_StatusFile(t *testing.T) {
	t.Parallel()
	b := follow(t, nil)
	b.other(3, StateInitializing, nil)
	b.cycles(2)
	ctime := func(int64) string { return "Sun Nov 22 05:50:27 2026" }
	want := "Time Stamp: Sun Nov 22 05:50:27 2026\nNode ID: 2\nScore: 1/1 (Minimum required = 1)\nCurrent state: Running\nInitializing Set: { 3 }\n" +
		"Visible Set: { 1 2 }\nMaster Node ID: 1\nQuorate Set: { 1 2 }\n\n"
	if diff := cmp.Diff(want, b.report.Status(ctime)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b = newBed(t, config(2))
	b.tell(Start{})
	want = "Time Stamp: Sun Nov 22 05:50:27 2026\nNode ID: 2\nScore: 1/1 (Minimum required = 1)\nCurrent state: Initializing\nInitializing Set: { }\nVisible Set: { 2 }\n\n"
	if diff := cmp.Diff(want, b.report.Status(ctime)); diff != "" {
		t.Errorf("initializing (-want +got):\n%s", diff)
	}
	b.cycles(5)
	if text := b.report.Status(ctime); !strings.Contains(text, "Master Node ID: (none)\n\n") {
		t.Errorf("without a master:\n%s", text)
	}
}

// TestTimes: the mean of the last writes, and the one before the last.
func TestTimes(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.run()
	b.c.writeTimes, b.c.writeNext = nil, 0
	for i := range 130 {
		b.c.tookWrite(time.Duration(i) * time.Millisecond)
	}
	mean, before := b.c.times()
	// 70 to 129 ms
	if mean != (Elapsed{0, 99500}) || before != (Elapsed{0, 128000}) {
		t.Errorf("%+v %+v", mean, before)
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Node = 0 }, "node id 0: a quorum disk has slots for 1 to 16"},
		{func(c *Config) { c.Node = 17 }, "node id 17: a quorum disk has slots for 1 to 16"},
		{func(c *Config) { c.VoteTimeout = 3 * time.Second }, "set quorum_dev_poll to more than interval x tko"},
		{func(c *Config) { c.Interval, c.TKO = 0, 0 }, "tko 0: it must be 1 or more"},
	} {
		c := config(1)
		tc.change(&c)
		if err := c.Validate(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v", tc.want, err)
		}
	}
}

// TestLoud: what nobody asked for changes nothing and breaks nothing.
func TestLoud(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	for _, ev := range []Event{Timer{}, Read{}, Wrote{Node: 1}, Read{Blocks: &Blocks{}}} {
		if got := b.c.Step(b.now, ev); len(got) != 0 {
			t.Errorf("%T before the start: %v", ev, got)
		}
	}
	b.master()
	before := b.own()
	b.tell(Read{Blocks: &Blocks{}})
	b.tell(Wrote{Node: 5})
	b.tell(Start{})
	b.tell(Timer{})
	if b.own() != before {
		t.Errorf("%+v, then %+v", before, b.own())
	}
}

// TestDisk_SlowWrite: a heartbeat is as old as the begin of its write.
func TestDisk_SlowWrite(t *testing.T) {
	t.Parallel()
	b := newBed(t, config(1))
	b.master()
	read := func() {
		b.hang = true
		b.cycles(1)
		b.reading = false
		blocks := b.disk
		b.tell(Read{&blocks}) // and the write is under way
	}
	read()
	began := b.now.Mono
	b.now.Mono += 900 * time.Millisecond
	b.hang = false
	b.answer()
	b.now.Mono = began
	read() // the next write hangs
	if !b.voted.Cast {
		t.Fatal("no vote")
	}
	b.now.Mono = began + 4*time.Second
	b.tell(Timer{})
	if b.voted.Cast {
		t.Error("the vote stands 4 s after the last heartbeat was begun")
	}
}

// TestVote_KeptForAWhile: a vote that an election leaves standing is taken back
// before the cluster takes the device for dead.
func TestVote_KeptForAWhile(t *testing.T) {
	t.Parallel()
	cfg := config(3)
	b := newBed(t, cfg)
	b.other(2, StateMaster, func(s *Status) { s.MasterMask = MaskOf(2, 3) })
	b.other(1, StateRunning, nil) // never bids
	b.run()
	b.cycles(3)
	delete(b.beats, 2)
	b.cycles(5)
	last := b.now.Mono
	for b.voted.Cast && b.now.Mono < time.Minute {
		b.cycles(1)
	}
	if d := b.now.Mono - last; d < 5*time.Second || d > cfg.VoteTimeout {
		t.Errorf("the vote was taken back %v after it was given last", d)
	}
}
