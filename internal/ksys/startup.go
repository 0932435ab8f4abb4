package ksys

import "time"

// flagRounds bounds how often a flag file is created, lost to another call
// and read again. Ours.
const flagRounds = 3

// Startup is the startup monitor: 0 tells PowerHA that the application is up
// (before the start script: that it need not run), anything else that the
// start script has to run. The paper's rule is: it passes when the temporary
// file is there, else it creates the file and fails.
type Startup struct {
	Policy   Policy
	rounds   int
	replaced bool
}

// Step implements Core.
func (s *Startup) Step(_ time.Time, ev Event) []Action {
	switch ev := ev.(type) {
	case Begin:
		return []Action{ReadFlag{}}
	case FlagSeen:
		return s.seen(ev)
	case FlagCreated:
		switch {
		case ev.Err != nil:
			return unusable(ev.Err)
		case ev.Exists && s.rounds < flagRounds:
			// Another call was faster: its file decides.
			return []Action{ReadFlag{}}
		case ev.Exists:
			return []Action{fault("flag file appears and disappears"), Finish{Code: ExitStateDir, Verdict: "FAIL", Details: "flag=unstable"}}
		case s.replaced:
			return []Action{Finish{Code: StartupReplaced, Verdict: "REQUEST", Details: "flag=replaced"}}
		}
		return []Action{Finish{Code: StartupCreated, Verdict: "REQUEST", Details: "flag=created"}}
	}
	return nil
}

func (s *Startup) seen(f FlagSeen) []Action {
	switch {
	case f.Err != nil:
		return unusable(f.Err)
	case f.Verdict == FlagAbsent:
		s.rounds++
		return []Action{CreateFlag{FlagRequested}}
	case f.Verdict == FlagFresh && (s.Policy != PolicyStrict || f.State == FlagStarted):
		return []Action{Finish{Code: ExitOK, Verdict: "OK", Details: "flag=" + string(f.State)}}
	case f.Verdict == FlagFresh:
		return []Action{Finish{Code: StartupNotStarted, Verdict: "FAIL", Details: "flag=" + string(f.State)}}
	}
	s.rounds++
	s.replaced = true
	note := warn("flag file is stale: " + f.Why)
	if f.Verdict == FlagUnsafe {
		note = crit("flag file is unsafe, replacing it: " + f.Why)
	}
	return []Action{note, RemoveFlag{}, CreateFlag{FlagRequested}}
}

func unusable(err error) []Action {
	return []Action{fault("state folder unusable: " + err.Error()), Finish{Code: ExitStateDir, Verdict: "FAIL", Details: "statedir=unusable"}}
}
