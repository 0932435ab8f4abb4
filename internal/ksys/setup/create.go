package setup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

// Limits of the commands. Ours: sync, verify and online of a large cluster
// take many minutes.
const (
	queryLimit = 60 * time.Second
	srcLimit   = 15 * time.Second
	srcWait    = 30 * time.Second
	addLimit   = 300 * time.Second
	longLimit  = 1800 * time.Second
	pollPause  = time.Second
	statePause = 5 * time.Second
)

const (
	clmgr      = "clmgr"
	steps      = 14
	rhostsFile = "/etc/cluster/rhosts"
	// maxTries is how often a question is asked again.
	maxTries = 3
)

// creator is one run of the setup.
type creator struct {
	*Core
	o Options
	// changed says that this run changed the definition.
	changed bool
	// made are the commands that undo what this run added, newest last.
	made [][]string
	plan []PlanStep
	step int
	// exists says that the cluster is there already; left that the person
	// does not want to go on.
	exists, left bool
}

// PlanStep is one command of a dry run.
type PlanStep struct {
	Step int      `json:"step"`
	Argv []string `json:"argv"`
}

// Create is the sequence that builds the cluster. plan, if not nil, gets the
// commands of a dry run.
func Create(o Options, plan *[]PlanStep) *Core {
	return newCore(func(c *Core) int {
		r := &creator{Core: c, o: o}
		code := r.run()
		if plan != nil {
			*plan = r.plan
		}
		return code
	})
}

func (r *creator) run() int {
	if code, quit := r.questions(); quit {
		return code
	}
	if code := r.validate(); code != ExitOK {
		return code
	}
	code := r.build()
	if code == ExitStep && r.o.Rollback {
		r.rollback()
	}
	return code
}

const menu = `  PHA integration with KSYS

  Which PHA cluster do you need?
  -----
  1) Standard (HA)
  2) Linked (DR)

  q) Quit

`

// questions asks for what the flags left open: the dialogue of the paper's
// figures 3 and 4.
func (r *creator) questions() (code int, quit bool) {
	o := &r.o
	if o.Type == "" && o.Yes {
		r.tell("--type is needed with --yes")
		return ExitInvalid, true
	}
	if o.Type == "" {
		for tries := 0; o.Type == ""; tries++ {
			if tries == maxTries {
				return ExitInvalid, true
			}
			r.print(menu)
			a, _ := r.do(Ask{"  Enter your selection: "}).(Answer)
			switch strings.TrimSpace(a.Text) {
			case "1":
				o.Type = "ha"
				r.print("\n")
			case "2":
				o.Type = "dr"
			case "q", "Q":
				return ExitOK, true
			default:
				if a.EOF {
					return ExitOK, true
				}
				r.tell("Invalid selection.")
			}
		}
		word := strings.ToUpper(o.Type)
		r.print("You selected cluster type as " + word + "\nPlease provide the " + word + " values.\n\n")
	}
	if o.Type == "ha" {
		ok := r.list("Enter the ksys nodes separated by ',' : ", &o.Nodes, 2) && r.disk("Enter the shared disk: ", &o.Disk)
		if !ok {
			return r.gaveUp()
		}
		r.print("User provided KSYS nodes to be part of PHA: " + strings.Join(o.Nodes, ",") + "\n\n")
		return 0, false
	}
	ok := r.list("Enter the ksys nodes separated by ',' for site1: ", &o.Site1.Nodes, 1) &&
		r.disk("Enter repository disk for Site1: ", &o.Site1.Disk) &&
		r.list("Enter the ksys nodes separated by ',' for site2: ", &o.Site2.Nodes, 1) &&
		r.disk("Enter repository disk for Site2: ", &o.Site2.Disk)
	if !ok {
		return r.gaveUp()
	}
	for i, s := range []Site{o.Site1, o.Site2} {
		r.print(fmt.Sprintf("User provided KSYS nodes to be part of site%d: %s\nUser provided Repository disk to be part of site%d: %s\n",
			i+1, strings.Join(s.Nodes, ","), i+1, s.Disk))
	}
	return 0, false
}

// gaveUp is the status after a question without an answer: the end of the
// input and q are no errors.
func (r *creator) gaveUp() (int, bool) {
	if r.left {
		return ExitOK, true
	}
	return ExitInvalid, true
}

// ask asks up to maxTries times until check finds no fault.
func (r *creator) ask(prompt string, check func(text string) []string) bool {
	if r.o.Yes {
		r.tell("an answer is missing, and --yes forbids to ask: " + strings.TrimSpace(prompt))
		return false
	}
	for range maxTries {
		a, _ := r.do(Ask{prompt}).(Answer)
		text := strings.TrimSpace(a.Text)
		if a.EOF && text == "" || strings.EqualFold(text, "q") {
			r.left = true
			return false
		}
		faults := check(text)
		if len(faults) == 0 {
			return true
		}
		for _, f := range faults {
			r.tell(f)
		}
	}
	return false
}

func (r *creator) list(prompt string, to *[]string, low int) bool {
	if len(*to) > 0 {
		return true
	}
	return r.ask(prompt, func(text string) []string {
		nodes := SplitNodes(text)
		faults := checkNodes(nodes, low)
		if len(faults) == 0 {
			*to = nodes
		}
		return faults
	})
}

func (r *creator) disk(prompt string, to *string) bool {
	if *to != "" {
		return true
	}
	return r.ask(prompt, func(text string) []string {
		if f := badDisk(text); f != "" {
			return []string{f}
		}
		*to = text
		return nil
	})
}

// validate checks everything that can be checked before a change, collects
// all faults, and then the filesets.
func (r *creator) validate() int {
	o := &r.o
	faults := o.static()
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	dry := o.DryRun && !o.Probe
	if !o.Root && !o.DryRun {
		add("only root can configure PowerHA")
	}
	nodes := o.all()
	home := nodes
	if o.Type == "dr" && !o.Yes {
		home = o.Site1.Nodes
	}
	isLocal := func(n string) bool { return ksys.SameHost(n, o.LocalNode) }
	if !slices.ContainsFunc(home, isLocal) && !dry {
		add("this node, %s, is not among the nodes %s", o.LocalNode, strings.Join(home, ","))
	}
	for _, n := range nodes {
		if dry || badNode(n) != "" {
			continue
		}
		a, _ := r.do(Resolve{n}).(Addresses)
		switch {
		case a.Err != nil || len(a.List) == 0:
			add("node %s has no address", n)
		case slices.ContainsFunc(a.List, func(ip string) bool { return strings.HasPrefix(ip, "127.") || ip == "::1" }):
			add("node %s has a loopback address: %s", n, strings.Join(a.List, " "))
		}
	}
	if o.HaveLspv && !dry {
		disk := o.Disk
		if o.Type == "dr" {
			disk = o.Site1.Disk
			if slices.ContainsFunc(o.Site2.Nodes, isLocal) {
				disk = o.Site2.Disk
			}
		}
		if f := r.checkDisk(o.LocalNode, disk, []string{"lspv"}); f != "" {
			add("%s", f)
		}
	}
	if len(faults) > 0 {
		for _, f := range faults {
			r.tell(f)
		}
		return ExitInvalid
	}
	if !o.HavePHA && !o.DryRun {
		r.tell("PowerHA SystemMirror is not installed: clmgr was not found")
		return ExitNoPowerHA
	}
	if o.HaveLslpp && !dry {
		if !r.filesets("", nil) {
			return ExitFilesets
		}
		r.print("All filesets are present.\n\n")
	}
	return ExitOK
}

// checkDisk looks at a disk with the given lspv command. A disk that belongs
// to the repository of the existing cluster is found in caavg_private.
func (r *creator) checkDisk(node, disk string, argv []string) string {
	ran := r.exec(Exec{Argv: argv, Limit: queryLimit})
	if !ran.OK() {
		return fmt.Sprintf("disks of %s cannot be listed", node)
	}
	for _, v := range ksys.ParseVolumes(ran.Stdout) {
		switch {
		case v.Name != disk:
			continue
		case v.PVID == "none":
			return fmt.Sprintf("disk %s of %s has no physical volume id", disk, node)
		case v.Group != "None" && v.Group != "caavg_private":
			return fmt.Sprintf("disk %s of %s is not free: it is in volume group %s", disk, node, v.Group)
		}
		return ""
	}
	return fmt.Sprintf("%s has no disk %s", node, disk)
}

// levels are the oldest versions of the paper's requirements, by prefix of
// the fileset's name.
var levels = []struct{ prefix, level string }{{"cluster.es.", "7.1.3"}, {"ksys.", "1.3.0.2"}}

// filesets checks the filesets of a node; prefix is how commands get there.
func (r *creator) filesets(node string, prefix []string) bool {
	where := ""
	if node != "" {
		where = " on " + node
	}
	good := true
	optional := "ksys.main.msg.en_US.cmds"
	for _, name := range append(ksys.Filesets(r.o.Type), optional) {
		ran := r.exec(Exec{Argv: append(slices.Clone(prefix), "lslpp", "-lc", name), Limit: queryLimit})
		f, ok := ksys.FindFileset(ran.Stdout, name)
		switch {
		case (!ok || f.Broken || ran.Code != 0) && name == optional:
			r.tell("warning: fileset " + name + " is not installed" + where)
		case !ok || f.Broken || ran.Code != 0:
			good = false
			if node == "" {
				r.print("Fileset " + name + " is not installed.\n")
			} else {
				r.print("Fileset " + name + " is not installed on " + node + ".\n")
			}
		default:
			for _, l := range levels {
				if strings.HasPrefix(name, l.prefix) && older(f.Level, l.level) {
					r.tell(fmt.Sprintf("warning: fileset %s%s is at level %s; %s or later is needed", name, where, f.Level, l.level))
				}
			}
		}
	}
	return good
}

// older compares levels number by number.
func older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range bs {
		x, y := 0, 0
		if i < len(as) {
			fmt.Sscan(as[i], &x)
		}
		fmt.Sscan(bs[i], &y)
		if x != y {
			return x < y
		}
	}
	return false
}

// begin reports the start of a step.
func (r *creator) begin(number int, name string) {
	r.step = number
	if !r.o.DryRun {
		r.do(Report{Number: number, Of: steps, Name: name})
	}
}

func (r *creator) end(name, result string) {
	if !r.o.DryRun {
		r.do(Report{Number: r.step, Of: steps, Name: name, Result: result})
	}
}

// query runs a command that changes nothing. In a dry run without --probe it
// is not run, and nothing is taken to exist.
func (r *creator) query(argv ...string) Ran {
	if r.o.DryRun && !r.o.Probe {
		return Ran{Code: 1, Stderr: "ERROR: no cluster is defined.\n"}
	}
	return r.exec(Exec{Argv: argv, Limit: queryLimit})
}

// change runs a command that changes something, or shows it in a dry run.
func (r *creator) change(limit time.Duration, pass bool, argv ...string) Ran {
	if r.o.DryRun {
		r.plan = append(r.plan, PlanStep{r.step, argv})
		r.print("+ " + Quote(argv) + "\n")
		return Ran{}
	}
	return r.exec(Exec{Argv: argv, Limit: limit, Pass: pass})
}

// failed reports a step that did not work, with the end of what was printed.
func (r *creator) failed(name string, argv []string, ran Ran) int {
	r.end(name, "failed")
	why := fmt.Sprintf("exit status %d", ran.Code)
	switch {
	case ran.Missing:
		why = "the command is not installed"
	case ran.Err != nil:
		why = ran.Err.Error()
	}
	r.tell(fmt.Sprintf("step %d, %s, failed: %s: %s", r.step, name, Quote(argv), why))
	lines := strings.Split(strings.TrimRight(ran.Text(), "\n"), "\n")
	for _, l := range lines[max(0, len(lines)-20):] {
		r.tell("  " + l)
	}
	r.tell("what was done stays; correct the cause and run it again with --resume")
	return ExitStep
}

// add makes one PowerHA object unless it is there. undo is its class and name.
func (r *creator) add(number int, class, name string, attrs ...string) int {
	title := "add " + class + " " + name
	r.begin(number, title)
	if q := r.query(clmgr, "query", class, name); q.OK() {
		return r.compare(title, class, name, ksys.ParseAttributes(q.Stdout), attrs)
	}
	argv := append([]string{clmgr, "add", class, name}, attrs...)
	if ran := r.change(addLimit, true, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	r.changed = true
	r.made = append(r.made, []string{clmgr, "delete", class, name})
	r.end(title, "ok")
	return ExitOK
}

// compare looks at an object that exists: differences are warnings, or are
// changed with --existing update.
func (r *creator) compare(title, class, name string, have []ksys.Attribute, want []string) int {
	var differ []string
	for _, w := range want {
		k, v, _ := strings.Cut(w, "=")
		if h, ok := ksys.Attr(have, k); ok && !sameValue(h, v) {
			differ = append(differ, w)
			r.tell(fmt.Sprintf("warning: %s %s has %s=%s, not %s", class, name, k, h, v))
		}
	}
	if len(differ) > 0 && r.o.Existing == "update" {
		argv := append([]string{clmgr, "modify", class, name}, differ...)
		if ran := r.change(addLimit, true, argv...); !ran.OK() {
			return r.failed(title, argv, ran)
		}
		r.changed = true
		r.end(title, "updated")
		return ExitOK
	}
	r.end(title, "exists")
	return ExitOK
}

// sameValue compares attribute values; lists can have blanks or commas.
func sameValue(a, b string) bool {
	norm := func(s string) string {
		return strings.ToLower(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' }), ","))
	}
	return norm(a) == norm(b)
}

// build is the ordered part: the paper's steps 2 to 14.
func (r *creator) build() int {
	o := &r.o
	// The query decides whether step 3 is needed; its text is shown at its
	// place in the paper's order.
	known := r.query(clmgr, "query", "cluster")
	switch {
	case strings.Contains(known.Text(), "no cluster is defined"):
	case known.OK():
		r.exists = true
	default:
		r.tell("it cannot be told whether a cluster exists: clmgr query cluster: " + firstLine(known.Text()))
		return ExitUndecided
	}
	if r.exists {
		if code := r.adopt(known); code != ExitOK {
			return code
		}
	}
	for _, part := range []func() int{r.rhosts, r.clcomd} {
		if code := part(); code != ExitOK {
			return code
		}
	}
	if !r.exists {
		if code := r.remote(); code != ExitOK {
			return code
		}
		r.begin(4, "query cluster")
		blank := "\n"
		if o.Type == "dr" {
			blank = ""
		}
		if !o.DryRun {
			r.print(blank + strings.TrimRight(known.Text(), "\n") + "\n" + blank +
				"No PHA cluster is present. Creating PHA cluster with name " + o.clusterName() + ".\n")
		}
		r.end("query cluster", "none")
		if code := r.cluster(); code != ExitOK {
			return code
		}
	}
	for _, part := range []func() int{r.objects, r.xml, r.collection, r.sync, r.online, r.settle} {
		if code := part(); code != ExitOK {
			return code
		}
	}
	return ExitOK
}

func firstLine(s string) string {
	l, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return l
}

// adopt compares an existing cluster with the wanted one.
func (r *creator) adopt(known Ran) int {
	o := &r.o
	attrs := ksys.ParseAttributes(known.Stdout)
	name, ok := ksys.Attr(attrs, "CLUSTER_NAME")
	if !ok {
		r.tell("it cannot be told which cluster exists: clmgr query cluster prints no CLUSTER_NAME")
		return ExitUndecided
	}
	if o.Existing == "abort" {
		r.tell("PHA cluster " + name + " exists")
		return ExitExisting
	}
	var differ []string
	if o.ClusterName != "" && o.ClusterName != name {
		differ = append(differ, fmt.Sprintf("name: %s exists, %s is wanted", name, o.ClusterName))
	}
	if t, ok := ksys.Attr(attrs, "TYPE"); ok && t != r.clusterType() {
		differ = append(differ, fmt.Sprintf("type: %s exists, %s is wanted", t, r.clusterType()))
	}
	if have, ok := ksys.Attr(attrs, "NODES"); ok {
		labels := func(list []string) string {
			var out []string
			for _, n := range list {
				out = append(out, strings.ToLower(ksys.FirstLabel(n)))
			}
			slices.Sort(out)
			return strings.Join(out, ",")
		}
		a := labels(strings.FieldsFunc(have, func(c rune) bool { return c == ' ' || c == ',' }))
		if b := labels(o.all()); a != b {
			differ = append(differ, fmt.Sprintf("nodes: %s exist, %s are wanted", a, b))
		}
	}
	if len(differ) > 0 {
		r.tell("PHA cluster " + name + " exists and differs:")
		for _, d := range differ {
			r.tell("  " + d)
		}
		return ExitExisting
	}
	o.ClusterName = name
	r.print("PHA cluster " + name + " is already present.\n")
	return ExitOK
}

func (r *creator) clusterType() string {
	if r.o.Type == "dr" {
		return "LC"
	}
	return "NSC"
}

// rhosts is step 2: clcomd talks only to the addresses in its file.
func (r *creator) rhosts() int {
	const title = "add nodes to " + rhostsFile
	r.begin(2, title)
	if r.o.Rhosts == "keep" || r.exists {
		r.end(title, "kept")
		return ExitOK
	}
	if r.o.DryRun {
		r.print("+ add the addresses of " + strings.Join(r.o.all(), " ") + " to " + rhostsFile + "\n")
		return ExitOK
	}
	c, _ := r.do(Read{rhostsFile}).(Content)
	if c.Err != nil {
		return r.failed(title, []string{"read", rhostsFile}, Ran{Err: c.Err})
	}
	text := string(c.Data)
	have := strings.Fields(text)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	added := false
	for _, n := range r.o.all() {
		a, _ := r.do(Resolve{n}).(Addresses)
		for _, ip := range a.List {
			if !slices.Contains(have, ip) && !slices.Contains(have, n) {
				text += ip + "\n"
				have = append(have, ip)
				added = true
			}
		}
	}
	if !added {
		r.end(title, "nothing to add")
		return ExitOK
	}
	if d, _ := r.do(Save{Path: rhostsFile, Data: []byte(text), Mode: 0o600, Backup: c.Exists}).(Done); d.Err != nil {
		return r.failed(title, []string{"write", rhostsFile}, Ran{Err: d.Err})
	}
	r.end(title, "ok")
	return ExitOK
}

// clcomd is step 3: the daemon reads its file only at its start.
func (r *creator) clcomd() int {
	const title = "restart clcomd"
	r.begin(3, title)
	if r.exists {
		r.end(title, "not needed")
		return ExitOK
	}
	for _, part := range []struct{ verb, want string }{{"stopsrc", "inoperative"}, {"startsrc", "active"}} {
		argv := []string{part.verb, "-s", "clcomd"}
		ran := r.change(srcLimit, true, argv...)
		down := strings.Contains(ran.Text(), "0513-004") || strings.Contains(ran.Text(), "0513-029")
		if !ran.OK() && !down {
			return r.failed(title, argv, ran)
		}
		if r.o.DryRun {
			continue
		}
		if !r.until(srcWait, pollPause, func() bool {
			q := r.exec(Exec{Argv: []string{"lssrc", "-s", "clcomd"}, Limit: srcLimit})
			return stateOf(q.Stdout, "clcomd") == part.want
		}) {
			return r.failed(title, argv, Ran{Err: fmt.Errorf("clcomd is not %s within %v", part.want, srcWait)})
		}
	}
	r.end(title, "ok")
	return ExitOK
}

// stateOf is the last word of a subsystem's line.
func stateOf(text, name string) string {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return f[len(f)-1]
		}
	}
	return ""
}

// until polls cond until it is true or the time is over.
func (r *creator) until(limit, pause time.Duration, cond func() bool) bool {
	for began := r.now; ; {
		if cond() {
			return true
		}
		if r.now.Sub(began) >= limit {
			return false
		}
		r.do(Pause{pause})
	}
}

// remote checks filesets and disks of the other nodes through clcomd, which
// works from step 3 on. Without cl_rsh clmgr has the last word.
func (r *creator) remote() int {
	o := &r.o
	if !o.HaveRemote || o.DryRun && !o.Probe {
		return ExitOK
	}
	good := true
	var faults []string
	for _, n := range o.all() {
		if ksys.SameHost(n, o.LocalNode) {
			continue
		}
		prefix := []string{"cl_rsh", n}
		if ran := r.exec(Exec{Argv: append(slices.Clone(prefix), "lslpp", "-lc", "cluster.es.server.rte"), Limit: queryLimit}); ran.Missing || ran.Err != nil || ran.Text() == "" {
			r.tell("warning: " + n + " cannot be asked through clcomd; its filesets and disks are not checked")
			continue
		}
		good = r.filesets(n, prefix) && good
		disk := o.Disk
		if o.Type == "dr" {
			disk = o.Site2.Disk
			if slices.Contains(o.Site1.Nodes, n) {
				disk = o.Site1.Disk
			}
		}
		if f := r.checkDisk(n, disk, append(slices.Clone(prefix), "lspv")); f != "" {
			faults = append(faults, f)
		}
	}
	for _, f := range faults {
		r.tell(f)
	}
	switch {
	case !good:
		return ExitFilesets
	case len(faults) > 0:
		return ExitInvalid
	}
	return ExitOK
}

// cluster is step 5.
func (r *creator) cluster() int {
	o := &r.o
	title := "add cluster " + o.clusterName()
	r.begin(5, title)
	argv := []string{clmgr, "add", "cluster", o.clusterName(), "TYPE=" + r.clusterType(), "NODES=" + strings.Join(o.all(), ",")}
	if o.Type == "ha" {
		argv = append(argv, "REPOSITORIES="+o.Disk)
	}
	if o.Heartbeat != "" {
		argv = append(argv, "HEARTBEAT_TYPE="+o.Heartbeat)
	}
	if ran := r.change(addLimit, true, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	r.changed = true
	r.made = append(r.made, []string{clmgr, "delete", "cluster", "NODES=ALL"})
	r.end(title, "ok")
	return ExitOK
}

// objects are steps 5 (sites) to 9.
func (r *creator) objects() int {
	o := &r.o
	if o.Type == "dr" {
		for _, s := range []Site{o.Site1, o.Site2} {
			if code := r.add(5, "site", s.Name, "NODES="+strings.Join(s.Nodes, ","), "REPOSITORIES="+s.Disk); code != ExitOK {
				return code
			}
		}
	}
	say := func(text string) {
		if !o.DryRun {
			r.print(text)
		}
	}
	present := func(class, name string) bool { return r.exists && r.query(clmgr, "query", class, name).OK() }
	if !present("application_controller", ksys.Controller) {
		say("Adding KSYS app controller " + ksys.Controller + ".\n")
	}
	attrs := []string{"STARTSCRIPT=" + scriptPath("startksys"), "STOPSCRIPT=" + scriptPath("stopksys")}
	if o.StartMode != "" {
		attrs = append(attrs, "STARTUP_MODE="+o.StartMode)
	}
	if code := r.add(6, "application_controller", ksys.Controller, attrs...); code != ExitOK {
		return code
	}
	monitor := func(mode, script string) []string {
		return []string{"TYPE=Custom", "MODE=" + mode, "APPLICATIONS=" + ksys.Controller, "MONITORMETHOD=" + scriptPath(script),
			fmt.Sprintf("MONITORINTERVAL=%d", o.Interval), fmt.Sprintf("STABILIZATION=%d", o.Stabilize),
			fmt.Sprintf("RESTARTCOUNT=%d", o.Restarts), "FAILUREACTION=fallover"}
	}
	if !present("application_monitor", ksys.StartupMonitor) {
		say("Adding KSYS startup app monitor " + ksys.StartupMonitor + ".\n")
	}
	if code := r.add(7, "application_monitor", ksys.StartupMonitor, monitor("startup", "startupmonksys")...); code != ExitOK {
		return code
	}
	if !present("application_monitor", ksys.LongrunMonitor) {
		name := ksys.LongrunMonitor
		if o.PaperOutput {
			name = "" // the paper's script has an empty variable here
		}
		say("Adding KSYS long running app monitor " + name + ".\n")
	}
	if code := r.add(8, "application_monitor", ksys.LongrunMonitor, monitor("longrunning", "longrunmonksys")...); code != ExitOK {
		return code
	}
	where := []string{"NODES=" + strings.Join(o.all(), ",")}
	if o.Type == "dr" {
		where = []string{"PRIMARYNODES=" + o.Site1.Name, "SECONDARYNODES=" + o.Site2.Name, "SITE_POLICY=ignore"}
	}
	return r.add(9, "resource_group", ksys.ResourceGroup, append(where, "STARTUP="+o.Startup, "FALLOVER=FNPN", "FALLBACK=NFB", "APPLICATIONS="+ksys.Controller)...)
}

// xml is step 10: KSYS reads its cluster's name and type from the file.
func (r *creator) xml() int {
	const title = "write " + ksys.ConfigXML
	r.begin(10, title)
	typ := strings.ToUpper(r.o.Type)
	if r.o.DryRun {
		r.print("+ write cluster name " + r.o.clusterName() + " and type " + typ + " to " + ksys.ConfigXML + "\n")
		return ExitOK
	}
	c, _ := r.do(Read{ksys.ConfigXML}).(Content)
	if c.Err != nil {
		return r.failed(title, []string{"read", ksys.ConfigXML}, Ran{Err: c.Err})
	}
	fresh := ksys.NewConfigXML(ksys.KsysCluster{Name: r.o.clusterName(), State: "Online", Type: typ})
	data := fresh
	if c.Exists {
		edited, err := ksys.EditConfigXML(c.Data, r.o.clusterName(), typ)
		switch {
		case err == nil:
			data = edited
		case r.o.ForceXML:
			r.tell("warning: " + ksys.ConfigXML + " is replaced: " + err.Error())
		default:
			r.tell("warning: " + ksys.ConfigXML + " is left as it is: " + err.Error() + " (--force-xml replaces it)")
			r.tell("xml: skipped")
			r.end(title, "skipped")
			return ExitOK
		}
	}
	if c.Exists && string(data) == string(c.Data) {
		r.end(title, "identical")
		return ExitOK
	}
	if d, _ := r.do(Save{Path: ksys.ConfigXML, Data: data, Mode: 0o644, Backup: c.Exists}).(Done); d.Err != nil {
		return r.failed(title, []string{"write", ksys.ConfigXML}, Ran{Err: d.Err})
	}
	r.changed = true
	r.end(title, "ok")
	return ExitOK
}

// collection is step 11, with the scripts themselves.
func (r *creator) collection() int {
	files := make([]string, 0, 5)
	for _, s := range scripts() {
		files = append(files, scriptPath(s))
		if r.o.DryRun {
			r.print("+ install " + scriptPath(s) + " (" + r.o.Layout + ")\n")
			continue
		}
		if d, _ := r.do(Script{s, r.o.Layout}).(Done); d.Err != nil {
			return r.failed("install "+s, []string{"write", scriptPath(s)}, Ran{Err: d.Err})
		}
	}
	return r.add(11, "file_collection", ksys.FileCollection, "FILES="+strings.Join(append(files, ksys.ConfigXML), ","),
		"SYNC_WITH_CLUSTER=yes", "SYNC_WHEN_CHANGED=yes")
}

// sync is step 12. PowerHA knows whether something is not yet deployed; an
// answer without that attribute counts only what this run changed.
func (r *creator) sync() int {
	const title = "synchronize and verify"
	r.begin(12, title)
	need := r.changed || r.o.DryRun && !r.o.Probe
	if !need {
		q := r.query(clmgr, "query", "cluster")
		v, ok := ksys.Attr(ksys.ParseAttributes(q.Stdout), "UNSYNCED_CHANGES")
		need = ok && !strings.EqualFold(v, "false") || !ok && r.o.Resume
	}
	if !need {
		r.end(title, "not needed")
		return ExitOK
	}
	for _, verb := range []string{"sync", "verify"} {
		argv := []string{clmgr, verb, "cluster"}
		if ran := r.change(longLimit, true, argv...); !ran.OK() {
			return r.failed(title, argv, ran)
		}
	}
	r.end(title, "ok")
	return ExitOK
}

// stable reports whether every node's cluster manager is stable.
func (r *creator) stable() bool {
	q := r.query("clcmd", "lssrc", "-ls", "clstrmgrES")
	seen := map[string]bool{}
	for _, n := range ksys.ParseClcmd(q.Stdout) {
		if ksys.ClusterManagerState(n.Text) != "ST_STABLE" {
			return false
		}
		seen[strings.ToLower(ksys.FirstLabel(n.Node))] = true
	}
	for _, n := range r.o.all() {
		if !seen[strings.ToLower(ksys.FirstLabel(n))] {
			return false
		}
	}
	return true
}

// online is step 13.
func (r *creator) online() int {
	const title = "bring the cluster online"
	r.begin(13, title)
	switch {
	case r.o.NoOnline:
		r.end(title, "left out")
		return ExitOK
	case (!r.o.DryRun || r.o.Probe) && r.stable():
		r.end(title, "is online")
		return ExitOK
	}
	argv := []string{clmgr, "online", "cluster", "WHEN=now", "MANAGE=auto"}
	if r.o.PaperOutput {
		// The paper's script leaves both out, and clmgr says so.
		argv = argv[:3]
	}
	if ran := r.change(longLimit, true, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	r.end(title, "ok")
	return ExitOK
}

// settle is step 14: wait until the cluster is stable and the group online.
func (r *creator) settle() int {
	const title = "wait for the resource group"
	r.begin(14, title)
	if r.o.NoOnline || r.o.DryRun {
		r.end(title, "left out")
		return ExitOK
	}
	online := func() string {
		q := r.query("clRGinfo")
		for _, g := range ksys.ParseGroups(q.Stdout) {
			if g.Group == ksys.ResourceGroup && g.State == "ONLINE" {
				return g.Node
			}
		}
		return ""
	}
	node := ""
	if !r.until(r.o.Wait, statePause, func() bool {
		if !r.stable() {
			return false
		}
		node = online()
		return node != ""
	}) {
		return r.failed(title, []string{"clRGinfo"}, Ran{Err: fmt.Errorf("%s is not online on a stable cluster within %v", ksys.ResourceGroup, r.o.Wait)})
	}
	q := r.query("clcmd", "haobox", "--version")
	version := ""
	for _, n := range ksys.ParseClcmd(q.Stdout) {
		text := strings.TrimSpace(n.Text)
		if version == "" {
			version = text
		}
		if text != version {
			r.tell(fmt.Sprintf("warning: haobox differs between the nodes: %q on %s, %q on the first", text, n.Node, version))
		}
	}
	r.end(title, "ok")
	r.tell(ksys.ResourceGroup + " is online on " + node)
	return ExitOK
}

// rollback undoes what this run added, newest first.
func (r *creator) rollback() {
	for _, argv := range slices.Backward(r.made) {
		r.tell("undo: " + Quote(argv))
		if ran := r.exec(Exec{Argv: argv, Limit: addLimit, Pass: true}); !ran.OK() {
			r.tell("undo failed: " + Quote(argv) + ": " + firstLine(ran.Text()))
		}
	}
}
