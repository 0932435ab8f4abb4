package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

func page(t testing.TB, name string, text []byte) *Page {
	t.Helper()
	doc, err := clusterconf.Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return New(doc, restree.Builtin())
}

func render(t testing.TB, p *Page, format func(*Page, *bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := format(p, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asText(p *Page, b *bytes.Buffer) error { return p.Text(b) }
func asJSON(p *Page, b *bytes.Buffer) error { return p.JSON(b) }
func asSVG(p *Page, b *bytes.Buffer) error  { return p.SVG(b) }

// The manual's cluster is explained in docs, as text and as a picture.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../conf/cluster.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	p := page(t, "cluster.conf", text)
	goldentest.Compare(t, "../../docs/explain.txt", render(t, p, asText))
	goldentest.Compare(t, "../../docs/explain.svg", render(t, p, asSVG))
	goldentest.Compare(t, "testdata/example.json", render(t, p, asJSON))
}

const rich = `<cluster name="zc" config_version="3">
 <totem token="21000"/>
 <cman expected_votes="5"/>
 <clusternodes>
  <clusternode name="A" nodeid="1"><altname name="A2"/>
   <fence><method name="zvm"><device name="z1" port="LA"/><device name="z2" port="LA" passwd="HUSH"/></method><method name="second"><device name="z2"/></method></fence>
   <unfence><device name="z1" action="on"/></unfence></clusternode>
  <clusternode name="B" nodeid="2" votes="2"/>
  <clusternode name="C" nodeid="3"/>
 </clusternodes>
 <fencedevices><fencedevice name="z1" agent="fence_zvmip" ipaddr="192.0.2.1" passwd="HUSH"/><fencedevice name="z2" agent="fence_zvm"/></fencedevices>
 <quorumd device="/dev/q" votes="1" interval="1" tko="6"><heuristic program="ping -c1 gw" score="2"/></quorumd>
 <rm>
  <failoverdomains>
   <failoverdomain name="one" restricted="1"><failoverdomainnode name="A"/></failoverdomain>
   <failoverdomain name="two" ordered="1"><failoverdomainnode name="B" priority="2"/><failoverdomainnode name="A" priority="1"/></failoverdomain>
  </failoverdomains>
  <resources><script name="shared" file="/s"/></resources>
  <service name="a" domain="one" recovery="disable" autostart="0" exclusive="1"><script ref="shared"/></service>
  <service name="b" domain="two" recovery="restart-disable" max_restarts="3" restart_expire_time="1h" depend="service:a">
   <fs name="f" device="/dev/f" mountpoint="/f"><mysql name="m" __independent_subtree="1" __max_restarts="2" __restart_expire_time="600"/></fs>
   <ip address="192.0.2.9/24"/><script ref="shared" /><apache name="w" __independent_subtree="2"/>
  </service>
  <vm name="guest" recovery="relocate"/>
  <service name="broken"><ip ref="none"/></service>
 </rm>
</cluster>`

func TestRich(t *testing.T) {
	t.Parallel()
	p := page(t, "cluster.conf", []byte(rich))
	goldentest.Compare(t, "testdata/rich.txt", render(t, p, asText))
	for name, out := range map[string]string{"text": render(t, p, asText), "json": render(t, p, asJSON), "svg": render(t, p, asSVG)} {
		if strings.Contains(out, "HUSH") {
			t.Errorf("a secret in %s", name)
		}
	}
}

// Every file that can be read can be explained in every format, and the
// picture is XML whatever the names in it are.
func TestFormats_EveryCorpusFile(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("../clusterconf/testdata/corpus/*.conf")
	if len(files) < 60 {
		t.Fatalf("%d files", len(files))
	}
	rules := restree.Builtin()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := clusterconf.Parse("f", text)
		if err != nil || doc.Root.Name != "cluster" {
			continue
		}
		p := New(doc, rules)
		render(t, p, asText)
		if _, err := xmldoc.Parse("svg", []byte(render(t, p, asSVG))); err != nil {
			t.Errorf("%s: picture: %v", file, err)
		}
		var back Page
		if err := json.Unmarshal([]byte(render(t, p, asJSON)), &back); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if diff := cmp.Diff(p, &back); diff != "" {
			t.Errorf("%s: JSON loses something (-want +got)\n%s", file, diff)
		}
	}
}

// A picture of many nodes and services has no tangle of lines but words, names
// of any length end where their boxes do, and the whole name is there to be
// looked up.
func TestSVG_Crowded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`<cluster name="zc" config_version="1"><clusternodes>`)
	for i := range 16 {
		fmt.Fprintf(&b, `<clusternode name="WWWWWWWWWWWWWWWW&lt;%d&gt;WWWWWWWWWW" nodeid="%d"><fence><method name="1"><device name="z%d"/></method></fence></clusternode>`, i+1, i+1, i%2)
	}
	b.WriteString(`</clusternodes><fencedevices><fencedevice name="z0" agent="fence_zvmip"/><fencedevice name="z1" agent="fence_zvmip"/></fencedevices><rm>` +
		`<failoverdomains><failoverdomain name="d" restricted="1"><failoverdomainnode name="WWWWWWWWWWWWWWWW&lt;3&gt;WWWWWWWWWW"/><failoverdomainnode name="WWWWWWWWWWWWWWWW&lt;16&gt;WWWWWWWWWW"/></failoverdomain></failoverdomains>`)
	for i := range 30 {
		fmt.Fprintf(&b, `<service name="s%d" domain="%s"/>`, i, []string{"d", ""}[i%2])
	}
	b.WriteString(`</rm></cluster>`)
	svg := render(t, page(t, "cluster.conf", []byte(b.String())), asSVG)
	if strings.Contains(svg, "<line ") {
		t.Error("lines between bands of several rows")
	}
	for want, n := range map[string]int{
		">fenced by z0<": 8, ">fenced by z1<": 8, ">runs on nodes 3, 16<": 15, ">runs on every node<": 15,
		"<title>WWWWWWWWWWWWWWWW&lt;3&gt;WWWWWWWWWW</title>WWWWWWWWWWWW…</text>": 1,
	} {
		if got := strings.Count(svg, want); got != n {
			t.Errorf("%q is there %d times, want %d", want, got, n)
		}
	}
	if t.Failed() {
		t.Log(svg)
	}
}
