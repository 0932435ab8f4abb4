package smapi

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ForceKind is how Image_Deactivate ends an image.
type ForceKind int

const (
	// ForceSignal sends the shutdown signal and waits for the system's own
	// time: the empty force_time.
	ForceSignal ForceKind = iota
	// ForceNow is "IMMED", the only one that is right for fencing.
	ForceNow
	// ForceWithin is "WITHIN n": a shutdown signal, and force after n seconds.
	ForceWithin
	// ForceAt is "BY hh:mm" or "BY hh:mm:ss": at a time of the day.
	ForceAt
)

// Immediate is the force_time for fencing.
const Immediate = "IMMED"

// ForceTime is a force_time that was read.
type ForceTime struct {
	Kind ForceKind
	// Interval is the time of ForceWithin: 1 to 65535 s.
	Interval time.Duration
	// Of is the time since midnight of ForceAt.
	Of time.Duration
}

// ParseForceTime reads a force_time. The case does not matter. The error wraps
// ErrMalformed.
func ParseForceTime(s string) (ForceTime, error) {
	bad := func(why string) (ForceTime, error) {
		return ForceTime{}, fmt.Errorf("%w: force time %q: %s", ErrMalformed, s, why)
	}
	if len(s) > MaxForceLength {
		return bad("longer than 12 characters")
	}
	f := strings.Fields(strings.ToUpper(s))
	switch {
	case len(f) == 0:
		return ForceTime{}, nil
	case len(f) == 1 && f[0] == Immediate:
		return ForceTime{Kind: ForceNow}, nil
	case len(f) == 2 && f[0] == "WITHIN":
		n, err := strconv.ParseUint(f[1], 10, 16)
		if err != nil || n == 0 {
			return bad("WITHIN takes 1 to 65535 seconds")
		}
		return ForceTime{Kind: ForceWithin, Interval: time.Duration(n) * time.Second}, nil
	case len(f) == 2 && f[0] == "BY":
		for _, layout := range [...]string{"15:04", "15:04:05"} {
			if t, err := time.Parse(layout, f[1]); err == nil && len(f[1]) == len(layout) {
				return ForceTime{Kind: ForceAt, Of: t.Sub(t.Truncate(24 * time.Hour))}, nil
			}
		}
		return bad("BY takes a time as hh:mm or hh:mm:ss")
	}
	return bad("not empty, IMMED, WITHIN n or BY hh:mm")
}
