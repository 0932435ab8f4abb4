// Testgate runs test commands, prints what a person wants to see of them, and
// judges their skips.
//
//	testgate run -stage NAME -out FILE -- go test -json ...
//	testgate report FILE...
//
// "run" reads the JSON stream of go test (or of go tool test2json) from the
// command's standard output, prints the line of each package and the output of
// each failed test, and writes every test's result to FILE. Its exit status is
// that of the command, or 1 if the stream shows a failure or no test at all.
//
// "report" reads the files of several stages, lists every skip with its reason
// and prints the totals. With HAOBOX_CI=1 its exit status is 1 if a skip has no
// reason of the forms of package platform/testskip, or if the skipped test
// passed in no stage and the feature it misses is not in absent.
package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// absentList names the features that no stage has, a line each with the reason.
//
//go:embed absent
var absentList string

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: testgate run|report ...")
		os.Exit(2)
	}
	var code int
	var err error
	switch os.Args[1] {
	case "run":
		code, err = run(os.Args[2:])
	case "report":
		code, err = report(os.Stdout, os.Args[2:], os.Getenv("HAOBOX_CI") == "1", absentList)
	default:
		err = fmt.Errorf("testgate: no command %q; it has run and report", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run is "testgate run".
func run(args []string) (int, error) {
	fs := flag.NewFlagSet("run", flag.ExitOnError)
	stage := fs.String("stage", "", "name of the stage in the report")
	out := fs.String("out", "", "file for the results")
	if err := fs.Parse(args); err != nil {
		return 2, err
	}
	if *stage == "" || *out == "" || fs.NArg() == 0 {
		return 2, errors.New("usage: testgate run -stage NAME -out FILE -- COMMAND [ARG]")
	}
	cmd := exec.Command(fs.Arg(0), fs.Args()[1:]...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start %s: %w", fs.Arg(0), err)
	}
	r := newReader(*stage, os.Stdout)
	readErr := r.read(stdout)
	waitErr := cmd.Wait()
	results := r.finish()
	if err := write(*out, results); err != nil {
		return 1, err
	}
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(waitErr, &exit):
		code = max(exit.ExitCode(), 1)
	case waitErr != nil:
		return 1, waitErr
	}
	if r.failed {
		code = max(code, 1)
	}
	if readErr != nil {
		return max(code, 1), readErr
	}
	t := count(results)
	fmt.Printf("%s: %s\n", *stage, t)
	if t.passed+t.failed == 0 {
		return max(code, 1), fmt.Errorf("stage %s executed no test", *stage)
	}
	return code, nil
}

// event is a line of test2json; see "go doc test2json".
type event struct {
	Action, Package, Test, Output string
	FailedBuild                   string
}

// result is how a test ended in a stage.
type result struct {
	Stage, Package, Test string
	// Action is "pass", "fail" or "skip".
	Action string
	// Reason is the last line of a skipped test's own output.
	Reason string `json:",omitempty"`
}

type key struct{ pkg, test string }

// reader turns a stream of events into results and readable text.
type reader struct {
	stage   string
	w       io.Writer
	output  map[key][]string
	order   []key
	results []result
	failed  bool
}

func newReader(stage string, w io.Writer) *reader {
	return &reader{stage: stage, w: w, output: map[key][]string{}}
}

// read consumes the stream. A line that is no event is printed as it is: the
// go command reports what it cannot even start that way.
func (r *reader) read(in io.Reader) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var e event
		if line := sc.Bytes(); len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(r.w, "%s\n", line)
			continue
		}
		r.event(e)
	}
	return sc.Err()
}

func (r *reader) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "build-fail":
		r.failed = true
	case "output":
		if e.Test == "" {
			r.packageOutput(e)
			return
		}
		if _, ok := r.output[k]; !ok {
			r.order = append(r.order, k)
		}
		r.output[k] = append(r.output[k], e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			if e.Action == "fail" {
				r.failed = true
				r.unfinished(e.Package)
			}
			return
		}
		r.end(k, e.Action)
	}
}

// packageOutput prints the closing line of a package, and everything that a
// package prints outside of its tests except the bare verdict.
func (r *reader) packageOutput(e event) {
	line := strings.TrimSpace(e.Output)
	if line == "PASS" || line == "FAIL" || line == "" || strings.HasSuffix(line, "[no test files]") {
		return
	}
	fmt.Fprint(r.w, e.Output)
}

// end records a finished test; the output of a failed one is printed.
func (r *reader) end(k key, action string) {
	res := result{Stage: r.stage, Package: k.pkg, Test: k.test, Action: action}
	switch action {
	case "fail":
		r.failed = true
		fmt.Fprint(r.w, strings.Join(r.output[k], ""))
	case "skip":
		res.Reason = reason(r.output[k])
	}
	r.results = append(r.results, res)
	delete(r.output, k)
}

// unfinished prints what is known of tests that never ended, as after a panic
// or a timeout, and counts them as failed.
func (r *reader) unfinished(pkg string) {
	for _, k := range r.order {
		if _, open := r.output[k]; open && (pkg == "" || k.pkg == pkg) {
			r.end(k, "fail")
		}
	}
}

// finish closes what the end of the stream left open.
func (r *reader) finish() []result {
	r.unfinished("")
	return r.results
}

// reason is the text given to t.Skip: the first line of the output in a form
// of package platform/testskip, else the last line that is not go test's own.
// "    file_test.go:12: text" loses its place. (A testscript prints its log after
// the reason.)
func reason(output []string) string {
	text := ""
	for line := range strings.Lines(strings.Join(output, "")) {
		s := strings.TrimSpace(line)
		if s == "" || strings.HasPrefix(s, "--- ") || strings.HasPrefix(s, "=== ") {
			continue
		}
		if place, rest, ok := strings.Cut(s, ": "); ok && strings.Contains(place, ".go:") {
			s = rest
		}
		if _, known := classify(s); known {
			return s
		}
		text = s
	}
	return text
}

// totals are counts of tests; subtests count like tests.
type totals struct{ passed, failed, skipped int }

func (t totals) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

func count(results []result) totals {
	var t totals
	for _, r := range results {
		switch r.Action {
		case "pass":
			t.passed++
		case "fail":
			t.failed++
		case "skip":
			t.skipped++
		}
	}
	return t
}

func write(name string, results []result) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// report is "testgate report".
func report(w io.Writer, files []string, strict bool, absent string) (int, error) {
	if len(files) == 0 {
		return 2, errors.New("usage: testgate report FILE [FILE]")
	}
	var all []result
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return 1, err
		}
		var part []result
		if err := json.Unmarshal(data, &part); err != nil {
			return 1, fmt.Errorf("read %s: %w", f, err)
		}
		all = append(all, part...)
	}
	bad := judge(w, all, features(absent))
	t := count(all)
	code := 0
	if t.failed > 0 || t.passed == 0 || strict && bad > 0 {
		code = 1
	}
	if bad > 0 {
		fmt.Fprintf(w, "%d skips are not accepted in CI\n", bad)
	}
	fmt.Fprintf(w, "tests: %s\n", t)
	return code, nil
}

// judge lists the skips and returns how many are not acceptable.
func judge(w io.Writer, all []result, absent map[string]bool) int {
	passed := map[key][]string{}
	excused := map[key]string{}
	for _, r := range all {
		k := key{r.Package, r.Test}
		if r.Action == "pass" {
			passed[k] = append(passed[k], r.Stage)
		}
		if f, known := classify(r.Reason); known && absent[f] {
			excused[k] = f
		}
	}
	// Tests that skip for the same reason share a line.
	tests := map[string][]string{}
	bad := 0
	for _, r := range all {
		if r.Action != "skip" {
			continue
		}
		verdict := ""
		_, known := classify(r.Reason)
		k := key{r.Package, r.Test}
		stages := passed[k]
		switch {
		case !known:
			verdict = "NOT ACCEPTED: no reason of platform/testskip"
			bad++
		case len(stages) > 0:
			verdict = "passed in " + strings.Join(stages, ", ")
		case excused[k] != "":
			verdict = "no stage has " + excused[k]
		default:
			verdict = "NOT ACCEPTED: passed in no stage"
			bad++
		}
		line := fmt.Sprintf("skip in %s, %s: %s", r.Stage, verdict, r.Reason)
		tests[line] = append(tests[line], r.Package+"."+r.Test)
	}
	for _, line := range slices.Sorted(maps.Keys(tests)) {
		fmt.Fprintln(w, line)
		for _, name := range slices.Sorted(slices.Values(tests[line])) {
			fmt.Fprintf(w, "\t%s\n", name)
		}
	}
	return bad
}

// classify reads the forms of package platform/testskip. feature is what the
// kernel lacks, "foreign" or "short".
func classify(reason string) (feature string, known bool) {
	head, why, ok := strings.Cut(reason, ": ")
	if !ok || strings.TrimSpace(why) == "" {
		return "", false
	}
	switch head {
	case "emulated", "guest":
		return "foreign", true
	case "short":
		return "short", true
	}
	name, ok := strings.CutPrefix(head, "kernel lacks ")
	if !ok || name == "" || strings.Contains(name, " ") {
		return "", false
	}
	return name, true
}

// features reads the list of absent features: a name and the reason a line.
func features(list string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 && !strings.HasPrefix(f[0], "#") {
			out[f[0]] = true
		}
	}
	return out
}
