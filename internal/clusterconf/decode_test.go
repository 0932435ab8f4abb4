package clusterconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform/testskip"
)

func mustParse(t testing.TB, text string) *xmldoc.Document {
	t.Helper()
	doc, err := Parse("cluster.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func decode(t testing.TB, inner string) *Config {
	t.Helper()
	return Decode(mustParse(t, `<cluster name="alpha" config_version="7">`+inner+`</cluster>`))
}

const twoNodes = `<clusternodes><clusternode name="a.example" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes>`

func TestDecode_Defaults(t *testing.T) {
	t.Parallel()
	c := decode(t, twoNodes+`<quorumd label="q"/>`)
	c.Doc, c.Nodes[0].Elem, c.Nodes[1].Elem, c.Quorumd.Elem = nil, nil, nil, nil
	want := &Config{
		Name: "alpha", Version: 7,
		Nodes: []Node{{Name: "a.example", ID: 1, Votes: 1, Weight: -1}, {Name: "b", ID: 2, Votes: 1, Weight: -1}},
		Cman: Cman{QuorumDevPoll: 10 * time.Second, ShutdownTimeout: 5 * time.Second, CCSDPoll: time.Second, Port: 5405, ClusterID: 3169,
			Transport: "udp", Multicast: "239.192.12.109", AltMulticast: "239.192.12.110", TTL: 1},
		Totem: Totem{Token: 10 * time.Second, Join: 60 * time.Millisecond, Consensus: 2 * time.Second, RRPMode: "none", SecAuth: true},
		Quorumd: &Quorumd{Interval: time.Second, TKO: 4, TKOUp: 2, UpgradeWait: 2, MasterWait: 3, Votes: 1, VotesAuto: true, Label: "q",
			Scheduler: "rr", Priority: 1, Reboot: true, AllowKill: true, UseUptime: true, MasterWins: true},
		FenceDaemon: FenceDaemon{PostJoinDelay: 6 * time.Second, OverrideTime: 3 * time.Second, OverridePath: DefaultOverridePath, CheckDelay: 5 * time.Second, Race: "none"},
		DLM:         DLM{Protocol: "detect", EnableFencing: true, EnablePlock: true, PlockOwnership: true, DropResourcesTime: 10000, DropResourcesCount: 10, DropResourcesAge: 10000},
		RM:          RM{StatusPollInterval: 10 * time.Second, TransitionThrottling: 5 * time.Second, LogLevel: -1},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDecode_Values(t *testing.T) {
	t.Parallel()
	three := strings.Replace(twoNodes, "</clusternodes>", `<clusternode name="c" nodeid="3" votes="2"><altname name="c2"/></clusternode></clusternodes>`, 1)
	for _, tc := range []struct {
		name, inner string
		got         func(*Config) any
		want        any
	}{
		{"three nodes wait two seconds longer for consensus", three, func(c *Config) any { return c.Totem.Consensus }, 12 * time.Second},
		{"two rings are passive", three, func(c *Config) any { return c.Totem.RRPMode }, "passive"},
		{"broadcast moves the second ring", three + `<cman broadcast="yes"/>`, func(c *Config) any { return c.Nodes[2].AltName.Port }, 5407},
		{"broadcast is a transport", twoNodes + `<cman broadcast="yes"/>`, func(c *Config) any { return c.Cman.Transport + c.Cman.Multicast }, "udpb255.255.255.255"},
		{"a short token has a lower limit of consensus", twoNodes + `<totem token="500"/>`, func(c *Config) any { return c.Totem.Consensus }, 200 * time.Millisecond},
		{"expected votes are those of the nodes", three, func(c *Config) any { return c.ExpectedVotes() }, 4},
		{"quorum", three, func(c *Config) any { return c.Quorum(4) }, 3},
		{"quorum with two_node", twoNodes + `<cman two_node="1"/>`, func(c *Config) any { return c.Quorum(2) }, 1},
		{"quorum of the manual's cluster", twoNodes + `<cman expected_votes="3"/><quorumd label="q"/>`, func(c *Config) any { return c.Quorum(3) }, 2},
		{"cluster id", twoNodes, func(c *Config) any { return ClusterID("RHCluster") }, 41524},
		{"cluster id of mycluster", twoNodes, func(c *Config) any { return ClusterID("mycluster") }, 56756},
		{"qdisk with a long token", twoNodes + `<totem token="61000"/><quorumd label="q" interval="2"/>`, func(c *Config) any { return c.Quorumd.TKO }, 29},
		{"and its votes last as long", twoNodes + `<totem token="61000"/><quorumd label="q" interval="2"/>`, func(c *Config) any { return c.Cman.QuorumDevPoll }, 61 * time.Second},
		{"if nothing else is set", twoNodes + `<cman quorum_dev_poll="60000"/><totem token="61000"/><quorumd label="q" interval="2"/>`, func(c *Config) any { return c.Cman.QuorumDevPoll }, time.Minute},
		{"and without a disk they do not matter", twoNodes + `<totem token="61000"/>`, func(c *Config) any { return c.Cman.QuorumDevPoll }, 10 * time.Second},
		{"and its recovery time", twoNodes + `<totem token="61000"/><quorumd label="q" interval="2"/>`, func(c *Config) any { return c.Quorumd.MasterRecovery() }, 90 * time.Second},
		{"heuristic interval follows the patience", twoNodes + `<totem token="61000"/><quorumd label="q" interval="2"><heuristic program="x"/></quorumd>`,
			func(c *Config) any {
				return fmt.Sprint(c.Quorumd.Heuristics[0].Interval, c.Quorumd.Heuristics[0].TKO, c.Quorumd.MasterWins)
			}, "5s 11 false"},
		{"negative delays are ignored", twoNodes + `<fence_daemon post_join_delay="-1" post_fail_delay="abc"/>`,
			func(c *Config) any { return fmt.Sprint(c.FenceDaemon.PostJoinDelay, c.FenceDaemon.PostFailDelay) }, "6s 0s"},
		{"two nodes race by their services", twoNodes + `<cman two_node="1"/>`, func(c *Config) any { return c.FenceDaemon.Race }, "services"},
		{"unless told otherwise", twoNodes + `<cman two_node="1"/><fence_daemon fence_race="lowest" fence_race_delay="7" retry_max="60"/>`,
			func(c *Config) any {
				return fmt.Sprint(c.FenceDaemon.Race, c.FenceDaemon.RaceDelay, c.FenceDaemon.RetryMax)
			}, "lowest7s 1m0s"},
		{"plock values of gfs_controld", twoNodes + `<gfs_controld plock_ownership="0"/>`, func(c *Config) any { return c.DLM.PlockOwnership }, false},
		{"poll interval below one is ignored", twoNodes + `<rm status_poll_interval="0" transition_throttling="0"/>`,
			func(c *Config) any { return fmt.Sprint(c.RM.StatusPollInterval, c.RM.TransitionThrottling) }, "10s 1s"},
		{"statusmax has a least value", `<rm statusmax="1"/>`, func(c *Config) any { return c.RM.StatusMax }, 3},
		{"statusmax", `<rm statusmax="7"/>`, func(c *Config) any { return c.RM.StatusMax }, 7},
		{"logging: daemon over general over default", twoNodes + `<logging to_syslog="no" debug="on" syslog_facility="local9"><logging_daemon name="fenced" debug="off" logfile="/f"/></logging>`,
			func(c *Config) any { return fmt.Sprint(c.Logging("fenced"), c.Logging("QDISKD")) },
			"{false true local4 info /f info false} {false true local4 info /var/log/cluster/qdiskd.log debug true}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.got(decode(t, tc.inner)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestFenceArgs_OrderAndDuplicates(t *testing.T) {
	t.Parallel()
	c := decode(t, `<clusternodes><clusternode name="CNODE1" nodeid="1"><fence><method name="m"><device name="zvmip1" port="LINUX1" action="reboot" delay="5"/></method></fence></clusternode></clusternodes>
	<fencedevices><fencedevice agent="fence_zvmip" ipaddr="1.2.3.4" login="L" name="zvmip1" passwd="p w"/></fencedevices>`)
	want := "port=LINUX1\naction=reboot\ndelay=5\nnodename=CNODE1\nagent=fence_zvmip\nipaddr=1.2.3.4\nlogin=L\npasswd=p w\n"
	if got := string(FenceArgs(c.Nodes[0].Methods[0].Devices[0], c.FenceDevices[0], "CNODE1")); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := fmt.Sprint(c.FenceDevices[0].Args); strings.Contains(got, "p w") {
		t.Errorf("secret in %s", got)
	}
	d := Device{Args: []Arg{{"nodename", "other"}}}
	if got := string(FenceArgs(d, FenceDevice{Args: []Arg{{"agent", "x"}}}, "v")); got != "nodename=other\nagent=x\n" {
		t.Errorf("own nodename: %q", got)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		running, offered int
		want             error
	}{{3, 4, nil}, {3, 3, ErrSameVersion}, {3, 2, ErrOlder}} {
		if err := CompareVersions(tc.running, tc.offered); !errors.Is(err, tc.want) {
			t.Errorf("%d to %d: %v", tc.running, tc.offered, err)
		}
	}
	doc := mustParse(t, "<cluster  name='c' config_version = '9'><!-- keep --></cluster>")
	if n := Bump(doc); n != 10 {
		t.Errorf("bumped to %d", n)
	}
	if got, want := string(doc.Bytes()), "<cluster  name='c' config_version=\"10\"><!-- keep --></cluster>"; got != want {
		t.Errorf("got %s", got)
	}
}

// The manual's figure 1 can not be read as printed; the shipped example, which
// adds what it lacks, is valid without a warning.
func TestExample_Valid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../conf/cluster.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	if r := Validate(mustParse(t, string(text)), Options{HasAgent: func(a string) bool { return a == "fence_zvmip" }}); len(r.Issues) > 0 {
		t.Errorf("%v", r.Issues)
	}
	figure := strings.Replace(strings.Replace(string(text), "<rm>", "</rm>", 1), "    </service>\n  </rm>\n", "", 1)
	_, err = Parse("figure1", []byte(figure))
	if err == nil || err.Error() != "figure1:25:3: /cluster: not well-formed: </rm> where </cluster> is expected, to end <cluster> of line 4" {
		t.Errorf("figure 1: %v", err)
	}
}

// services is a file with n services that use a shared script and have an
// address, a file system and a server of their own.
func services(n int) string {
	var b strings.Builder
	b.WriteString(`<cluster name="big" config_version="1"><cman two_node="1" expected_votes="1"/><clusternodes>` +
		`<clusternode name="a" nodeid="1"><fence><method name="m"><device name="f"/></method></fence></clusternode>` +
		`<clusternode name="b" nodeid="2"><fence><method name="m"><device name="f"/></method></fence></clusternode></clusternodes>` +
		`<fencedevices><fencedevice name="f" agent="fence_zvmip"/></fencedevices>` + "<rm>\n<resources><script name=\"shared\" file=\"/etc/init.d/x\"/></resources>\n")
	for i := range n {
		fmt.Fprintf(&b, "<service name=\"s%d\" recovery=\"relocate\">\n  <ip address=\"10.%d.%d.%d/8\"/>\n  <fs name=\"f%d\" device=\"/dev/vg/lv%d\" mountpoint=\"/srv/%d\">\n    <action name=\"status\" depth=\"*\" interval=\"30\"/>\n  </fs>\n  <apache name=\"w%d\"/>\n  <script ref=\"shared\"/>\n</service>\n",
			i, i>>16&255, i>>8&255, i&255, i, i, i, i)
	}
	b.WriteString("</rm>\n</cluster>\n")
	return b.String()
}

func TestTenThousandServices(t *testing.T) {
	t.Parallel()
	testskip.IfShort(t, "two files of 2.5 MiB, a minute under the emulator")
	doc := mustParse(t, services(10000))
	if r := Validate(doc, Options{}); len(r.Issues) > 0 {
		t.Errorf("%d issues, the first: %v", len(r.Issues), r.Issues[0])
	}
	set := restree.Load(restree.Builtin(), doc.Root)
	if len(set.Tree) != 10000 || len(set.Resources) != 40001 {
		t.Errorf("%d services, %d resources", len(set.Tree), len(set.Resources))
	}
	// A file of nothing but faults is cut, but says how many there are.
	bad := strings.ReplaceAll(services(10000), "<ip address=", "<ip colour=")
	r := Validate(mustParse(t, bad), Options{})
	if len(r.Issues) != MaxIssues+1 || !strings.Contains(r.Issues[MaxIssues].Text, "more faults are not shown") || r.Valid() {
		t.Errorf("%d issues, the last: %v", len(r.Issues), r.Issues[len(r.Issues)-1])
	}
}

// The budget for 1,000 services is 200 ms and 64 MiB for everything together.
func BenchmarkThousandServices(b *testing.B) {
	text := []byte(services(1000))
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	var peak uint64
	for b.Loop() {
		doc, err := Parse("cluster.conf", text)
		if err != nil {
			b.Fatal(err)
		}
		if !Validate(doc, Options{}).Valid() {
			b.Fatal("not valid")
		}
		set := restree.Load(restree.Builtin(), doc.Root)
		if len(set.Tree) != 1000 {
			b.Fatal("services lost")
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapSys)
		runtime.KeepAlive(set)
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
}

// Whatever can be parsed can be validated, decoded and loaded.
func FuzzValidate(f *testing.F) {
	files, _ := filepath.Glob("testdata/corpus/*.conf")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := Parse("f", text)
		if err != nil {
			return
		}
		for _, i := range Validate(doc, Options{}).Issues {
			if strings.ContainsRune(i.String(), '\n') {
				t.Fatalf("more than one line: %q", i)
			}
		}
		Decode(doc)
	})
}
