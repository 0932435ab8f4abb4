package rgmctl

import (
	"encoding/xml"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/goldentest"
)

func example() *Status {
	at := time.Unix(1270000000, 0)
	return &Status{
		Cluster: "RHCluster", ID: 41524, Generation: 12, Quorate: true, Local: 1, GroupMember: true,
		Nodes: []Node{
			{ID: 2, Name: "lnxb"},
			{ID: 1, Name: "lnxa", Online: true, Local: true, RGManager: true},
			{ID: 3, Name: "stranger", Online: true, Estranged: true},
			{ID: 4, Name: "ghost", Estranged: true},
		},
		Services: []Service{
			{Name: "service:web", State: StateStarted, Owner: 1, Transition: at},
			{Name: "service:db", State: StateDisabled, LastOwner: 2, Transition: at},
			{Name: "service:iced", State: StateStarted, Owner: 1, Flags: FlagFrozen, Transition: at},
			{Name: "service:both", State: StateStopped, Flags: FlagFrozen | FlagPartial},
			{Name: "service:again", State: StateRecover, LastOwner: 1, Restarts: 2, Transition: at},
			{Name: "service:lost", State: StateFailed, LastOwner: 9, Transition: at},
			{Name: "vm:a-guest-whose-name-is-longer-than-its-column", State: StateMigrate, Owner: 1, Transition: at},
		},
	}
}

func TestClustat_Layouts(t *testing.T) {
	t.Parallel()
	view := View{Now: time.Unix(1270000100, 0), Zone: time.UTC}
	with := func(f func(*View)) View { v := view; f(&v); return v }
	inquorate := example()
	inquorate.Quorate, inquorate.Services = false, nil
	central := example()
	central.Nodes[1].Master = true
	central.Nodes = append(central.Nodes, Node{ID: 5, Name: "lnxe", Online: true, RGManager: true, Worker: true}, Node{ID: 0, Name: "/dev/dasdq1", Online: true, QDisk: true})
	for _, tc := range []struct {
		name string
		s    *Status
		v    View
		form string
	}{
		{"plain", example(), view, "text"},
		{"wide", example(), with(func(v *View) { v.Width = 132 }), "text"},
		{"very_wide", example(), with(func(v *View) { v.Width = 200 }), "text"},
		{"long", example(), with(func(v *View) { v.Long = true }), "text"},
		{"service", example(), with(func(v *View) { v.Service = "service:db" }), "text"},
		{"member", example(), with(func(v *View) { v.Member = "lnxb" }), "text"},
		{"inquorate", inquorate, view, "text"},
		{"central", central, view, "text"},
		{"xml", example(), view, "xml"},
		{"xml_inquorate", inquorate, view, "xml"},
		{"xml_member", example(), with(func(v *View) { v.Member = "lnxb" }), "xml"},
		{"xml_service", example(), with(func(v *View) { v.Service = "service:iced" }), "xml"},
		{"json", example(), view, "json"},
		{"json_service", example(), with(func(v *View) { v.Service = "service:db" }), "json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got string
			switch tc.form {
			case "text":
				got = tc.s.Text(tc.v)
			case "xml":
				got = tc.s.XML(tc.v)
			case "json":
				var err error
				if got, err = tc.s.JSON(tc.v); err != nil {
					t.Fatal(err)
				}
			}
			goldentest.Compare(t, filepath.Join("testdata", "clustat_"+tc.name+".golden"), got)
		})
	}
}

// TestClustat_Columns pins each column of the plain form: trailing blanks and
// the ids one column right of their header are as in the original.
func TestClustat_Columns(t *testing.T) {
	t.Parallel()
	s := &Status{Cluster: "c", Quorate: true,
		Nodes:    []Node{{ID: 1, Name: "lnxa", Online: true, Local: true, RGManager: true}, {ID: 2, Name: "lnxb"}},
		Services: []Service{{Name: "service:web", State: StateStarted, Owner: 1}}}
	want := "Cluster Status for c @ Wed Mar 31 01:46:40 2010\n" +
		"Member Status: Quorate\n" +
		"\n" +
		" Member Name                             ID   Status\n" +
		" ------ ----                             ---- ------\n" +
		" lnxa                                        1 Online, Local, rgmanager\n" +
		" lnxb                                        2 Offline\n" +
		"\n" +
		" Service Name                   Owner (Last)                   State         \n" +
		" ------- ----                   ----- ------                   -----         \n" +
		" service:web                    lnxa                           started       \n"
	if diff := cmp.Diff(want, s.Text(View{Now: time.Unix(1270000000, 0), Zone: time.UTC})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestClustat_XMLNames: whatever stands in a name is read again as it is.
func TestClustat_XMLNames(t *testing.T) {
	t.Parallel()
	const odd = "service:a \"<&'>\n\t\ré"
	text := (&Status{Nodes: []Node{{ID: 1, Name: odd}}, Services: []Service{{Name: odd, State: StateStarted, Owner: 1}}}).XML(View{})
	var got struct {
		Nodes []struct {
			Name string `xml:"name,attr"`
		} `xml:"nodes>node"`
		Groups []struct {
			Name  string `xml:"name,attr"`
			Owner string `xml:"owner,attr"`
		} `xml:"groups>group"`
	}
	if err := xml.Unmarshal([]byte(text), &got); err != nil || len(got.Nodes) != 1 || len(got.Groups) != 1 {
		t.Fatalf("%v:\n%s", err, text)
	}
	if diff := cmp.Diff([]string{odd, odd, odd}, []string{got.Nodes[0].Name, got.Groups[0].Name, got.Groups[0].Owner}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestClosest(t *testing.T) {
	t.Parallel()
	s := &Status{Nodes: []Node{{Name: "lnxa"}, {Name: "lnxb"}, {Name: "other"}}}
	for _, tc := range []struct {
		in   string
		want []string
	}{
		{"zzz", nil}, {"lnx", []string{"lnxa", "lnxb"}}, {"lnxa.example.org", []string{"lnxa"}}, {"o", []string{"other"}},
	} {
		if diff := cmp.Diff(tc.want, s.Closest(tc.in)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.in, diff)
		}
	}
}
