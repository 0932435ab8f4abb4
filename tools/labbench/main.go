//go:build linux

// Labbench measures clusters of two nodes that serve a web page: haobox's
// rgmanager, Pacemaker and keepalived, in turn, in the same network namespaces,
// with the same corosync, the same token, the same fence agent and the same
// nginx. It prints medians and ratios, and beside them what is demanded of
// haobox. It passes no judgement: its exit status says only whether everything
// could be measured.
//
//	labbench [-rounds N] [-only PEERS] [-cases CASES] [-json FILE] [-keep DIR]
//
// The cases:
//
//	kill     all processes of the web server are killed (SIGKILL)
//	move     the service is moved to the other node by its command
//	address  a service that is only an address is moved
//	crash    the node of the service is cut off and all its processes killed
//	cpu      processor time of 100 and of 1,000 addresses, checked every 10 s
//	memory   resident memory of rgmanager with 100 services
//
// A client asks every 10 ms over a new connection; an outage is the time from
// the last answer before the first lost request to the first answer after the
// last lost one.
//
// Everything runs below one process that has namespaces of its own; it goes,
// whatever happens, when this one ends.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// The words that make the program one of its parts.
const (
	partStage = "stage"
	partNode  = "node"
	partRing  = "ring"
	partOff   = "off"
	partWeb   = "web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == partStage:
		err = stage(ctx, args[1])
	case len(args) == 2 && args[0] == partNode:
		err = nodeMain(ctx, args[1])
	case len(args) == 2 && args[0] == partRing:
		err = ringMain(ctx, args[1])
	case len(args) == 3 && args[0] == partOff:
		err = offMain(args[1], args[2])
	case len(args) == 3 && args[0] == partWeb:
		err = webMain(args[1], args[2])
	default:
		err = run(ctx, os.Stdout, args)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "labbench:", err)
		os.Exit(1)
	}
}

// options are the command line's, and what the stage needs to know.
type options struct {
	Rounds int
	Only   []string
	Cases  []string
	// Haobox is our binary, Self this program.
	Haobox, Self string
	// Keep is a folder that gets the nodes' logs of every run, or "".
	Keep string
}

func (o options) peer(name string) bool { return slices.Contains(o.Only, name) }
func (o options) has(name string) bool  { return slices.Contains(o.Cases, name) }

// words are the words of a list with commas, each of which must be known.
func words(option, list string, known []string) ([]string, error) {
	if list == "" {
		return known, nil
	}
	out := strings.Split(list, ",")
	for _, w := range out {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("-%s: there is no %q; there are %s", option, w, strings.Join(known, ", "))
		}
	}
	return out, nil
}

// file is what -json writes.
type file struct {
	// Load is /proc/loadavg before and after.
	Load    [2]string
	Rounds  int
	Samples []sample
}

// run is the program.
func run(ctx context.Context, w io.Writer, args []string) error {
	fs := flag.NewFlagSet("labbench", flag.ContinueOnError)
	rounds := fs.Int("rounds", 5, "`rounds`; each measures every case of every peer once")
	only := fs.String("only", "", "`peers` to measure, with commas: "+strings.Join(peerNames, ","))
	cases := fs.String("cases", "", "`cases` to measure, with commas: "+strings.Join(caseNames, ","))
	out := fs.String("json", "", "write every value to this `file`")
	keep := fs.String("keep", "", "copy the logs of the nodes to this `folder`")
	haobox := fs.String("haobox", "bin/haobox", "our `binary`")
	if err := fs.Parse(args); err != nil {
		return err
	}
	o := options{Rounds: *rounds}
	var err error
	if o.Rounds < 1 || fs.NArg() > 0 {
		return errors.New("usage: labbench [-rounds N] [-only PEERS] [-cases CASES] [-json FILE] [-keep DIR]")
	}
	if o.Only, err = words("only", *only, peerNames); err != nil {
		return err
	}
	if o.Cases, err = words("cases", *cases, caseNames); err != nil {
		return err
	}
	if o.Haobox, err = filepath.Abs(*haobox); err != nil {
		return err
	}
	if o.Self, err = os.Executable(); err != nil {
		return err
	}
	if *keep != "" {
		if o.Keep, err = filepath.Abs(*keep); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("not root: namespaces need it")
	}
	for _, p := range o.programs() {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%w: make lab-bench installs what is needed", err)
		}
	}
	f := file{Rounds: o.Rounds, Load: [2]string{load(), ""}}
	stageErr := o.measure(ctx, func(s sample) { f.Samples = append(f.Samples, s) })
	f.Load[1] = load()
	if *out != "" {
		text, err := json.MarshalIndent(f, "", "  ")
		if err == nil {
			err = os.WriteFile(*out, append(text, '\n'), 0o644)
		}
		if err != nil {
			return errors.Join(stageErr, err)
		}
	}
	fmt.Fprintf(w, "\nmedians of %d rounds; load average before: %s, after: %s\n\n", f.Rounds, f.Load[0], f.Load[1])
	if err := table(w, f.Samples); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted; the table has what was measured until then")
	}
	return stageErr
}

// programs are those that must be there.
func (o options) programs() []string {
	out := []string{o.Haobox, "corosync", "nginx", "ip", "nsenter"}
	if o.peer(pacemaker) {
		out = append(out, "pacemakerd", "cibadmin", "crm_resource", "/usr/lib/ocf/resource.d/heartbeat/nginx", "/usr/sbin/fence_zvmip")
	}
	if o.peer(keepalived) {
		out = append(out, "keepalived")
	}
	return out
}

// load is the machine's load average.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(text))
	return strings.Join(f[:min(3, len(f))], " ")
}

// measure starts the stage and collects what it measures.
func (o options) measure(ctx context.Context, add func(sample)) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := proc.Runner{}.Start(context.WithoutCancel(ctx), platform.Cmd{
		Path: o.Self, Args: []string{"labbench", partStage, string(text)}, Stdout: w, Stderr: os.Stderr, Private: true,
	})
	if err != nil {
		w.Close()
		return err
	}
	// It is process 1 of all that runs.
	stop := context.AfterFunc(ctx, func() { _ = p.Signal(syscall.SIGKILL) })
	defer stop()
	ended := make(chan error, 1)
	go func() {
		res, err := p.Wait()
		w.Close()
		if err == nil && !res.OK() {
			err = errors.New("not everything could be measured")
		}
		ended <- err
	}()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var s sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			fmt.Fprintln(os.Stderr, lines.Text())
			continue
		}
		add(s)
	}
	return <-ended
}
