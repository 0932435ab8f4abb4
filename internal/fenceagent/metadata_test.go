package fenceagent

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"
)

func TestXML_EscapesAndParses(t *testing.T) {
	t.Parallel()
	d := Description{Name: "fence_x", Short: `a "b" & <c>`, Long: "one\n\ntwo's", URL: "https://example.com/?a=1&b=2", Options: sample}
	for _, manpage := range []bool{false, true} {
		var doc struct {
			Name       string `xml:"name,attr"`
			Short      string `xml:"shortdesc,attr"`
			Long       string `xml:"longdesc"`
			Parameters []struct {
				Name       string `xml:"name,attr"`
				Obsoletes  string `xml:"obsoletes,attr"`
				Deprecated string `xml:"deprecated,attr"`
			} `xml:"parameters>parameter"`
			Actions []struct {
				Name      string `xml:"name,attr"`
				Automatic string `xml:"automatic,attr"`
			} `xml:"actions>action"`
		}
		if err := xml.Unmarshal([]byte(d.XML(manpage)), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Short != d.Short || strings.Contains(doc.Long, ".P") != manpage {
			t.Errorf("manpage %v: short %q, long %q", manpage, doc.Short, doc.Long)
		}
		if got := doc.Parameters[1]; got.Name != "port" || got.Deprecated != "1" || doc.Parameters[2].Obsoletes != "port" {
			t.Errorf("the old name and the new one: %+v", doc.Parameters[1:3])
		}
		if doc.Actions[0].Name != On || doc.Actions[0].Automatic != "0" || len(doc.Actions) != 10 {
			t.Errorf("actions %+v", doc.Actions)
		}
	}
}

func TestUsage_FitsTheScreen(t *testing.T) {
	t.Parallel()
	d := Description{Name: "fence_x", Options: []Option{
		{Name: "delay", Long: "delay", Arg: "seconds", Kind: Seconds, Default: "0", Summary: strings.Repeat("word ", 40)},
		{Name: "x", Long: "a-very-long-option-name-indeed", Arg: "value", Summary: "text"},
		{Name: "old", Long: "old", Ignored: true, Summary: "hidden"},
	}}
	text := d.Usage()
	for _, line := range strings.Split(text, "\n") {
		if len(line) > usageWidth {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
	}
	if strings.Contains(text, "old") || !strings.Contains(text, "--delay=[seconds]") {
		t.Error(text)
	}
}

func TestLogLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2013, 12, 31, 14, 38, 23, 4e6, time.UTC)
	if got, want := LogLine(at, "ERROR", "a\nb"), "2013-12-31 14:38:23,004 ERROR: a b\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
