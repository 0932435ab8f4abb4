//go:build linux

package systemd

import (
	"bufio"
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"github.com/haobox/haobox/platform/testskip"
)

// manager is a systemd with one service, for the calls that this package
// makes: org.freedesktop.systemd1(5).
type manager struct {
	conn  *dbus.Conn
	props *prop.Properties
	mu    sync.Mutex
	jobs  uint32
	// result is how every job ends.
	result string
}

const (
	destination = "org.freedesktop.systemd1"
	root        = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitPath    = root + "/unit/nginx_2eservice"
)

func (m *manager) Subscribe() *dbus.Error { return nil }

func (m *manager) job(unit, active, sub string) (dbus.ObjectPath, *dbus.Error) {
	if unit != "nginx.service" {
		return "", dbus.NewError(destination+".NoSuchUnit", []any{"Unit " + unit + " not found."})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs++
	id, path := m.jobs, root+dbus.ObjectPath("/job/1")
	if m.result == "done" {
		m.props.SetMust(destination+".Unit", "ActiveState", active)
		m.props.SetMust(destination+".Unit", "SubState", sub)
	}
	result := m.result
	go func() { _ = m.conn.Emit(root, destination+".Manager.JobRemoved", id, path, unit, result) }()
	return path, nil
}

func (m *manager) StartUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job(unit, "active", "running")
}

func (m *manager) StopUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job(unit, "inactive", "dead")
}

func (m *manager) ReloadOrTryRestartUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job(unit, "active", "running")
}

// TestManager_OnABus talks to a bus of its own, through Debian's dbus-daemon.
func TestManager_OnABus(t *testing.T) {
	testskip.IfForeign(t, "dbus-daemon")
	bus := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Process.Kill(); _ = bus.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(address)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	props, err := prop.Export(conn, unitPath, prop.Map{destination + ".Unit": {
		"LoadState":   {Value: "loaded"},
		"ActiveState": {Value: "inactive", Emit: prop.EmitTrue},
		"SubState":    {Value: "dead"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{conn: conn, props: props, result: "done"}
	if err := conn.Export(m, root, destination+".Manager"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(destination, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		load, active, sub, err := Manager{}.State(t.Context(), "nginx.service")
		if err != nil {
			t.Fatal(err)
		}
		return load + " " + active + " " + sub
	}
	if got := state(); got != "loaded inactive dead" {
		t.Errorf("state %s", got)
	}
	if err := (Manager{}).Start(t.Context(), "nginx.service"); err != nil || state() != "loaded active running" {
		t.Errorf("start: %v, state %s", err, state())
	}
	if err := (Manager{}).Reload(t.Context(), "nginx.service"); err != nil {
		t.Errorf("reload: %v", err)
	}
	if err := (Manager{}).Stop(t.Context(), "nginx.service"); err != nil || state() != "loaded inactive dead" {
		t.Errorf("stop: %v, state %s", err, state())
	}
	var fault dbus.Error
	if err := (Manager{}).Start(t.Context(), "none.service"); !errors.As(err, &fault) {
		t.Errorf("start of a unit that is not there: %v", err)
	}
	m.mu.Lock()
	m.result = "failed"
	m.mu.Unlock()
	if err := (Manager{}).Start(t.Context(), "nginx.service"); err == nil || !strings.Contains(err.Error(), `the job ended as "failed"`) {
		t.Errorf("start that fails: %v", err)
	}
	// Changes are told, to a watcher that hears of a gap first.
	m.mu.Lock()
	m.result = "done"
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan string, watchQueue), make(chan error, 1)
	go func() { ended <- Watch(ctx, func(unit string) { told <- unit }) }()
	next := func() string {
		t.Helper()
		select {
		case unit := <-told:
			return unit
		case <-time.After(time.Minute):
			t.Fatal("nothing is told")
		}
		return ""
	}
	if first := next(); first != "" {
		t.Errorf("the first thing told is %q, not that changes may have been missed", first)
	}
	m.props.SetMust(destination+".Unit", "ActiveState", "active") // of no interest
	m.props.SetMust(destination+".Unit", "ActiveState", "failed")
	if unit := next(); unit != "nginx.service" {
		t.Errorf("told of %q", unit)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("watching ended with %v", err)
	}
	// A bus without systemd.
	if _, err := conn.ReleaseName(destination); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := (Manager{}).State(t.Context(), "nginx.service"); err == nil {
		t.Error("a state without systemd")
	}
}
