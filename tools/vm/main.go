// Vm runs programs as root on a real Linux kernel of another machine, booted
// under an emulator; see package boot.
//
//	vm run  [options] -- COMMAND [ARG]   runs one command, with its exit status
//	vm test [options] PACKAGE            runs the tests of Go packages
//
// "test" builds each package's tests for the guest, runs them there in their
// own folder of a copy of the source tree, and prints a stream as "go test
// -json" does. It must be called in a folder of the module that has the
// packages, with the GOFLAGS of the build.
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
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/haobox/haobox/tools/vm/boot"
	"github.com/haobox/haobox/tools/vm/wire"
)

// source is where the guest has its copy of the source tree.
const source = "/src"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code, err := vm(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// list is a flag that holds words, separated by commas or repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	for _, w := range strings.Split(s, ",") {
		if w != "" {
			*l = append(*l, w)
		}
	}
	return nil
}

// options are the flags that both commands have.
type options struct {
	arch, cache              string
	modules, packages, files list
	cpus                     int
	refresh                  bool
	limit                    time.Duration
}

func vm(ctx context.Context, args []string) (int, error) {
	usage := errors.New("usage: vm run [options] -- COMMAND [ARG], or vm test [options] PACKAGE")
	if len(args) == 0 || args[0] != "run" && args[0] != "test" {
		return 2, usage
	}
	fs := flag.NewFlagSet("vm "+args[0], flag.ContinueOnError)
	var o options
	fs.StringVar(&o.arch, "arch", "s390x", "kind of machine, a GOARCH")
	fs.StringVar(&o.cache, "cache", "", "folder of fetched packages (default: below the user's cache folder)")
	fs.Var(&o.modules, "modules", "kernel modules to load, with what they depend on")
	fs.Var(&o.packages, "packages", "Debian packages to unpack in the guest, with what they depend on")
	fs.Var(&o.files, "file", "HOST=GUEST: a file or folder to copy into the guest")
	fs.IntVar(&o.cpus, "cpus", 2, "processors of the guest")
	fs.BoolVar(&o.refresh, "refresh", false, "fetch the kernel and the packages again")
	fs.DurationVar(&o.limit, "limit", 10*time.Minute, "time limit of each command, or of each package's tests")
	short := fs.Bool("short", false, "test: go test -short")
	runOnly := fs.String("run", "", "test: go test -run")
	skip := fs.String("skip", "", "test: regular expression of import paths to leave out")
	if err := fs.Parse(args[1:]); err != nil {
		return 2, nil
	}
	if fs.NArg() == 0 {
		return 2, usage
	}
	if args[0] == "run" {
		return o.run(ctx, fs.Args())
	}
	return o.test(ctx, fs.Args(), *short, *runOnly, *skip)
}

// config prepares a guest: its kernel, its init program, which is built into
// dir, and the packages.
func (o *options) config(ctx context.Context, dir string) (boot.Config, error) {
	cfg := boot.Config{Modules: o.modules, CPUs: o.cpus, Again: func(err error) {
		fmt.Fprintln(os.Stderr, "vm: the guest did not get as far as its first command; it is booted again:", err)
	}}
	var err error
	if cfg.Arch, err = boot.FindArch(o.arch); err != nil {
		return cfg, err
	}
	store, err := boot.NewStore(cfg.Arch, o.cache)
	if err != nil {
		return cfg, err
	}
	if cfg.Kernel, err = store.Kernel(ctx, o.refresh); err != nil {
		return cfg, err
	}
	if len(o.packages) > 0 {
		tree, err := store.Packages(ctx, o.packages, o.refresh)
		if err != nil {
			return cfg, err
		}
		cfg.Files = append(cfg.Files, boot.File{Name: "/", Source: tree})
	}
	for _, f := range o.files {
		host, guest, ok := strings.Cut(f, "=")
		if !ok || !strings.HasPrefix(guest, "/") {
			return cfg, fmt.Errorf("-file %s: it is HOST=/GUEST", f)
		}
		cfg.Files = append(cfg.Files, boot.File{Name: guest, Source: host})
	}
	cfg.Init, err = o.buildInit(ctx, dir)
	return cfg, err
}

// buildInit builds the guest's init program into dir.
func (o *options) buildInit(ctx context.Context, dir string) (string, error) {
	_, self, _, _ := runtime.Caller(0)
	tools := filepath.Dir(filepath.Dir(self))
	if !filepath.IsAbs(tools) {
		// Built with -trimpath: it is the tools folder of this tree.
		top, err := sourceTree(ctx)
		if err != nil {
			return "", err
		}
		tools = filepath.Join(top, "tools")
	}
	out := filepath.Join(dir, "guest-init")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", out, "./vm/guest")
	cmd.Dir = tools
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath", "GOOS=linux", "GOARCH="+o.arch, "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the guest's init program: %w\n%s", err, text)
	}
	return out, nil
}

// sourceTree is the top folder of the checkout that the program was called in.
func sourceTree(ctx context.Context) (string, error) {
	top, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	return strings.TrimSpace(string(top)), nil
}

// run is "vm run".
func (o *options) run(ctx context.Context, args []string) (int, error) {
	dir, err := os.MkdirTemp("", "haobox-vm-run-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	cfg, err := o.config(ctx, dir)
	if err != nil {
		return 1, err
	}
	cfg.Commands = []wire.Command{{Args: args, Limit: o.limit}}
	cfg.Output = func(_ int, kind string, data []byte) {
		if kind == wire.Stdout {
			os.Stdout.Write(data)
		} else {
			os.Stderr.Write(data)
		}
	}
	report, err := boot.Run(ctx, cfg)
	if err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stderr, times(report))
	r := report.Results[0]
	switch {
	case r.Fault != "":
		return r.Code, fmt.Errorf("start %s: %s", args[0], r.Fault)
	case r.TimedOut:
		return r.Code, fmt.Errorf("%s did not end within %v", args[0], o.limit)
	}
	return r.Code, nil
}

func times(r *boot.Report) string {
	return fmt.Sprintf("kernel %s: ready after %.1f s, off after %.1f s", r.Release, r.Boot.Seconds(), r.Total.Seconds())
}

// pkg is a package with tests for the guest.
type pkg struct {
	ImportPath, Dir string
	TestGoFiles     []string
	XTestGoFiles    []string
	binary          string
}

// test is "vm test".
func (o *options) test(ctx context.Context, patterns []string, short bool, runOnly, skip string) (int, error) {
	dir, err := os.MkdirTemp("", "haobox-vm-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	cfg, err := o.config(ctx, dir)
	if err != nil {
		return 1, err
	}
	root, err := sourceTree(ctx)
	if err != nil {
		return 1, err
	}
	packages, err := o.packagesWithTests(ctx, patterns, skip)
	if err != nil {
		return 1, err
	}
	if err := o.build(ctx, dir, packages); err != nil {
		return 1, err
	}
	tree, err := tracked(ctx, root)
	if err != nil {
		return 1, err
	}
	cfg.Files = append(cfg.Files, tree...)
	conv := make([]*converter, len(packages))
	for i, p := range packages {
		rel, err := filepath.Rel(root, p.Dir)
		if err != nil {
			return 1, err
		}
		guest := fmt.Sprintf("/test/%d/%s", i, filepath.Base(p.binary))
		cfg.Files = append(cfg.Files, boot.File{Name: guest, Source: p.binary, Mode: 0o755})
		args := []string{guest, "-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + o.limit.String()}
		if short {
			args = append(args, "-test.short")
		}
		if runOnly != "" {
			args = append(args, "-test.run="+runOnly)
		}
		cfg.Commands = append(cfg.Commands, wire.Command{
			Args: args, Dir: filepath.Join(source, rel), Env: []string{"HAOBOX_GUEST=1"},
			// The tests' own limit tells more: it comes first.
			Limit: o.limit + 10*time.Second,
		})
		conv[i] = &converter{pkg: p.ImportPath}
	}
	failed := false
	cfg.Output = func(i int, _ string, data []byte) { conv[i].buf.Write(data) }
	cfg.Ended = func(i int, r boot.Result) {
		failed = failed || r.Code != 0
		if r.Fault != "" {
			fmt.Fprintf(&conv[i].buf, "start: %s\n", r.Fault)
		}
		if r.TimedOut {
			fmt.Fprintf(&conv[i].buf, "did not end within %v\n", cfg.Commands[i].Limit)
		}
		if err := conv[i].convert(ctx, os.Stdout, r); err != nil {
			fmt.Fprintln(os.Stderr, "vm:", err)
			failed = true
		}
	}
	report, err := boot.Run(ctx, cfg)
	if err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stderr, times(report))
	if failed {
		return 1, nil
	}
	return 0, nil
}

// packagesWithTests asks go list, for the guest.
func (o *options) packagesWithTests(ctx context.Context, patterns []string, skip string) ([]pkg, error) {
	leave, err := regexp.Compile(skip)
	if err != nil {
		return nil, fmt.Errorf("-skip: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles"}, patterns...)...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+o.arch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read go list's answer: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 && (skip == "" || !leave.MatchString(p.ImportPath)) {
			packages = append(packages, p)
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(patterns, " "))
	}
	return packages, nil
}

// build builds the test binaries into dir.
func (o *options) build(ctx context.Context, dir string, packages []pkg) error {
	var wg sync.WaitGroup
	errs := make([]error, len(packages))
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range packages {
		p := &packages[i]
		p.binary = filepath.Join(dir, fmt.Sprint(i), filepath.Base(p.ImportPath)+".test")
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cmd := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-o", p.binary, p.ImportPath)
			cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+o.arch, "CGO_ENABLED=0")
			if text, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("build the tests of %s: %w\n%s", p.ImportPath, err, text)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tracked are the files of the source tree that git knows, but no programs of
// other machines that lie about.
func tracked(ctx context.Context, root string) ([]boot.File, error) {
	cmd := exec.CommandContext(ctx, "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the source tree: %w", err)
	}
	var files []boot.File
	for _, name := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		path := filepath.Join(root, name)
		if info, err := os.Lstat(path); err != nil || info.IsDir() {
			continue // deleted and not yet committed, or a module of its own
		}
		files = append(files, boot.File{Name: filepath.Join(source, name), Source: path})
	}
	return files, nil
}

// converter turns the output of one test binary into test events.
type converter struct {
	pkg string
	buf bytes.Buffer
}

// convert writes the events with the help of "go tool test2json".
func (c *converter) convert(ctx context.Context, w io.Writer, r boot.Result) error {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-p", c.pkg)
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	closing := fmt.Sprintf("ok  \t%s\t%.3fs\n", c.pkg, r.Elapsed.Seconds())
	if r.Code != 0 {
		closing = fmt.Sprintf("FAIL\t%s\t%.3fs\n", c.pkg, r.Elapsed.Seconds())
		if !bytes.HasSuffix(bytes.TrimSpace(c.buf.Bytes()), []byte("FAIL")) {
			fmt.Fprintf(&c.buf, "exit status %d\nFAIL\n", r.Code)
		}
	}
	cmd.Stdin = io.MultiReader(&c.buf, strings.NewReader(closing))
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("read the output of %s: %w", c.pkg, err)
	}
	return nil
}
