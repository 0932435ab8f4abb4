package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	t.Parallel()
	stream := `not an event
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: why: it broke\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: kernel lacks sch_netem: no such file\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"panic: oh\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"pass","Package":"q","Test":"TestQ"}
{"Action":"output","Package":"q","Output":"PASS\n"}
{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s\n"}
{"Action":"pass","Package":"q"}
`
	var w bytes.Buffer
	r := newReader("race", &w)
	if err := r.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	got := count(r.finish())
	if want := (totals{passed: 1, failed: 2, skipped: 1}); got != want {
		t.Errorf("totals: got %v, want %v", got, want)
	}
	if !r.failed {
		t.Error("a stream with a failed test counts as passed")
	}
	for _, want := range []string{"not an event\n", "why: it broke\n", "panic: oh\n", "FAIL\tp\t0.1s\n", "ok  \tq\t0.1s\n"} {
		if !strings.Contains(w.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, w.String())
		}
	}
	if strings.Contains(w.String(), "PASS") {
		t.Errorf("output has the bare verdict:\n%s", w.String())
	}
	for _, res := range r.results {
		if res.Test == "TestB" && res.Reason != "kernel lacks sch_netem: no such file" {
			t.Errorf("reason of TestB: %q", res.Reason)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, output, want string }{
		{"own test", "=== RUN   TestA\n    a_test.go:3: short: slow\n--- SKIP: TestA (0.00s)\n", "short: slow"},
		{"script", "    testscript.go:5: guest: no bash\n    testscript.go:9: # a: comment\n        > [!exec:bash] skip 'guest: no bash'\n", "guest: no bash"},
		{"free text", "    a_test.go:3: first\n    a_test.go:4: not today\n", "not today"},
		{"none", "=== RUN   TestA\n", ""},
	}
	for _, tc := range cases {
		if got := reason([]string{tc.output}); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	const skip = `{"Stage":"race","Package":"p","Test":"TestB","Action":"skip","Reason":`
	const pass = `{"Stage":"kernel","Package":"p","Test":"TestB","Action":"pass"}`
	const other = `{"Stage":"race","Package":"p","Test":"TestA","Action":"pass"}`
	cases := []struct {
		name    string
		results string
		strict  bool
		want    int
		says    string
	}{
		{"no skip", other, true, 0, "tests: 1 passed, 0 failed, 0 skipped\n"},
		{"feature is there in another stage", skip + `"kernel lacks softdog: ENODEV"},` + pass, true, 0, "passed in kernel"},
		{"feature is nowhere", skip + `"kernel lacks softdog: ENODEV"},` + other, true, 1, "passed in no stage"},
		{"feature is nowhere, not in CI", skip + `"kernel lacks softdog: ENODEV"},` + other, false, 0, "not accepted"},
		{"feature is known to be absent", skip + `"kernel lacks zvm_iucv: ENODEV"},` + other, true, 0, "no stage has zvm_iucv"},
		{"feature is known to be absent, and another is missing here", skip + `"kernel lacks zvm_iucv: ENODEV"},` +
			`{"Stage":"race","Package":"p","Test":"TestB","Action":"skip","Reason":"kernel lacks af_iucv: EAFNOSUPPORT"},` + other, true, 0, "no stage has zvm_iucv"},
		{"free text", skip + `"I do not feel like it"},` + pass, true, 1, "no reason"},
		{"no why", skip + `"kernel lacks softdog: "},` + pass, true, 1, "no reason"},
		{"short", skip + `"short: a million rounds"},` + pass, true, 0, "passed in kernel"},
		{"emulated only", skip + `"emulated: no netlink"},` + other, true, 1, "passed in no stage"},
		{"nothing ran", skip + `"short: all"}`, false, 1, "tests: 0 passed"},
		{"a failure", other + `,{"Action":"fail"}`, false, 1, "1 failed"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "r.json")
			if err := os.WriteFile(file, []byte("["+tc.results+"]"), 0o644); err != nil {
				t.Fatal(err)
			}
			var w bytes.Buffer
			got, err := report(&w, []string{file}, tc.strict, "# comment\nzvm_iucv needs z/VM\n")
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want || !strings.Contains(w.String(), tc.says) {
				t.Errorf("status %d, want %d; output must contain %q:\n%s", got, tc.want, tc.says, w.String())
			}
		})
	}
}
