package quorumdisk

import (
	"fmt"
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
	for _, h := range q.Heuristics {
		s.Heuristics = append(s.Heuristics, Heuristic{Program: h.Program, Score: h.Score, Interval: h.Interval, TKO: h.TKO})
	}
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
