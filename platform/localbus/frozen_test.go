//go:build linux

package localbus

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
)

// childVariable makes TestChild a process of a node: "DIR ID TOKEN".
const childVariable = "LOCALBUS_CHILD"

// TestChild is no test, but what the tests below start: it prints the nodes of
// each ring and the members and changes of each view of a group.
func TestChild(t *testing.T) {
	words := strings.Fields(os.Getenv(childVariable))
	if len(words) != 3 {
		return
	}
	id, _ := strconv.Atoi(words[1])
	token, _ := time.ParseDuration(words[2])
	b, err := Open(context.Background(), Config{Dir: words[0], Node: Node{ID: uint32(id)}, Token: token})
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	if _, err := b.Join("g"); err != nil {
		fmt.Println("join:", err)
		return
	}
	for {
		ev, err := b.Next(context.Background())
		switch ev := ev.(type) {
		case Ring:
			line := "ring"
			for _, n := range ev.Nodes {
				line += fmt.Sprint(" ", n.ID)
			}
			fmt.Println(line)
		case View:
			line := "view"
			for _, m := range ev.Members {
				line += fmt.Sprint(" ", m.Node)
			}
			for _, c := range ev.Left {
				line += fmt.Sprint(" -", c.Node, ":", c.Reason)
			}
			for _, c := range ev.Joined {
				line += fmt.Sprint(" +", c.Node, ":", c.Reason)
			}
			fmt.Println(line)
		}
		if err != nil {
			fmt.Println("lost:", err)
			return
		}
	}
}

// child is a process of a node.
type child struct {
	t     *testing.T
	id    int
	cmd   *exec.Cmd
	lines chan string
	log   []string
}

// startChild starts one and waits until it is in a ring of n and a view of n.
func startChild(t *testing.T, dir string, id, n int) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, id: id, cmd: exec.Command(self, "-test.run", "^TestChild$", "-test.v=false"), lines: make(chan string, 1000)}
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d 3s", childVariable, dir, id))
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
		close(c.lines)
	}()
	t.Cleanup(func() {
		c.cmd.Process.Kill() // also a stopped one
		c.cmd.Wait()
	})
	var all []string
	for i := range n {
		all = append(all, strconv.Itoa(i+1))
	}
	c.until("view " + strings.Join(all, " "))
	return c
}

// until reads lines up to one with this beginning.
func (c *child) until(begin string) {
	c.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case line, ok := <-c.lines:
			c.log = append(c.log, line)
			if !ok {
				c.t.Fatalf("node %d has ended, after %q", c.id, c.log)
			}
			if strings.HasPrefix(line, begin) {
				return
			}
		case <-limit:
			c.t.Fatalf("node %d: no %q after %q", c.id, begin, c.log)
		}
	}
}

func (c *child) signal(sig syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Fatal(err)
	}
}

// TestFrozen: a node whose process is stopped has failed after a token, and
// finds out when it goes on; also if it is the hub.
func TestFrozen(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "a second program")
	for _, tc := range []struct {
		name   string
		frozen int
		rest   [2]int
	}{{"client", 2, [2]int{1, 3}}, {"hub", 1, [2]int{2, 3}}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "bus")
			var all []*child
			for id := 1; id <= 3; id++ {
				all = append(all, startChild(t, dir, id, id))
			}
			all[0].until("view 1 2 3")
			all[1].until("view 1 2 3")
			frozen := all[tc.frozen-1]
			frozen.signal(syscall.SIGSTOP)
			gone := fmt.Sprintf("view %d %d", tc.rest[0], tc.rest[1])
			for _, id := range tc.rest {
				c := all[id-1]
				c.until(gone)
				if !slices.ContainsFunc(c.log, func(l string) bool { return strings.Contains(l, fmt.Sprintf(" -%d:%d", tc.frozen, Failed)) }) {
					t.Errorf("node %d: no failure of node %d in %q", id, tc.frozen, c.log)
				}
			}
			frozen.signal(syscall.SIGCONT)
			for _, id := range tc.rest {
				c := all[id-1]
				from := len(c.log)
				c.until("view 1 2 3")
				if !slices.ContainsFunc(c.log[from:], func(l string) bool { return strings.Contains(l, fmt.Sprintf(" +%d:%d", tc.frozen, Merged)) }) {
					t.Errorf("node %d: %q", id, c.log[from:])
				}
			}
			// The one that was stopped sees that the others went on without it,
			// and never a cluster from which they are gone for good.
			frozen.until(fmt.Sprintf("view %d -%d:%d -%d:%d", tc.frozen, tc.rest[0], Failed, tc.rest[1], Failed))
			frozen.until("view 1 2 3")
		})
	}
}

// TestHub_Silent: the processes of a stopped node go together, as the node, also
// if the last sign of life of one came a moment after that of another; one that
// is stopped alone goes alone.
func TestHub_Silent(t *testing.T) {
	t.Parallel()
	const token = 10 * time.Second
	now := time.Unix(1000, 0)
	type process struct {
		node     uint32
		ago      time.Duration // since it was heard
		observer bool
	}
	for _, tc := range []struct {
		name string
		all  []process
		want []int // indexes of all
	}{
		{"none", []process{{node: 1}, {node: 2, ago: token}}, nil},
		{"the last one of a node", []process{{node: 1}, {node: 2, ago: token + 1}}, []int{1}},
		{"a node, within a moment", []process{{node: 1}, {node: 2, ago: token + 1}, {node: 2, ago: token - 1}}, nil},
		{"a node, one ping apart", []process{{node: 1}, {node: 2, ago: token - token/pingsPerToken + 1}, {node: 2, ago: token + 1}}, nil},
		{"a node, when all are silent", []process{{node: 1}, {node: 2, ago: token + token/pingsPerToken}, {node: 2, ago: token + 1}}, []int{1, 2}},
		{"one process, the other goes on", []process{{node: 1}, {node: 2, ago: token + 1}, {node: 2, ago: token / pingsPerToken}}, []int{1}},
		{"a node with one that looks on", []process{{node: 1}, {node: 2, ago: token + 1}, {node: 2, ago: token - 1, observer: true}}, []int{1}},
		{"two nodes", []process{{node: 1, ago: token + 1}, {node: 2, ago: token - 1}}, []int{0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := &hub{token: token}
			for _, p := range tc.all {
				h.clients = append(h.clients, &client{node: Node{ID: p.node}, heard: now.Add(-p.ago), observer: p.observer})
			}
			var got []int
			for _, c := range h.silent(now) {
				got = append(got, slices.Index(h.clients, c))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("silent are %v, want %v", got, tc.want)
			}
		})
	}
}
