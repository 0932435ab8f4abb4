package ksys

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// paperClcmd and paperGroups are the paper's figures 5 and 7 as printed.
const paperClcmd = `-----
NODE ksys7002.ausprv.stglabs.ibm.com
-----
Subsystem      Group      PID      Status
IBM.VMR        rsct_rm    15466956  active

-----
NODE ksys7001.ausprv.stglabs.ibm.com
-----
Subsystem      Group      PID      Status
IBM.VMR        rsct_rm    13238600  active
`

const paperGroups = `-----
Group Name      State           Node
-----
ksysRG          OFFLINE        ksys7001
                 ACQUIRING     ksys7002
`

func TestParseClcmd(t *testing.T) {
	t.Parallel()
	got := ParseClcmd(paperClcmd)
	if len(got) != 2 || got[0].Node != "ksys7002.ausprv.stglabs.ibm.com" || !strings.Contains(got[1].Text, "13238600") || strings.Contains(got[1].Text, "15466956") {
		t.Errorf("got %q", got)
	}
	// What the paper's egrep leaves: no dashes, and a line with NODE in it.
	got = ParseClcmd("NODE a.x\nCurrent state: ST_STABLE\nLast event run was JOIN_NODE_CO on node 2\nNODE b.x\nCurrent state: ST_BARRIER\n")
	if len(got) != 2 || ClusterManagerState(got[0].Text) != "ST_STABLE" || ClusterManagerState(got[1].Text) != "ST_BARRIER" {
		t.Errorf("got %q", got)
	}
	if got := ParseClcmd("no cluster here\n"); got != nil {
		t.Errorf("garbage gave %q", got)
	}
}

func TestParseGroups(t *testing.T) {
	t.Parallel()
	got := ParseGroups(paperGroups + "RG2 ONLINE SECONDARY n1@site1\n    OFFLINE due to lack of node n2\n\n")
	want := []GroupState{
		{"ksysRG", "OFFLINE", "ksys7001"}, {"ksysRG", "ACQUIRING", "ksys7002"},
		{"RG2", "ONLINE SECONDARY", "n1"}, {"RG2", "OFFLINE due to lack of node", "n2"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("groups (-want +got):\n%s", d)
	}
}

func TestParseOthers(t *testing.T) {
	t.Parallel()
	attrs := ParseAttributes("CLUSTER_NAME=\"c\"\nTYPE=\"NSC\"\nbad line\nX=1\nEMPTY=\"\"\n")
	if d := cmp.Diff([]Attribute{{"CLUSTER_NAME", "c"}, {"TYPE", "NSC"}, {"EMPTY", ""}}, attrs); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if v, ok := Attr(attrs, "cluster_name"); v != "c" || !ok {
		t.Error("attribute names count without regard to case")
	}
	k, err := ParseKsysmgr("Name:                ksys810_cluster\nState:               Online\nType:  HA\nKsysnodes: ksys810:1:Online\n")
	if err != nil || k != (KsysCluster{"ksys810_cluster", "Online", "HA"}) {
		t.Errorf("ksysmgr: %+v, %v", k, err)
	}
	if _, err := ParseKsysmgr("ERROR\n"); !errors.Is(err, ErrNoKsysCluster) {
		t.Errorf("error %v", err)
	}
	if d := cmp.Diff([]string{"HG1", "HG2"}, KsysNames("Name:   HG1\nx\n\nName: HG2\nName:\n")); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	v := ParseVolumes("hdisk0 00f8309c3a81e72c rootvg active\nhdisk1 none None\nshort\n")
	if d := cmp.Diff([]Volume{{"hdisk0", "00f8309c3a81e72c", "rootvg"}, {"hdisk1", "none", "None"}}, v); d != "" {
		t.Errorf("volumes (-want +got):\n%s", d)
	}
	text := "#Fileset:Level\n/usr/lib/objrepos:ksys.license:1.3.0.2::COMMITTED:I:x:\n/etc/objrepos:bad:1::BROKEN:I\n"
	if f, ok := FindFileset(text, "ksys.license"); !ok || f.Level != "1.3.0.2" || f.Broken {
		t.Errorf("fileset %+v %v", f, ok)
	}
	if f, ok := FindFileset(text, "bad"); !ok || !f.Broken {
		t.Errorf("fileset %+v %v", f, ok)
	}
	if _, ok := FindFileset(text, "ksys"); ok {
		t.Error("a part of a name is not a fileset")
	}
}

func FuzzPowerHA(f *testing.F) {
	f.Add(paperClcmd)
	f.Add(paperGroups)
	f.Add("A=\"b\"\n:::\nName:\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range ParseClcmd(text) {
			ClusterManagerState(n.Text)
		}
		for _, g := range ParseGroups(text) {
			if g.Group == "" || g.State == "" {
				t.Errorf("group %+v", g)
			}
		}
		ParseAttributes(text)
		_, _ = ParseKsysmgr(text)
		KsysNames(text)
		ParseVolumes(text)
		FindFileset(text, "ksys.license")
	})
}

func TestConfigXML_EditKeepsEveryOtherByte(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"elements", "<k><cluster><name>old</name><state>Online</state><type>DR</type></cluster></k>",
			"<k><cluster><name>new</name><state>Online</state><type>HA</type></cluster></k>"},
		{"siblings, comments, CRLF and blanks", "<?xml version=\"1.0\"?>\r\n<k a='1'>\r\n <!-- name: old -->\r\n <x><name>old</name></x>\r\n <KsysCluster id=\"7\">\r\n  <Name> old </Name>\r\n  <extra/>\r\n  <State>Online</State><Type>DR</Type>\r\n </KsysCluster>\r\n</k>\r\n",
			"<?xml version=\"1.0\"?>\r\n<k a='1'>\r\n <!-- name: old -->\r\n <x><name>old</name></x>\r\n <KsysCluster id=\"7\">\r\n  <Name> new </Name>\r\n  <extra/>\r\n  <State>Online</State><Type>HA</Type>\r\n </KsysCluster>\r\n</k>\r\n"},
		{"attributes", `<k><cluster other="name" name = 'old'  type="DR" state="x"/></k>`, `<k><cluster other="name" name = 'new'  type="HA" state="x"/></k>`},
		{"mixed", `<k><cluster name="old"><state>a</state><type>DR</type></cluster></k>`, `<k><cluster name="new"><state>a</state><type>HA</type></cluster></k>`},
		{"nested elements of the same name", `<cluster><name>old</name><site><name>s</name></site><state>a</state><type>DR</type></cluster>`,
			`<cluster><name>new</name><site><name>s</name></site><state>a</state><type>HA</type></cluster>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := EditConfigXML([]byte(tc.in), "new", "HA")
			if d := cmp.Diff(tc.want, string(got)); err != nil || d != "" {
				t.Errorf("error %v (-want +got):\n%s", err, d)
			}
			again, err := EditConfigXML(got, "new", "HA")
			if err != nil || string(again) != string(got) {
				t.Errorf("the second edit changes it: %v", err)
			}
		})
	}
}

func TestConfigXML_Refused(t *testing.T) {
	t.Parallel()
	good := "<cluster><name>a</name><state>b</state><type>c</type></cluster>"
	for _, tc := range []struct {
		name, in string
		err      error
	}{
		{"document type", "<!DOCTYPE k><k>" + good + "</k>", ErrXMLDeclaration},
		{"entity", "<!DOCTYPE k [<!ENTITY a 'b'>]><k>" + good + "</k>", ErrXMLDeclaration},
		{"too large", "<k>" + good + strings.Repeat(" ", MaxConfigXML) + "</k>", ErrXMLTooLarge},
		{"not closed", "<k>" + good, ErrXMLSyntax},
		{"crossed", "<k><a></k></a>", ErrXMLSyntax},
		{"no cluster", "<k/>", ErrXMLUnknown},
		{"two clusters", "<k>" + good + good + "</k>", ErrXMLUnknown},
		{"no state", "<cluster><name>a</name><type>c</type></cluster>", ErrXMLUnknown},
		{"two names", "<cluster name='x'><name>a</name><state>b</state><type>c</type></cluster>", ErrXMLUnknown},
		{"a value that is not text", "<cluster><name><b/>a</name><state>b</state><type>c</type></cluster>", ErrXMLUnknown},
		{"empty", "", ErrXMLUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got, err := EditConfigXML([]byte(tc.in), "n", "HA"); !errors.Is(err, tc.err) || got != nil {
				t.Errorf("error %v, want %v", err, tc.err)
			}
		})
	}
}

// A new file reads back as what was put in, whatever the name.
func TestConfigXML_New(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := KsysCluster{
			Name: rapid.StringMatching(`[a-zA-Z<>&"'_0-9]{1,20}`).Draw(t, "name"), State: "Online",
			Type: rapid.SampledFrom([]string{"HA", "DR"}).Draw(t, "type"),
		}
		got, err := ParseConfigXML(NewConfigXML(c))
		if err != nil || got != c {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
		next := rapid.StringMatching(`[a-zA-Z<>&"'_0-9]{1,20}`).Draw(t, "next")
		edited, err := EditConfigXML(NewConfigXML(c), next, "HA")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseConfigXML(edited); err != nil || got.Name != next || got.Type != "HA" || got.State != "Online" {
			t.Fatalf("edited to %+v, %v", got, err)
		}
	})
}

func FuzzConfigXML(f *testing.F) {
	f.Add([]byte("<k><cluster><name>old</name><state>Online</state><type>DR</type></cluster></k>"))
	f.Add([]byte(`<cluster name="a" state='b' type="c"/>`))
	f.Add([]byte("<cluster><name><![CDATA[x]]></name><state/><type>t</type></cluster>"))
	f.Add([]byte("<a:cluster x:name='1'/>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := EditConfigXML(data, "new", "HA")
		if err != nil {
			return
		}
		d := xml.NewDecoder(strings.NewReader(string(out)))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%q became %q: %v", data, out, err)
			}
		}
		if c, err := ParseConfigXML(out); err != nil || c.Name != "new" || c.Type != "HA" {
			t.Fatalf("%q became %q: %+v, %v", data, out, c, err)
		}
	})
}

// healthy is two nodes as the paper's step 1 shows them.
func healthy() Observation {
	node := func(name string, pid int) NodeView {
		return NodeView{Name: name + ".x.com", Manager: "ST_STABLE", Daemon: Daemon{State: DaemonActive, PID: pid}, Leader: "ksys7001.x.com"}
	}
	return Observation{
		Time: time.Unix(1556157737, 0), ClusterName: "ksys7001_cluster", ClusterType: "NSC", Defined: []string{"ksys7001", "ksys7002"},
		Reached: true, Nodes: []NodeView{node("ksys7002", 15466956), node("ksys7001", 13238600)},
		Groups: []GroupState{{ResourceGroup, "ONLINE", "ksys7001"}, {ResourceGroup, "OFFLINE", "ksys7002"}}, GroupsKnown: true,
		Ksys: KsysCluster{"ksys7001_cluster", "Online", "HA"}, Local: "ksys7001", FlagKnown: true,
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(o *Observation)
		// want are the checks that are not ok.
		want string
		code int
	}{
		{"healthy", func(*Observation) {}, "", 0},
		{"manager joining", func(o *Observation) { o.Nodes[0].Manager = "ST_JOINING" }, "C1 fail", 2},
		{"manager busy", func(o *Observation) { o.Nodes[0].Manager = "ST_RP_RUNNING" }, "C1 warn", 1},
		{"manager unknown", func(o *Observation) { o.Nodes[0].Manager = "" }, "C1 unknown", 3},
		{"node gone", func(o *Observation) { o.Nodes = o.Nodes[1:] }, "C1 fail C5 warn", 2},
		{"leaders disagree", func(o *Observation) { o.Nodes[0].Leader = "ksys7002" }, "C2 fail C4 unknown", 2},
		{"one leader unknown", func(o *Observation) { o.Nodes[0].Leader = "" }, "C2 unknown", 3},
		{"no leader", func(o *Observation) { o.Nodes[0].Leader, o.Nodes[1].Leader = "", "" }, "C2 unknown C4 unknown", 3},
		{"acquiring", func(o *Observation) { o.Groups[0].State = "ACQUIRING" }, "C3 warn C4 unknown", 1},
		{"error", func(o *Observation) { o.Groups[0].State = "ERROR" }, "C3 fail C4 unknown", 2},
		{"offline", func(o *Observation) { o.Groups[0].State = "OFFLINE" }, "C3 fail C4 unknown", 2},
		{"online twice", func(o *Observation) { o.Groups[1].State = "ONLINE" }, "C3 fail C4 unknown", 2},
		{"no clRGinfo", func(o *Observation) { o.Groups, o.GroupsKnown = nil, false }, "C3 unknown C4 unknown", 3},
		{"group not defined", func(o *Observation) { o.Groups = nil }, "C3 fail C4 unknown", 2},
		{"group on the other node", func(o *Observation) { o.Groups[0].State, o.Groups[1].State = "OFFLINE", "ONLINE" }, "C4 fail", 2},
		{"owner's daemon down", func(o *Observation) { o.Nodes[1].Daemon = Daemon{State: DaemonDown} }, "C5 fail", 2},
		{"standby's daemon down", func(o *Observation) { o.Nodes[0].Daemon = Daemon{State: DaemonDown} }, "C5 warn", 1},
		{"daemon unknown", func(o *Observation) { o.Nodes[0].Daemon = Daemon{} }, "C5 unknown", 3},
		{"other name in ksysmgr", func(o *Observation) { o.Ksys.Name = "x" }, "C6 fail", 2},
		{"other type in ksysmgr", func(o *Observation) { o.Ksys.Type = "DR" }, "C6 fail", 2},
		{"ksysmgr knows none", func(o *Observation) { o.KsysWhy = "no cluster" }, "C6 fail", 2},
		{"ksysmgr missing", func(o *Observation) { o.KsysWhy = "not there" }, "C6 unknown", 3},
		{"linked cluster", func(o *Observation) { o.ClusterType, o.Ksys.Type = "LC", "DR" }, "", 0},
		{"flag left", func(o *Observation) { o.Flag = FlagFresh }, "C7 warn", 1},
		{"stale flag", func(o *Observation) { o.Flag = FlagStale }, "C7 warn", 1},
		{"fresh flag while acquiring", func(o *Observation) { o.Flag = FlagFresh; o.Groups[0].State = "ACQUIRING" }, "C3 warn C4 unknown", 1},
		{"nothing known at all", func(o *Observation) { *o = Observation{KsysWhy: "x"} }, "C1 unknown C2 unknown C3 unknown C4 unknown C5 unknown C6 unknown C7 unknown", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := healthy()
			tc.change(&o)
			r := Judge(o, false)
			var got []string
			for _, c := range r.Checks {
				if c.Result != HealthOK {
					got = append(got, c.ID+" "+c.Result.String())
					if c.Detail == "" {
						t.Errorf("%s has no detail", c.ID)
					}
				}
			}
			if s := strings.Join(got, " "); s != tc.want || r.ExitCode() != tc.code {
				t.Errorf("got %q with status %d, want %q with %d\n%s", s, r.ExitCode(), tc.want, tc.code, r.Table())
			}
		})
	}
	o := healthy()
	o.Nodes[0].Daemon = Daemon{State: DaemonDown}
	if r := Judge(o, true); r.Result != HealthFail {
		t.Errorf("before the configuration a standby daemon that is down fails, got %v", r.Result)
	}
}

func TestReport_Table(t *testing.T) {
	t.Parallel()
	want := `CLUSTER ksys7001_cluster  TYPE HA  LEADER ksys7001  RG ksysRG
NODE       CLUSTER-MGR   IBM.VMR      PID        LEADER  RG
ksys7001   ST_STABLE     active       13238600   yes     ONLINE
ksys7002   ST_STABLE     active       15466956   no      OFFLINE
CHECKS C1 ok  C2 ok  C3 ok  C4 ok  C5 ok  C6 ok  C7 ok     RESULT ok
`
	if d := cmp.Diff(want, Judge(healthy(), false).Table()); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
	got := string(Judge(Observation{KsysWhy: "x", Defined: []string{"a"}}, false).JSON())
	for _, part := range []string{`"name": null`, `"clstrmgr": null`, `"pid": null`, `"leader": null`, `"result": "unknown"`, `"version": 1`} {
		if !strings.Contains(got, part) {
			t.Errorf("JSON lacks %s:\n%s", part, got)
		}
	}
}
