//go:build linux

package localbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience only ends a test that hangs.
const patience = 30 * time.Second

// tester is a bus with what it saw.
type tester struct {
	*Bus
	t *testing.T
}

func open(t *testing.T, dir string, node uint32) tester {
	t.Helper()
	b, err := Open(t.Context(), Config{Dir: dir, Node: Node{ID: node, Name: fmt.Sprint("n", node)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return tester{b, t}
}

// until reads events until want accepts one.
func (b tester) until(what string, want func(Event) bool) Event {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		ev, err := b.Next(ctx)
		if err != nil {
			b.t.Fatalf("waiting for %s: %v", what, err)
		}
		if want(ev) {
			return ev
		}
	}
}

func (b tester) nodes(n int) Ring {
	b.t.Helper()
	return b.until("a ring", func(ev Event) bool { r, is := ev.(Ring); return is && len(r.Nodes) == n }).(Ring)
}

func (b tester) members(n int) View {
	b.t.Helper()
	return b.until("a view", func(ev Event) bool { v, is := ev.(View); return is && len(v.Members) == n }).(View)
}

func (b tester) message() string {
	b.t.Helper()
	return string(b.until("a message", func(ev Event) bool { _, is := ev.(Message); return is }).(Message).Payload)
}

func (b tester) join(group string) Member {
	b.t.Helper()
	m, err := b.Join(group)
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

func (b tester) send(group, text string) {
	b.t.Helper()
	if err := b.Send(group, []byte(text)); err != nil {
		b.t.Error(err)
	}
}

func TestBus_SocketIsForItsOwner(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bus")
	open(t, dir, 1)
	for name, want := range map[string]os.FileMode{"": 0o700, "hub.sock": 0o600, "hub.lock": 0o600} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", name, st.Mode(), err, want)
		}
	}
}

// TestBus_NextHub: members of a group survive the end of the hub, and are told
// that everybody was alone for a moment.
func TestBus_NextHub(t *testing.T) {
	t.Parallel()
	for _, orderly := range []bool{true, false} {
		t.Run(fmt.Sprint("in order ", orderly), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			a, b, c := open(t, dir, 1), open(t, dir, 2), open(t, dir, 3)
			if !a.IsHub() || b.IsHub() {
				t.Fatal("the first one is not the hub")
			}
			before := a.nodes(3)
			ma, mb, mc := a.join("g"), b.join("g"), c.join("g")
			a.members(3)
			b.members(3)
			c.members(3)
			b.send("g", "before")
			for _, x := range []tester{a, b, c} {
				x.message()
			}
			if orderly {
				a.Close()
				if v := b.members(2); !cmp.Equal(v.Left, []Change{{ma, Left}}) {
					t.Errorf("left %v", v.Left)
				}
			} else {
				a.Abandon()
			}
			v := b.members(1)
			want := []Change{{ma, Failed}, {mc, Failed}}
			if orderly {
				want = want[1:]
			}
			if diff := cmp.Diff(want, v.Left); diff != "" {
				t.Errorf("alone (-want +got):\n%s", diff)
			}
			// The two find each other, whoever is first.
			if v := b.members(2); !cmp.Equal(v.Joined, []Change{{mc, Merged}}) || v.Ring.Seq <= before.ID.Seq {
				t.Errorf("together again: %+v after ring %+v", v, before)
			}
			c.members(2)
			b.send("g", "after")
			if got := c.message(); got != "after" {
				t.Errorf("got %q", got)
			}
			if b.IsHub() == c.IsHub() {
				t.Error("not exactly one hub")
			}
			_ = mb
		})
	}
}

// TestBus_OwnMessagesSurviveTheHub: what this process sent it sees, once.
func TestBus_OwnMessagesSurviveTheHub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir, 1), open(t, dir, 2)
	a.join("g")
	b.join("g")
	a.members(2)
	b.members(2)
	const n = 200
	for i := range n {
		b.send("g", fmt.Sprint(i))
		if i == n/2 {
			go a.Abandon()
		}
	}
	for i := range n {
		if got := b.message(); got != fmt.Sprint(i) {
			t.Fatalf("message %q, want %d", got, i)
		}
	}
}

func TestBus_LeaveDieAndFail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b, b2 := open(t, dir, 1), open(t, dir, 2), open(t, dir, 2)
	a.join("g")
	mb, m2 := b.join("g"), b2.join("g")
	a.members(3)
	b2.Abandon()
	if v := a.members(2); !cmp.Equal(v.Left, []Change{{m2, Died}}) {
		t.Errorf("a process with others on its node: left %v", v.Left)
	}
	b.Abandon()
	if v := a.members(1); !cmp.Equal(v.Left, []Change{{mb, Failed}}) {
		t.Errorf("the last one of its node: left %v", v.Left)
	}
	c := open(t, dir, 3)
	mc := c.join("g")
	a.members(2)
	if err := a.Kill(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if v := a.members(1); !cmp.Equal(v.Left, []Change{{mc, Failed}}) {
		t.Errorf("a killed node: left %v", v.Left)
	}
	<-c.done
	if err := c.Err(); !errors.Is(err, ErrLost) {
		t.Errorf("the killed node: %v", err)
	}
	if err := a.Kill(t.Context(), 9); !errors.Is(err, ErrNoNode) {
		t.Errorf("kill a stranger: %v", err)
	}
}

func TestBus_Misuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrNoNode) {
		t.Errorf("node 0: %v", err)
	}
	a := open(t, dir, 1)
	a.join("g")
	for name, tc := range map[string]struct{ got, want error }{
		"join twice":   {func() error { _, err := a.Join("g"); return err }(), ErrJoined},
		"send to none": {a.Send("x", nil), ErrNotJoined},
		"leave none":   {a.Leave("x"), ErrNotJoined},
		"too big":      {a.Send("g", make([]byte, MaxMessage+1)), ErrTooBig},
		"leave":        {a.Leave("g"), nil},
		"leave twice":  {a.Leave("g"), ErrNotJoined},
		"send late":    {a.Send("g", nil), ErrNotJoined},
	} {
		if !errors.Is(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.got, tc.want)
		}
	}
	a.members(0)
	a.Close()
	if _, err := a.Join("g"); !errors.Is(err, ErrClosed) {
		t.Errorf("join after Close: %v", err)
	}
}

// TestBus_NobodyThere: with the lock held and no socket, Open gives up.
func TestBus_NobodyThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir, 1)
	a.hub.listener.Close()
	if _, err := Open(t.Context(), Config{Dir: dir, Node: Node{ID: 2}, Takeover: 50 * time.Millisecond}); err == nil {
		t.Error("opened without a hub")
	}
}

// TestHub_BadClients: whatever a client sends, the others go on.
func TestHub_BadClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir, 1)
	a.join("g")
	a.members(1)
	hello := func(w io.Writer) {
		writeFrame(w, head{Kind: kindHello, Version: protocolVersion, Node: Node{ID: 2}}, nil)
	}
	for name, say := range map[string]func(w io.Writer){
		"nothing":           func(io.Writer) {},
		"garbage":           func(w io.Writer) { w.Write(bytes.Repeat([]byte("garbage!"), 100)) },
		"another version":   func(w io.Writer) { writeFrame(w, head{Kind: kindHello, Version: 9, Node: Node{ID: 2}}, nil) },
		"no hello":          func(w io.Writer) { writeFrame(w, head{Kind: kindSend, Group: "g"}, nil) },
		"length of 4 GiB":   func(w io.Writer) { hello(w); w.Write(bytes.Repeat([]byte{0xff}, 8)) },
		"no JSON":           func(w io.Writer) { hello(w); w.Write(append(make([]byte, 3), 1, 0, 0, 0, 0, '{')) },
		"unknown kind":      func(w io.Writer) { hello(w); writeFrame(w, head{Kind: "x"}, nil) },
		"a stranger's name": func(w io.Writer) { hello(w); writeFrame(w, head{Kind: kindJoin, Group: "g", From: Member{1, 1}}, nil) },
		"message of a non-member": func(w io.Writer) {
			hello(w)
			writeFrame(w, head{Kind: kindSend, Group: "g", From: Member{2, 1}}, []byte("x"))
		},
		"leave of a non-member": func(w io.Writer) {
			hello(w)
			writeFrame(w, head{Kind: kindLeave, Group: "g", From: Member{2, 1}}, nil)
		},
	} {
		c, err := net.Dial("unix", filepath.Join(dir, "hub.sock"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		say(c)
		c.(*net.UnixConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the hub keeps the connection", name)
		}
		c.Close()
	}
	a.send("g", "still here")
	if got := a.message(); got != "still here" {
		t.Errorf("got %q", got)
	}
}

// TestClient_BadHub: a hub that talks nonsense is an error, not a panic.
func TestClient_BadHub(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(w io.Writer){
		"garbage":    func(w io.Writer) { w.Write(bytes.Repeat([]byte{'x'}, 64)) },
		"no welcome": func(w io.Writer) { writeFrame(w, head{Kind: kindAnswer, Error: "no"}, nil) },
		"garbage later": func(w io.Writer) {
			writeFrame(w, head{Kind: kindWelcome}, nil)
			w.Write(bytes.Repeat([]byte{0xff}, 64))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l, err := net.Listen("unix", filepath.Join(dir, "hub.sock"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err == nil {
					readFrame(c)
					say(c)
				}
			}()
			b, err := Open(t.Context(), Config{Dir: dir, Node: Node{ID: 1}, Takeover: time.Second})
			if err == nil {
				<-b.done
				err = b.Err()
				b.Close()
			}
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("got %v, want ErrProtocol", err)
			}
		})
	}
}

func TestBus_LeaksNothing(t *testing.T) {
	dir := t.TempDir()
	fds := func() int { all, _ := os.ReadDir("/proc/self/fd"); return len(all) }
	open(t, t.TempDir(), 1).Close() // whatever is made once
	files, goroutines := fds(), runtime.NumGoroutine()
	for range 50 {
		a, b := open(t, dir, 1), open(t, dir, 2)
		a.join("g")
		b.join("g")
		b.members(2)
		a.Close()
		b.Close()
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if g, f := runtime.NumGoroutine(), fds(); g > goroutines || f > files {
		t.Errorf("%d goroutines and %d descriptors, before %d and %d", g, f, goroutines, files)
	}
}

func TestFrame_RoundTrip(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	h := head{Kind: kindView, Group: "g", Ring: RingID{1, 2}, Members: []Member{{1, 2}}, Left: []Change{{Member{3, 4}, Failed}}}
	body := bytes.Repeat([]byte("0123456789"), 300_000)
	if err := writeFrame(&buf, h, body); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(buf.Bytes())
	got, b, err := readFrame(&buf)
	if diff := cmp.Diff(h, got); diff != "" || !bytes.Equal(b, body) || err != nil {
		t.Errorf("(-want +got):\n%s%d bytes, %v", diff, len(b), err)
	}
	for _, n := range []int{0, 7, 8, 20, 1 << 20, len(whole) - 1} {
		if _, _, err := readFrame(bytes.NewReader(whole[:n])); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// FuzzFrame: no bytes make the decoder panic, or allocate what was only
// announced.
func FuzzFrame(f *testing.F) {
	var buf bytes.Buffer
	writeFrame(&buf, head{Kind: kindSend, Group: "g"}, []byte("body"))
	f.Add(buf.Bytes())
	f.Add(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 2}, 1<<26))
	f.Add(append(make([]byte, 3), 2, 0, 0, 0, 0, '{', '}'))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, body, err := readFrame(bytes.NewReader(b))
		if err == nil && len(body) > len(b) {
			t.Fatalf("%d bytes out of %d", len(body), len(b))
		}
	})
}

// TestHub_SilentClient: a process that answers no pings is taken for failed
// after the token, and one that answers is not.
func TestHub_SilentClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bus, err := Open(t.Context(), Config{Dir: dir, Node: Node{ID: 1, Name: "n1"}, Token: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	next := func(nodes int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			ev, err := bus.Next(ctx)
			if err != nil {
				t.Fatalf("waiting for %d nodes: %v", nodes, err)
			}
			if r, is := ev.(Ring); is && len(r.Nodes) == nodes {
				return
			}
		}
	}
	c, err := net.Dial("unix", filepath.Join(dir, "hub.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := writeFrame(c, head{Kind: kindHello, Version: protocolVersion, Node: Node{ID: 2, Name: "n2"}, From: Member{2, 1}}, nil); err != nil {
		t.Fatal(err)
	}
	next(2)
	next(1)
}

// TestBus_Since: since when a node is there is for the hub to say, also when the
// process that brought it has ended.
func TestBus_Since(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := open(t, dir, 1)
	two := open(t, dir, 2)
	h := one.hub
	h.mu.Lock()
	for _, c := range h.clients {
		c.node.At = 1000 + int64(c.node.ID)
	}
	h.mu.Unlock()
	again := open(t, dir, 2)
	two.Close()
	three := open(t, dir, 3)
	want := []Node{{1, "n1", 1, 1001}, {2, "n2", 2, 1002}}
	if diff := cmp.Diff(want, again.nodes(2).Nodes); diff != "" {
		t.Errorf("a second process (-want +got):\n%s", diff)
	}
	got := three.nodes(3).Nodes
	if diff := cmp.Diff(want, got[:2]); diff != "" || got[2].Since != 3 || got[2].At <= 1002 {
		t.Errorf("a third node %+v (-want +got):\n%s", got[2], diff)
	}
}
