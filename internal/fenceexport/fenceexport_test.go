package fenceexport

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/clusterconf"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample(t *testing.T) *clusterconf.Config {
	t.Helper()
	file := filepath.Join("testdata", "cluster.conf")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := clusterconf.Parse(file, b)
	if err != nil {
		t.Fatal(err)
	}
	return clusterconf.Decode(doc)
}

func TestExport(t *testing.T) {
	t.Parallel()
	c := sample(t)
	for _, format := range Formats() {
		for _, secrets := range []bool{false, true} {
			name := format
			if secrets {
				name += "-secrets"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				got, err := Export(c, format, secrets)
				if err != nil {
					t.Fatal(err)
				}
				if !secrets && (strings.Contains(got, "p w") || strings.Contains(got, "secret>")) {
					t.Error("a password is in the text")
				}
				golden := filepath.Join("testdata", name+".golden")
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestExport_UnknownFormat(t *testing.T) {
	t.Parallel()
	if _, err := Export(sample(t), "xml", false); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"plain-1.2", "x=plain-1.2"}, {"", "x=''"}, {"a b", "x='a b'"}, {"it's", `x='it'\''s'`}, {"$(rm)", "x='$(rm)'"}, {"\x00A_PASSWD", `x="$A_PASSWD"`},
	} {
		if got := quote("x", tc.in); got != tc.want {
			t.Errorf("quote(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}
