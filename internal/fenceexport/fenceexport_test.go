package fenceexport

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/goldentest"
)

func sample(t *testing.T) *clusterconf.Config {
	t.Helper()
	file := filepath.Join("testdata", "cluster.conf")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := clusterconf.Parse(file, b)
	if err != nil {
		t.Fatal(err)
	}
	return clusterconf.Decode(doc)
}

func TestExport(t *testing.T) {
	t.Parallel()
	c := sample(t)
	for _, format := range Formats() {
		for _, secrets := range []bool{false, true} {
			name := format
			if secrets {
				name += "-secrets"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				got, err := Export(c, format, secrets)
				if err != nil {
					t.Fatal(err)
				}
				if !secrets && (strings.Contains(got, "p w") || strings.Contains(got, "secret>")) {
					t.Error("a password is in the text")
				}
				goldentest.Compare(t, filepath.Join("testdata", name+".golden"), got)
			})
		}
	}
}

func TestExport_UnknownFormat(t *testing.T) {
	t.Parallel()
	if _, err := Export(sample(t), "xml", false); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
}

func TestExport_Nothing(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no method": `<cluster name="c" config_version="1"><clusternodes><clusternode name="a" nodeid="1"/></clusternodes></cluster>`,
		"no agent":  `<cluster name="c" config_version="1"><clusternodes><clusternode name="a" nodeid="1"><fence><method name="m"><device name="d"/></method></fence></clusternode></clusternodes><fencedevices><fencedevice name="d"/></fencedevices></cluster>`,
	} {
		doc, err := clusterconf.Parse("x.conf", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"pcs", "crm", "pacemaker"} {
			if got, err := Export(clusterconf.Decode(doc), format, true); !errors.Is(err, ErrNothing) || got != "" {
				t.Errorf("%s as %s: %q, %v", name, format, got, err)
			}
		}
	}
}

// TestCrmWord: what crmsh 4.4 read in these values was seen; the kernel test of
// "haobox export" asks it about some.
func TestCrmWord(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"plain", "plain"}, {"", ""}, {"a b", "a b"}, {"a'b", `a\'b`}, {`a"b`, `a\"b`}, {`a\b`, `a\\b`}, {`a b\`, `a b\\`}, {`a b"c\d`, `a b"c\d`},
	} {
		if got, err := crmWord(tc.in); got != tc.want || err != nil {
			t.Errorf("crmWord(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{"a\tb", "a\nb", `a 'b" c`} {
		if got, err := crmWord(in); !errors.Is(err, ErrWord) {
			t.Errorf("crmWord(%q) = %q, %v", in, got, err)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"plain-1.2", "x=plain-1.2"}, {"", "x=''"}, {"a b", "x='a b'"}, {"it's", `x='it'\''s'`}, {"$(rm)", "x='$(rm)'"}, {"\x00A_PASSWD", `x="$A_PASSWD"`},
	} {
		if got := quote("x", tc.in); got != tc.want {
			t.Errorf("quote(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

// TestExport_Unusual: what is legal in a cluster.conf and easily gets lost.
func TestExport_Unusual(t *testing.T) {
	t.Parallel()
	const devices = `<fencedevice name="A" agent="fa" ip="1"/><fencedevice name="B" agent="fb" user="o p"/><fencedevice name="C" agent="fc" ip="3"/>`
	method := func(devices string) string { return `<method name="` + devices[9:11] + `">` + devices + `</method>` }
	for _, tc := range []struct {
		name, format, methods string
		want, not             []string
	}{
		{"one of two supplies is not there", "pcs", method(`<device name="A" port="1"/><device name="gone"/>`) + method(`<device name="C" port="1"/>`),
			[]string{"is left out: the fence device gone", "create C fc"}, []string{"create A"}},
		{"the same for dlm", "dlm", method(`<device name="A" port="1"/><device name="gone"/>`), []string{"is left out: the fence device gone"}, []string{"\ndevice"}},
		{"one of two supplies cannot be written", "dlm", method(`<device name="A" port="1" action="off"/><device name="B" port="1" action="off"/>`),
			[]string{"is left out: a value of the fence device B has a blank"}, []string{"\ndevice"}},
		{"off and on at the same time", "dlm", method(`<device name="A" port="1" action="off"/><device name="A" port="1" action="on"/>`),
			[]string{`action="on" are left out`, "device A fa ip=1\nconnect A node=1 port=1 action=off\n"}, []string{"action=on"}},
		{"reboots at the same time", "dlm", method(`<device name="A" port="1"/><device name="C" port="2" action="off"/>`), []string{`only with action="off"`, "device n1_1:1 fa", "device n1_1:2 fc"}, nil},
		{"two plugs of one device", "dlm", method(`<device name="A" port="1"/>`) + method(`<device name="A" port="2"/>`),
			[]string{"connect A node=1 port=1\n", "device n1_2 fa ip=1\nconnect n1_2 node=1 port=2\n"}, nil},
		{"the fence device's value counts", "dlm", method(`<device name="A" ip="9" port="1"/>`), []string{"device A fa ip=1\nconnect A node=1 port=1\n"}, []string{"ip=9"}},
		{"unfencing by another device", "dlm", method(`<device name="A"/>`) + `</fence><unfence><device name="C" action="on"/></unfence><fence>`, []string{"unfence by C is left out"}, []string{"\nunfence"}},
		{"a name with a line end", "pcs", method(`<device name="A"/>`), []string{"# Fencing of the cluster c id, "}, nil},
	} {
		text := `<cluster name="c&#10;id" config_version="1"><clusternodes><clusternode name="n1" nodeid="1"><fence>` + tc.methods +
			`</fence></clusternode></clusternodes><fencedevices>` + devices + `</fencedevices></cluster>`
		doc, err := clusterconf.Parse("x.conf", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Export(clusterconf.Decode(doc), tc.format, true)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		for _, w := range tc.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", tc.name, w, got)
			}
		}
		for _, w := range tc.not {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q in\n%s", tc.name, w, got)
			}
		}
	}
}

// TestExport_Names: they stand in commands.
func TestExport_Names(t *testing.T) {
	t.Parallel()
	for _, names := range [][3]string{{"n1;reboot", "A", "fa"}, {"n1", "A$(reboot)", "fa"}, {"n1", "A", "fa&#10;reboot"}, {"n 1", "A", "fa"}} {
		text := `<cluster name="c" config_version="1"><clusternodes><clusternode name="` + names[0] + `" nodeid="1"><fence><method name="m"><device name="` + names[1] +
			`"/></method></fence></clusternode></clusternodes><fencedevices><fencedevice name="` + names[1] + `" agent="` + names[2] + `"/></fencedevices></cluster>`
		doc, err := clusterconf.Parse("x.conf", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range Formats() {
			if got, err := Export(clusterconf.Decode(doc), format, true); !errors.Is(err, ErrName) || got != "" {
				t.Errorf("%q to %s: %v\n%s", names, format, err, got)
			}
		}
	}
}
