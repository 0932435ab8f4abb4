// Package clustat is clustat: it shows the members of the cluster and the
// services of rgmanager. Layouts and exit statuses are those of rgmanager 3.2;
// --json is new.
package clustat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "clustat", Section: 8, Class: applet.Tool,
	Summary: "show the members and services of the cluster",
	Run:     Run,
}

const (
	exitError = 1
	// exitUnknown is a member or service that does not exist (-1).
	exitUnknown = 255
	// callLimit bounds each question. Ours: a picture that takes longer is of
	// no use.
	callLimit = 10 * time.Second
)

func options() []argv.Option {
	out := []argv.Option{{Name: "help", Short: "h?"}, {Name: "json"}}
	for _, c := range "ims" {
		out = append(out, argv.Option{Name: string(c), Short: string(c), Arity: argv.Required})
	}
	for _, c := range "IlQvxf" {
		out = append(out, argv.Option{Name: string(c), Short: string(c)})
	}
	return out
}

const usage = `usage: clustat <options>
    -i SECONDS   refresh every SECONDS seconds; not together with -x
    -I           print the id of the local node
    -l           long form of the services
    -m MEMBER    show only this member; exit status 0 if it is online
    -s SERVICE   show only this service; exit status 0 if it is started, starting or stopping
    -Q           no output; exit status 0 if there is quorum
    -v           print the version
    -x           print XML
    -f           fast: only what this node knows, without the configuration
    -h, -?       print this text
    --json       print JSON
`

// tool is one call.
type tool struct {
	ctx                          context.Context
	limit                        time.Duration // callLimit
	env                          platform.Env
	view                         rgmctl.View
	every                        time.Duration
	xml, json, fast, quorum, own bool
}

// Run runs the command line args.
func Run(ctx context.Context, env platform.Env, args []string) error {
	return run(ctx, env, args, callLimit)
}

func run(ctx context.Context, env platform.Env, args []string, limit time.Duration) error {
	t := &tool{ctx: ctx, env: env, limit: limit}
	done, err := t.parse(args)
	if done || err != nil {
		return err
	}
	if t.every > 0 {
		return t.again()
	}
	st, err := t.status()
	if err != nil {
		return err
	}
	return t.once(st, env.Stdout)
}

func (t *tool) parse(args []string) (done bool, err error) {
	settings, _, err := argv.Parse(options(), args[1:])
	if err != nil {
		fmt.Fprintf(t.env.Stderr, "%s: %v\n", args[0], err)
		io.WriteString(t.env.Stdout, usage)
		return true, nil // 0, as ever
	}
	for _, s := range settings {
		switch s.Name {
		case "help":
			io.WriteString(t.env.Stdout, usage)
			return true, nil
		case "v":
			fmt.Fprintf(t.env.Stdout, "clustat version %s\n", version.String())
			return true, nil
		case "i":
			n, err := strconv.Atoi(s.Value)
			if err != nil || n < 1 {
				n = 1
			}
			t.every = time.Duration(min(n, 1<<31-1)) * time.Second
		case "x":
			if t.every > 0 {
				return true, applet.Exitf(exitError, "Error: Options '-i' and '-x' are mutually exclusive")
			}
			t.xml = true
		case "json":
			t.json = true
		case "m":
			t.view.Member = s.Value
		case "s":
			t.view.Service = rgmctl.FullName(s.Value)
		case "l":
			t.view.Long = true
		case "Q":
			t.quorum = true
		case "I":
			t.own = true
		case "f":
			t.fast = true
		}
	}
	if t.view.Member != "" {
		t.view.Service = "" // services are not asked for then
	}
	t.view.Zone = time.Local
	if name := t.env.Getenv("TZ"); name != "" {
		if z, err := time.LoadLocation(strings.TrimPrefix(name, ":")); err == nil {
			t.view.Zone = z
		}
	}
	return false, nil
}

// once prints the status; the exit status is part of the contract.
func (t *tool) once(st *rgmctl.Status, w io.Writer) error {
	switch {
	case t.own:
		fmt.Fprintf(w, "0x%08x\n", st.Local)
		return nil
	case t.quorum:
		if !st.Quorate {
			return applet.Exit(exitError)
		}
		return nil
	}
	out, code := t.render(st)
	if st.Error != "" && t.view.Member == "" {
		fmt.Fprintln(t.env.Stderr, st.Error)
	}
	if _, err := io.WriteString(w, out); err != nil {
		return applet.Exitf(exitError, "clustat: write the output: %v", err)
	}
	return applet.Exit(code)
}

func (t *tool) render(st *rgmctl.Status) (out string, code int) {
	t.view.Now = t.env.Clock.Now()
	t.view.Width, _ = size(t.env.Stdout)
	switch {
	case t.view.Member != "":
		if n := st.Node(t.view.Member); n == nil {
			code = exitUnknown
		} else if !n.Online {
			code = exitError
		}
	case t.view.Service != "":
		code = exitUnknown
		if g := st.Service(t.view.Service); g != nil {
			switch code = g.State; code {
			case rgmctl.StateStarting, rgmctl.StateStarted, rgmctl.StateStopping:
				code = 0
			}
		}
	}
	switch {
	case t.json:
		text, err := st.JSON(t.view)
		if err != nil {
			return err.Error() + "\n", exitError
		}
		return text, code
	case t.xml:
		return st.XML(t.view), code
	}
	return st.Text(t.view), code
}

// status asks rgmanager, and without one the engine.
func (t *tool) status() (*rgmctl.Status, error) {
	c := daemon.Client(t.env, "rgmanager")
	c.Limit = t.limit
	var st rgmctl.Status
	err := c.Do(t.ctx, "GET", "/v1/status", nil, &st)
	if err == nil {
		// The original knew the flags from the answer about services: without
		// one, and with -m, which does not ask for them, there are none.
		if len(st.Services) == 0 || t.view.Member != "" && !t.json {
			for i := range st.Nodes {
				st.Nodes[i].RGManager, st.Nodes[i].Master, st.Nodes[i].Worker = false, false, false
			}
		}
		if t.fast {
			st.LiveOnly()
		}
		return &st, nil
	}
	fault := ""
	var refused *ctl.Error
	switch {
	case t.ctx.Err() != nil:
	case errors.As(err, &refused):
		fault = "Service states unavailable: " + refused.Text
	case errors.Is(err, context.DeadlineExceeded):
		fault = "Timed out waiting for a response from Resource Group Manager"
	}
	s, err := t.members()
	if err != nil {
		if fault != "" && t.ctx.Err() == nil {
			fmt.Fprintln(t.env.Stderr, fault)
		}
		return nil, err
	}
	s.Error = fault
	return s, nil
}

// engine opens the engine. On the embedded one it only looks on: nobody becomes a
// member by that.
func (t *tool) engine(ctx context.Context) (cluster.Engine, error) {
	cfg := corosync.Config{Limit: t.limit}
	if daemon.OnCorosync(t.env) {
		return engine.OpenCorosync(ctx, cfg)
	}
	conf, err := daemon.RunningConfig(t.env)
	if err != nil {
		return nil, err
	}
	return daemon.Observe(ctx, t.env, conf, cfg)
}

// members is the cluster without its services.
func (t *tool) members() (*rgmctl.Status, error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.limit)
	defer cancel()
	e, err := t.engine(ctx)
	if err != nil {
		text, hint := "Connection refused", err.Error()
		switch {
		case !daemon.OnCorosync(t.env) && errors.Is(err, cluster.ErrNotRunning):
			text, hint = "No such file or directory", "nobody is on the embedded engine: fenced, rgmanager or qdiskd makes this node a member"
		case errors.Is(err, cluster.ErrNotRunning), errors.Is(err, corosync.ErrNotRunning):
			text, hint = "No such file or directory", "corosync does not run on this node: cman_tool join starts it"
		case errors.Is(err, cluster.ErrDenied), errors.Is(err, corosync.ErrNotAllowed), errors.Is(err, os.ErrPermission):
			text, hint = "Permission denied", "only root may ask rgmanager and the cluster engine"
		case errors.Is(err, cluster.ErrSilent), errors.Is(err, context.DeadlineExceeded):
			text, hint = "Connection timed out", fmt.Sprintf("corosync did not answer within %v", t.limit)
		}
		return nil, applet.Exitf(exitError, "Could not connect to CMAN: %s\nclustat: %s", text, hint)
	}
	defer e.Close()
	s, err := e.Status(ctx)
	if err != nil {
		return nil, applet.Exitf(exitError, "Could not connect to CMAN: %v", err)
	}
	var cfg *clusterconf.Config
	if !t.fast {
		config := clusterconf.File(t.env.Getenv)
		if text, err := t.env.FS.ReadFile(config); err == nil {
			if doc, err := xmldoc.Parse(config, text); err == nil {
				cfg = clusterconf.Decode(doc)
			}
		}
	}
	out := rgmctl.FromCluster(s, cfg)
	if t.fast {
		out.LiveOnly()
	}
	return out, nil
}
