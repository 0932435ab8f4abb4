package clusvcadm

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/ctl/ctltest"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// rgmanager is one that answers every request with the code in the name
// of the service, "service:c-7", and starts it on node 1 or on the target.
func rgmanager(t *testing.T) (root string, asked *[]rgmctl.Request) {
	t.Helper()
	root = platformtest.ShortDir(t)
	asked = &[]rgmctl.Request{}
	locked := false
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		ctl.Reply(w, rgmctl.Status{Nodes: []rgmctl.Node{{ID: 1, Name: "lnxa", Online: true, Local: true}, {ID: 2, Name: "lnxb", Online: true}, {ID: 3, Name: "off"}}})
	})
	mux.HandleFunc("POST /v1/lock", func(w http.ResponseWriter, r *http.Request) {
		var in rgmctl.Lock
		if err := ctl.Read(r, &in); err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		if in.Lock != nil {
			locked = *in.Lock
		}
		ctl.Reply(w, rgmctl.Lock{Locked: locked})
	})
	mux.HandleFunc("POST /v1/request", func(w http.ResponseWriter, r *http.Request) {
		var in rgmctl.Request
		if err := ctl.Read(r, &in); err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		*asked = append(*asked, in)
		a := rgmctl.Answer{Owner: 1}
		if in.Target != 0 {
			a.Owner = in.Target
		}
		switch in.Service {
		case "service:elsewhere":
			a.Owner = 3
		case "service:crash":
			panic(http.ErrAbortHandler)
		case "service:refused":
			ctl.Fail(w, http.StatusForbidden, errors.New("not root"))
			return
		}
		if _, code, ok := strings.Cut(in.Service, ":c"); ok {
			for _, d := range code[1:] {
				a.Code = 10*a.Code - int(d-'0')
			}
		}
		ctl.Reply(w, a)
	})
	ctltest.Serve(t, root, "rgmanager", mux)
	return root, asked
}

func TestTexts(t *testing.T) {
	t.Parallel()
	root, asked := rgmanager(t)
	for _, tc := range []struct {
		args, out, err string
		exit           int
	}{
		{args: "-e web", out: "Local machine trying to enable service:web...Success\nservice:web is now running on lnxa\n"},
		{args: "-e web -m lnxb", out: "Member lnxb trying to enable service:web...Success\nservice:web is now running on lnxb\n"},
		{args: "-n lnxb -e elsewhere", out: "Member lnxb trying to enable service:elsewhere...Success\nWarning: service:elsewhere is now running on off\n"},
		{args: "-e elsewhere", out: "Local machine trying to enable service:elsewhere...Success\nservice:elsewhere is now running on off\n"},
		{args: "-F -e vm:g", out: "Local machine trying to enable vm:g...Success\nvm:g is now running on lnxa\n"},
		{args: "-d web", out: "Local machine disabling service:web...Success\n"},
		{args: "-s web", out: "Local machine stopping service:web...Success\n"},
		{args: "-R web", out: "Local machine trying to restart service:web...Success\n"},
		{args: "-Z web", out: "Local machine freezing service:web...Success\n"},
		{args: "-U web", out: "Local machine unfreezing service:web...Success\n"},
		{args: "-c web", out: "Local machine convalescing service:web...Success\n"},
		{args: "-r web", out: "Trying to relocate service:web...Success\nservice:web is now running on lnxa\n"},
		{args: "-r web -m lnxb", out: "Trying to relocate service:web to lnxb...Success\nservice:web is now running on lnxb\n"},
		{args: "-M vm:g -m lnxb", out: "Trying to migrate vm:g to lnxb...Success\n"},
		{args: "-M vm:g", out: "Migration requires a target cluster member\n", exit: 1},
		{args: "-M vm:g -m off", out: "'off' is offline\n", exit: 1},
		{args: "-d x -e web", out: "Local machine trying to enable service:web...Success\nservice:web is now running on lnxa\n"},
		{args: "-q -e web"},
		{args: "-e c-1", out: "Local machine trying to enable service:c-1...Failure\n", exit: 255},
		{args: "-e c-4", out: "Local machine trying to enable service:c-4...Service does not exist\n", exit: 252},
		{args: "-e c-8", out: "Local machine trying to enable service:c-8...Invalid operation for resource\n", exit: 248},
		{args: "-e c-10", out: "Local machine trying to enable service:c-10...Service is already running\n"},
		{args: "-d c-19", out: "Local machine disabling service:c-19...Warning; see system logs\n", exit: 237},
		{args: "-e c-99", out: "Local machine trying to enable service:c-99...Unknown\n", exit: 157},
		{args: "-r web -m lnxb.example.org", out: "'lnxb.example.org' not in membership list\nClosest match: 'lnxb'\nTrying to relocate service:web to lnxb...Success\nservice:web is now running on lnxb\n"},
		{args: "-r web -m lnx", out: "'lnx' not in membership list\nMore than one possible match for 'lnx' found\n", exit: 1},
		{args: "-r web -m zzz", out: "'zzz' not in membership list\nNo matches for 'zzz' found\n", exit: 1},
		{args: "-e web -F -m lnxb", err: "Cannot use '-F' with '-n' or '-m'\n", exit: 1},
		{args: "-m lnxb -F -e web", err: "Cannot use '-F' with '-n' or '-m'\n", exit: 1},
		{args: "-e crash", out: "Local machine trying to enable service:crash...", err: "Error receiving reply!\nclusvcadm: read the daemon's answer: unexpected EOF\n", exit: 1},
		{args: "-e refused", out: "Local machine trying to enable service:refused...", err: "clusvcadm: not root\n", exit: 1},
		{args: "-d web more words", out: "Local machine disabling service:web...Success\n"},
		{args: "-d web -- -e", out: "Local machine disabling service:web...Success\n"},
		{args: "-dweb", out: "Local machine disabling service:web...Success\n"},
		{args: "-ZU web", out: "Local machine freezing service:U...Success\n"}, // as getopt(3) reads it
		{args: "-M web -F", out: "Migration requires a target cluster member\n", exit: 1},
		{args: "-e web -m zzz", out: "'zzz' not in membership list\nNo matches for 'zzz' found\n", exit: 1},
		{args: "web", out: usage, err: "clusvcadm: there is nothing to do: no option names a request\n", exit: 1},
		{args: "--enable web", out: usage, err: "clusvcadm: unknown option '--enable'\n", exit: 1},
		{args: "-l", out: "Resource groups locked\n"},
		{args: "-S", out: "Resource groups locked\n"},
		{args: "-u -e web", out: "Resource groups unlocked\n"},
		{args: "-S", out: "Resource groups unlocked\n"},
		{args: "-h", out: usage, exit: 1},
		{args: "", out: usage, exit: 1},
		{args: "-m lnxb", out: usage, err: "clusvcadm: there is nothing to do: no option names a request\n", exit: 1},
		{args: "-x", out: usage, err: "clusvcadm: unknown option '-x'\n", exit: 1},
		{args: "-e", out: usage, err: "clusvcadm: option needs a value '-e'\n", exit: 1},
		{args: "--help", out: usage},
	} {
		env := platformtest.NewEnv(t)
		env.FS = host.NewFS(root)
		err := Run(t.Context(), env.Env, append([]string{"clusvcadm"}, strings.Fields(tc.args)...))
		exit := applet.Status(err, env.Stderr)
		if exit != tc.exit || env.Stdout.String() != tc.out || env.Stderr.String() != tc.err {
			t.Errorf("clusvcadm %s: exit %d, want %d\n%s%s", tc.args, exit, tc.exit,
				cmp.Diff(tc.out, env.Stdout.String()), cmp.Diff(tc.err, env.Stderr.String()))
		}
	}
	want := rgmctl.Request{Service: "vm:g", Action: "enable", ByDomain: true}
	if diff := cmp.Diff(want, (*asked)[4]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	for args, out := range map[string]string{
		"-e web": "Local machine trying to enable service:web...Could not connect to resource group manager\n",
		"-l":     "Lock operation failed\n", "-u": "Unlock operation failed\n", "-S": "Query operation failed\n",
	} {
		env := platformtest.NewEnv(t)
		err := Run(t.Context(), env.Env, append([]string{"clusvcadm"}, strings.Fields(args)...))
		var status *applet.ExitError
		if !errors.As(err, &status) || status.Code != 1 || env.Stdout.String() != out {
			t.Errorf("clusvcadm %s: %v, %q", args, err, env.Stdout)
		}
	}
}
