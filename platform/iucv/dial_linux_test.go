package iucv

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// kernel answers attempts to connect with one errno after the other; 0 is
// success, and the last one is repeated.
type kernel struct {
	errnos   []unix.Errno
	attempts int
	to       unix.SockaddrIUCV
	at       []time.Duration
	start    time.Time
}

func (k *kernel) connect(_ context.Context, to unix.SockaddrIUCV, limit time.Duration) (net.Conn, error) {
	errno := k.errnos[min(k.attempts, len(k.errnos)-1)]
	k.attempts++
	k.to = to
	k.at = append(k.at, time.Since(k.start))
	if limit <= 0 {
		return nil, errors.New("attempt without time")
	}
	if errno == 0 {
		c, _ := net.Pipe()
		return c, nil
	}
	return nil, explain("connect", errno)
}

func TestDialer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		errnos   []unix.Errno
		limit    time.Duration
		want     error
		attempts int
		// after is the fake time of the last attempt.
		after time.Duration
	}{
		{"at once", []unix.Errno{0}, 5 * time.Second, nil, 1, 0},
		{"restarting server", []unix.Errno{unix.ECONNREFUSED, unix.EAGAIN, unix.ECONNREFUSED, 0}, 5 * time.Second, nil, 4, time.Second},
		{"a signal", []unix.Errno{unix.EINTR, 0}, 5 * time.Second, nil, 2, 0},
		{"refused up to the limit", []unix.Errno{unix.ECONNREFUSED}, 5 * time.Second, ErrRefused, 6, 4 * time.Second},
		{"refused for ever", []unix.Errno{unix.ECONNREFUSED}, 0, ErrRefused, 11, 70 * time.Second},
		{"no connection free", []unix.Errno{unix.EAGAIN}, time.Second, ErrBusy, 3, 0},
		{"not logged on", []unix.Errno{unix.ENETUNREACH}, 5 * time.Second, ErrNotLoggedOn, 1, 0},
		{"no authority", []unix.Errno{unix.EACCES}, 5 * time.Second, ErrNoAuthority, 1, 0},
		{"not on z/VM", []unix.Errno{unix.EBADFD}, 5 * time.Second, ErrNotZVM, 1, 0},
		{"not on z/VM, bound", []unix.Errno{unix.ENODEV}, 5 * time.Second, ErrNotZVM, 1, 0},
		{"no support", []unix.Errno{unix.EAFNOSUPPORT}, 5 * time.Second, ErrNoSupport, 1, 0},
		{"another error", []unix.Errno{unix.ENOMEM}, 5 * time.Second, unix.ENOMEM, 1, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := &kernel{errnos: tc.errnos, start: time.Now()}
				ctx := t.Context()
				if tc.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.limit)
					defer cancel()
				}
				d := Dialer{Guest: "vsmreqiu", Program: "dmsrs", connect: k.connect}
				conn, err := d.Dial(ctx)
				if !errors.Is(err, tc.want) || (conn == nil) != (tc.want != nil) {
					t.Errorf("got %v, %v; want error %v", conn, err, tc.want)
				}
				if err != nil && !strings.Contains(err.Error(), "connect to VSMREQIU:DMSRS over IUCV: ") {
					t.Errorf("error %v does not say where to", err)
				}
				if k.attempts != tc.attempts || k.at[len(k.at)-1] != tc.after {
					t.Errorf("%d attempts at %v; want %d, the last at %v", k.attempts, k.at, tc.attempts, tc.after)
				}
				if k.to.UserID != "VSMREQIU" || k.to.Name != "DMSRS   " {
					t.Errorf("connects to %q, %q", k.to.UserID, k.to.Name)
				}
			})
		})
	}
}

func TestDialer_Canceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	k := &kernel{errnos: []unix.Errno{unix.ECONNREFUSED}}
	d := Dialer{Guest: "A", Program: "B", connect: func(c context.Context, to unix.SockaddrIUCV, l time.Duration) (net.Conn, error) {
		cancel()
		return k.connect(c, to, l)
	}}
	if _, err := d.Dial(ctx); !errors.Is(err, ErrRefused) || k.attempts != 1 {
		t.Errorf("error %v after %d attempts, want ErrRefused after 1", err, k.attempts)
	}
}

func TestDialer_BadNames(t *testing.T) {
	t.Parallel()
	for _, d := range []Dialer{{Guest: "TOOLONGNAME", Program: "B"}, {Guest: "A", Program: ""}, {Program: "B"}} {
		d.connect = (&kernel{errnos: []unix.Errno{0}}).connect
		if _, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "1 to 8 characters") {
			t.Errorf("%q, %q: error %v", d.Guest, d.Program, err)
		}
	}
}
