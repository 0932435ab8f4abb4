package clusterconf

import (
	"errors"
	"fmt"
)

// The outcomes of comparing versions that are not a plain step forward.
var (
	// ErrOlder is a file with a smaller config_version than the running one.
	ErrOlder = errors.New("version is older than the running one")
	// ErrSameVersion is a file with the running config_version: nothing to do
	// if the content is the same, a forgotten increment otherwise.
	ErrSameVersion = errors.New("version is the running one")
)

// CompareVersions reports whether a file of version offered may replace the
// running one: nil if it is newer, ErrSameVersion or ErrOlder otherwise.
func CompareVersions(running, offered int) error {
	switch {
	case offered < running:
		return fmt.Errorf("%w: Requested version [%d] older than running version [%d]", ErrOlder, offered, running)
	case offered == running:
		return fmt.Errorf("%w: %d", ErrSameVersion, offered)
	}
	return nil
}
