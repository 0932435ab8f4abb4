//go:build linux

package corosync

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// native is the order of every integer on the wire.
var native = binary.NativeEndian

// fake is the daemon's side of the protocol, with faults as data.
type fake struct {
	t    *testing.T
	addr string
	dir  string

	// handshakes are the error numbers of the first handshakes.
	handshakes []int32
	// reply changes the answer to a handshake.
	reply func(b []byte)
	// cut sends only so many bytes of it, and then ends the connection.
	cut int
	// files changes the ring files before the client sees them.
	files func(f *fakeConn)
	// answer gets each request and says what to do. nil answers with ok.
	answer func(f *fakeConn, req []byte)

	mu   sync.Mutex
	reqs [][]byte
	last *fakeConn
}

// fakeConn is one client.
type fakeConn struct {
	*fake
	sock          net.Conn
	req, resp, ev ring
	names         [3]string
}

const fakeWords = 16 << 10 // 64 KiB rings

var fakes atomic.Int32

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, dir: t.TempDir(), addr: abstractName(fmt.Sprintf("haobox-fake-%d-%d", os.Getpid(), fakes.Add(1)))}
	l, err := net.Listen("unix", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				f.serve(c, n)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		if f.last != nil {
			f.last.sock.Close()
		}
		f.mu.Unlock()
		wg.Wait()
	})
	return f
}

// config points a client to the fake.
func (f *fake) config() Config { return Config{Address: func(string) string { return f.addr }} }

func (f *fake) serve(sock net.Conn, n int) {
	b := make([]byte, handshakeRequest)
	if _, err := io.ReadFull(sock, b); err != nil {
		return
	}
	c := &fakeConn{fake: f, sock: sock}
	h := newRequest(-1, handshakeReply, 0)
	if n < len(f.handshakes) && f.handshakes[n] != 0 {
		h.i32(16, f.handshakes[n])
		sock.Write(h)
		return
	}
	h.u32(24, 1)
	h.u32(28, native.Uint32(b[16:]))
	for i, x := range []struct {
		name string
		r    *ring
	}{{"request", &c.req}, {"response", &c.resp}, {"event", &c.ev}} {
		c.names[i] = filepath.Join(f.dir, fmt.Sprintf("qb-%s-%d", x.name, n))
		h.text(40+i*channelName, c.names[i])
		c.makeRing(c.names[i], x.r)
	}
	if f.files != nil {
		f.files(c)
	}
	if f.reply != nil {
		f.reply(h)
	}
	f.mu.Lock()
	f.last = c
	f.mu.Unlock()
	if f.cut > 0 {
		sock.Write(h[:f.cut])
		return
	}
	sock.Write(h)
	one := make([]byte, 1)
	for {
		if _, err := sock.Read(one); err != nil {
			return
		}
		if !c.req.tryWait() {
			f.t.Error("a byte without a request")
			return
		}
		req, err := c.req.take()
		if err != nil {
			f.t.Error(err)
			return
		}
		f.mu.Lock()
		f.reqs = append(f.reqs, req)
		f.mu.Unlock()
		if f.answer != nil {
			f.answer(c, req)
		} else {
			c.respond(req, nil)
		}
	}
}

func (c *fakeConn) makeRing(name string, r *ring) {
	hdr := make([]byte, ringHeaderSize)
	native.PutUint32(hdr[offWords:], fakeWords)
	copy(hdr[offDataPath:], name+"-data")
	native.PutUint32(hdr[offRefCount:], 1)
	if err := os.WriteFile(name+"-header", hdr, 0o600); err != nil {
		c.t.Error(err)
	}
	if err := os.WriteFile(name+"-data", make([]byte, fakeWords*4), 0o600); err != nil {
		c.t.Error(err)
	}
	h, err := mapFile(name+"-header", ringHeaderSize)
	if err != nil {
		c.t.Error(err)
	}
	d, err := mapFile(name+"-data", fakeWords*4)
	if err != nil {
		c.t.Error(err)
	}
	c.t.Cleanup(func() { unix.Munmap(h); unix.Munmap(d) })
	*r = ring{h, d, fakeWords}
}

// respond answers a request: error ok, and body after the header.
func (c *fakeConn) respond(req, body []byte) {
	if id := request(req).id(); id == cpgMulticast && len(req) > 40 {
		return // a multicast has no answer
	}
	c.respondWith(ok, body)
}

func (c *fakeConn) respondWith(code Error, body []byte) {
	if _, err := c.resp.put(message(0, code, body)); err != nil {
		c.t.Error(err)
	}
}

// message is an answer or event as the daemon makes it.
func message(id int32, code Error, body []byte) []byte {
	m := newRequest(id, replyHeader+len(body), 0)
	m.i32(16, int32(code))
	copy(m[replyHeader:], body)
	return m
}

// event sends one event.
func (c *fakeConn) event(ev []byte) {
	if done, err := c.ev.put(ev); err != nil || !done {
		c.t.Errorf("event: %v, %v", done, err)
	}
	c.sock.Write(oneByte)
}

// requests are all that came.
func (f *fake) requests() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reqs
}

// conn is the newest client.
func (f *fake) conn() *fakeConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// truncate empties the files of all rings.
func (c *fakeConn) truncate() {
	for _, n := range c.names {
		for _, end := range []string{"-header", "-data"} {
			if err := syscall.Truncate(n+end, 0); err != nil {
				c.t.Error(err)
			}
		}
	}
}
