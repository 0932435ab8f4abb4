//go:build linux

package fencetool

import "strings"

// active says what relies on fencing on this node: mounted cluster file systems
// and lock spaces.
func (t *tool) active() bool {
	found := false
	mounts, _ := t.env.FS.ReadFile("/proc/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		f := strings.Fields(line) // device, folder, type, options: fstab(5)
		if len(f) < 4 || f[2] != "gfs" && f[2] != "gfs2" || strings.Contains(f[3], "lockproto=lock_nolock") {
			continue
		}
		t.say("found %s file system mounted from %s on %s", f[2], f[0], f[1])
		found = true
	}
	spaces, _ := t.env.FS.ReadDir("/sys/kernel/dlm")
	for _, e := range spaces {
		t.say("found dlm lockspace /sys/kernel/dlm/%s", e.Name())
		found = true
	}
	return found
}
