//go:build linux

package confload

import (
	"errors"
	"fmt"
	"testing"

	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/cluster"
)

// TestSpread: every node that listens does it once told, says so, and those
// that do not listen are missing.
func TestSpread(t *testing.T) {
	t.Parallel()
	cfg := engine.LocalConfig{Dir: t.TempDir()}
	for id := range cluster.NodeID(4) {
		cfg.Nodes = append(cfg.Nodes, engine.LocalNode{Node: cluster.Node{ID: id + 1, Name: fmt.Sprint("n", id+1)}})
	}
	open := func(id cluster.NodeID) cluster.Engine {
		t.Helper()
		c := cfg
		c.Node = id
		e, err := engine.OpenLocal(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	done := make(chan string, 10)
	listen := func(id cluster.NodeID, result error) {
		t.Helper()
		stop, err := Listen(open(id), func(v int) error {
			done <- fmt.Sprintf("node %d version %d", id, v)
			return result
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	e := open(1)
	if got, err := Spread(t.Context(), e, 6); err != nil || len(got) != 0 {
		t.Errorf("nobody listens: %v, %v", got, err)
	}
	listen(1, nil) // the own node needs no order
	listen(2, nil)
	listen(2, errors.New("another daemon was faster"))
	listen(3, errors.New("bad file"))
	open(4)
	got, err := Spread(t.Context(), e, 7)
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(got); s != "map[2:<nil> 3:bad file]" {
		t.Errorf("answers %s", s)
	}
	seen := map[string]int{}
	for range 3 {
		seen[<-done]++
	}
	if s := fmt.Sprint(seen); s != "map[node 2 version 7:2 node 3 version 7:1]" || len(done) > 0 {
		t.Errorf("done: %s and %d more", s, len(done))
	}
}

// FuzzDecode: what others send into the group.
func FuzzDecode(f *testing.F) {
	f.Add(message{Version: 3}.bytes())
	f.Add(message{Version: 3, Answer: true, Error: "bad file"}.bytes())
	f.Add([]byte(`{"format":2,"version":3}`))
	f.Add([]byte(`{"format":1,"version":-3}`))
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := decode(b)
		if !ok {
			return
		}
		if again, ok := decode(m.bytes()); !ok || again != m {
			t.Errorf("%q: %+v, again %+v", b, m, again)
		}
	})
}
