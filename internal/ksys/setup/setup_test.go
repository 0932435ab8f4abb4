package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
)

// files are the nodes' files in memory.
type files map[string][]byte

func (f files) Read(node, name string) ([]byte, error) {
	data, ok := f[node+name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (f files) Write(node, name string, data []byte) error {
	f[node+name] = data
	return nil
}

// rig drives a sequence over a simulated World.
type rig struct {
	t     *testing.T
	w     *phasim.World
	files files
	node  string
	input []string
	// missing commands are not installed; fail fails a command once.
	missing []string
	out     strings.Builder
	errs    strings.Builder
	// changes are the commands that are shown while they run.
	changes []string
	saves   []string
}

func newRig(t *testing.T, typ string, nodes ...string) *rig {
	t.Helper()
	w, err := phasim.New(phasim.Options{Nodes: nodes, Type: typ, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, w: w, files: files{}, node: nodes[0]}
}

func (r *rig) options() Options {
	o := DefaultOptions()
	o.LocalNode, o.Root = r.node, true
	have := func(c string) bool { return !slices.Contains(r.missing, c) }
	o.HavePHA, o.HaveLspv, o.HaveLslpp, o.HaveRemote = have("clmgr"), have("lspv"), have("lslpp"), have("cl_rsh")
	return o
}

func (r *rig) ha() Options {
	o := r.options()
	o.Type, o.Nodes, o.Disk, o.Yes = "ha", []string{"ksys810", "ksys811"}, "hdisk5", true
	return o
}

func (r *rig) dr() Options {
	o := r.options()
	o.Type, o.Yes = "dr", true
	o.Site1.Nodes, o.Site1.Disk = []string{"ksys803p"}, "hdisk4"
	o.Site2.Nodes, o.Site2.Disk = []string{"ksys804p"}, "hdisk4"
	return o
}

func (r *rig) drive(c *Core) int {
	r.t.Helper()
	defer c.Stop()
	r.out.Reset()
	r.errs.Reset()
	r.changes, r.saves = nil, nil
	var ev Event = Begin{}
	for range 10000 {
		a := c.Step(r.w.Clock(), ev)
		if f, ok := a.(Finish); ok {
			return f.Code
		}
		ev = r.do(a)
	}
	r.t.Fatal("the sequence does not end")
	return -1
}

func (r *rig) do(a Action) Event {
	switch a := a.(type) {
	case Print:
		r.out.WriteString(a.Text)
	case Tell:
		r.errs.WriteString(a.Text + "\n")
	case Ask:
		r.out.WriteString(a.Prompt)
		if len(r.input) == 0 {
			return Answer{EOF: true}
		}
		line := r.input[0]
		r.input = r.input[1:]
		r.out.WriteString(line + "\n") // the terminal's echo
		return Answer{Text: line + "\n"}
	case Exec:
		if slices.Contains(r.missing, a.Argv[0]) {
			return Ran{Missing: true, Code: 127}
		}
		ans := r.w.Exec(phasim.Call{Node: r.node, Argv: a.Argv, Scope: "2", Files: r.files})
		r.w.AdvanceTo(r.w.Now + ans.Took.Milliseconds())
		if a.Pass {
			r.changes = append(r.changes, Quote(a.Argv))
			r.out.WriteString(ans.Stdout + ans.Stderr)
		}
		if ans.Hang {
			return Ran{Err: errors.New("no answer")}
		}
		return Ran{Stdout: ans.Stdout, Stderr: ans.Stderr, Code: ans.Code}
	case Read:
		data, err := r.files.Read(r.node, a.Path)
		return Content{Data: data, Exists: err == nil}
	case Save:
		r.saves = append(r.saves, a.Path)
		return Done{r.files.Write(r.node, a.Path, a.Data)}
	case Script:
		if _, err := r.files.Read(r.node, scriptPath(a.Name)); err != nil {
			r.saves = append(r.saves, a.Name)
			return Done{r.files.Write(r.node, scriptPath(a.Name), WrapperText(a.Name))}
		}
	case Remove:
		delete(r.files, r.node+a.Path)
	case Resolve:
		if a.Name == "nowhere" {
			return Addresses{Err: errors.New("no such host")}
		}
		if a.Name == "loop" {
			return Addresses{List: []string{"127.0.0.1"}}
		}
		list, err := phasim.Resolve(r.t.Context(), a.Name)
		return Addresses{list, err}
	case Pause:
		r.w.AdvanceTo(r.w.Now + a.For.Milliseconds())
	}
	return Done{}
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	goldentest.Compare(t, filepath.Join("testdata", name+".golden"), got)
}

// figure3 and figure4 are the paper's screens, with the indentation that
// the specification leaves open taken out, and the process id that the
// simulation is given.
const figure3 = `PHA integration with KSYS

Which PHA cluster do you need?
-----
1) Standard (HA)
2) Linked (DR)

q) Quit

Enter your selection: 1

You selected cluster type as HA
Please provide the HA values.

Enter the ksys nodes separated by ',' : ksys810,ksys811
Enter the shared disk: hdisk5
User provided KSYS nodes to be part of PHA: ksys810,ksys811

All filesets are present.

0513-044 The clcomd Subsystem was requested to stop.
0513-059 The clcomd Subsystem has been started. Subsystem PID is 6226308.

ERROR: no cluster is defined.

No PHA cluster is present. Creating PHA cluster with name ksys810_cluster.
Initializing..
`

const figure4 = `PHA integration with KSYS

Which PHA cluster do you need?
-----
1) Standard (HA)
2) Linked (DR)

q) Quit

Enter your selection: 2
You selected cluster type as DR
Please provide the DR values.

Enter the ksys nodes separated by ',' for site1: ksys803p
Enter repository disk for Site1: hdisk4
Enter the ksys nodes separated by ',' for site2: ksys804p
Enter repository disk for Site2: hdisk4
User provided KSYS nodes to be part of site1: ksys803p
User provided Repository disk to be part of site1: hdisk4
User provided KSYS nodes to be part of site2: ksys804p
User provided Repository disk to be part of site2: hdisk4
All filesets are present.

0513-044 The clcomd Subsystem was requested to stop.
0513-059 The clcomd Subsystem has been started. Subsystem PID is 10289596.
ERROR: no cluster is defined.
No PHA cluster is present. Creating PHA cluster with name ksys803p_cluster.
`

// flush takes the leading blanks of every line out.
func flush(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestCreate_PaperScreens(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, typ, figure string
		nodes, input      []string
		pid               int
	}{
		{"figure3", "ha", figure3, []string{"ksys810", "ksys811"}, []string{"1", "ksys810,ksys811", "hdisk5"}, 6226308},
		{"figure4", "dr", figure4, []string{"ksys803p", "ksys804p"}, []string{"2", "ksys803p", "hdisk4", "ksys804p", "hdisk4"}, 10289596},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.typ, tc.nodes...)
			r.w.PIDs = []int{tc.pid}
			r.input = tc.input
			o := r.options()
			o.PaperOutput = true
			if code := r.drive(Create(o, nil)); code != ExitOK {
				t.Fatalf("exit status %d\n%s", code, r.errs.String())
			}
			got := flush(r.out.String())
			if !strings.HasPrefix(got, tc.figure) {
				t.Errorf("screen (-want +got):\n%s", cmp.Diff(tc.figure, got[:min(len(got), len(tc.figure))]))
			}
			golden(t, tc.name, r.out.String())
			for _, line := range []string{"Adding KSYS app controller ksysctrler.", "Adding KSYS startup app monitor ksysmonstartup.",
				"Adding KSYS long running app monitor .",
				`claddappmon warning: The parameter "HUNG_MONITOR_SIGNAL" was not specified. Will use 9.`,
				`claddappmon warning: The parameter "RESTART_INTERVAL" was not specified. Will use 198.`,
				"The following file collections will be processed:", "Total number of files propagated to node " + tc.nodes[1] + ": 5",
				`Warning: "WHEN" must be specified. Since it was not, a default of "now" will be used.`, "The cluster is now online."} {
				if !strings.Contains(got, line+"\n") {
					t.Errorf("the paper's line is missing: %s", line)
				}
			}
		})
	}
}

// The answers of the dialogue and the flags give the same commands.
func TestCreate_InteractiveEqualsFlags(t *testing.T) {
	t.Parallel()
	a := newRig(t, "ha", "ksys810", "ksys811")
	a.input = []string{"1", " ksys810 , ksys811 ", "hdisk5"}
	if code := a.drive(Create(a.options(), nil)); code != ExitOK {
		t.Fatalf("exit status %d\n%s", code, a.errs.String())
	}
	b := newRig(t, "ha", "ksys810", "ksys811")
	if code := b.drive(Create(b.ha(), nil)); code != ExitOK {
		t.Fatalf("exit status %d\n%s", code, b.errs.String())
	}
	if d := cmp.Diff(a.changes, b.changes); d != "" {
		t.Errorf("commands differ (-dialogue +flags):\n%s", d)
	}
	if len(a.changes) < 9 {
		t.Errorf("only %d commands", len(a.changes))
	}
	if strings.Contains(b.out.String(), "Enter") {
		t.Error("--yes asked something")
	}
}

func TestCreate_Twice(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"ha", "dr"} {
		r := newRig(t, typ, "ksys810", "ksys811")
		o := r.ha()
		if typ == "dr" {
			o = r.options()
			o.Type, o.Yes = "dr", true
			o.Site1.Nodes, o.Site1.Disk, o.Site2.Nodes, o.Site2.Disk = []string{"ksys810"}, "hdisk4", []string{"ksys811"}, "hdisk4"
		}
		for i := range 2 {
			if code := r.drive(Create(o, nil)); code != ExitOK {
				t.Fatalf("%s run %d: exit status %d\n%s", typ, i+1, code, r.errs.String())
			}
		}
		if len(r.changes) != 0 || len(r.saves) != 0 {
			t.Errorf("%s: the second run changed something: %q %q", typ, r.changes, r.saves)
		}
		if !strings.Contains(r.out.String(), "PHA cluster ksys810_cluster is already present.") {
			t.Errorf("%s: output\n%s", typ, r.out.String())
		}
	}
}

// A failure at each step stops there with status 6, and --resume completes
// with exactly the commands that were missing.
func TestCreate_FailAndResume(t *testing.T) {
	t.Parallel()
	whole := newRig(t, "ha", "ksys810", "ksys811")
	if code := whole.drive(Create(whole.ha(), nil)); code != ExitOK {
		t.Fatal(code)
	}
	for _, fault := range []string{
		"clcomd down", "clmgr fail add cluster", "clmgr fail add application_controller", "clmgr fail add application_monitor",
		"clmgr fail add resource_group", "clmgr fail add file_collection", "clmgr fail sync cluster", "clmgr fail verify cluster", "clmgr fail online cluster",
	} {
		for _, rollback := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/rollback=%v", fault, rollback), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, "ha", "ksys810", "ksys811")
				i, err := r.w.ParseInjection("ksys810", strings.Fields(fault), 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				r.w.Inject(i)
				o := r.ha()
				o.Rollback = rollback
				if code := r.drive(Create(o, nil)); code != ExitStep {
					t.Fatalf("exit status %d, want %d\n%s", code, ExitStep, r.errs.String())
				}
				if !strings.Contains(r.errs.String(), "--resume") {
					t.Errorf("the message does not say what to do:\n%s", r.errs.String())
				}
				if rollback && r.w.Cluster != nil {
					t.Error("the rollback left the cluster")
				}
				before := r.changes
				r.w.Faults = nil
				o.Resume = true
				if code := r.drive(Create(o, nil)); code != ExitOK {
					t.Fatalf("resume: exit status %d\n%s", code, r.errs.String())
				}
				if r.w.Placed(ksys.ResourceGroup, "ksys810") != "ONLINE" {
					t.Error("the group is not online")
				}
				if rollback {
					return
				}
				// Each object was added once, over both runs.
				for _, c := range whole.changes {
					if !strings.Contains(c, "clmgr add") {
						continue
					}
					n := 0
					for _, d := range append(slices.Clone(before), r.changes...) {
						if c == d {
							n++
						}
					}
					// The one that failed was tried twice.
					if limit := 1; n < 1 || n > limit+1 {
						t.Errorf("%s ran %d times", c, n)
					}
				}
			})
		}
	}
}

func TestCreate_BadInput(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(r *rig, o *Options)
		code   int
		want   string
	}{
		{"empty node list", func(_ *rig, o *Options) { o.Nodes = nil }, ExitInvalid, "an answer is missing"},
		{"one node", func(_ *rig, o *Options) { o.Nodes = o.Nodes[:1] }, ExitInvalid, "2 to 16 are needed"},
		{"seventeen nodes", func(_ *rig, o *Options) {
			for i := range 15 {
				o.Nodes = append(o.Nodes, fmt.Sprint("x", i))
			}
		}, ExitInvalid, "2 to 16 are needed"},
		{"a node twice", func(_ *rig, o *Options) { o.Nodes = []string{"ksys810", "KSYS810.x.com"} }, ExitInvalid, "named twice"},
		{"bad node name", func(_ *rig, o *Options) { o.Nodes[1] = "a b" }, ExitInvalid, "node name"},
		{"node name with an option", func(_ *rig, o *Options) { o.Nodes[1] = "-x" }, ExitInvalid, "node name"},
		{"this node is not in the list", func(_ *rig, o *Options) { o.Nodes = []string{"a", "b"} }, ExitInvalid, "not among"},
		{"unknown node", func(_ *rig, o *Options) { o.Nodes[1] = "nowhere" }, ExitInvalid, "no address"},
		{"node on loopback", func(_ *rig, o *Options) { o.Nodes[1] = "loop" }, ExitInvalid, "loopback"},
		{"no disk of that name", func(_ *rig, o *Options) { o.Disk = "hdisk99" }, ExitInvalid, "has no disk hdisk99"},
		{"bad disk name", func(_ *rig, o *Options) { o.Disk = "sda" }, ExitInvalid, "hdisk and a number"},
		{"disk not free", func(_ *rig, o *Options) { o.Disk = "hdisk0" }, ExitInvalid, "not free"},
		{"disk not free on the second node", func(r *rig, _ *Options) {
			r.w.Inject(phasim.Injection{Node: "ksys811", What: "disk busy", Value: "hdisk5"})
		}, ExitInvalid, "hdisk5 of ksys811 is not free"},
		{"same disk for both sites is normal, same node is not", func(r *rig, o *Options) {
			*o = r.dr()
			o.LocalNode = "ksys803p"
			o.Site2.Nodes = o.Site1.Nodes
		}, ExitInvalid, "named twice"},
		{"both sites of one name", func(r *rig, o *Options) {
			*o = r.dr()
			o.LocalNode, o.Site2.Name = "ksys803p", "site1"
		}, ExitInvalid, "both sites"},
		{"fileset missing", func(r *rig, _ *Options) {
			r.w.Inject(phasim.Injection{Node: "ksys810", What: "fileset missing", Value: "ksys.ha.license"})
		}, ExitFilesets, "Fileset ksys.ha.license is not installed.\n"},
		{"fileset missing on the second node", func(r *rig, _ *Options) {
			r.w.Inject(phasim.Injection{Node: "ksys811", What: "fileset missing", Value: "ksys.main.rte"})
		}, ExitFilesets, "Fileset ksys.main.rte is not installed on ksys811.\n"},
		{"not root", func(_ *rig, o *Options) { o.Root = false }, ExitInvalid, "only root"},
		{"no PowerHA", func(_ *rig, o *Options) { o.HavePHA = false }, ExitNoPowerHA, "not installed"},
		{"garbage from clmgr", func(r *rig, _ *Options) {
			r.w.Inject(phasim.Injection{Node: "ksys810", What: "cmd", Value: "clmgr garbage"})
		}, ExitUndecided, "cannot be told"},
		{"clmgr hangs", func(r *rig, _ *Options) {
			r.w.Inject(phasim.Injection{Node: "ksys810", What: "cmd", Value: "clmgr timeout"})
		}, ExitUndecided, "cannot be told"},
		{"another cluster", func(r *rig, o *Options) {
			r.w.Define()
			o.ClusterName = "mine"
		}, ExitExisting, "name: ksys810_cluster exists, mine is wanted"},
		{"another type", func(r *rig, _ *Options) {
			r.w.Define()
			r.w.Cluster.Type = "LC"
		}, ExitExisting, "type: LC exists, NSC is wanted"},
		{"abort on existing", func(r *rig, o *Options) { r.w.Define(); o.Existing = "abort" }, ExitExisting, "exists"},
		{"bad cluster name", func(_ *rig, o *Options) { o.ClusterName = "1 x" }, ExitInvalid, "cluster name"},
		{"short stabilization without --yes", func(_ *rig, o *Options) { o.Yes = false; o.Stabilize = 60 }, ExitInvalid, "--stabilization 60"},
		{"monitor interval below the monitor's own limit", func(_ *rig, o *Options) { o.Interval = 30 }, ExitInvalid, "--monitor-interval 30"},
		{"unknown words", func(_ *rig, o *Options) { o.Startup, o.Layout, o.Existing = "x", "y", "z" }, ExitInvalid, `--layout "y": it is one of wrapper, hardlink, copy`},
		{"no type", func(_ *rig, o *Options) { o.Type = "" }, ExitInvalid, "--type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "ha", "ksys810", "ksys811")
			o := r.ha()
			tc.change(r, &o)
			if code := r.drive(Create(o, nil)); code != tc.code {
				t.Errorf("exit status %d, want %d\n%s%s", code, tc.code, r.out.String(), r.errs.String())
			}
			if text := r.out.String() + r.errs.String(); !strings.Contains(text, tc.want) {
				t.Errorf("no %q in\n%s", tc.want, text)
			}
			for _, c := range r.changes {
				if strings.HasPrefix(c, "clmgr") {
					t.Errorf("PowerHA was changed: %s", c)
				}
			}
		})
	}
}

// All faults come in one run.
func TestCreate_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ha", "ksys810", "ksys811")
	o := r.ha()
	o.Nodes, o.Disk, o.Startup, o.ClusterName = []string{"ksys810", "nowhere", "a b"}, "hdisk99", "NEVER", "9"
	if code := r.drive(Create(o, nil)); code != ExitInvalid {
		t.Errorf("exit status %d", code)
	}
	for _, want := range []string{"no address", "node name", "has no disk", "--startup", "cluster name"} {
		if !strings.Contains(r.errs.String(), want) {
			t.Errorf("no %q in\n%s", want, r.errs.String())
		}
	}
}

func TestCreate_Dialogue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		input []string
		code  int
		// asks is how many prompts were shown.
		asks int
	}{
		{"q", []string{"q"}, ExitOK, 1},
		{"Q", []string{"Q"}, ExitOK, 1},
		{"end of input at the menu", nil, ExitOK, 1},
		{"three wrong selections", []string{"3", "x", ""}, ExitInvalid, 3},
		{"end of input at the nodes", []string{"1"}, ExitOK, 2},
		{"end of input at the disk", []string{"1", "ksys810,ksys811"}, ExitOK, 3},
		{"q at the disk", []string{"1", "ksys810,ksys811", "q"}, ExitOK, 3},
		{"three wrong node lists", []string{"1", "", "a", "a,a"}, ExitInvalid, 4},
		{"a wrong answer is asked again", []string{"7", "1", "ksys810", "ksys810,ksys811", "disk", "hdisk5"}, ExitOK, 6},
		{"end of input at the second site", []string{"2", "ksys810", "hdisk4"}, ExitOK, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "ha", "ksys810", "ksys811")
			r.input = tc.input
			if code := r.drive(Create(r.options(), nil)); code != tc.code {
				t.Errorf("exit status %d, want %d\n%s", code, tc.code, r.errs.String())
			}
			if n := strings.Count(r.out.String(), "Enter "); n != tc.asks {
				t.Errorf("%d questions, want %d\n%s", n, tc.asks, r.out.String())
			}
			if tc.name != "a wrong answer is asked again" && (len(r.changes) > 0 || len(r.saves) > 0) {
				t.Errorf("something was changed: %q %q", r.changes, r.saves)
			}
		})
	}
}

func TestCreate_DryRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, "dr", "ksys803p", "ksys804p")
	o := r.dr()
	o.DryRun, o.Root, o.HavePHA = true, false, false
	var plan []PlanStep
	if code := r.drive(Create(o, &plan)); code != ExitOK {
		t.Fatalf("exit status %d\n%s", code, r.errs.String())
	}
	golden(t, "dryrun", r.out.String())
	if len(r.changes) > 0 || len(r.saves) > 0 || r.w.Now != 0 {
		t.Errorf("a dry run did something: %q %q", r.changes, r.saves)
	}
	// What it lists is what a real run does, in this order.
	real := newRig(t, "dr", "ksys803p", "ksys804p")
	if code := real.drive(Create(real.dr(), nil)); code != ExitOK {
		t.Fatalf("exit status %d\n%s", code, real.errs.String())
	}
	var listed []string
	for _, p := range plan {
		listed = append(listed, Quote(p.Argv))
	}
	if d := cmp.Diff(listed, real.changes); d != "" {
		t.Errorf("the plan differs from the run (-plan +run):\n%s", d)
	}
	// With --probe what exists is left out.
	o.Probe = true
	o.LocalNode = "ksys803p"
	plan = nil
	real.drive(Create(o, &plan))
	if len(plan) != 0 {
		t.Errorf("everything exists, but the plan has %v", plan)
	}
}

func TestCreate_Update(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ha", "ksys810", "ksys811")
	if code := r.drive(Create(r.ha(), nil)); code != ExitOK {
		t.Fatal(code)
	}
	o := r.ha()
	o.Restarts = 3
	if code := r.drive(Create(o, nil)); code != ExitOK || len(r.changes) != 0 || !strings.Contains(r.errs.String(), "RESTARTCOUNT=1, not 3") {
		t.Errorf("reuse: status %d, changes %q\n%s", code, r.changes, r.errs.String())
	}
	o.Existing = "update"
	if code := r.drive(Create(o, nil)); code != ExitOK {
		t.Fatal(code)
	}
	want := []string{"clmgr modify application_monitor ksysmonstartup RESTARTCOUNT=3", "clmgr modify application_monitor ksysmonlongrun RESTARTCOUNT=3",
		"clmgr sync cluster", "clmgr verify cluster"}
	if d := cmp.Diff(want, r.changes); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

func TestCreate_XML(t *testing.T) {
	t.Parallel()
	known := "<a><!-- keep --><cluster><name>x</name><state>Online</state><type>DR</type></cluster></a>"
	for _, tc := range []struct {
		name, before, after string
		force               bool
	}{
		{"known form is edited", known, "<a><!-- keep --><cluster><name>ksys810_cluster</name><state>Online</state><type>HA</type></cluster></a>", false},
		{"unknown form is left", "<other/>", "<other/>", false},
		{"unknown form is replaced on demand", "<other/>", string(ksys.NewConfigXML(ksys.KsysCluster{Name: "ksys810_cluster", State: "Online", Type: "HA"})), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "ha", "ksys810", "ksys811")
			_ = r.files.Write("ksys810", ksys.ConfigXML, []byte(tc.before))
			o := r.ha()
			o.ForceXML = tc.force
			if code := r.drive(Create(o, nil)); code != ExitOK {
				t.Fatalf("exit status %d\n%s", code, r.errs.String())
			}
			for _, node := range []string{"ksys810", "ksys811"} {
				if got, _ := r.files.Read(node, ksys.ConfigXML); string(got) != tc.after {
					t.Errorf("%s has %s", node, got)
				}
			}
		})
	}
}

func TestRemoval(t *testing.T) {
	t.Parallel()
	made := func(t *testing.T) *rig {
		r := newRig(t, "ha", "ksys810", "ksys811")
		if code := r.drive(Create(r.ha(), nil)); code != ExitOK {
			t.Fatal(code)
		}
		r.w.Hosts = []string{"HG1", "HG2"}
		return r
	}
	yes := func(r *rig) Options {
		o := r.options()
		o.Yes, o.ClusterName = true, "ksys810_cluster"
		return o
	}
	t.Run("the paper's order", func(t *testing.T) {
		t.Parallel()
		r := made(t)
		if code := r.drive(Removal(yes(r))); code != ExitOK {
			t.Fatalf("exit status %d\n%s", code, r.errs.String())
		}
		want := []string{"clmgr offline cluster WHEN=now MANAGE=offline", "startrpdomain ksys810_cluster",
			"ksysmgr -f delete host_group HG1", "ksysmgr -f delete host_group HG2", "stoprpdomain ksys810_cluster", "clmgr delete cluster NODES=ALL"}
		if d := cmp.Diff(want, r.changes); d != "" {
			t.Errorf("commands (-want +got):\n%s", d)
		}
		if r.w.Cluster != nil || len(r.w.Hosts) != 0 {
			t.Error("something is left")
		}
		if _, err := r.files.Read("ksys810", ksys.ConfigXML); err != nil {
			t.Error("ksysmgr.xml must stay")
		}
		if _, err := r.files.Read("ksys810", scriptPath("startksys")); err == nil {
			t.Error("an unchanged wrapper must go")
		}
		if code := r.drive(Removal(yes(r))); code != ExitOK || len(r.changes) != 0 {
			t.Errorf("the second run: status %d, changes %q", code, r.changes)
		}
	})
	t.Run("a host group that stays stops it", func(t *testing.T) {
		t.Parallel()
		r := made(t)
		r.w.Inject(phasim.Injection{Node: "ksys810", What: "clmgr fail", Value: "delete host_group"})
		if code := r.drive(Removal(yes(r))); code != ExitStep || r.w.Cluster == nil {
			t.Errorf("status %d, cluster %v", code, r.w.Cluster)
		}
		r.w.Faults = nil
		if code := r.drive(Removal(yes(r))); code != ExitOK || r.w.Cluster != nil {
			t.Errorf("after the repair: status %d\n%s", code, r.errs.String())
		}
	})
	t.Run("the name has to be typed", func(t *testing.T) {
		t.Parallel()
		for _, tc := range []struct {
			input []string
			code  int
		}{{[]string{"other"}, ExitInvalid}, {nil, ExitOK}, {[]string{"ksys810_cluster"}, ExitOK}} {
			r := made(t)
			r.input = tc.input
			code := r.drive(Removal(r.options()))
			gone := len(tc.input) > 0 && tc.input[0] == "ksys810_cluster"
			if code != tc.code || (r.w.Cluster == nil) != gone {
				t.Errorf("answer %q: status %d, cluster %v", tc.input, code, r.w.Cluster)
			}
		}
	})
}

func TestFixScope(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ha", "ksys810", "ksys811")
	for i := range 2 {
		if code := r.drive(FixScope(r.options())); code != ExitOK || !r.w.KsysHA {
			t.Fatalf("exit status %d\n%s", code, r.errs.String())
		}
		if i == 1 && len(r.saves) != 0 {
			t.Error("the environment was written twice")
		}
	}
	if got, _ := r.files.Read("ksys810", environmentFile); string(got) != "CT_MANAGEMENT_SCOPE=2\n" {
		t.Errorf("environment %q", got)
	}
	r.node = "ksys811"
	if code := r.drive(FixScope(r.options())); code != ExitStep {
		t.Errorf("not the leader: exit status %d", code)
	}
}

// A Core that is dropped in the middle leaves nothing behind.
func TestCore_Stop(t *testing.T) {
	t.Parallel()
	c := Create(DefaultOptions(), nil)
	if _, ok := c.Step(time.Time{}, Begin{}).(Print); !ok {
		t.Error("the menu comes first")
	}
	c.Stop()
	if _, ok := c.Step(time.Time{}, Begin{}).(Finish); !ok {
		t.Error("a stopped sequence goes on")
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	if got := Quote([]string{"a", "b c", "", "it's", "X=1,2"}); got != `a 'b c' '' 'it'\''s' X=1,2` {
		t.Errorf("got %s", got)
	}
}
