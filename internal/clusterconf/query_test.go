package clusterconf

import (
	"errors"
	"testing"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, `<cluster name="zc"><!-- c --><a x="1" y="2">text</a><a x="3"><b><c z="deep"/></b></a></cluster>`)
	for _, tc := range []struct {
		path string
		want string
		err  error
	}{
		{"/cluster/@name", "zc", nil},
		{"/cluster/a[2]/@x", "3", nil},
		{"/cluster/a[@x='3']/b/c/@z", "deep", nil},
		{"//c/@z", "deep", nil},
		{"//c/../../@x", "3", nil},
		{"/cluster/a[last()]/@x", "3", nil},
		{"/cluster/a", "text", nil},
		{"/cluster/a/text()", "text", nil},
		{"/cluster/a[1]/following-sibling::a/@x", "3", nil},
		{"/cluster/a[2]/preceding-sibling::a/@y", "2", nil},
		{"/cluster/a/@*", "x=1", nil},
		{"/cluster/child::*", "a=text", nil},
		{"count(/cluster/a)", "2", nil},
		{"string(/cluster/@name)", "zc", nil},
		{"/cluster/none", "", ErrNoData},
		{"/cluster[", "", ErrBadQuery},
		{"", "", ErrBadQuery},
		{"nosuchfunction(1)", "", ErrBadQuery},
	} {
		got, err := Query(doc, tc.path)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %q %v, want %q %v", tc.path, got, err, tc.want, tc.err)
		}
	}
}

func TestQueryLite(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, `<cluster name="zc"><a x="1/2" y="2">text</a><a x="3"><b z="q"/></a></cluster>`)
	for _, tc := range []struct {
		path string
		want string
		err  error
	}{
		{"/cluster/@name", "zc", nil},
		{"/cluster/a[2]/b/@z", "q", nil},
		{`/cluster/a[@x="1/2"]/@y`, "2", nil},
		{"/cluster/a", "text", nil},
		{"/cluster/a[3]", "", ErrNoData},
		{"/other", "", ErrNoData},
		{"/cluster/a[x]", "", ErrBadQuery},
		{"/cluster/a[2", "", ErrBadQuery},
		{"/cluster//a", "", ErrBadQuery},
		{"cluster", "", ErrBadQuery},
		{"/", "", ErrBadQuery},
		{"", "", ErrBadQuery},
	} {
		got, err := QueryLite(doc, tc.path)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %q %v, want %q %v", tc.path, got, err, tc.want, tc.err)
		}
	}
}

// Whatever is asked, there is an answer or an error; never a panic.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"/cluster/@name", "//a[1]/@*", "count(//a)", "/cluster/a[@x=\"1\"]"} {
		f.Add(s)
	}
	doc := mustParse(f, `<cluster name="zc"><a x="1">t</a><a/></cluster>`)
	f.Fuzz(func(t *testing.T, path string) {
		Query(doc, path)
		QueryLite(doc, path)
	})
}
