package fencing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/clusterconf"
)

func TestConfigOf(t *testing.T) {
	t.Parallel()
	doc, err := clusterconf.Parse("cluster.conf", []byte(`<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/><totem token="3000"/>
<fence_daemon post_join_delay="20" post_fail_delay="2" override_time="5" retry_max="90" fence_race_delay="9" skip_undefined="1" clean_start="1"/>
<clusternodes><clusternode name="B" nodeid="2"><fence delay="4"><method name="m"/></fence><unfence><device name="d"/></unfence></clusternode><clusternode name="A" nodeid="1"/></clusternodes></cluster>`))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Nodes:   []Node{{ID: 1, Name: "A"}, {ID: 2, Name: "B", Delay: 4 * time.Second, Methods: true}},
		TwoNode: true, PostJoinDelay: 20 * time.Second, PostFailDelay: 2 * time.Second, CleanStart: true, SkipUndefined: true,
		OverrideTime: 5 * time.Second, RetryMax: 90 * time.Second, CheckDelay: 5 * time.Second, Race: RaceServices, RaceDelay: 9 * time.Second,
		Token: 3 * time.Second, OffTime: 5 * time.Second, Unheard: 3 * time.Second, Unfence: true,
	}
	if diff := cmp.Diff(want, ConfigOf(clusterconf.Decode(doc), 2)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if ConfigOf(clusterconf.Decode(doc), 1).Unfence {
		t.Error("node 1 has no unfence devices")
	}
}

// TestConfigOf_QuorumDisk: with a quorum disk quorum can be lost unheard sooner.
func TestConfigOf_QuorumDisk(t *testing.T) {
	t.Parallel()
	for disk, want := range map[string]time.Duration{
		"":                                       10 * time.Second,
		`<quorumd label="q"/>`:                   time.Second,
		`<quorumd label="q" interval="2"/>`:      2 * time.Second,
		`<quorumd label="q" interval="999999"/>`: 10 * time.Second,
	} {
		doc, err := clusterconf.Parse("cluster.conf", []byte(`<cluster name="c" config_version="1">`+disk+`</cluster>`))
		if err != nil {
			t.Fatal(err)
		}
		if got := ConfigOf(clusterconf.Decode(doc), 1).Unheard; got != want {
			t.Errorf("%s: %v, want %v", disk, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for r := RaceNone; r <= RaceQdisk; r++ {
		if got, ok := ParseRace(r.String()); !ok || got != r {
			t.Errorf("%s gives %v", r, got)
		}
	}
	if _, ok := ParseRace("both"); ok {
		t.Error("both is a policy")
	}
	for c, want := range map[Code]string{0: "error unknown", CodeSuccess: "success", CodeConfigDevice: "error config device", CodeStatusError: "status error", 15: "error unknown"} {
		if got := c.String(); got != want {
			t.Errorf("code %d is %q, want %q", c, got, want)
		}
	}
	if got := WaitMessages.String() + " " + HowExternal.String() + " " + ReasonProcess.String(); got != "messages external fence daemon failed" {
		t.Error(got)
	}
}
