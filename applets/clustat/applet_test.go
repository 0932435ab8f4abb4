package clustat

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/ctl/ctltest"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// toolVariable makes the test binary be clustat.
const toolVariable = "CLUSTAT_TEST_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(toolVariable) == "1" {
		limit := callLimit
		if d, err := time.ParseDuration(os.Getenv(toolVariable + "_LIMIT")); err == nil {
			limit = d
		}
		os.Exit(applet.Status(run(host.Context(), host.Env(), os.Args, limit), os.Stderr))
	}
	os.Exit(m.Run())
}

// picture is what the rgmanager of these tests tells.
func picture() *rgmctl.Status {
	at := time.Unix(1270000000, 0).UTC()
	return &rgmctl.Status{Cluster: "ZCLUSTER", ID: 7, Generation: 12, Quorate: true, GroupMember: true, Local: 1,
		Nodes: []rgmctl.Node{{ID: 1, Name: "CNODE1", Online: true, Local: true, RGManager: true}, {ID: 2, Name: "CNODE2", Online: true, RGManager: true}, {ID: 3, Name: "CNODE3"}},
		Services: []rgmctl.Service{
			{Name: "service:ZHA_WEBSERVICE", State: rgmctl.StateStarted, StateName: "started", Owner: 2, OwnerName: "CNODE2", LastOwner: 1, LastOwnerName: "CNODE1", Transition: at},
			{Name: "service:db", State: rgmctl.StateFailed, StateName: "failed", LastOwner: 1, LastOwnerName: "CNODE1", Transition: at},
			{Name: "service:iced", State: rgmctl.StateStarted, StateName: "started", Flags: 1, Owner: 1, OwnerName: "CNODE1", Transition: at},
			{Name: "service:off", State: rgmctl.StateDisabled, StateName: "disabled", Transition: at},
		}}
}

// serve answers with what f gives, under a root folder of its own.
func serve(t *testing.T, f func() *rgmctl.Status) (root string) {
	t.Helper()
	root = platformtest.ShortDir(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		st := f()
		if st == nil { // it hangs
			<-r.Context().Done()
			return
		}
		if st.Error != "" {
			ctl.Fail(w, http.StatusServiceUnavailable, errors.New(st.Error))
			return
		}
		ctl.Reply(w, st)
	})
	ctltest.Serve(t, root, "rgmanager", mux)
	return root
}

// TestOutputs is one golden file with every option: the command line, the exit
// status, and what was printed where.
func TestOutputs(t *testing.T) {
	t.Parallel()
	up := serve(t, picture)
	out := serve(t, func() *rgmctl.Status { s := picture(); s.Quorate = false; return s })
	none := serve(t, func() *rgmctl.Status { s := picture(); s.Services = nil; return s })
	hangs := serve(t, func() *rgmctl.Status { return nil })
	busy := serve(t, func() *rgmctl.Status { return &rgmctl.Status{Error: "Temporary failure; try again"} })
	var got strings.Builder
	for _, tc := range []struct{ root, state, args string }{
		{up, "", ""}, {up, "", "-l"}, {up, "", "-x"}, {up, "", "--json"}, {up, "", "-f"}, {up, "", "-I"}, {up, "", "-Q"},
		{up, "", "-s ZHA_WEBSERVICE"}, {up, "", "-s service:db"}, {up, "", "-s off"}, {up, "", "-s nothing"}, {up, "", "-s iced -l"},
		{up, "", "-x -s off"}, {up, "", "--json -s db"},
		{up, "", "-m CNODE2"}, {up, "", "-m CNODE3"}, {up, "", "-m nobody"}, {up, "", "-xm CNODE1"}, {up, "", "-m CNODE2 -s db"},
		{up, "", "-i 1 -Q"}, {up, "", "-i 1 -x"}, {up, "", "-S"}, {up, "", "-s"}, {up, "", "-h"},
		{out, ", inquorate", ""}, {out, ", inquorate", "-Q"}, {out, ", inquorate", "-x -m CNODE1"},
		{none, ", no services", ""}, {none, ", no services", "-s web"}, {none, ", no services", "-x"},
		{hangs, ", rgmanager hangs and there is no corosync", ""}, {busy, ", rgmanager is busy and there is no corosync", ""}, {t.TempDir(), ", nothing runs", ""}, {t.TempDir(), ", nothing runs", "-Q"}, {t.TempDir(), ", nothing runs", "-s web"},
	} {
		env := platformtest.NewEnv(t)
		env.FS = host.NewFS(tc.root)
		env.Env.Getenv = func(name string) string {
			if name == "TZ" {
				return "UTC"
			}
			return ""
		}
		limit := callLimit
		if tc.root == hangs {
			limit = 2 * time.Second // for the engine as well, which answers
		}
		err := run(t.Context(), env.Env, append([]string{"clustat"}, strings.Fields(tc.args)...), limit)
		fmt.Fprintf(&got, "$ clustat %s  # exit status %d%s\n%s", tc.args, applet.Status(err, env.Stderr), tc.state, env.Stdout)
		if said := env.Stderr.String(); said != "" {
			fmt.Fprintf(&got, "(standard error) %s", said)
		}
		got.WriteByte('\n')
	}
	goldentest.Compare(t, "testdata/outputs.golden", got.String())
}

func TestFit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text     string
		columns, lines int
		want           string
	}{
		{"fits", "a\nb\n", 80, 24, "a\nb\n"},
		{"too wide", "abcdef\nb\n", 4, 24, "abcd\nb\n"},
		{"the last line is the cursor's", "a\nb\nc\n", 80, 4, "a\nb\nc\n"},
		{"too high", "a\nb\nc\nd\n", 80, 4, "a\nb\n(2 more lines)\n"},
		{"no room at all", "a\nb\nc\nd\n", 80, 1, "a\n(3 more lines)\n"},
		{"no size known", "abc\n", 0, 0, "abc\n"},
	} {
		if got := fit(tc.text, tc.columns, tc.lines); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
