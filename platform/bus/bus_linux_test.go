package bus

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform/testskip"
)

// TestEmit listens on a bus of its own, Debian's dbus-daemon.
func TestEmit(t *testing.T) {
	testskip.IfForeign(t, "dbus-daemon")
	daemon := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(address)
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("com.redhat.cluster.fence")); err != nil {
		t.Fatal(err)
	}
	signals := make(chan *dbus.Signal, 1)
	conn.Signal(signals)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	if err := Emit(t.Context(), "/com/redhat/cluster/fence", "com.redhat.cluster.fence.FenceNode", "CNODE1", int32(1), int32(0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case s := <-signals:
		if diff := cmp.Diff([]any{"CNODE1", int32(1), int32(0)}, s.Body); diff != "" || s.Name != "com.redhat.cluster.fence.FenceNode" || s.Path != "/com/redhat/cluster/fence" {
			t.Errorf("%s of %s (-want +got):\n%s", s.Name, s.Path, diff)
		}
	case <-ctx.Done():
		t.Fatal("no signal")
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	if err := Emit(t.Context(), "/x", "a.b", "c"); err == nil {
		t.Error("a bus that is not there gave no error")
	}
}
