// Bench runs pairs of commands in turn, ours and the one it replaces, and
// prints medians and ratios of wall time, processor time and peak memory. It
// passes no judgement: its exit status says only whether every command ended
// as it should.
//
//	bench [-n ROUNDS] [-links DIR] [NAME ...]
//
// What is measured of a command is what wait4(2) says of it and of the children
// it waited for. A new process starts with the peak memory of the process that
// started it, so each command is started by a small process of its own; the
// line "floor" shows what /bin/true gets that way.
//
// The last one, corosync, is no pair of commands: see corosyncBench.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// measureVariable makes the program measure one command, its arguments.
const measureVariable = "HAOBOX_BENCH_MEASURE"

// serverLimit bounds the start of the simulated z/VM; it takes some
// milliseconds.
const serverLimit = 20 * time.Second

// commandLimit bounds one run of a measured command. The slowest takes some
// seconds.
const commandLimit = 2 * time.Minute

func main() {
	if os.Getenv(measureVariable) != "" {
		measure(os.Args[1:])
		return
	}
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sample is one run of a command.
type sample struct {
	Wall, CPU time.Duration
	// Peak is the peak resident memory in KiB.
	Peak int64
	Code int
	// Fault says why it could not be started.
	Fault string `json:",omitempty"`
}

// measure runs one command with standard input and error of this process and
// its output thrown away, and writes a sample to standard output. It uses
// little memory of its own, see the package comment.
func measure(args []string) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		fmt.Printf(`{"Fault":%q}`, err)
		return
	}
	os.Unsetenv(measureVariable)
	start := time.Now()
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, null.Fd(), 2}})
	if err != nil {
		fmt.Printf(`{"Fault":%q}`, err)
		return
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		_, err = syscall.Wait4(pid, &status, 0, &usage)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	wall := time.Since(start)
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	fmt.Printf(`{"Wall":%d,"CPU":%d,"Peak":%d,"Code":%d}`, wall, usage.Utime.Nano()+usage.Stime.Nano(), usage.Maxrss, code)
}

// sampleOf runs one command through measure.
func (b bench) sampleOf(args []string) (sample, error) {
	var s sample
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, append([]string{path}, args[1:]...)...)
	cmd.Env = append(append(os.Environ(), measureVariable+"=1"), b.env...)
	cmd.Stdin = strings.NewReader(b.stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("run %s: %w", args[0], err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("run %s: %w", args[0], err)
	}
	switch {
	case s.Fault != "":
		return s, fmt.Errorf("start %s: %s", args[0], s.Fault)
	case s.Code != 0:
		return s, fmt.Errorf("%s ended with status %d: %s", strings.Join(args, " "), s.Code, strings.TrimSpace(stderr.String()))
	}
	return s, nil
}

// run is the program.
func run(w io.Writer, args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := fs.Int("n", 15, "rounds; each runs both commands once")
	links := fs.String("links", "bin/links", "folder of our commands")
	dist := fs.String("dist", "dist", "folder of the binaries whose sizes are printed")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 {
		return fmt.Errorf("-n %d: at least one round", *rounds)
	}
	dir, err := filepath.Abs(*links)
	if err != nil {
		return err
	}
	// One z/VM that does what it is told at once, and one that takes its
	// time, as a real one does.
	quick, err := startServer(dir, "--logoff-delay", "0s", "--logon-delay", "0s")
	if err != nil {
		return err
	}
	defer quick.stop()
	slow, err := startServer(dir, "--logoff-delay", "1500ms", "--logon-delay", "500ms")
	if err != nil {
		return err
	}
	defer slow.stop()

	floor, _, err := bench{ours: []string{"/bin/true"}, other: []string{"/bin/true"}}.run(*rounds)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d rounds of each pair, in turn; medians. floor: %.1f ms, %.0f KiB\n\n", *rounds,
		median(floor, func(s sample) float64 { return ms(s.Wall) }), median(floor, func(s sample) float64 { return float64(s.Peak) }))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "bench\twall ms ours\tother\tratio\tcpu ms ours\tother\tratio\tpeak KiB ours\tother\tratio\t")
	var errs []error
	for _, b := range benches(dir, quick.port, slow.port) {
		if fs.NArg() > 0 && !slices.Contains(fs.Args(), b.name) {
			continue
		}
		ours, other, err := b.run(*rounds)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.name, err))
			continue
		}
		row := b.name
		for _, v := range []func(sample) float64{
			func(s sample) float64 { return ms(s.Wall) },
			func(s sample) float64 { return ms(s.CPU) },
			func(s sample) float64 { return float64(s.Peak) },
		} {
			a, o := median(ours, v), median(other, v)
			row += fmt.Sprintf("\t%.1f\t%.1f\t%.1f", a, o, o/a)
		}
		fmt.Fprintln(t, row+"\t")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if fs.NArg() == 0 || slices.Contains(fs.Args(), corosyncName) {
		if err := corosyncBench(w); err != nil {
			errs = append(errs, err)
		}
	}
	sizes(w, *dist)
	return errors.Join(errs...)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median of one figure.
func median(samples []sample, value func(sample) float64) float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = value(s)
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// bench is one pair of commands.
type bench struct {
	name string
	// ours and other are the commands, before runs ahead of each, not measured.
	ours, other, before []string
	// stdin goes to both.
	stdin string
	// env is added to the environment of ours and other.
	env []string
	// net runs all three in a network namespace of its own.
	net bool
}

// run measures ours and other in turn.
func (b bench) run(rounds int) (ours, other []sample, err error) {
	one := func(args []string) (sample, error) {
		if b.before != nil {
			// Not the address command of ours: the folder is not in PATH.
			if text, err := exec.Command(b.before[0], b.before[1:]...).CombinedOutput(); err != nil {
				return sample{}, fmt.Errorf("%s: %w: %s", strings.Join(b.before, " "), err, text)
			}
		}
		return b.sampleOf(args)
	}
	if b.net {
		leave, err := enterNet()
		if err != nil {
			return nil, nil, err
		}
		defer leave()
	}
	// A first round fills the page cache.
	for i := -1; i < rounds; i++ {
		a, err := one(b.ours)
		if err != nil {
			return nil, nil, err
		}
		o, err := one(b.other)
		if err != nil {
			return nil, nil, err
		}
		if i >= 0 {
			ours, other = append(ours, a), append(other, o)
		}
	}
	return ours, other, nil
}

// enterNet puts this thread, and what it starts, into a new network namespace
// with an interface v0 that has a link and 192.0.2.1/24.
func enterNet() (leave func(), err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		home.Close()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	leave = func() {
		// A thread that can not return is not unlocked, and ends with its goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
	}
	for _, words := range []string{"link set lo up", "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "address add 192.0.2.1/24 dev v0"} {
		if text, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
			leave()
			return nil, fmt.Errorf("ip %s: %w: %s", words, err, text)
		}
	}
	return leave, nil
}

// server is a running simulated z/VM.
type server struct {
	cmd *exec.Cmd
	dir string
	// port is where it listens on 127.0.0.1.
	port   string
	stderr bytes.Buffer
}

// startServer starts the simulated z/VM with further options.
func startServer(links string, options ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "haobox-bench-")
	if err != nil {
		return nil, err
	}
	ready := filepath.Join(dir, "ready")
	s := &server{dir: dir}
	s.cmd = exec.Command(filepath.Join(links, "smapid"), append([]string{"--listen", "tcp:127.0.0.1:0",
		"--guests", "CNODE1,CNODE2", "--authorize", user + ":" + password, "--quiet", "--ready-file", ready}, options...)...)
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start the simulated z/VM: %w", err)
	}
	for deadline := time.Now().Add(serverLimit); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ready)
		if _, rest, ok := strings.Cut(string(text), "tcp:127.0.0.1:"); err == nil && ok {
			s.port = strings.Fields(rest)[0]
			return s, nil
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("the simulated z/VM is not ready within %v: %s", serverLimit, s.stderr.String())
		}
	}
}

// stop ends the server.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	os.RemoveAll(s.dir)
}

// sizes prints what is in dist.
func sizes(w io.Writer, dist string) {
	names, _ := filepath.Glob(filepath.Join(dist, "haobox-*"))
	for _, n := range names {
		if info, err := os.Stat(n); err == nil && !info.IsDir() {
			fmt.Fprintf(w, "%s %.2f MiB\n", filepath.Base(n), float64(info.Size())/(1<<20))
		}
	}
}
