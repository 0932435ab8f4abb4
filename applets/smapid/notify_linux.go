package smapid

import "github.com/coreos/go-systemd/v22/daemon"

// notify tells systemd, if it started us with Type=notify.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }
