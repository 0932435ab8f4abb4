package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/platform/testskip"
)

const module = "github.com/haobox/haobox"

// targets are the systems haobox is built for. whole says that every package
// builds there; elsewhere only what the binary needs is looked at.
var targets = []struct {
	os, arch string
	whole    bool
}{
	{"linux", "amd64", true},
	{"linux", "s390x", true},
	{"linux", "ppc64le", true},
	{"aix", "ppc64", false},
}

// A rule forbids packages to others. Names are relative to the module for our
// own packages ("internal/smapi"); "x/..." is x and everything below it.
type rule struct {
	from, except []string
	// target is "" for all or "os".
	target string
	// forbidden, except allowed.
	forbidden, allowed []string
	// direct looks at the package's own imports; otherwise at everything it
	// reaches through packages outside the standard library.
	direct bool
	why    string
}

// support are the packages that only tests import: those whose names, or the
// names of a folder above, end in "test" (cmdtest, corotest), and testskip.
// Applets have the names of their commands (rg_test).
var support = []string{"*test", "platform/testskip"}

var rules = []rule{
	{from: []string{"platform"}, forbidden: []string{"./..."},
		why: "the seam types stand below everything"},
	{from: []string{"platform/..."}, forbidden: []string{"internal/...", "applets/..."},
		why: "a leaf of platform knows the system and no rule of clusters"},
	{from: []string{"internal/..."}, except: support, forbidden: []string{"applets/..."},
		why: "what we know does not depend on the commands that use it"},
	{from: []string{"internal/..."}, except: support, forbidden: []string{"platform/..."}, allowed: []string{"platform"},
		why: "a domain declares what it needs as an interface; the applet hands in the leaf"},
	{from: []string{"internal/..."}, except: support, forbidden: []string{
		"golang.org/x/sys/...", "os/exec", "github.com/urfave/...", "github.com/coreos/go-systemd/...",
		"github.com/mdlayher/...", "github.com/vishvananda/...", "github.com/godbus/..."},
		why: "a domain makes no system calls, starts no programs and reads no command lines"},
	{from: []string{"internal/..."}, except: support, forbidden: []string{"syscall", "unsafe"}, direct: true,
		why: "a domain makes no system calls"},
	{from: []string{"applets/..."}, except: []string{"applets"}, forbidden: []string{"applets/..."}, allowed: []string{"applets/applet", "applets/internal/..."},
		why: "applets never import each other; what they share moves down to internal, or is assembly in applets/internal"},
	{from: []string{"applets/applet"}, forbidden: []string{"./..."}, allowed: []string{"platform"},
		why: "the contract imports nothing but the seam types"},
	{from: []string{"."}, forbidden: []string{"./..."}, allowed: []string{"applets", "applets/applet", "platform/host"}, direct: true,
		why: "main chooses the applet and turns its error into a status, nothing more"},
	{from: []string{"./..."}, except: support, forbidden: slices.Concat(support, []string{
		"testing/...", "github.com/google/go-cmp/...", "github.com/rogpeppe/...", "pgregory.net/..."}),
		why: "what tests need is no part of the product"},
	{from: []string{"./..."}, forbidden: []string{"text/template"}, direct: true,
		why: "methods called by computed name keep the linker from dropping code"},
	{from: []string{"./..."}, except: support, forbidden: []string{"github.com/prometheus/...", "github.com/cpuguy83/...", "github.com/russross/..."},
		why: "costs more start or size than it gives"},
	{from: []string{"."}, target: "aix", forbidden: []string{
		"github.com/coreos/go-systemd/v22/daemon", "github.com/coreos/go-systemd/v22/dbus", "github.com/godbus/...",
		"github.com/vishvananda/...", "github.com/mdlayher/socket"},
		why: "does not build on AIX, or means nothing there"},
}

// listed is what "go list" says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	CgoFiles   []string
	Module     *struct{ Path, Version string }
	Error      *struct{ Err string }
}

// list runs "go list -deps" for a target.
func list(t *testing.T, goos, goarch, pattern string) map[string]*listed {
	t.Helper()
	testskip.IfForeign(t, "needs the go command, and says the same of this code on any machine")
	cmd := exec.Command("go", "list", "-deps", "-tags=urfave_cli_no_docs,nethttpomithttp2", "-json=ImportPath,Standard,Imports,CgoFiles,Module,Error", pattern)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s/%s: %v\n%s", goos, goarch, err, stderr.String())
	}
	all := map[string]*listed{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("read go list's answer: %v", err)
		}
		all[p.ImportPath] = &p
	}
}

// full is the import path of a name as rules give it.
func full(name string) string {
	switch {
	case name == ".":
		return module
	case name == "./...":
		return module + "/..."
	}
	for _, room := range []string{"applets", "internal", "platform"} {
		if name == room || strings.HasPrefix(name, room+"/") {
			return module + "/" + name
		}
	}
	return name
}

// matches reports whether the import path is one of the names.
func matches(path string, names []string) bool {
	for _, n := range names {
		if n == "*test" {
			if !strings.HasPrefix(path, module+"/applets/") && slices.ContainsFunc(strings.Split(strings.TrimPrefix(path, module), "/"), func(e string) bool { return strings.HasSuffix(e, "test") }) {
				return true
			}
			continue
		}
		n = full(n)
		if head, ok := strings.CutSuffix(n, "/..."); ok && (path == head || strings.HasPrefix(path, head+"/")) || path == n {
			return true
		}
	}
	return false
}

// violations returns one line per forbidden import of a rule, with the way.
func (r rule) violations(all map[string]*listed) []string {
	var out []string
	for path := range all {
		if !ours(path) || !matches(path, r.from) || matches(path, r.except) {
			continue
		}
		if bad, way := r.reach(all, path); bad != "" {
			out = append(out, fmt.Sprintf("%s imports %s (%s): %s", path, bad, strings.Join(way, " -> "), r.why))
		}
	}
	slices.Sort(out)
	return out
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// reach searches breadth first for a forbidden package from path.
func (r rule) reach(all map[string]*listed, path string) (bad string, way []string) {
	from := map[string]string{path: ""}
	for queue := []string{path}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, next := range all[at].Imports {
			if _, seen := from[next]; seen {
				continue
			}
			from[next] = at
			if matches(next, r.forbidden) && !matches(next, r.allowed) {
				for p := next; p != ""; p = from[p] {
					way = append(way, p)
				}
				slices.Reverse(way)
				return next, way
			}
			if p := all[next]; p != nil && !p.Standard && !r.direct {
				queue = append(queue, next)
			}
		}
	}
	return "", nil
}

// TestDeps checks the direction of imports on every target.
func TestDeps(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		t.Run(target.os+"_"+target.arch, func(t *testing.T) {
			t.Parallel()
			pattern := "./..."
			if !target.whole {
				pattern = "."
			}
			all := list(t, target.os, target.arch, pattern)
			if len(all) < 50 || all[module] == nil {
				t.Fatalf("go list knows %d packages; this test would see nothing", len(all))
			}
			for _, p := range all {
				if len(p.CgoFiles) > 0 {
					t.Errorf("%s uses cgo: the binary must be static", p.ImportPath)
				}
			}
			for _, r := range rules {
				if r.target != "" && r.target != target.os {
					continue
				}
				for _, v := range r.violations(all) {
					t.Error(v)
				}
			}
		})
	}
}

// TestDeps_RulesBite shows that a violation is found, directly and through
// another package.
func TestDeps_RulesBite(t *testing.T) {
	t.Parallel()
	all := map[string]*listed{
		module + "/internal/a":  {Imports: []string{"fmt", module + "/internal/b"}},
		module + "/internal/b":  {Imports: []string{"example.org/x"}},
		"example.org/x":         {Imports: []string{"os/exec"}},
		"fmt":                   {Standard: true, Imports: []string{"os/exec"}},
		module + "/applets/one": {Imports: []string{module + "/applets/applet", module + "/applets/two"}},
		module + "/applets/two": {Imports: []string{module + "/applets/applet"}},
	}
	var got []string
	for _, r := range rules {
		got = append(got, r.violations(all)...)
	}
	want := []string{
		"a -> b -> example.org/x -> os/exec",
		"b -> example.org/x -> os/exec",
		"applets/one imports " + module + "/applets/two",
	}
	if len(got) != len(want) {
		t.Errorf("got %d violations, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	text := strings.ReplaceAll(strings.Join(got, "\n"), module+"/internal/", "")
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("not found: %s\n%s", w, text)
		}
	}
}

// TestDeps_List compares the packages from elsewhere that the binary contains
// with docs/deps.txt, so that a new one shows in a review.
func TestDeps_List(t *testing.T) {
	t.Parallel()
	systems := map[string][]string{}
	for _, target := range targets {
		if target.arch == "s390x" || target.arch == "ppc64le" {
			continue
		}
		for path, p := range list(t, target.os, target.arch, ".") {
			if !p.Standard && !ours(path) {
				systems[path] = append(systems[path], target.os)
			}
		}
	}
	var lines []string
	for path, os := range systems {
		slices.Sort(os)
		lines = append(lines, fmt.Sprintf("%-10s %s\n", strings.Join(os, ","), path))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[11:], b[11:]) })
	got := "# Packages of other modules in the binary, and the systems that have them.\n" +
		"# go test -run TestDeps_List -update . rewrites this file.\n" + strings.Join(lines, "")
	const name = "docs/deps.txt"
	goldentest.Compare(t, name, got)
}

// dialling are the names of package net and its users that open connections
// or ask name servers; domains get a connection or a dialer handed in.
var dialling = []string{
	"net.Dial", "net.DialTimeout", "net.DialTCP", "net.DialUDP", "net.DialUnix", "net.DialIP", "net.Dialer",
	"net.Listen", "net.ListenTCP", "net.ListenUDP", "net.ListenUnix", "net.ListenPacket", "net.ListenConfig", "net.FileConn",
	"net.LookupHost", "net.LookupIP", "net.LookupAddr", "net.Resolver", "net.ResolveTCPAddr", "net.Interfaces", "net.InterfaceByName",
	"tls.Dial", "tls.DialWithDialer", "tls.Dialer", "tls.Listen",
	"http.Get", "http.Post", "http.DefaultClient", "http.ListenAndServe",
	"os.Open", "os.OpenFile", "os.Create", "os.ReadFile", "os.WriteFile", "os.Getenv", "os.Exit", "os.Stdin", "os.Stdout", "os.Stderr", "os.Args",
	"time.Now", "time.Sleep", "time.After", "time.NewTimer", "time.NewTicker", "time.AfterFunc", "time.Since", "time.Until",
}

// TestDeps_Sources reads our sources: no init function anywhere, os.Exit in
// main alone, and no domain that reaches around its seams to the network, the
// files, the clock or the process.
func TestDeps_Sources(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"tools", "testdata", "bin", "dist"}, d.Name())) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		seen++
		folder := module + "/" + filepath.ToSlash(filepath.Dir(path))
		domain := matches(folder, []string{"internal/..."}) && !matches(folder, support)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: init function: nothing happens before Run", fset.Position(n.Pos()))
				}
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				name := x.Name + "." + n.Sel.Name
				if domain && slices.Contains(dialling, name) {
					t.Errorf("%s: %s in a domain: hand it in from the applet", fset.Position(n.Pos()), name)
				}
				if name == "os.Exit" && path != "main.go" && !matches(folder, support) {
					t.Errorf("%s: os.Exit: only main ends the process", fset.Position(n.Pos()))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("read %d sources; this test would see nothing", seen)
	}
}
