package restree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/haobox/haobox/conf"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

func TestLoadRules_GarbageGivesNoRule(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	dir := filepath.Join(env.Root, AgentDir)
	if err := os.MkdirAll(filepath.Join(dir, "folder.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	ip, _ := conf.AgentMetadata("ip.sh")
	programs := map[string]platformtest.Program{
		"a-garbage.sh": {Stdout: "\x00\xff<<< not metadata"},
		"b-silent.sh":  {},
		"c-huge.sh":    {Stdout: "<resource-agent name='huge'>" + strings.Repeat(" ", MetadataSize) + "</resource-agent>"},
		"d-slow.sh":    {Stdout: "<resource-agent name='slow'/>", Result: platform.Result{TimedOut: true}},
		"e-reserved":   {Stdout: "<resource-agent name='action'/>"},
		"f-broken.sh":  {Err: errors.New("exec format error")},
		"g-fails.sh":   {Stdout: "<resource-agent name='fails'/>", Result: platform.Result{ExitCode: 3}},
		"ip.sh":        {Stdout: string(ip)},
		"z-ip.sh":      {Stdout: string(ip)},
		"old.sh~":      {Stdout: string(ip)}, "ip.sh.RPMsave": {Stdout: string(ip)}, "plain.sh": {Stdout: string(ip)},
	}
	for name := range programs {
		mode := os.FileMode(0o755)
		if name == "plain.sh" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	env.Runner.Programs = programs
	var out, errs []string
	rules, err := LoadRules(context.Background(), env.FS, env.Env.Runner, AgentDir, func(m Message) {
		if m.Kind == KindStderr {
			errs = append(errs, m.String())
		} else if !strings.HasPrefix(m.Text, "Loading") {
			out = append(out, m.String())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, r := range rules {
		types = append(types, r.Type+" "+r.Agent)
	}
	same(t, "rules", strings.Join(types, ","), "fails g-fails.sh,ip ip.sh")
	same(t, "stdout", strings.Join(out, "|"), "Error: Resource type 'action' is reserved")
	same(t, "stderr", strings.Join(errs, "|"), "Warning: Ignoring /usr/share/cluster/ip.sh.RPMsave: Bad extension .RPMsave|Error storing ip: Duplicate")
	for _, c := range env.Runner.Calls {
		if len(c) != 2 || c[1] != "meta-data" {
			t.Errorf("called %q", c)
		}
	}
	if _, err := LoadRules(context.Background(), env.FS, env.Env.Runner, "/none", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

// Whatever an agent prints is a rule or an error; never a panic, and a rule
// survives being written and read.
func FuzzParseRule(f *testing.F) {
	for _, name := range []string{"ip.sh", "vm.sh", "ocf.sh", "service.sh"} {
		text, _ := conf.AgentMetadata(name)
		f.Add(text)
	}
	f.Add([]byte("Usage: x {start|stop}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, _, err := ParseRule("x", text)
		if err != nil {
			return
		}
		if _, _, err := ParseRule("x", r.Metadata()); err != nil {
			t.Fatalf("%v: %s", err, r.Metadata())
		}
		if _, _, err := ParseRule("x", r.OCF()); err != nil {
			t.Fatalf("%v: %s", err, r.OCF())
		}
	})
}

// genRM draws what is below <rm>: valid and broken references, nested types.
func genRM(t *rapid.T) string {
	types := []string{"ip", "fs", "script", "apache", "nfsexport", "clusterfs", "mysql"}
	var gen func(depth int) string
	n := 0
	gen = func(depth int) string {
		var b strings.Builder
		for range rapid.IntRange(0, 3).Draw(t, "children") {
			typ := rapid.SampledFrom(types).Draw(t, "type")
			id := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id")
			n++
			attrs := `name="` + id + `" address="10.0.0.` + id + `" mountpoint="/` + id + `" device="/dev/` + id + `" file="/` + id + `"`
			if rapid.Bool().Draw(t, "ref") {
				attrs = `ref="` + id + `"`
			}
			b.WriteString("<" + typ + " " + attrs + ">")
			if depth > 0 {
				b.WriteString(gen(depth - 1))
			}
			b.WriteString("</" + typ + ">")
		}
		return b.String()
	}
	rm := "<resources>" + gen(0) + "</resources>"
	for i := range rapid.IntRange(0, 3).Draw(t, "services") {
		rm += `<service name="s` + string(rune('0'+i)) + `" autostart="` + rapid.SampledFrom([]string{"0", "1"}).Draw(t, "autostart") + `">` + gen(2) + "</service>"
	}
	return rm
}

// builtin is parsed once: the emulator needs a tenth of a second for it.
var builtin = sync.OnceValue(Builtin)

func loadRapid(t *rapid.T, rm string) *Set {
	doc, err := xmldoc.Parse("f", []byte("<cluster><rm>"+rm+"</rm></cluster>"))
	if err != nil {
		t.Fatal(err)
	}
	return Load(builtin().Clone(), doc.Root)
}

// For trees without reference counts at stake: what was started is stopped,
// everything exactly once, and a second load is equal to the first.
func TestOperate_Properties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rm := genRM(t)
		s := loadRapid(t, rm)
		count := 0
		for _, n := range s.Tree {
			n.All(func(*Node) { count++ })
		}
		var started, stopped []string
		collect := func(list *[]string) Shell {
			return Shell{Run: func(c Call) int { *list = append(*list, c.Node.xpath); return 0 }}
		}
		s.Operate(Start, nil, collect(&started))
		s.Operate(Stop, nil, collect(&stopped))
		if len(started) != count || len(stopped) != count {
			t.Fatalf("%d nodes, started %d, stopped %d", count, len(started), len(stopped))
		}
		// A child is started after and stopped before its parent.
		for i, path := range started {
			for _, later := range started[i+1:] {
				if strings.HasPrefix(path, later+"/") {
					t.Fatalf("%s started before its parent %s", path, later)
				}
			}
		}
		for i, path := range stopped {
			for _, later := range stopped[i+1:] {
				if strings.HasPrefix(later, path+"/") {
					t.Fatalf("%s stopped before its child %s", path, later)
				}
			}
		}
		other := loadRapid(t, rm)
		Delta(s, other)
		if m := marksOf(s) + marksOf(other); m != "" {
			t.Fatalf("delta of equal files: %s", m)
		}
	})
}

func marksOf(s *Set) string {
	var b strings.Builder
	for _, n := range s.Tree {
		n.All(func(n *Node) {
			if n.NeedStart || n.NeedStop || n.Reconfig {
				b.WriteString(n.xpath + flagList(n.NeedStart, "start", n.NeedStop, "stop", n.Reconfig, "reconfig") + ";")
			}
		})
	}
	return b.String()
}

// The delta with its shortcut agrees with comparing everything with everything.
func TestDelta_AgreesWithTheObviousOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRM(t), genRM(t)
		old, now := loadRapid(t, a), loadRapid(t, b)
		Delta(old, now)
		old2, now2 := loadRapid(t, a), loadRapid(t, b)
		slowDelta(old2, now2)
		got, want := marksOf(old)+"|"+marksOf(now), marksOf(old2)+"|"+marksOf(now2)
		if got != want {
			t.Fatalf("got  %s\nwant %s\nfor %s\nto %s", got, want, a, b)
		}
	})
}

// slowDelta follows the text of the rules word by word.
func slowDelta(old, now *Set) {
	for _, r := range now.Resources {
		r.NeedStart = true
	}
	for _, l := range old.Resources {
		var r *Resource
		for _, x := range now.Resources {
			if x.Rule.Type == l.Rule.Type && x.Attrs[0].Value == l.Attrs[0].Value {
				r = x
				break
			}
		}
		for _, x := range now.Resources {
			for _, a := range x.Attrs {
				if r == nil && x.Rule.Type == l.Rule.Type && a.Unique && a.Required && a.Value == l.Name() {
					r = x
				}
			}
		}
		if r == nil {
			l.NeedStop = true
			continue
		}
		switch compare(l, r) {
		case 0:
			r.NeedStart = false
		case 1:
			l.NeedStop = true
		case 2:
			r.Reconfig = true
		}
	}
	var siblings func(old, now []*Node)
	siblings = func(old, now []*Node) {
		hit := map[*Node]bool{}
		for _, l := range old {
			if l.Resource.NeedStop {
				l.NeedStop = true
				continue
			}
			found := false
			for _, r := range now {
				c := compare(l.Resource, r.Resource)
				if c < 0 {
					continue
				}
				if r.Resource.NeedStart {
					r.NeedStart = true
					if !r.Resource.Reconfig {
						continue
					}
				}
				if c == 1 {
					continue
				}
				if c == 2 {
					r.NeedStart, r.Reconfig = true, true
				}
				found, hit[r] = true, true
				siblings(l.Children, r.Children)
			}
			if !found {
				l.NeedStop = true
			}
		}
		for _, r := range now {
			if !hit[r] {
				r.NeedStart = true
			}
		}
	}
	siblings(old.Tree, now.Tree)
}
