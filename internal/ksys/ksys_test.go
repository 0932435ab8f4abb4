package ksys

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func timeText(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func TestSameHost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"ksys7001", "ksys7001.ausprv.stglabs.ibm.com", true},
		{"KSYS7001", "ksys7001", true},
		{"ksys7001.a.com", "ksys7001.A.com", true},
		{"ksys7001.a.com", "ksys7001.b.com", false},
		{"ksys7001", "ksys7002", false},
		{"", "", false},
		{"ksys7001", "", false},
	} {
		if got := SameHost(tc.a, tc.b); got != tc.want {
			t.Errorf("SameHost(%q, %q) = %v", tc.a, tc.b, got)
		}
		if SameHost(tc.a, tc.b) != SameHost(tc.b, tc.a) {
			t.Errorf("SameHost(%q, %q) depends on the order", tc.a, tc.b)
		}
	}
}

func TestLocal_Is(t *testing.T) {
	t.Parallel()
	l := Local{Names: []string{"ksys7001"}, ID: 0x7903784ce20081d5}
	for _, tc := range []struct {
		name string
		id   uint64
		want bool
	}{
		{"ksys7001", 0, true},
		{"other", 0x7903784ce20081d5, true}, // the id decides, whatever the name
		{"ksys7001", 1, false},
		{"other", 0, false},
	} {
		if got := l.Is(tc.name, tc.id); got != tc.want {
			t.Errorf("Is(%q, %#x) = %v", tc.name, tc.id, got)
		}
	}
	if (Local{Names: []string{"a"}}).Is("b", 7) {
		t.Error("without a local id the name decides")
	}
	if ParseNodeID("7903784ce20081d5\nx") != 0x7903784ce20081d5 || ParseNodeID("0xA1") != 0xa1 || ParseNodeID("zz") != 0 || ParseNodeID("") != 0 {
		t.Error("node ids are read wrongly")
	}
}

func TestFlag_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := Flag{
			Node:    rapid.StringMatching(`[a-z0-9.-]{1,30}`).Draw(t, "node"),
			State:   rapid.SampledFrom([]FlagState{FlagRequested, FlagStarted, FlagRejected, FlagFailed}).Draw(t, "state"),
			Created: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "created"), 0).UTC(),
			Boot:    rapid.StringMatching(`[a-z0-9-]{1,40}`).Draw(t, "boot"),
			PID:     rapid.IntRange(1, 1<<30).Draw(t, "pid"),
		}
		got, ok := ParseFlag(f.Encode(), time.Time{})
		if d := cmp.Diff(f, got); !ok || d != "" {
			t.Fatalf("ok %v (-want +got):\n%s", ok, d)
		}
		// A file that was cut anywhere behind its first line is never fresh
		// and started.
		data := f.Encode()
		cut := rapid.IntRange(len(flagMagic)+1, len(data)-2).Draw(t, "cut")
		v, _, _ := JudgeFlag(data[:cut], f.Created, f.Node, f.Boot, f.Created, time.Hour)
		if v == FlagFresh && !strings.HasSuffix(string(data[:cut]), "pid="+strconv.Itoa(f.PID)[:max(cut-len(data)+len(strconv.Itoa(f.PID))+1, 0)]) {
			t.Fatalf("cut at %d of %d is fresh", cut, len(data))
		}
	})
}

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	c, err := LoadConfig("# a comment\nstatedir = /x/y/\npolicy=strict # why\n\nflag_max_age = 60\nleader_confirm=0\nstop_mode=restart\n"+
		"leader_unknown=assume-local\nunknown_tolerance=3\ndeep_probe=yes\npath=/a:/b\nnode=n7\n", none)
	want := Config{StateDir: "/x/y", Path: []string{"/a", "/b"}, Node: "n7", Policy: PolicyStrict, FlagMaxAge: time.Minute, StopMode: "restart",
		AssumeLocal: true, UnknownTolerance: 3, DeepProbe: true, Timescale: 1}
	if d := cmp.Diff(want, c); err != nil || d != "" {
		t.Errorf("error %v (-want +got):\n%s", err, d)
	}
	if c, err := LoadConfig("", none); err != nil || cmp.Diff(DefaultConfig(), c) != "" {
		t.Errorf("empty: %+v, %v", c, err)
	}
	// All faults in one run, each with its line, and the default stays.
	c, err = LoadConfig("policy = loose\nnonsense\nstatedir = x\nflag_max_age = -1\nwhat = 1\npath = .:/a\n", none)
	if !errors.Is(err, ErrConfig) || cmp.Diff(DefaultConfig(), c) != "" {
		t.Errorf("config %+v, error %v", c, err)
	}
	for i := range 6 {
		if !strings.Contains(err.Error(), "ksys.conf:"+strconv.Itoa(i+1)) {
			t.Errorf("no fault in line %d: %v", i+1, err)
		}
	}
	// The environment wins; the simulator's variables count only below it.
	vars := map[string]string{EnvPolicy: "strict", EnvTimescale: "20", EnvBootID: "b", EnvStateDir: "/s"}
	c, err = LoadConfig("policy = paper\n", func(k string) string { return vars[k] })
	if err != nil || c.Policy != PolicyStrict || c.StateDir != "/s" || c.Timescale != 1 || c.BootID != "" {
		t.Errorf("config %+v, error %v", c, err)
	}
	vars[EnvSimulation] = "/sim"
	if c, err = LoadConfig("", func(k string) string { return vars[k] }); err != nil || c.Timescale != 20 || c.BootID != "b" {
		t.Errorf("config %+v, error %v", c, err)
	}
	for _, bad := range []string{"0", "-1", "NaN", "x", "Inf"} {
		vars[EnvTimescale] = bad
		if c, err = LoadConfig("", func(k string) string { return vars[k] }); err == nil || c.Timescale != 1 {
			t.Errorf("time scale %q: %v, %v", bad, c.Timescale, err)
		}
	}
}

func FuzzFlag(f *testing.F) {
	now := time.Unix(1556157737, 0)
	f.Add(Flag{Node: "n1", State: FlagStarted, Created: now, Boot: "b", PID: 1}.Encode())
	f.Add([]byte(""))
	f.Add([]byte(flagMagic))
	f.Add([]byte(flagMagic + "\nnode=a\nnode=b\n"))
	f.Add([]byte(flagMagic + "\ncreated=9999-99-99\npid=x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, s, _ := JudgeFlag(data, now, "n1", "b", now, time.Minute)
		if v == FlagFresh && s != FlagRequested && s != FlagStarted && s != FlagRejected && s != FlagFailed {
			t.Errorf("fresh with state %q", s)
		}
		ParseCounter(data)
		_, _ = LoadConfig(string(data), func(string) string { return "" })
	})
}
