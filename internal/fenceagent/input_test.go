package fenceagent

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform/platformtest"
)

// sample is a table with one option of each kind.
var sample = []Option{
	{Name: "action", Aliases: []string{"option"}, Long: "action", Short: "o", Arg: "action", Default: Reboot},
	{Name: "plug", Deprecated: []string{"port"}, Long: "plug", OtherLong: []string{"port"}, Short: "n", Arg: "id"},
	{Name: "password", Deprecated: []string{"passwd"}, Long: "password", Short: "p", Arg: "password"},
	{Name: "ipport", Long: "ipport", Short: "u", Arg: "port", Kind: Integer, Default: "44444", Redirect: func(_, v string) string {
		if strings.Trim(v, "0123456789") == "" {
			return "ipport"
		}
		return "username"
	}},
	{Name: "username", Long: "username", Short: "l", Arg: "name"},
	{Name: "ssl", Long: "ssl", Short: "z", Kind: Boolean, Default: "1"},
	{Name: "disable_timeout", Long: "disable-timeout", Kind: Boolean, Arg: "true/false"},
	{Name: "delay", Long: "delay", Arg: "seconds", Kind: Seconds, Default: "0"},
	{Name: "method", Long: "method", Short: "m", Arg: "method", Kind: Select, Choices: []string{"onoff", "cycle"}, Default: "onoff"},
	{Name: "verbose", Long: "verbose", Short: "v", Kind: Boolean},
	{Name: "verbose_level", Long: "verbose-level", Arg: "level", Kind: Integer},
	{Name: "quiet", Long: "quiet", Short: "q", Kind: Boolean},
}

func TestFromText(t *testing.T) {
	t.Parallel()
	type set = map[string]string
	tests := []struct {
		name  string
		text  string
		want  set
		notes int
		err   string
	}{
		{name: "the lines fenced sends for the manual's cluster.conf",
			text: "port=CNODE1\nnodename=CNODE1\nagent=fence_zvmip\nlogin=X\npasswd=geheim\n",
			want: set{"plug": "CNODE1", "password": "geheim"}, notes: 1}, // login is not in this table
		{name: "no last line feed", text: "plug=A", want: set{"plug": "A"}},
		{name: "blank lines, comments and carriage returns", text: "\n  \n# action=on\n\t# x\nplug=A\r\n", want: set{"plug": "A"}},
		{name: "blanks around key and value", text: " action \t= off \n", want: set{"action": "off"}},
		{name: "any case of a key", text: "ACTION=status\nPlug=a", want: set{"action": "status", "plug": "a"}},
		{name: "hyphens for underscores", text: "disable-timeout=1\nverbose-level=3", want: set{"disable_timeout": "1", "verbose_level": "3"}},
		{name: "one pair of quotes", text: `plug="A B"` + "\n" + `password=""x""`, want: set{"plug": "A B", "password": `"x"`}},
		{name: "a lone quote stays", text: `password="`, want: set{"password": `"`}},
		{name: "the first equals sign splits", text: "password=a=b=c", want: set{"password": "a=b=c"}},
		{name: "the last one wins, across aliases", text: "port=A\nplug=B\nport=C", want: set{"plug": "C"}},
		{name: "option is the old action", text: "option=off", want: set{"action": "off"}},
		{name: "a boolean's value counts", text: "ssl=no\nquiet=TRUE", want: set{"ssl": "0", "quiet": "1"}},
		{name: "a boolean that is none is dropped", text: "ssl=maybe", want: set{}, notes: 1},
		{name: "an unknown key is noted", text: "frob=1\nplug=A", want: set{"plug": "A"}, notes: 1},
		{name: "keys of callers are not", text: "pcmk_host_list=a\ncrm_x=1\nCRM_meta_timeout=1\nfail_time=3\nnode=2\npriority=1\nstonith-timeout=9\nprovides=unfencing\nname=x", want: set{}},
		{name: "a line without an equals sign is noted", text: "hello\nplug=A", want: set{"plug": "A"}, notes: 1},
		{name: "an empty text is text", text: "password=\nplug=", want: set{"password": "", "plug": ""}},
		{name: "an empty action is not the default", text: "action=", want: set{"action": ""}},
		{name: "an empty number is dropped", text: "delay=", want: set{}, notes: 1},
		{name: "bytes that are no UTF-8", text: "password=\xff\xfe", want: set{"password": "\xff\xfe"}},
		{name: "seconds with a fraction", text: "delay=1.5", want: set{"delay": "1.5"}},
		{name: "seconds that are none", text: "delay=soon", err: "delay must be a number of seconds from 0 to 86400, not 'soon'"},
		{name: "seconds below zero", text: "delay=-1", err: "delay must be"},
		{name: "seconds that are not a number", text: "delay=NaN", err: "delay must be"},
		{name: "seconds without end", text: "delay=Inf", err: "delay must be"},
		{name: "a number that is none", text: "ipport=http", err: "ipport must be a whole number"},
		{name: "a choice in any case", text: "method=Cycle", want: set{"method": "cycle"}},
		{name: "a choice that is none", text: "method=axe", err: "method must be one of onoff, cycle, not 'axe'"},
		{name: "a NUL byte", text: "plug=A\x00B", err: "line 1 of standard input has a NUL byte"},
		{name: "too much", text: strings.Repeat("#", 64<<10) + "\n", err: "more than 65536 bytes"},
		{name: "acton", text: "plug=A\nacton=off", err: "line 2 of standard input, 'acton=…', looks like a misspelt action="},
		{name: "aciton", text: "aciton=off", err: "misspelt"},
		{name: "actions", text: "actions=off", err: "misspelt"},
		{name: "optoin", text: "optoin=off", err: "misspelt"},
		{name: "a quoted key", text: `"action"=off`, err: "misspelt"},
		{name: "a colon for an equals sign", text: "action: off", err: "misspelt"},
		{name: "no equals sign", text: "action off", err: "misspelt"},
		{name: "a dash too many", text: "--action=off", err: "misspelt"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v, err := FromText(sample, []byte(tc.text))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !errors.Is(err, ErrUsage) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, v.set); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if len(v.Notes) != tc.notes {
				t.Errorf("notes %q, want %d", v.Notes, tc.notes)
			}
			if strings.Contains(strings.Join(v.Notes, " "), "geheim") {
				t.Errorf("a note holds the password: %q", v.Notes)
			}
		})
	}
}

func TestFromText_NeverShowsValuesOfUnknownKeys(t *testing.T) {
	t.Parallel()
	v, err := FromText(sample, []byte("pasword=geheim\nlogin_secret=geheim\n"))
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(v.Notes, "\n"); len(v.Notes) != 2 || strings.Contains(notes, "geheim") {
		t.Errorf("notes %q", notes)
	}
	_, err = FromText(sample, []byte("actoin=geheim"))
	if err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("error %v", err)
	}
}

func TestFromArgs(t *testing.T) {
	t.Parallel()
	type set = map[string]string
	tests := []struct {
		name string
		args string
		want set
		err  string
	}{
		{name: "short and separate", args: "-o off -n A", want: set{"action": "off", "plug": "A"}},
		{name: "short and attached", args: "-ooff -nA", want: set{"action": "off", "plug": "A"}},
		{name: "a cluster", args: "-vvqz", want: set{"verbose": "1", "verbose_level": "2", "quiet": "1", "ssl": "1"}},
		{name: "a cluster with a value", args: "-qooff", want: set{"quiet": "1", "action": "off"}},
		{name: "long with and without an equals sign", args: "--action=off --plug A", want: set{"action": "off", "plug": "A"}},
		{name: "a unique prefix", args: "--act=off --verbose-l=4", want: set{"action": "off", "verbose_level": "4"}},
		{name: "an exact name before a longer one", args: "--verbose", want: set{"verbose": "1", "verbose_level": "1"}},
		{name: "another long name", args: "--port=A", want: set{"plug": "A"}},
		{name: "options after operands", args: "x -o off", want: set{"action": "off"}},
		{name: "the last one wins", args: "-n A -n B", want: set{"plug": "B"}},
		{name: "-u with a number", args: "-u 44445", want: set{"ipport": "44445"}},
		{name: "-u with a user", args: "-u CMANAGER", want: set{"username": "CMANAGER"}},
		{name: "a boolean with a value", args: "--disable-timeout=false", want: set{"disable_timeout": "0"}},
		{name: "a boolean with a bad value", args: "--disable-timeout=x", err: "must be true or false"},
		{name: "an ambiguous prefix", args: "--p=A", err: "ambiguous option '--p' (could be --plug, --port, --password)"},
		{name: "an unknown option", args: "--frob", err: "unknown option '--frob'"},
		{name: "an unknown letter", args: "-X", err: "unknown option '-X'"},
		{name: "a missing value", args: "-o", err: "option needs a value '-o'"},
		{name: "a value too many", args: "--quiet=1", err: "option takes no value '--quiet'"},
		{name: "an option behind --", args: "-o off -- -n A", err: "'-n' stands after '--'"},
		{name: "a bad number", args: "--delay=x", err: "delay must be"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v, err := FromArgs(sample, strings.Fields(tc.args))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !errors.Is(err, ErrUsage) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, v.set); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseAction(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"off": Off, " Off ": Off, "OFF": Off, "enable": On, "disable": Off, "meta-data": Metadata,
		"list-status": ListStatus, "validate-all": ValidateAll, "help": Help,
	} {
		if got, err := ParseAction(word); err != nil || got != want {
			t.Errorf("ParseAction(%q) = %q, %v; want %q", word, got, err, want)
		}
	}
	for _, word := range []string{"", "of", "offf", "reboo", "on off", "0ff", "reset"} {
		if got, err := ParseAction(word); err == nil || !errors.Is(err, ErrUsage) {
			t.Errorf("ParseAction(%q) = %q, %v; want an error", word, got, err)
		}
	}
}

func TestFromStdin_ReadsToTheEnd(t *testing.T) {
	t.Parallel()
	clock := platformtest.NewClock()
	v, err := FromStdin(sample, iotest.OneByteReader(strings.NewReader("action=off\nplug=A\n")), clock)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"action": "off", "plug": "A"}, v.set); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	if _, err := FromStdin(sample, iotest.ErrReader(io.ErrClosedPipe), clock); !errors.Is(err, ErrUsage) {
		t.Errorf("error %v of a pipe that breaks", err)
	}
	endless := io.MultiReader(strings.NewReader("plug=A\n"), neverEnding{})
	if _, err := FromStdin(sample, endless, clock); err == nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Errorf("error %v of input without end", err)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) {
	return copy(p, strings.Repeat("#\n", len(p)/2+1)), nil
}

// TestFromStdin_SilentPipe: a caller that keeps the pipe open stops nothing
// for ever, and what it did not say is not guessed.
func TestFromStdin_SilentPipe(t *testing.T) {
	t.Parallel()
	for text, wantErr := range map[string]bool{"action=off\nplug=A\n": false, "plug=A\n": true, "": true} {
		clock := platformtest.NewClock()
		clock.Auto = false
		r, w := io.Pipe()
		defer w.Close()
		type result struct {
			v   *Values
			err error
		}
		done := make(chan result)
		go func() {
			v, err := FromStdin(sample, r, clock)
			done <- result{v, err}
		}()
		if text != "" {
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
		}
		var got result
		for waiting := true; waiting; {
			select {
			case got = <-done:
				waiting = false
			default:
				clock.Advance(InputIdle / 4)
				time.Sleep(time.Millisecond) // lets the goroutine take the data; its length decides nothing
			}
		}
		if (got.err != nil) != wantErr {
			t.Errorf("%q and silence: %v", text, got.err)
		}
	}
}

func FuzzFromText(f *testing.F) {
	f.Add([]byte("action=off\nplug=A\n"))
	f.Add([]byte("action = off"))
	f.Add([]byte("=\n==\n\"=\"\n"))
	f.Add([]byte("acti\xffon=off"))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := FromText(sample, text)
		if err != nil {
			if !errors.Is(err, ErrUsage) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("error %q", err)
			}
			return
		}
		for name := range v.set {
			if find(sample, name) == nil {
				t.Fatalf("option %q is not in the table", name)
			}
		}
	})
}
