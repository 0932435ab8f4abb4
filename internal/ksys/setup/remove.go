package setup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

const domainWait = 120 * time.Second

// removeSteps is the number of steps of the removal.
const removeSteps = 6

// Removal is the sequence of the paper's "Deleting a KSYS and PowerHA
// cluster". A host group that cannot be deleted stops it before the cluster
// goes, because without the cluster nobody could delete it later.
func Removal(o Options) *Core {
	return newCore(func(c *Core) int { return (&remover{Core: c, o: o}).run() })
}

type remover struct {
	*Core
	o    Options
	step int
}

func (r *remover) begin(n int, name string) {
	r.step = n
	r.do(Report{Number: n, Of: removeSteps, Name: name})
}

func (r *remover) end(name, result string) {
	r.do(Report{Number: r.step, Of: removeSteps, Name: name, Result: result})
}

func (r *remover) failed(name string, argv []string, ran Ran) int {
	r.end(name, "failed")
	why := fmt.Sprintf("exit status %d: %s", ran.Code, firstLine(ran.Text()))
	if ran.Err != nil {
		why = ran.Err.Error()
	}
	r.tell(fmt.Sprintf("step %d, %s, failed: %s: %s", r.step, name, Quote(argv), why))
	return ExitStep
}

func (r *remover) query(argv ...string) Ran { return r.exec(Exec{Argv: argv, Limit: queryLimit}) }

func (r *remover) change(limit time.Duration, argv ...string) Ran {
	return r.exec(Exec{Argv: argv, Limit: limit, Pass: true})
}

func (r *remover) until(limit time.Duration, cond func() bool) bool {
	for began := r.now; ; {
		if cond() {
			return true
		}
		if r.now.Sub(began) >= limit {
			return false
		}
		r.do(Pause{statePause})
	}
}

func (r *remover) run() int {
	q := r.query(clmgr, "query", "cluster")
	exists := q.OK()
	switch {
	case q.Missing:
		r.tell("PowerHA SystemMirror is not installed: clmgr was not found")
		return ExitNoPowerHA
	case !exists && !strings.Contains(q.Text(), "no cluster is defined"):
		r.tell("it cannot be told whether a cluster exists: " + firstLine(q.Text()))
		return ExitUndecided
	}
	name, _ := ksys.Attr(ksys.ParseAttributes(q.Stdout), "CLUSTER_NAME")
	if code, sure := r.confirm(exists, name); !sure {
		return code
	}
	for _, part := range []func() int{
		func() int { return r.offline(exists) },
		func() int { return r.domain(exists, name) },
		func() int { return r.hostGroups() },
		func() int { return r.stopDomain(exists, name) },
		func() int { return r.cluster(exists) },
		r.files,
	} {
		if code := part(); code != ExitOK {
			return code
		}
	}
	return ExitOK
}

// confirm wants the cluster's name typed, or given with --yes.
func (r *remover) confirm(exists bool, name string) (code int, sure bool) {
	switch {
	case !exists:
		return ExitOK, true
	case r.o.Yes && r.o.ClusterName == name:
		return ExitOK, true
	case r.o.Yes:
		r.tell(fmt.Sprintf("--cluster-name %q is not the name of the cluster, %s", r.o.ClusterName, name))
		return ExitInvalid, false
	}
	r.print("This removes the PHA cluster " + name + " and all KSYS host groups.\n")
	a, _ := r.do(Ask{"Enter the cluster name to go on: "}).(Answer)
	if name != "" && strings.TrimSpace(a.Text) == name {
		return ExitOK, true
	}
	r.tell("that is not the cluster's name; nothing was changed")
	if a.EOF {
		return ExitOK, false
	}
	return ExitInvalid, false
}

// offline is step 1.
func (r *remover) offline(exists bool) int {
	const title = "take the cluster offline"
	r.begin(1, title)
	idle := func() bool {
		for _, g := range ksys.ParseGroups(r.query("clRGinfo").Stdout) {
			if g.State == "ONLINE" || g.State == "ACQUIRING" || g.State == "RELEASING" {
				return false
			}
		}
		return true
	}
	q := r.query(clmgr, "query", "cluster")
	state, _ := ksys.Attr(ksys.ParseAttributes(q.Stdout), "STATE")
	if !exists || strings.EqualFold(state, "OFFLINE") && idle() {
		r.end(title, "is offline")
		return ExitOK
	}
	argv := []string{clmgr, "offline", "cluster", "WHEN=now", "MANAGE=offline"}
	if ran := r.change(longLimit, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	if !r.until(r.o.Wait, idle) {
		return r.failed(title, argv, Ran{Err: errors.New("a resource group is still online")})
	}
	r.end(title, "ok")
	return ExitOK
}

// domainState is the state of the peer domain, "" if there is none.
func (r *remover) domainState(name string) string {
	header := false
	for line := range strings.Lines(r.query("lsrpdomain").Stdout) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "Name" {
			header = true
		} else if header && len(f) >= 6 && (name == "" || f[0] == name) {
			return strings.Join(f[1:len(f)-4], " ")
		}
	}
	return ""
}

// domain is step 2: host groups can be deleted only in an online domain.
func (r *remover) domain(exists bool, name string) int {
	const title = "start the peer domain"
	r.begin(2, title)
	state := r.domainState(name)
	if !exists || state == "" || state == "Online" {
		r.end(title, "not needed")
		return ExitOK
	}
	argv := []string{"startrpdomain", name}
	if ran := r.change(addLimit, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	if !r.until(domainWait, func() bool { return r.domainState(name) == "Online" }) {
		return r.failed(title, argv, Ran{Err: fmt.Errorf("the domain is not online within %v", domainWait)})
	}
	r.end(title, "ok")
	return ExitOK
}

// hostGroups is step 3.
func (r *remover) hostGroups() int {
	const title = "delete the host groups"
	r.begin(3, title)
	argv := []string{"ksysmgr", "query", "host_group"}
	q := r.query(argv...)
	// 2 is ksysmgr's "not found".
	if q.Code == 2 || q.Missing {
		r.end(title, "none")
		return ExitOK
	}
	if !q.OK() {
		return r.failed(title, argv, q)
	}
	for _, name := range ksys.KsysNames(q.Stdout) {
		argv := []string{"ksysmgr", "-f", "delete", "host_group", name}
		if ran := r.change(addLimit, argv...); !ran.OK() {
			return r.failed(title, argv, ran)
		}
	}
	r.end(title, "ok")
	return ExitOK
}

// stopDomain is step 4. On a domain that CAA made the command does nothing;
// that it exits with 0 is enough.
func (r *remover) stopDomain(exists bool, name string) int {
	const title = "stop the peer domain"
	r.begin(4, title)
	if !exists || r.domainState(name) != "Online" {
		r.end(title, "not needed")
		return ExitOK
	}
	argv := []string{"stoprpdomain", name}
	if ran := r.change(addLimit, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	r.end(title, "ok")
	return ExitOK
}

// cluster is step 5.
func (r *remover) cluster(exists bool) int {
	const title = "delete the cluster"
	r.begin(5, title)
	if !exists {
		r.end(title, "none")
		return ExitOK
	}
	argv := []string{clmgr, "delete", "cluster", "NODES=ALL"}
	if ran := r.change(longLimit, argv...); !ran.OK() {
		return r.failed(title, argv, ran)
	}
	r.end(title, "ok")
	return ExitOK
}

// files is step 6: our own files. ksysmgr.xml and the logs stay, and so does
// a wrapper that somebody changed.
func (r *remover) files() int {
	const title = "remove the state files and unchanged scripts"
	r.begin(6, title)
	dir := ksys.DefaultConfig().StateDir
	for _, f := range []string{ksys.FlagFile, ksys.LockFile, ksys.CounterFile, ksys.CancelFile} {
		if d, _ := r.do(Remove{dir + "/" + f}).(Done); d.Err != nil {
			r.tell("warning: " + d.Err.Error())
		}
	}
	for _, s := range scripts() {
		c, _ := r.do(Read{scriptPath(s)}).(Content)
		if c.Exists && slices.Equal(c.Data, WrapperText(s)) {
			if d, _ := r.do(Remove{scriptPath(s)}).(Done); d.Err != nil {
				r.tell("warning: " + d.Err.Error())
			}
		}
	}
	r.end(title, "ok")
	return ExitOK
}

// environmentFile is where AIX keeps every process's environment.
const environmentFile = "/etc/environment"

// FixScope is the sequence for the paper's two limitations: the management
// scope of the peer domain in the environment, and HA as the cluster type,
// which is DR by default. The second is accepted on the group leader only.
func FixScope(o Options) *Core {
	return newCore(func(c *Core) int {
		argv := []string{"chrsrc", "-c", "IBM.VMR_SITE", "ClusterType=HA"}
		const line = "CT_MANAGEMENT_SCOPE=2"
		if o.DryRun {
			c.print("+ add " + line + " to " + environmentFile + "\n+ CT_MANAGEMENT_SCOPE=2 " + Quote(argv) + "\n")
			return ExitOK
		}
		env, _ := c.do(Read{environmentFile}).(Content)
		if env.Err != nil {
			c.tell(env.Err.Error())
			return ExitStep
		}
		text := string(env.Data)
		if !slices.Contains(strings.Split(text, "\n"), line) {
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			if d, _ := c.do(Save{Path: environmentFile, Data: []byte(text + line + "\n"), Mode: 0o644, Backup: env.Exists}).(Done); d.Err != nil {
				c.tell(d.Err.Error())
				return ExitStep
			}
			c.print(line + " added to " + environmentFile + "; processes started from now on have it.\n")
		}
		ran := c.exec(Exec{Argv: argv, Limit: queryLimit, Pass: true})
		switch {
		case ran.Missing:
			c.tell("RSCT is not installed: chrsrc was not found")
			return ExitNoPowerHA
		case !ran.OK():
			c.tell("the change is accepted on the group leader only: " + Quote(argv) + ": " + firstLine(ran.Text()))
			return ExitStep
		}
		c.print("Cluster type is HA.\n")
		return ExitOK
	})
}

// Verification is clmgr's own verification, for the administrator.
func Verification(Options) *Core {
	return newCore(func(c *Core) int {
		ran := c.exec(Exec{Argv: []string{clmgr, "verify", "cluster"}, Limit: longLimit, Pass: true})
		switch {
		case ran.Missing:
			c.tell("PowerHA SystemMirror is not installed: clmgr was not found")
			return ExitNoPowerHA
		case !ran.OK():
			c.tell("the verification failed: " + firstLine(ran.Stderr))
			return ExitStep
		}
		return ExitOK
	})
}
