package corosyncconf_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/corosyncconf"
	"github.com/haobox/haobox/internal/goldentest"
)

func load(t *testing.T, text string) *clusterconf.Config {
	t.Helper()
	doc, err := clusterconf.Parse("cluster.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return clusterconf.Decode(doc)
}

// TestTranslate makes testdata/NAME.golden, notes included, of NAME.conf.
func TestTranslate(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]corosyncconf.Options{
		"two_node":   {HaveKey: true},
		"minimal":    {},
		"qdisk":      {HaveKey: true},
		"links":      {HaveKey: true},
		"everything": {HaveKey: true},
		"overrides":  {HaveKey: true, KeyFile: "/etc/cluster/key", ClusterName: "other", Expected: 5, Port: 6809, Local: "b", Votes: 2, NodeID: 7},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".conf"))
		if err != nil {
			t.Fatal(err)
		}
		conf, notes := corosyncconf.Translate(load(t, string(b)), o)
		var out strings.Builder
		for _, n := range notes {
			out.WriteString(n.String() + "\n")
		}
		out.WriteString("--\n" + string(conf))
		goldentest.Compare(t, filepath.Join("testdata", name+".golden"), out.String())
		if !corosyncconf.Ours(conf) {
			t.Errorf("%s: not recognised as made here", name)
		}
	}
}

// TestTranslate_Fatal: what corosync could not run with is said beforehand.
func TestTranslate_Fatal(t *testing.T) {
	t.Parallel()
	nodes := `<clusternodes><clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes>`
	for _, tc := range []struct{ name, text, want string }{
		{"rdma", `<cluster name="c" config_version="1"><cman transport="rdma"/>` + nodes + `</cluster>`, "rdma"},
		{"same id twice", `<cluster name="c" config_version="1"><clusternodes><clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="1"/></clusternodes></cluster>`, "nodeid 1 is used twice"},
		{"no id", `<cluster name="c" config_version="1"><clusternodes><clusternode name="a"/></clusternodes></cluster>`, "no nodeid"},
		{"id over 16 with a disk", `<cluster name="c" config_version="1"><clusternodes><clusternode name="a" nodeid="17"/></clusternodes><quorumd label="q"/></cluster>`, "nodeid 17"},
		{"two_node with a disk", `<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/>` + nodes + `<quorumd label="q"/></cluster>`, "exclude each other"},
		{"two_node with one node", `<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/><clusternodes><clusternode name="a" nodeid="1"/></clusternodes></cluster>`, "not 2 nodes"},
		{"two_node with two votes", `<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/><clusternodes><clusternode name="a" nodeid="1" votes="2"/><clusternode name="b" nodeid="2"/></clusternodes></cluster>`, "votes not set to 1"},
		{"a link that one lacks", `<cluster name="c" config_version="1"><clusternodes><clusternode name="a" nodeid="1"><altname name="a1"/></clusternode><clusternode name="b" nodeid="2"/></clusternodes></cluster>`, "same number of altname"},
		{"no key although asked for", `<cluster name="c" config_version="1"><totem secauth="on"/>` + nodes + `</cluster>`, "there is no key"},
		{"no key although named", `<cluster name="c" config_version="1"><cman keyfile="/k"/>` + nodes + `</cluster>`, "there is no key /k"},
		{"a line end in a name", "<cluster name=\"c\" config_version=\"1\"><clusternodes><clusternode name=\"a&#10;  nodeid: 9\" nodeid=\"1\"/></clusternodes></cluster>", "cannot hold"},
	} {
		_, notes := corosyncconf.Translate(load(t, tc.text), corosyncconf.Options{})
		found := false
		for _, n := range notes {
			found = found || n.Fatal && strings.Contains(n.Text, tc.want) && strings.HasPrefix(n.String(), "cluster.conf:1:")
		}
		if !found {
			t.Errorf("%s: no fatal note with %q in %v", tc.name, tc.want, notes)
		}
	}
}

// TestTranslate_TooManyLinks: knet has eight; what is beyond is not used.
func TestTranslate_TooManyLinks(t *testing.T) {
	t.Parallel()
	text := `<cluster name="c" config_version="1"><clusternodes>`
	for _, n := range []string{"1", "2"} {
		text += `<clusternode name="n` + n + `" nodeid="` + n + `">` + strings.Repeat(`<altname name="a`+n+`"/>`, 9) + `</clusternode>`
	}
	conf, notes := corosyncconf.Translate(load(t, text+`</clusternodes></cluster>`), corosyncconf.Options{HaveKey: true})
	if len(notes) != 1 || notes[0].Fatal || notes[0].Text != "at most 8 links are used" {
		t.Errorf("notes %v", notes)
	}
	if n := strings.Count(string(conf), "_addr: "); n != 16 || strings.Count(string(conf), "linknumber: ") != 8 {
		t.Errorf("%d addresses in\n%s", n, conf)
	}
}

// info is a file as Stat sees it.
type info struct {
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return "k" }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

func TestCheckKey(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		info info
		want string
	}{
		{info{256, 0o400}, ""},
		{info{128, 0o600}, ""},
		{info{4096, 0o400}, ""},
		{info{127, 0o400}, "127 bytes"},
		{info{4097, 0o400}, "4097 bytes"},
		{info{256, 0o440}, "0440"},
		{info{256, 0o604}, "0604"},
		{info{256, fs.ModeDir | 0o700}, "no regular file"},
	} {
		err := corosyncconf.CheckKey("/k", tc.info)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.info, err, tc.want)
		}
	}
}
