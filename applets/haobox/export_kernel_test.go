//go:build linux

package haobox_test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/testskip"
)

// exported has one of each kind of thing that is exported, and values that the
// tools' own ways of reading command lines could spoil.
const exported = `<cluster name="c" config_version="1">
  <clusternodes>
    <clusternode name="CNODE1" nodeid="1"><fence delay="5">
      <method name="1"><device name="zvm1" port="LINUX1"/><device name="zvm2" port="it's$(exit)&quot;q&quot;\1"/></method>
    </fence></clusternode>
    <clusternode name="CNODE2" nodeid="2"/>
  </clusternodes>
  <fencedevices>
    <fencedevice name="zvm1" agent="fence_zvmip" ipaddr="192.0.2.1" login="C MANAGER" passwd="a\'&lt;b&gt;&quot;$c"/>
    <fencedevice name="zvm2" agent="fence_zvmip" ipaddr="192.0.2.2" login="A" passwd="it's &amp; \x #y"/>
  </fencedevices>
</cluster>
`

// fencing is what is compared of a CIB.
type fencing struct {
	Devices []struct {
		ID         string  `xml:"id,attr"`
		Class      string  `xml:"class,attr"`
		Type       string  `xml:"type,attr"`
		Values     []value `xml:"instance_attributes>nvpair"`
		Operations []struct {
			Name     string `xml:"name,attr"`
			Interval string `xml:"interval,attr"`
		} `xml:"operations>op"`
	} `xml:"configuration>resources>primitive"`
	Levels []struct {
		Target  string `xml:"target,attr"`
		Index   string `xml:"index,attr"`
		Devices string `xml:"devices,attr"`
	} `xml:"configuration>fencing-topology>fencing-level"`
}

type value struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// TestExport_RealTools gives each export to the program that it is for, on a
// CIB of two nodes in a file: crm_verify finds no fault in what comes out, and
// all of them understand the same.
func TestExport_RealTools(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "cibadmin, pcs and crm")
	testskip.IfShort(t, "pcs and crm take seconds for each command")
	binary := cmdtest.Build(t, "../..", ".")
	dir := t.TempDir()
	conf := filepath.Join(dir, "cluster.conf")
	if err := os.WriteFile(conf, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	results := make([]fencing, 3)
	tools := [...]struct{ format, load string }{
		{"pacemaker", `cibadmin --modify --allow-create --xml-file "$OUT"`},
		// The file of the CIB is an option of pcs; the commands are as they are.
		{"pcs", `pcs() { command pcs -f "$CIB_file" "$@"; }; . "$OUT"`},
		{"crm", `. "$OUT"`},
	}
	t.Run("load", func(t *testing.T) {
		for i, tool := range tools {
			t.Run(tool.format, func(t *testing.T) {
				t.Parallel()
				out, cib := filepath.Join(dir, tool.format), filepath.Join(dir, tool.format+".xml")
				text, err := exec.Command(binary, "export", "--to", tool.format, "--secrets", conf).Output()
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(out, text, 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command("bash", "-ec", `cibadmin --empty >"$CIB_file"
cibadmin --modify -X '<cib have-quorum="1"/>'
for n in 1 2; do
	cibadmin --modify --allow-create -o nodes -X "<node id='$n' uname='CNODE$n'/>"
	cibadmin --modify --allow-create -o status -X "<node_state id='$n' uname='CNODE$n' in_ccm='true' crmd='online' join='member' expected='member'/>"
done
`+tool.load+"\ncrm_verify -V --xml-file \"$CIB_file\"")
				cmd.Env = append(os.Environ(), "CIB_file="+cib, "OUT="+out, "HOME="+t.TempDir(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
				if text, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				got, err := os.ReadFile(cib)
				if err != nil {
					t.Fatal(err)
				}
				if err := xml.Unmarshal(got, &results[i]); err != nil {
					t.Fatalf("%v\n%s", err, got)
				}
				for _, d := range results[i].Devices { // pcs sorts them
					slices.SortFunc(d.Values, func(a, b value) int { return strings.Compare(a.Name, b.Name) })
				}
			})
		}
	})
	want := []value{{"ipaddr", "192.0.2.1"}, {"login", "C MANAGER"}, {"passwd", `a\'<b>"$c`}, {"pcmk_delay_base", "CNODE1:5s"}, {"pcmk_host_map", "CNODE1:LINUX1"}}
	if got := results[0].Devices; len(got) != 2 || !slices.Equal(want, got[0].Values) || len(results[0].Levels) != 1 {
		t.Errorf("%+v; want two devices, the first with %v, and a level", results[0], want)
	}
	for i := range tools {
		if diff := cmp.Diff(results[0], results[i]); diff != "" {
			t.Errorf("%s and %s (-want +got)\n%s", tools[0].format, tools[i].format, diff)
		}
	}
}
