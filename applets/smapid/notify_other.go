//go:build !linux

package smapid

// notify does nothing where there is no systemd.
func notify(string) {}
