package haobox

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/ctl/ctltest"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// vouched is a rgmanager that takes words for nodes. Of node 4 it knows what it
// runs.
func vouched(t *testing.T) (root string, heard *[]rgmctl.Idle) {
	t.Helper()
	root = platformtest.ShortDir(t)
	heard = &[]rgmctl.Idle{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		ctl.Reply(w, rgmctl.Status{Nodes: []rgmctl.Node{{ID: 1, Name: "CNODE1", Online: true, RGManager: true},
			{ID: 2, Name: "CNODE2", Online: true}, {ID: 3, Name: "CNODE3"}, {ID: 4, Name: "CNODE4", Online: true}}})
	})
	mux.HandleFunc("POST /v1/idle", func(w http.ResponseWriter, r *http.Request) {
		var in rgmctl.Idle
		if err := ctl.Read(r, &in); err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		*heard = append(*heard, in)
		a := rgmctl.Answer{}
		if in.Node == 4 {
			a.Code = rgmctl.CodeInvalid
		}
		ctl.Reply(w, a)
	})
	ctltest.Serve(t, root, "rgmanager", mux)
	return root, heard
}

// TestIdle: the word for a node is given only when its name was typed, or with
// -y, and only for a member of the cluster without rgmanager. It is not parallel:
// urfave/cli writes package variables at every run.
func TestIdle(t *testing.T) {
	for _, tc := range []struct {
		name, args, typed, out, fault string
		heard                         []rgmctl.Idle
	}{
		{name: "the name was typed", args: "CNODE2", typed: "CNODE2\n", out: "by your word", heard: []rgmctl.Idle{{Node: 2, By: "fred as root"}}},
		{name: "-y", args: "-y CNODE2", out: "by your word", heard: []rgmctl.Idle{{Node: 2, By: "fred as root"}}},
		{name: "yes is not a name", args: "CNODE2", typed: "yes\n", fault: "that is not 'CNODE2'"},
		{name: "nothing was typed", args: "CNODE2", fault: "that is not 'CNODE2'"},
		{name: "an endless answer", args: "CNODE2", typed: strings.Repeat("CNODE2", 1000), fault: "that is not 'CNODE2'"},
		{name: "its rgmanager runs", args: "-y CNODE1", fault: "rgmanager runs on CNODE1"},
		{name: "it is off", args: "-y CNODE3", fault: "fence_ack_manual CNODE3"},
		{name: "no node of that name", args: "-y CNODE9", fault: "'CNODE9' is not a node"},
		{name: "nobody waits for it", args: "-y CNODE4", out: "Nothing waits for CNODE4", heard: []rgmctl.Idle{{Node: 4, By: "fred as root"}}},
		{name: "two nodes", args: "CNODE2 CNODE4", fault: "one node is needed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, heard := vouched(t)
			env := platformtest.NewEnv(t)
			env.FS = host.NewFS(root)
			env.Vars["USER"], env.Vars["SUDO_USER"], env.Vars["HAOBOX_ROOT"] = "root", "fred", root
			err := Run(context.Background(), env.WithStdin(tc.typed), nil, append([]string{"haobox", "idle"}, strings.Fields(tc.args)...))
			if tc.fault == "" && err != nil || tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)) {
				t.Errorf("error %v, want one with %q", errors.Unwrap(err), tc.fault)
			}
			if !strings.Contains(env.Stdout.String(), tc.out) {
				t.Errorf("output %q, want %q in it", env.Stdout.String(), tc.out)
			}
			if diff := cmp.Diff(tc.heard, *heard, cmp.Transformer("none", func(x []rgmctl.Idle) []rgmctl.Idle { return append([]rgmctl.Idle{}, x...) })); diff != "" {
				t.Errorf("rgmanager heard (-want +got):\n%s", diff)
			}
		})
	}
}
