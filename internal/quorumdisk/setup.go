package quorumdisk

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
)

// minToken is the shortest token that was configured with which the original
// works (qdisk(5)).
const minToken = 10 * time.Second

// Setup is what qdiskd runs with.
type Setup struct {
	Config
	Votes         int
	Device, Label string
	// Name is what the cluster calls the device.
	Name       string
	StatusFile string
	Scheduler  string
	Priority   int
	Heuristics []Heuristic
	// RunFlags are those of the original, for its log line.
	RunFlags uint32
}

// Run flags of the original.
const (
	flagReboot     = 0x1
	flagStopCman   = 0x2
	flagParanoid   = 0x8
	flagAllowKill  = 0x10
	flagUptime     = 0x20
	flagLabel      = 0x40
	flagIOTimeout  = 0x80
	flagMasterWins = 0x100
	flagAutoVotes  = 0x200
	flagAutoWins   = 0x400
)

// maxName is the longest name of a device in votequorum.
const maxName = 254

// Prepare makes a Setup of a cluster.conf for a node, with the lines that the
// original wrote about it. Incarnation is left to the caller. The error is the
// reason not to start.
func Prepare(conf *clusterconf.Config, node int) (Setup, []Log, error) {
	q := conf.Quorumd
	if q == nil {
		return Setup{}, nil, fmt.Errorf("there is no quorumd in cluster.conf")
	}
	var logs []Log
	logf := func(l Level, format string, args ...any) { logs = append(logs, Log{l, fmt.Sprintf(format, args...)}) }
	s := Setup{
		Config: Config{
			Node: node, Interval: q.Interval, TKO: q.TKO, TKOUp: q.TKOUp, UpgradeWait: q.UpgradeWait, MasterWait: q.MasterWait, MinScore: q.MinScore,
			MasterWins: q.MasterWins, Reboot: q.Reboot, StopCman: q.StopCman, IOTimeout: q.IOTimeout, Paranoid: q.Paranoid, AllowKill: q.AllowKill,
			MaxErrorCycles: q.MaxErrorCycles, VoteTimeout: conf.Cman.QuorumDevPoll,
		},
		Votes: q.Votes, Device: q.Device, Label: q.Label, Name: q.CmanLabel, StatusFile: q.StatusFile, Scheduler: q.Scheduler, Priority: q.Priority,
	}
	s.Heuristics = heuristicsOf(q)
	for _, f := range []struct {
		set  bool
		flag uint32
	}{{q.Reboot, flagReboot}, {q.StopCman, flagStopCman}, {q.Paranoid, flagParanoid}, {q.AllowKill, flagAllowKill}, {q.UseUptime, flagUptime},
		{q.CmanLabel != "" && q.CmanLabel != q.Device, flagLabel}, {q.IOTimeout, flagIOTimeout}, {q.MasterWins, flagMasterWins},
		{q.VotesAuto, flagAutoVotes}, {q.MasterWins && !q.MasterWinsSet, flagAutoWins}} {
		if f.set {
			s.RunFlags |= f.flag
		}
	}
	if q.Device == "" && q.Label == "" {
		return s, logs, fmt.Errorf("quorumd has neither label nor device")
	}
	if len(s.Name) > maxName {
		return s, logs, fmt.Errorf("the name of the quorum device has %d bytes: at most %d", len(s.Name), maxName)
	}
	if q.VotesAuto {
		for _, n := range conf.Nodes {
			if n.Votes != 1 {
				logf(Error, "%s's vote count is %d", n.Name, n.Votes)
				logf(Error, "Set all node vote counts to 1 or specify qdiskd's votes")
				return s, logs, fmt.Errorf("the votes of the quorum disk can not be found out: node %s has %d votes", n.Name, n.Votes)
			}
		}
		if q.Votes == 0 {
			logf(Error, "Unable to determine qdiskd votes automatically")
			return s, logs, fmt.Errorf("the votes of the quorum disk can not be found out: the cluster has one node")
		}
	}
	if q.TKO < 4 {
		logf(Warning, "Quorum disk TKO (%d) is too low!", q.TKO)
	}
	token := conf.Totem.Token
	if conf.Totem.TokenSet && token < minToken {
		logf(Critical, "Token timeout %d is too fast to use with qdiskd!", token.Milliseconds())
		return s, logs, fmt.Errorf("a token of %d ms is too short for a quorum disk: set at least %d", token.Milliseconds(), minToken.Milliseconds())
	}
	if r := q.MasterRecovery(); r >= token {
		logf(Error, "Quorum disk timings are too slow for configured token timeout")
		logf(Error, " * Totem Token timeout: %dms", token.Milliseconds())
		logf(Error, " * Min. Master recovery time: %dms", r.Milliseconds())
		logf(Error, "Please set token timeout to at least %dms", (r + q.Interval).Milliseconds())
		return s, logs, fmt.Errorf("the timings of the quorum disk are too slow for the token of %d ms", token.Milliseconds())
	}
	switch {
	case q.MasterWins && !q.MasterWinsSet:
		logf(Info, "Enabling master-wins mode for simple two-node cluster")
	case q.MasterWinsSet && !q.MasterWins && len(q.Heuristics) > 0:
		logf(Warning, "Master-wins mode disabled: there are heuristics")
	case q.MasterWinsSet && !q.MasterWins && len(conf.Nodes) > 2:
		logf(Warning, "Master-wins mode disabled: there are more than two nodes")
	}
	return s, logs, s.Config.Validate()
}

// Reloaded is a Setup after a change of cluster.conf: what can change while
// qdiskd runs (qdisk(5)) is that of the new file, all else stays. removed says
// that the file has no quorum disk any more, which is the end of qdiskd.
func (s Setup) Reloaded(conf *clusterconf.Config) (next Setup, logs []Log, removed bool) {
	logf := func(l Level, format string, args ...any) { logs = append(logs, Log{l, fmt.Sprintf(format, args...)}) }
	q := conf.Quorumd
	if q == nil || q.Device == "" && q.Label == "" {
		logf(Critical, "Quorum device removed from the configuration.  Shutting down.")
		return s, logs, true
	}
	next = s
	next.StatusFile, next.Scheduler, next.Priority = q.StatusFile, q.Scheduler, q.Priority
	next.StopCman, next.IOTimeout, next.Paranoid, next.AllowKill = q.StopCman, q.IOTimeout, q.Paranoid, q.AllowKill
	next.MaxErrorCycles, next.Reboot, next.VoteTimeout = q.MaxErrorCycles, s.Reboot && q.Reboot, max(s.VoteTimeout, conf.Cman.QuorumDevPoll)
	known := true
	if q.VotesAuto {
		for _, n := range conf.Nodes {
			if n.Votes != 1 && known {
				known = false
				logf(Error, "%s's vote count is %d", n.Name, n.Votes)
			}
		}
		known = known && q.Votes > 0
	}
	switch {
	case !known:
		logf(Error, "Unable to determine new vote value; retaining old value of %d", s.Votes)
	case q.Votes != s.Votes:
		logf(Notice, "The quorum disk has %d votes now, it had %d", q.Votes, s.Votes)
		next.Votes = q.Votes
		if s.RunFlags&flagAutoWins != 0 {
			next.MasterWins = false // which the core says
			next.RunFlags &^= flagAutoWins | flagMasterWins
		}
	}
	var late []string
	for _, c := range []struct {
		name    string
		changed bool
	}{
		{"interval", q.Interval != s.Interval}, {"tko", q.TKO != s.TKO}, {"tko_up", q.TKOUp != s.TKOUp}, {"upgrade_wait", q.UpgradeWait != s.UpgradeWait},
		{"master_wait", q.MasterWait != s.MasterWait}, {"min_score", q.MinScore != s.MinScore}, {"label", q.Label != s.Label},
		{"device", q.Label == "" && s.Label == "" && q.Device != s.Device}, {"cman_label", q.CmanLabel != "" && q.CmanLabel != s.Name},
		{"master_wins", q.MasterWinsSet && q.MasterWins != next.MasterWins}, {"reboot", q.Reboot && !s.Reboot},
		{"heuristic", !slices.Equal(heuristicsOf(q), s.Heuristics)},
	} {
		if c.changed {
			late = append(late, c.name)
		}
	}
	if len(late) > 0 {
		logf(Warning, "What is new in %s of the quorum disk counts only after a restart of qdiskd", strings.Join(late, ", "))
	}
	return next, logs, false
}

func heuristicsOf(q *clusterconf.Quorumd) (all []Heuristic) {
	for _, h := range q.Heuristics {
		all = append(all, Heuristic{Program: h.Program, Score: h.Score, Interval: h.Interval, TKO: h.TKO})
	}
	return all
}
