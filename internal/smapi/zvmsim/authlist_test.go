package zvmsim

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/smapi"
)

// record puts words into 1-based columns.
func record(at ...any) string {
	b := ""
	for i := 0; i < len(at); i += 2 {
		b += strings.Repeat(" ", max(at[i].(int)-1-len(b), 0)) + at[i+1].(string)
	}
	return b
}

func TestParseAuthList(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 64)
	for _, tc := range []struct {
		name, line string
		want       []Entry
		fault      string
	}{
		{name: "the example of the manual", line: record(1, "CMANAGER", 66, "ALL", 131, "IMAGE_OPERATIONS"),
			want: []Entry{{"CMANAGER", "ALL", "IMAGE_OPERATIONS"}}},
		{name: "trailing blanks and a carriage return", line: record(1, "A", 66, "B", 131, "C") + "    \r",
			want: []Entry{{"A", "B", "C"}}},
		{name: "lower case is folded", line: record(1, "cmanager", 66, "cnode1", 131, "image_recycle"),
			want: []Entry{{"CMANAGER", "CNODE1", "IMAGE_RECYCLE"}}},
		{name: "fields of full width", line: record(1, long, 66, long, 131, long), want: []Entry{{long, long, long}}},
		{name: "a comment", line: "* CMANAGER may do all"},
		{name: "an empty line", line: "   "},
		{name: "columns of another help text", line: "XXXXXXXX                      ALL                      IMAGE_OPERATIONS",
			fault: `misaligned: the target "ALL" starts in column 31, not in 66`},
		{name: "requester not in column 1", line: record(2, "A", 66, "B", 131, "C"), fault: `misaligned: the requester "A" starts in column 2, not in 1`},
		{name: "function one column late", line: record(1, "A", 66, "B", 132, "C"), fault: `misaligned: the function "C" starts in column 132, not in 131`},
		{name: "no function", line: record(1, "A", 66, "B"), fault: "misaligned: there is no function in column 131"},
		{name: "a fourth field", line: record(1, "A", 66, "B", 131, "C", 140, "D"), fault: `misaligned: "D" in column 140 is one field too many`},
		{name: "a field too wide", line: record(1, "A", 66, "B", 131, long+"A"), fault: "misaligned: the function is 65 characters long, its field has 64"},
		{name: "tabs", line: "A\t", fault: "misaligned: a tab stands in the requester; only blanks fill columns"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, faults := ParseAuthList([]byte(tc.line+"\n"), true)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			text := ""
			for _, f := range faults {
				if f.Line != 1 || !errors.Is(f, ErrMisaligned) {
					t.Errorf("fault %v: not a misaligned line 1", f)
				}
				text += f.Err.Error()
			}
			if diff := cmp.Diff(tc.fault, text); diff != "" {
				t.Errorf("fault (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseAuthList_CommentsAreAnAssumption(t *testing.T) {
	t.Parallel()
	line := record(1, "*", 66, "ALL", 131, "ALL")
	if got, _ := ParseAuthList([]byte(line), true); got != nil {
		t.Errorf("with comments: %v", got)
	}
	if got, _ := ParseAuthList([]byte(line), false); len(got) != 1 {
		t.Errorf("without comments: %v", got)
	}
}

func TestParseNameList(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		"* functions for fencing",
		":nick.ZVM_FENCE",
		":list.",
		"image_activate Image_Deactivate",
		"  CHECK_AUTHENTICATION",
		":nick.NODES :userid.whatever 17 :list.CNODE1",
		"CNODE2",
		":nick.NODES :list.CNODE9",
		":list.CNODE8",
	}, "\r\n")
	got, faults := ParseNameList([]byte(text), true)
	want := []List{
		{Name: "ZVM_FENCE", Items: []string{"IMAGE_ACTIVATE", "IMAGE_DEACTIVATE", "CHECK_AUTHENTICATION"}},
		{Name: "NODES", Items: []string{"CNODE1", "CNODE2"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(faults) != 1 || faults[0].Error() != "line 8: not a part of a name list: the list NODES is there already" {
		t.Errorf("faults: %v", faults)
	}
	if _, faults := ParseNameList([]byte(":list.CNODE1"), true); len(faults) != 1 || !errors.Is(faults[0], ErrNameList) {
		t.Errorf("items without a list: %v", faults)
	}
}

func TestAuthorityAllows(t *testing.T) {
	t.Parallel()
	auth := func(records ...string) *authority {
		a := &authority{builtin: true}
		var faults []LineFault
		a.entries, faults = ParseAuthList([]byte(strings.Join(records, "\n")), true)
		if faults != nil {
			t.Fatal(faults)
		}
		a.lists, _ = ParseNameList([]byte(":nick.OPS :list.CMANAGER OTHER INNER :nick.NODES :list.CNODE1 CNODE2 :nick.INNER :list.DEEP :nick.FENCE :list.IMAGE_RECYCLE"), true)
		return a
	}
	manual := auth(record(1, "CMANAGER", 66, "ALL", 131, "IMAGE_OPERATIONS"))
	lists := auth(record(1, "OPS", 66, "NODES", 131, "FENCE"))
	for _, tc := range []struct {
		name                        string
		auth                        *authority
		requester, function, target string
		want                        bool
	}{
		{"image operations allow a recycle", manual, "CMANAGER", smapi.ImageRecycle, "CNODE1", true},
		{"image operations do not allow the directory", manual, "CMANAGER", smapi.ImageNameQueryDM, "CMANAGER", false},
		{"another requester", manual, "CNODE2", smapi.ImageRecycle, "CNODE1", false},
		{"lists in all three fields", lists, "OTHER", smapi.ImageRecycle, "CNODE2", true},
		{"a target outside its list", lists, "OTHER", smapi.ImageRecycle, "CNODE3", false},
		{"a function outside its list", lists, "OTHER", smapi.ImageActivate, "CNODE2", false},
		{"lists of lists are not expanded", lists, "DEEP", smapi.ImageRecycle, "CNODE1", false},
		{"a list's name as an item is a plain name", lists, "INNER", smapi.ImageRecycle, "CNODE1", true},
		{"all active images need ALL", lists, "OTHER", smapi.ImageRecycle, "*", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.auth.allows(tc.requester, tc.function, tc.target); got != tc.want {
				t.Errorf("%s %s %s: %v, want %v", tc.requester, tc.function, tc.target, got, tc.want)
			}
		})
	}
	plain := &authority{entries: manual.entries}
	if plain.allows("CMANAGER", smapi.ImageRecycle, "CNODE1") {
		t.Error("IMAGE_OPERATIONS is known although built-in lists are switched off")
	}
}

func FuzzParseAuthList(f *testing.F) {
	f.Add([]byte(record(1, "CMANAGER", 66, "ALL", 131, "IMAGE_OPERATIONS") + "\n* x\n\r\n"))
	f.Add([]byte("A\tB\n \xff \x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, _ := ParseAuthList(text, true)
		for _, e := range entries {
			if strings.HasPrefix(e.Requester, "*") {
				continue // it would read as a comment
			}
			again, faults := ParseAuthList([]byte(FormatEntry(e)), true)
			if faults != nil || len(again) != 1 || again[0] != e {
				t.Errorf("%+v does not survive FormatEntry: %+v %v", e, again, faults)
			}
		}
	})
}

func FuzzParseNameList(f *testing.F) {
	f.Add([]byte(":nick.NODES\n:list.CNODE1 CNODE2\n"))
	f.Add([]byte(":list. :nick. :. . ::\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lists, _ := ParseNameList(text, true)
		seen := map[string]bool{}
		for _, l := range lists {
			if l.Name == "" || seen[l.Name] {
				t.Errorf("list %q is empty or there twice", l.Name)
			}
			seen[l.Name] = true
		}
	})
}
