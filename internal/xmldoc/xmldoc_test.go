package xmldoc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const sample = `<?xml version="1.0"?>
<!-- the "Z" cluster -->
<cluster name='Z &amp; Y'   config_version="3" >
	<clusternodes>
		<clusternode name="CNODE1"
			nodeid="1"/>
		<!-- <clusternode name="OLD"/> -->
		<clusternode name="CNODE2"
			nodeid="2"></clusternode>
	</clusternodes>
	<cman/>
</cluster>
<!-- end -->
`

func mustParse(t testing.TB, text string) *Document {
	t.Helper()
	d, err := Parse("f.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBytes_UnchangedDocumentIsWrittenAsRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		sample,
		"\ufeff<a/>",
		"<a  />\n\n",
		"<a>\r\n<b\tx = '1'\ty=\"'\"/>\r\n</a >",
		"<?xml version=\"1.0\" encoding='ISO-8859-1'?><a b=\"M\xfcller\">\xdf</a>",
		"<!DOCTYPE a [<!ELEMENT a ANY>]><a><![CDATA[ <x> ]]></a>",
	} {
		if diff := cmp.Diff(text, string(mustParse(t, text).Bytes())); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	d := mustParse(t, sample)
	two := d.Root.Child("clusternodes").ChildrenNamed("clusternode")[1]
	for _, tc := range []struct{ name, got, want string }{
		{"root", d.Root.Pos().String(), "f.conf:3:1"},
		{"element after comments", two.Pos().String(), "f.conf:8:3"},
		{"attribute on a line of its own", two.AttrPos("nodeid").String(), "f.conf:9:4"},
		{"absent attribute", two.AttrPos("votes").String(), "f.conf:8:3"},
		{"path", two.Path(), "/cluster/clusternodes/clusternode[2]"},
		{"value", d.Root.Get("name"), "Z & Y"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, tc.got, tc.want)
		}
	}
	d = mustParse(t, `<a ü="ä" b="1"/>`)
	if got := d.Root.AttrPos("b").Column; got != 10 {
		t.Errorf("column after letters of two bytes: got %d, want 10", got)
	}
}

func TestEdit_KeepsEverythingElse(t *testing.T) {
	t.Parallel()
	d := mustParse(t, sample)
	nodes := d.Root.Child("clusternodes")
	d.Root.SetAttr("config_version", "4")
	nodes.Elements()[0].SetAttr("votes", `1"2`)
	nodes.Append(NewElement("clusternode", "name", "CNODE3")).Append(NewElement("fence"))
	d.Root.Child("cman").Append(NewElement("multicast", "addr", "239.0.0.1"))
	d.Root.Prepend(NewElement("totem", "token", "10000"))
	want := `<?xml version="1.0"?>
<!-- the "Z" cluster -->
<cluster name='Z &amp; Y'   config_version="4" >
	<totem token="10000"/>
	<clusternodes>
		<clusternode name="CNODE1"
			nodeid="1"
			votes="1&quot;2"/>
		<!-- <clusternode name="OLD"/> -->
		<clusternode name="CNODE2"
			nodeid="2"></clusternode>
		<clusternode name="CNODE3">
			<fence/>
		</clusternode>
	</clusternodes>
	<cman>
		<multicast addr="239.0.0.1"/>
	</cman>
</cluster>
<!-- end -->
`
	if diff := cmp.Diff(want, string(d.Bytes())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	nodes.Remove(nodes.Elements()[2])
	d.Root.Child("cman").Remove(d.Root.Child("cman").Child("multicast"))
	d.Root.Remove(d.Root.Child("totem"))
	d.Root.SetAttr("config_version", "3")
	nodes.Elements()[0].RemoveAttr("votes")
	if diff := cmp.Diff(sample, string(d.Bytes())); diff != "" {
		t.Errorf("after taking the edits back (-want +got)\n%s", diff)
	}
}

func TestClone_IsIndependent(t *testing.T) {
	t.Parallel()
	d := mustParse(t, sample)
	c := d.Clone()
	c.Root.SetAttr("name", "other")
	c.Root.Child("clusternodes").Append(NewElement("x"))
	if diff := cmp.Diff(sample, string(d.Bytes())); diff != "" {
		t.Errorf("original changed (-want +got)\n%s", diff)
	}
	if c.Root.Child("cman").Parent != c.Root {
		t.Error("child of the copy has another parent")
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"line breaks are blanks", "<a b='x\r\ny\tz'/>", "x y z"},
		{"references to them are not", "<a b='x&#10;y'/>", "x\ny"},
		{"both, with quotes", "<a b='\"x\ny&#9;&quot;'/>", "\"x y\t\""},
		{"empty", "<a b=''/>", ""},
	} {
		if got := mustParse(t, tc.text).Root.Get("b"); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestParse_Errors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, want string
		is               error
	}{
		{"empty file", "", "f: /: not well-formed: no root element", ErrSyntax},
		{"only a comment", "<!-- a -->", "f: /: not well-formed: no root element", ErrSyntax},
		{"not XML", "totem {\n}\n", "f:1:1: /: not well-formed: text outside the root element", ErrSyntax},
		{"the manual's figure 1", "<a>\n<b/>\n</rm>\n", "f:3:1: /a: not well-formed: </rm> where </a> is expected, to end <a> of line 1", ErrSyntax},
		{"end without start", "</a>", "f:1:1: /: not well-formed: </a> without a start tag", ErrSyntax},
		{"cut off", "<a>\n <b>", "f:2:5: /a/b: not well-formed: the file ends inside <b> of line 2", ErrSyntax},
		{"cut off in a tag", "<a>\n <b c=\"", "", ErrSyntax},
		{"two roots", "<a/><b/>", "f:1:5: /: not well-formed: a second root element <b> after </a>", ErrSyntax},
		{"text after the root", "<a/>\n  x", "f:2:3: /: not well-formed: text outside the root element", ErrSyntax},
		{"attribute twice", "<a b='1' c='' b='2'/>", "f:1:15: /: not well-formed: attribute b twice in <a>", ErrSyntax},
		{"no quotes", "<a b=1/>", "", ErrSyntax},
		{"attributes not separated", "<a b='1'c='2'/>", "f:1:9: /: not well-formed: no white space before attribute c", ErrSyntax},
		{"less-than in a value", "<a b='<'/>", "", ErrSyntax},
		{"control character in a value", "<a b='\x01'/>", "", ErrSyntax},
		{"control character by reference", "<a b='&#1;'/>", "", ErrSyntax},
		{"NUL byte", "<a>\x00</a>", "", ErrSyntax},
		{"not UTF-8", "<a b='\xff'/>", "", ErrSyntax},
		{"unknown entity", "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "", ErrSyntax},
		{"UTF-16", "\xff\xfe<\x00a\x00", "f: /: encoding not supported: found UTF-16; allowed: UTF-8, US-ASCII, ISO-8859-1", ErrEncoding},
		{"EBCDIC declared", "<?xml version='1.0' encoding='IBM1047'?><a/>", `f: /: encoding not supported: found "IBM1047"; allowed: UTF-8, US-ASCII, ISO-8859-1`, ErrEncoding},
		{"deep", strings.Repeat("<a>", MaxDepth+1), "", ErrTooDeep},
		{"long", "<a>" + strings.Repeat(" ", MaxSize) + "</a>", "f: /: document too long: 67108871 bytes, at most 67108864 are read", ErrTooLong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("f", []byte(tc.text))
			if !errors.Is(err, tc.is) {
				t.Fatalf("got %v, want %v", err, tc.is)
			}
			if tc.want != "" && err.Error() != tc.want {
				t.Errorf("got  %v\nwant %v", err, tc.want)
			}
			if strings.ContainsAny(err.Error(), "\n\x00\x01") {
				t.Errorf("not one clean line: %q", err)
			}
		})
	}
}

func TestRead_WhatWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOf(rapid.RuneFrom([]rune("aä\"'<>&\t\n ]"))).Draw(t, "value")
		d := New("f", NewElement("a"))
		d.Root.SetAttr("x", value)
		d.Root.Append(NewElement("b", "y", value)).Append(NewElement("c"))
		got, err := Parse("f", d.Bytes())
		if err != nil {
			t.Fatalf("%v in %s", err, d.Bytes())
		}
		if got.Root.Get("x") != value || got.Root.Child("b").Get("y") != value || got.Root.Child("b").Child("c") == nil {
			t.Fatalf("lost %q: %s", value, d.Bytes())
		}
	})
}

// Any input gives a document that is written back as it was read, or a
// *SyntaxError; never a panic.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("<a b='x\r\ny'>&lt;<![CDATA[x]]></a >")
	f.Add("<?xml version=\"1.0\" encoding='latin1'?><a>\xdf</a>")
	if files, _ := filepath.Glob("../clusterconf/testdata/corpus/*.conf"); len(files) > 0 {
		for _, name := range files[:min(len(files), 20)] {
			if b, err := os.ReadFile(name); err == nil {
				f.Add(string(b))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse("f", []byte(text))
		if err != nil {
			var syn *SyntaxError
			if !errors.As(err, &syn) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if got := string(d.Bytes()); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
		d.Root.SetAttr("added", "<>")
		d.Root.Append(NewElement("added"))
		if _, err := Parse("f", d.Bytes()); err != nil {
			t.Fatalf("after an edit: %v: %q", err, d.Bytes())
		}
	})
}
