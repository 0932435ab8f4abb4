package phasim_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/haobox/haobox/platform/testskip"
)

// A disk that is really full: the startup monitor says 70, so that the start
// script runs, and leaves no file behind that a later call would believe.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "mounts a file system and starts programs on it")
	bin := program(t)
	script := `mount -t tmpfs -o size=64k,mode=755 tmpfs "$1" || exit 99
mkdir -p "$1/var/ksys/run" "$1/var/ksys/log" && chmod 700 "$1/var/ksys/run"
cat /dev/zero >"$1/fill" 2>/dev/null
HAOBOX_ROOT=$1 "$2" startupmonksys; echo "full=$?"
[ -e "$1/var/ksys/run/ksysmon.start" ] && echo "file left"
HAOBOX_ROOT=$1 HAOBOX_KSYS_PATH=/nowhere "$2" longrunmonksys; echo "monitor=$?"
rm "$1/fill"
HAOBOX_ROOT=$1 "$2" startupmonksys; echo "again=$?"`
	out, err := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", t.TempDir(), bin).CombinedOutput()
	if err != nil && (strings.Contains(string(out), "mount") || strings.Contains(string(out), "unshare")) {
		testskip.Kernel(t, "tmpfs", string(out))
	}
	text := string(out)
	for _, want := range []string{"full=70\n", "monitor=0\n", "again=1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "file left") {
		t.Errorf("a file is left on the full disk:\n%s", text)
	}
}
