//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, state := range map[string]string{"cpu0": "1\n", "cpu1": "0\n", "cpu10": "0\n", "cpufreq": "0\n"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "online"), []byte(state), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A first processor without a switch, as on x86.
	if err := os.MkdirAll(filepath.Join(dir, "cpu2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := online(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cpu0": "1\n", "cpu1": "1", "cpu10": "1", "cpufreq": "0\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name, "online")); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cpu1", "online"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "cpu10", "online")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cpu10", "online"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := online(dir); err == nil {
		t.Error("a processor that cannot be read is no fault")
	}
}
