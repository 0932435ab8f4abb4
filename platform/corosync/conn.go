//go:build linux

package corosync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a connection.
const (
	// DefaultLimit bounds a call without an earlier deadline. Calls that go
	// through the ring wait while the membership changes: token plus consensus,
	// 22 s with cman's default token of 10 s.
	DefaultLimit = 30 * time.Second
	// DefaultQueueLimit is how many bytes of events may wait for their reader.
	DefaultQueueLimit = 256 << 20

	// smallMessages is the message size asked for on services with short
	// messages; it costs 200 kB of /dev/shm instead of 3 MB. The largest
	// answer is that of cfg's ring status with 10,272 bytes, the largest
	// request a cmap value of 16 KiB.
	smallMessages = 64 << 10
	// fullMessages is what the daemon's own libraries ask for. On cpg a
	// smaller size stops all deliveries at the first bigger message.
	fullMessages = 1 << 20

	// retryFirst and retryMost bound the pause before a request that the
	// daemon could not take is sent again.
	retryFirst = 100 * time.Microsecond
	retryMost  = 10 * time.Millisecond
	// notReadyPause is the pause before connecting again to a daemon that is
	// still starting.
	notReadyPause = 50 * time.Millisecond
	// spins is how often a caller looks for its answer, which takes some
	// microseconds, before it sleeps: 20 µs at most. With 64 a third of the
	// callers slept, which made calls four times as long.
	spins = 256

	handshakeRequest = 24
	handshakeReply   = 12328
	channelName      = 4096
)

// Config says how connections are made. The zero value is right on a cluster
// node.
type Config struct {
	// Limit bounds each call; 0 means DefaultLimit.
	Limit time.Duration
	// QueueLimit is how many bytes of events may wait to be read before the
	// connection is given up; 0 means DefaultQueueLimit.
	QueueLimit int
	// Address returns the address of a service's socket as net.Dial takes it;
	// nil means the daemon's own.
	Address func(service string) string
	// MaxMessage overrides the message size that the service needs, for a test.
	MaxMessage int
}

// Address is where a service listens: the abstract name padded with NULs to
// the full length of a socket address, since abstract names are compared by
// length; or a file, if libqb was told to use files.
func Address(service string) string {
	if _, err := os.Stat("/etc/libqb/force-filesystem-sockets"); err == nil {
		return "/run/" + service
	}
	return abstractName(service)
}

// sunPathLen is the size of sun_path in struct sockaddr_un.
const sunPathLen = 108

func abstractName(name string) string {
	if len(name) > sunPathLen-1 {
		name = name[:sunPathLen-1]
	}
	return "@" + name + strings.Repeat("\x00", sunPathLen-1-len(name))
}

// Conn is a connection to one service of the daemon. The services' own types
// embed it. A goroutine reads events while nobody waits for one; Close waits
// for its end.
type Conn struct {
	service string
	limit   time.Duration
	queue   int
	maxMsg  int
	sock    *net.UnixConn
	pid     int
	ch      channels

	// call is held while a request and its answer are under way.
	call chan struct{}
	dead atomic.Bool
	done chan struct{}
	idle sync.WaitGroup
	once sync.Once
	turn turn

	mu     sync.Mutex // guards the fields below
	err    error
	events [][]byte
	queued int
	ready  chan struct{} // one element: there may be something to read
}

// channels is the way messages go: rings or sockets. Events are read as a
// stepper or a runner.
type channels interface {
	// send hands over one request. ErrTryAgain means that there is no room now.
	send(deadline time.Time, parts [][]byte) error
	// recv waits for one answer.
	recv(deadline time.Time, stop func() bool) ([]byte, error)
	// flow is the daemon's flow control: 0 open, 1 closed, 2 no multicast.
	flow() uint32
	// dropped says that the daemon has let go of the connection.
	dropped() bool
	// wake makes a waiting recv look at its stop condition.
	wake()
	// leftovers removes what a dead daemon left of the connection.
	leftovers()
	close()
}

// dial connects to a service. A daemon that is still starting is tried again
// within the limit.
func dial(ctx context.Context, service string, maxMsg int, cfg Config) (*Conn, error) {
	c := &Conn{
		service: service, limit: cfg.Limit, queue: cfg.QueueLimit, maxMsg: maxMsg,
		call: make(chan struct{}, 1), done: make(chan struct{}), ready: make(chan struct{}, 1),
		turn: turn{taken: make(chan struct{}, 1), left: make(chan struct{}, 1)},
	}
	if c.limit <= 0 {
		c.limit = DefaultLimit
	}
	if c.queue <= 0 {
		c.queue = DefaultQueueLimit
	}
	if cfg.MaxMessage > 0 {
		c.maxMsg = cfg.MaxMessage
	}
	addr := cfg.Address
	if addr == nil {
		addr = Address
	}
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	for {
		err := c.connect(ctx, addr(service))
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNotReady) {
			return nil, fmt.Errorf("connect to service %s: %w", service, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to service %s: %w", service, err)
		case <-time.After(notReadyPause):
		}
	}
	c.idle.Add(1)
	go c.read()
	return c, nil
}

// connect makes one attempt.
func (c *Conn) connect(ctx context.Context, addr string) (err error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var serr error
		err := raw.Control(func(fd uintptr) {
			// The daemon learns who we are from the first bytes; this makes it
			// independent of when it accepts.
			serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
		return errors.Join(err, serr)
	}}
	nc, err := d.DialContext(ctx, "unix", addr)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return ErrNotRunning
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ErrNotAllowed
	case errors.Is(err, syscall.EAGAIN):
		return ErrNotReady // its queue of connections is full
	case err != nil:
		if ctx.Err() != nil {
			return ErrTimeout
		}
		return err
	}
	sock, isUnix := nc.(*net.UnixConn)
	if !isUnix {
		nc.Close()
		return ErrNotDaemon
	}
	defer func() {
		if err != nil {
			sock.Close()
		}
	}()
	cred, err := peer(sock)
	if err != nil {
		return fmt.Errorf("ask who listens: %w", err)
	}
	// Whoever is first may bind an abstract name. A stranger could make root
	// open files of his choice for writing.
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("the listener is process %d of user %d: %w", cred.Pid, cred.Uid, ErrNotDaemon)
	}
	if t, ok := ctx.Deadline(); ok {
		sock.SetDeadline(t)
	}
	req := newRequest(-1, handshakeRequest, 0)
	req.u32(16, uint32(c.maxMsg))
	if _, err := sock.Write(req); err != nil {
		return lost(err)
	}
	b := make([]byte, handshakeReply)
	if _, err := io.ReadFull(sock, b); err != nil {
		return lost(err)
	}
	sock.SetDeadline(time.Time{})
	h, err := decodeHandshake(b)
	if err != nil {
		return err
	}
	var ch channels
	if h.shm {
		ch, err = openRings(h, sock)
	} else {
		ch, err = openSockets(h, sock)
	}
	if err != nil {
		return err
	}
	c.sock, c.pid, c.ch, c.maxMsg = sock, int(cred.Pid), ch, h.maxMsg
	return nil
}

// peer is who listens on the other side.
func peer(sock *net.UnixConn) (*unix.Ucred, error) {
	raw, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var serr error
	err = raw.Control(func(fd uintptr) {
		cred, serr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, serr)
}

// lost turns an error of the socket into one of ours.
func lost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTimeout
	}
	return fmt.Errorf("%w (%v)", ErrLost, err)
}

// handshake is the daemon's answer to a new client: id -1 @0, size @8, error @16, connection type
// @24, size of messages @28, then the names of the three channels.
type handshake struct {
	shm                      bool
	maxMsg                   int
	request, response, event string
}

func decodeHandshake(b []byte) (handshake, error) {
	r := reply{b: b}
	if id, size := r.i32(0), r.i32(8); id != -1 || size != handshakeReply {
		return handshake{}, fmt.Errorf("handshake %d of %d bytes, another version of libqb than 1 or 2: %w", id, size, ErrProtocol)
	}
	code := r.i32(16)
	h := handshake{
		maxMsg:  int(r.u32(28)),
		request: r.text(40, channelName), response: r.text(40+channelName, channelName), event: r.text(40+2*channelName, channelName),
	}
	if err := r.err("handshake"); err != nil {
		return h, err
	}
	switch syscall.Errno(-code) {
	case 0:
	case syscall.EAGAIN:
		return h, ErrNotReady
	case syscall.EACCES, syscall.EPERM:
		return h, ErrNotAllowed
	case syscall.ENOSYS:
		return h, ErrNoService
	default:
		return h, fmt.Errorf("the daemon answered: %w", syscall.Errno(-code))
	}
	switch r.i32(24) {
	case 0:
	case 1:
		h.shm = true
	default:
		return h, fmt.Errorf("connection type %d: %w", r.i32(24), ErrProtocol)
	}
	if h.maxMsg < requestHeader || h.maxMsg > maxRingWords*4 {
		return h, fmt.Errorf("message size %d: %w", h.maxMsg, ErrProtocol)
	}
	if h.request == "" || h.response == "" || h.shm && h.event == "" {
		return h, fmt.Errorf("handshake without channel names: %w", ErrProtocol)
	}
	return h, nil
}

// Done is closed when the connection has ended, by Close or by a fault.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// DaemonPID is the process id of the daemon, 0 if it is in a process namespace
// that cannot be seen from here.
func (c *Conn) DaemonPID() int { return c.pid }

// Close ends the connection, also after a fault, and frees what it holds. The
// daemon forgets trackers and groups of the connection. The error is always nil.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.once.Do(func() {
		c.idle.Wait()
		c.call <- struct{}{} // no call is under way any more; never released
		c.turn.taken <- struct{}{}
		c.ch.close()
	})
	return nil
}

// fail ends the connection once; later reasons are dropped.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.dead.Store(true)
	close(c.done)
	c.sock.Close()
	c.ch.wake()
}

// read is the goroutine of the connection.
func (c *Conn) read() {
	defer c.idle.Done()
	switch ch := c.ch.(type) {
	case stepper:
		c.readThere(ch)
	case runner:
		c.ended(guarded(func() error { return ch.run(c.put) }))
	}
}

// ended is called by the reader when there is no more to read.
func (c *Conn) ended(err error) {
	closed := c.dead.Load()
	c.fail(err)
	if !closed && c.gone() {
		c.ch.leftovers()
	}
}

// guarded runs f; a fault of the mapping (somebody truncated the file) becomes
// ErrLost instead of the end of the process.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("%w (its shared memory is gone)", ErrLost)
		default:
			panic(p)
		}
	}()
	return f()
}

// gone says whether the daemon's process has ended. It may take a moment
// between the end of its sockets and that of the process.
func (c *Conn) gone() bool {
	if c.pid <= 0 {
		return false
	}
	for i := range 3 {
		if i > 0 {
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // below the seam types, and not a decision
		}
		if errors.Is(syscall.Kill(c.pid, 0), syscall.ESRCH) {
			return true
		}
		// Dead but not yet collected by its parent.
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/stat")
		if i := bytes.LastIndexByte(stat, ')'); err == nil && i >= 0 && bytes.HasPrefix(stat[i+1:], []byte(" Z")) {
			return true
		}
	}
	return false
}

// put queues one event.
func (c *Conn) put(ev []byte) error {
	c.mu.Lock()
	c.events = append(c.events, ev)
	c.queued += len(ev)
	over := c.queued > c.queue
	c.mu.Unlock()
	select {
	case c.ready <- struct{}{}:
	default:
	}
	if over {
		return fmt.Errorf("%d bytes are waiting: %w", c.queue, ErrOverrun)
	}
	return nil
}

// next waits for the next event. What came before the end of the connection is
// still delivered. It has one caller at a time.
func (c *Conn) next(ctx context.Context) ([]byte, error) {
	for {
		c.mu.Lock()
		if len(c.events) > 0 {
			ev := c.events[0]
			c.events[0] = nil
			c.events = c.events[1:]
			c.queued -= len(ev)
			c.mu.Unlock()
			return ev, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s, is := c.ch.(stepper); is {
			c.readHere(ctx, s)
			continue
		}
		select {
		case <-c.ready:
		case <-c.done:
		case <-ctx.Done():
		}
	}
}

// do sends one request and waits for its answer. The answer's error is in err
// as type Error; the answer is returned with it.
func (c *Conn) do(ctx context.Context, parts ...[]byte) (reply, error) {
	var r reply
	err := c.exchange(ctx, parts, func(deadline time.Time, stop func() bool) error {
		b, err := c.ch.recv(deadline, stop)
		if err != nil {
			return err
		}
		_, code, err := header(b)
		if err != nil {
			return err
		}
		r = reply{b: b}
		if code != ok {
			return code
		}
		return nil
	})
	return r, err
}

// post sends one request that has no answer.
func (c *Conn) post(ctx context.Context, parts ...[]byte) error {
	return c.exchange(ctx, parts, nil)
}

// exchange sends a request, again and again while the daemon cannot take it,
// and has answer wait for what comes back.
func (c *Conn) exchange(ctx context.Context, parts [][]byte, answer func(time.Time, func() bool) error) error {
	deadline := time.Now().Add(c.limit)
	if t, set := ctx.Deadline(); set && t.Before(deadline) {
		deadline = t
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if total > c.maxMsg {
		return fmt.Errorf("message of %d bytes, at most %d: %w", total, c.maxMsg, ErrTooBig)
	}
	select {
	case c.call <- struct{}{}:
	default:
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		select {
		case c.call <- struct{}{}:
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			// Another call is stuck; that one ends the connection.
			return fmt.Errorf("service %s: %w", c.service, ErrTimeout)
		}
	}
	defer func() { <-c.call }()
	stop := func() bool { return c.dead.Load() || ctx.Err() != nil }
	sent := false
	err := guarded(func() error { return c.attempt(deadline, parts, answer, stop, &sent) })
	var code Error
	switch {
	case errors.Is(err, ErrTryAgain) && c.Err() == nil && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case err == nil, errors.As(err, &code) && c.Err() == nil, errors.Is(err, ErrTooBig):
		return err
	}
	if cause := c.Err(); cause != nil {
		return fmt.Errorf("service %s: %w", c.service, cause)
	}
	if !sent && ctx.Err() != nil {
		return ctx.Err()
	}
	err = fmt.Errorf("service %s: %w", c.service, err)
	c.fail(err) // an answer may come yet, and would be taken for the next one
	return err
}

// attempt runs the request until it is answered with something other than
// "try again". sent says that an answer may be under way when it returns.
func (c *Conn) attempt(deadline time.Time, parts [][]byte, answer func(time.Time, func() bool) error, stop func() bool, sent *bool) error {
	pause := retryFirst
	for {
		err := c.round(deadline, parts, answer, stop, sent)
		if !errors.Is(err, ErrTryAgain) {
			return err
		}
		if stop() || time.Until(deadline) <= pause {
			return fmt.Errorf("service %s: the daemon took no request: %w", c.service, ErrTryAgain)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-c.done:
			t.Stop()
		}
		pause = min(2*pause, retryMost)
	}
}

// round sends the request one time and waits for its answer.
func (c *Conn) round(deadline time.Time, parts [][]byte, answer func(time.Time, func() bool) error, stop func() bool, sent *bool) error {
	if c.dead.Load() || c.ch.dropped() {
		return ErrLost
	}
	switch id := request(parts[0]).id(); c.ch.flow() {
	case flowOpen:
	case flowNoMulticast:
		if c.service == "cpg" && (id == cpgMulticast || id == cpgPartial) {
			return ErrTryAgain
		}
	default:
		return ErrTryAgain
	}
	if err := c.ch.send(deadline, parts); err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	*sent = true
	err := answer(deadline, stop)
	var code Error
	if err == nil || errors.As(err, &code) {
		*sent = false
	}
	return err
}

// Values of the daemon's flow control.
const (
	flowOpen        = 0
	flowNoMulticast = 2
)

// spin gives the daemon, on another processor, the moment it needs to answer.
func spin(ready func() bool) bool {
	for range spins {
		if ready() {
			return true
		}
		runtime.Gosched()
	}
	return false
}

// removeChannel removes the files of one ring.
func removeChannel(names ...string) {
	for _, n := range names {
		if n != "" {
			os.Remove(n)
		}
	}
	if len(names) > 0 && names[0] != "" {
		// Fails while other files are in it, and for libqb 1, which has no
		// folder for each connection.
		if dir := filepath.Dir(names[0]); strings.HasPrefix(filepath.Base(dir), "qb-") {
			os.Remove(dir)
		}
	}
}
