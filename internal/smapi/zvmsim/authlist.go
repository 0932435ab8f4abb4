package zvmsim

import (
	"errors"
	"fmt"
	"strings"

	"github.com/haobox/haobox/internal/smapi"
)

// The columns of an AUTHLIST record, counted from 1, as the manual 4.4.3 shows
// them above its example. Each field is 64 characters wide; one blank stands
// between two fields.
const (
	requesterColumn = 1
	targetColumn    = 66
	functionColumn  = 131
	fieldWidth      = 64
)

// allWord stands in an AUTHLIST for every target or every function.
const allWord = "ALL"

// Entry is one grant of an AUTHLIST. All names are in upper case.
type Entry struct {
	// Requester is a user id or the name of a list of them.
	Requester string
	// Target is an image, the name of a list, or ALL.
	Target string
	// Function is a function, the name of a list, or ALL.
	Function string
}

// LineFault is a line that a parser could not use. It does not end the file:
// the real server skips such lines without a word, which is the operator's
// most frequent riddle.
type LineFault struct {
	// Line counts from 1.
	Line int
	Err  error
}

func (f LineFault) Error() string { return fmt.Sprintf("line %d: %v", f.Line, f.Err) }

// Unwrap returns the cause.
func (f LineFault) Unwrap() error { return f.Err }

// The causes of a LineFault.
var (
	// ErrMisaligned: a field of an AUTHLIST record does not stand in its
	// columns, so the record matches nothing.
	ErrMisaligned = errors.New("misaligned")
	// ErrNameList: a part of a NAMELIST belongs to no list, or names a list
	// again.
	ErrNameList = errors.New("not a part of a name list")
)

// ParseAuthList reads the text of an AUTHLIST. Blank lines are skipped; with
// comments, so are lines that start with an asterisk. The case does not
// matter.
func ParseAuthList(text []byte, comments bool) ([]Entry, []LineFault) {
	var entries []Entry
	var faults []LineFault
	for i, line := range lines(text) {
		if strings.TrimSpace(line) == "" || comments && line[0] == '*' {
			continue
		}
		e, err := parseEntry(line)
		if err != nil {
			faults = append(faults, LineFault{Line: i + 1, Err: err})
			continue
		}
		entries = append(entries, e)
	}
	return entries, faults
}

// lines splits text at line ends and drops carriage returns.
func lines(text []byte) []string {
	out := strings.Split(string(text), "\n")
	for i := range out {
		out[i] = strings.TrimSuffix(out[i], "\r")
	}
	return out
}

// parseEntry reads one record.
func parseEntry(line string) (Entry, error) {
	var fields [3]string
	columns := [3]int{requesterColumn, targetColumn, functionColumn}
	names := [3]string{"requester", "target", "function"}
	n := 0
	for pos := 0; pos < len(line); {
		if line[pos] == ' ' {
			pos++
			continue
		}
		end := pos
		for end < len(line) && line[end] != ' ' {
			end++
		}
		switch {
		case n == len(fields):
			return Entry{}, fmt.Errorf("%w: %q in column %d is one field too many", ErrMisaligned, line[pos:end], pos+1)
		case pos+1 != columns[n]:
			return Entry{}, fmt.Errorf("%w: the %s %q starts in column %d, not in %d", ErrMisaligned, names[n], line[pos:end], pos+1, columns[n])
		case end-pos > fieldWidth:
			return Entry{}, fmt.Errorf("%w: the %s is %d characters long, its field has %d", ErrMisaligned, names[n], end-pos, fieldWidth)
		case strings.ContainsAny(line[pos:end], "\t\v\f"):
			return Entry{}, fmt.Errorf("%w: a tab stands in the %s; only blanks fill columns", ErrMisaligned, names[n])
		}
		fields[n] = upper(line[pos:end])
		n++
		pos = end
	}
	if n < len(fields) {
		return Entry{}, fmt.Errorf("%w: there is no %s in column %d", ErrMisaligned, names[n], columns[n])
	}
	return Entry{Requester: fields[0], Target: fields[1], Function: fields[2]}, nil
}

// FormatEntry returns the record of e in its columns, without a line end.
func FormatEntry(e Entry) string {
	return fmt.Sprintf("%-*s %-*s %s", fieldWidth, e.Requester, fieldWidth, e.Target, e.Function)
}

// List is one list of a NAMELIST: names of requesters, images or functions, in
// upper case. An item that is the name of a list is taken as it stands: the
// server does not expand lists of lists (the manual 4.4).
type List struct {
	Name  string
	Items []string
}

// ParseNameList reads the text of a NAMELIST, which has the form of a CMS
// NAMES file: ":nick.NAME" starts a list and ":list." its items, which go on,
// over line ends, up to the next tag. Other tags are skipped with their
// values. Of two lists with one name the first counts.
func ParseNameList(text []byte, comments bool) ([]List, []LineFault) {
	var lists []List
	var faults []LineFault
	var current *List
	inNick, inList := false, false
	add := func(line int, name string) {
		for i := range lists {
			if lists[i].Name == name {
				faults = append(faults, LineFault{line, fmt.Errorf("%w: the list %s is there already", ErrNameList, name)})
				current = &List{} // its items go nowhere
				return
			}
		}
		lists = append(lists, List{Name: name})
		current = &lists[len(lists)-1]
	}
	for i, line := range lines(text) {
		if comments && strings.HasPrefix(line, "*") {
			continue
		}
		for _, word := range strings.Fields(line) {
			value := word
			if tag, rest, ok := cutTag(word); ok {
				inNick, inList = tag == ":NICK", tag == ":LIST"
				value = rest
				if inNick {
					current = nil
				}
				if inList && current == nil {
					faults = append(faults, LineFault{i + 1, fmt.Errorf("%w: :list. without a :nick. before it", ErrNameList)})
				}
			}
			value = upper(value)
			switch {
			case value == "":
			case inNick && current == nil:
				add(i+1, value)
			case inNick:
				faults = append(faults, LineFault{i + 1, fmt.Errorf("%w: %q stands after the name of the list", ErrNameList, value)})
			case inList && current != nil:
				current.Items = append(current.Items, value)
			}
		}
	}
	return lists, faults
}

// cutTag splits ":tag.value".
func cutTag(word string) (tag, value string, ok bool) {
	if !strings.HasPrefix(word, ":") {
		return "", "", false
	}
	tag, value, ok = strings.Cut(word, ".")
	return upper(tag), value, ok
}

// imageOperations and imageCharacteristics are lists of functions that the
// manual (IMAGE_OPERATIONS, 4.4.3) and the help texts of other agents use
// without a NAMELIST that defines them. What is in them is an assumption; see
// Switches.NoBuiltinLists.
var (
	imageOperations = []string{
		smapi.ImageActivate, smapi.ImageDeactivate, smapi.ImageRecycle, smapi.ImageStatusQuery,
		smapi.ImageQueryActivateTime, smapi.ImageActiveConfigurationQuery,
	}
	imageCharacteristics = []string{smapi.ImageQueryDM, smapi.ImageNameQueryDM}
)

// authority is the AUTHLIST and NAMELIST of one member.
type authority struct {
	// missing says that there is no AUTHLIST at all: 104/0.
	missing bool
	entries []Entry
	lists   []List
	// builtin adds imageOperations and imageCharacteristics.
	builtin bool
}

// list returns the items of the list with that name.
func (a *authority) list(name string) ([]string, bool) {
	for i := range a.lists {
		if a.lists[i].Name == name {
			return a.lists[i].Items, true
		}
	}
	return nil, false
}

// functionList is list with the built-in lists.
func (a *authority) functionList(name string) ([]string, bool) {
	if items, ok := a.list(name); ok || !a.builtin {
		return items, ok
	}
	switch name {
	case "IMAGE_OPERATIONS":
		return imageOperations, true
	case "IMAGE_CHARACTERISTICS":
		return imageCharacteristics, true
	}
	return nil, false
}

// allows reports whether any entry grants the function on the target to the
// requester. There are no entries that deny, so their order does not matter.
// target "*", all active images, needs an entry for ALL.
func (a *authority) allows(requester, function, target string) bool {
	for i := range a.entries {
		e := &a.entries[i]
		if matches(e.Requester, requester, a.list) &&
			(e.Target == allWord || matches(e.Target, target, a.list)) &&
			(e.Function == allWord || matches(e.Function, function, a.functionList)) {
			return true
		}
	}
	return false
}

// matches compares one field of an entry with a name: the name itself, or a
// list that has it.
func matches(field, name string, list func(string) ([]string, bool)) bool {
	if strings.EqualFold(field, name) {
		return true
	}
	items, _ := list(field)
	for _, item := range items {
		if strings.EqualFold(item, name) {
			return true
		}
	}
	return false
}

// upper folds ASCII letters alone: user ids and names of z/VM have no others.
func upper(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'a' <= c && c <= 'z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'a' <= b[j] && b[j] <= 'z' {
					b[j] -= 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
