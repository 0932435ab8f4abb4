package zvmsim_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/zvmtest"
)

// bubble runs f with a simulator of CNODE1 and CNODE2 and a client, in virtual
// time.
func bubble(t *testing.T, change func(*zvmsim.Config), f func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := zvmtest.Config("CNODE1", "CNODE2")
		if change != nil {
			change(&cfg)
		}
		sim := zvmtest.Start(t, cfg)
		f(t, sim, &smapi.Client{
			Dialer: sim.Dialer("", ""), User: zvmtest.User, Password: zvmtest.Password, ExchangeLimit: 20 * time.Second,
		})
	})
}

func TestServer_OffAndOnThroughTheClient(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		ctx := t.Context()
		power := func(want smapi.Power) {
			t.Helper()
			if got, err := c.ImageStatus(ctx, "CNODE1"); got != want || err != nil {
				t.Errorf("status %v, %v, want %v", got, err, want)
			}
		}
		power(smapi.PowerOn)
		if _, err := c.ImageDeactivate(ctx, "CNODE1", smapi.Immediate); err != nil {
			t.Error(err)
		}
		power(smapi.PowerOn)
		time.Sleep(1500 * time.Millisecond)
		power(smapi.PowerOff)
		_, err := c.ImageDeactivate(ctx, "CNODE1", smapi.Immediate)
		if !errors.Is(err, &smapi.ResultError{Return: 200, Reason: 12}) {
			t.Errorf("second force: %v", err)
		}
		if _, err := c.ImageActivate(ctx, "CNODE1"); err != nil {
			t.Error(err)
		}
		time.Sleep(500 * time.Millisecond)
		power(smapi.PowerOn)
		if names, err := c.DirectoryNames(ctx); err != nil || !slices.Equal(names, []string{"CNODE1", "CNODE2"}) {
			t.Errorf("directory %q, %v", names, err)
		}
		if level, err := c.FunctionalLevel(ctx); err != nil || level != zvmsim.DefaultLevel {
			t.Errorf("level %d, %v", level, err)
		}
	})
}

// The bytes of specs and manuals: what a client sends and what it gets.
func TestServer_Bytes(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *zvmsim.Config) { c.Systems[0].Guests[1].On = false }, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		for _, tc := range []struct{ name, request, reply string }{
			{"force of CNODE1",
				"0000003d 00000010 496d6167 655f4465 61637469 76617465 00000008 434d414e 41474552" +
					"00000006 53454352 45540000 0006434e 4f444531 00000005 494d4d45 44",
				"00002719 00000018 00002719 00000000 00000000 00000001 00000000 00000000"},
			{"force of CNODE2, which is off",
				"0000003d 00000010 496d6167 655f4465 61637469 76617465 00000008 434d414e 41474552" +
					"00000006 53454352 45540000 0006434e 4f444532 00000005 494d4d45 44",
				"0000271a 0000002e 0000271a 000000c8 0000000c 00000000 00000001 00000016 00000012 00000006" +
					"434e4f44 45320000 00c80000 000c"},
			{"authentication",
				"0000002e 00000014 43686563 6b5f4175 7468656e 74696361 74696f6e 00000008 434d414e" +
					"41474552 00000006 53454352 4554",
				"0000271b 0000000c 0000271b 00000000 00000000"},
			{"the start of TLS", "16030102 00010001", "0000271c 0000000c 0000271c 00000384 00000024"},
			{"the start of HTTP", "47455420 2f204854", "0000271d 0000000c 0000271d 00000384 00000024"},
			{"a giant length", "7fffffff", "0000271e 0000000c 0000271e 00000384 00000024"},
			{"lengths that disagree", "00000010 00000004 41424344 00000040 41424344", "0000271f 0000000c 0000271f 00000384 00000014"},
		} {
			if got, want := hexTalk(t, sim, tc.request), strings.ReplaceAll(tc.reply, " ", ""); got != want {
				t.Errorf("%s:\n got %s\nwant %s", tc.name, got, want)
			}
		}
	})
}

func TestServer_SlowClientIsDropped(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		conn, err := sim.Dialer("", "").Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for _, b := range []byte{0, 0, 0, 0x2e, 0, 0, 0, 0x14} {
				time.Sleep(6 * time.Second)
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
			}
		})
		start := time.Now()
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("read: %v", err)
		}
		if d := time.Since(start); d != zvmsim.DefaultRequestLimit {
			t.Errorf("dropped after %v, want %v", d, zvmsim.DefaultRequestLimit)
		}
	})
}

func TestServer_FaultsAsTheClientSeesThem(t *testing.T) {
	t.Parallel()
	lost, protocol := smapi.ErrLost, smapi.ErrProtocol
	for _, tc := range []struct {
		fault string
		// want is the class of the client's error, code the answer it got.
		want     error
		ret      int
		executed bool
	}{
		{"do=drop", lost, 0, false},
		{"do=drop,execute=yes", lost, 0, true},
		{"do=reset", lost, 0, false},
		{"do=close-after-id", lost, 0, false},
		{"do=lost-answer", lost, 0, true},
		{"do=not-executed", nil, 0, false},
		{"do=truncate,at=15", lost, 0, true},
		{"do=truncate,at=0", lost, 0, true},
		{"do=silence", smapi.ErrTimeout, 0, false},
		{"do=silence-after-id", smapi.ErrTimeout, 0, false},
		{"do=silence-after-work", smapi.ErrTimeout, 0, true},
		{"do=refuse", smapi.ErrConnect, 0, false},
		{"do=stall-id,delay=19s", nil, 0, true},
		{"do=stall-id,delay=21s", smapi.ErrTimeout, 0, true},
		{"do=stall-response,delay=21s", smapi.ErrTimeout, 0, true},
		{"do=stall-bytes,delay=600ms", nil, 0, true},
		{"do=stall-bytes,delay=900ms", smapi.ErrTimeout, 0, true},
		{"do=one-byte", nil, 0, true},
		{"do=one-write", nil, 0, true},
		{"do=one-write+one-byte", nil, 0, true},
		{"do=length,value=11", protocol, 0, true},
		{"do=length,value=-1", protocol, 0, true},
		{"do=length,value=+1", lost, 0, true},
		{"do=length,value==-1", protocol, 0, true},
		{"do=length,value=2147483647", protocol, 0, true},
		{"do=array,value=+1", protocol, 0, true},
		{"do=array,value==-1", protocol, 0, true},
		{"do=wrong-id", nil, 0, true},
		{"do=code,rc=396,rs=1", nil, 396, false},
		{"do=code,rc=396,execute=yes", nil, 396, true},
		{"do=auth", nil, 120, false},
		{"do=async,delay=1s", nil, 592, true},
		{"do=late,delay=5s", lost, 0, true},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			fault, err := zvmsim.ParseFault(tc.fault)
			if err != nil {
				t.Fatal(err)
			}
			bubble(t, func(c *zvmsim.Config) { c.Faults = []zvmsim.Fault{fault} }, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
				_, err := c.ImageDeactivate(t.Context(), "CNODE1", smapi.Immediate)
				var result *smapi.ResultError
				switch {
				case errors.As(err, &result):
					if result.Return != tc.ret {
						t.Errorf("answer %d/%d, want %d", result.Return, result.Reason, tc.ret)
					}
				case !errors.Is(err, tc.want):
					t.Errorf("error %v, want %v", err, tc.want)
				case tc.ret != 0:
					t.Errorf("error %v, want code %d", err, tc.ret)
				}
				time.Sleep(time.Minute)
				if want := map[bool]zvmsim.State{false: zvmsim.On, true: zvmsim.Off}[tc.executed]; sim.State("CNODE1") != want {
					t.Errorf("afterwards the guest is %v, want %v", sim.State("CNODE1"), want)
				}
			})
		})
	}
}

func TestServer_FaultIsUsedUp(t *testing.T) {
	t.Parallel()
	fault, err := zvmsim.ParseFault("function=Image_Deactivate,target=CNODE1,count=2,skip=1,do=lost-answer")
	if err != nil {
		t.Fatal(err)
	}
	bubble(t, func(c *zvmsim.Config) { c.Faults = []zvmsim.Fault{fault} }, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		var got []bool
		for range 5 {
			_, err := c.ImageDeactivate(t.Context(), "CNODE1", smapi.Immediate)
			got = append(got, errors.Is(err, smapi.ErrLost))
			if _, err := c.ImageStatus(t.Context(), "CNODE1"); err != nil {
				t.Errorf("status: %v", err)
			}
		}
		if diff := cmp.Diff([]bool{false, true, true, false, false}, got); diff != "" {
			t.Errorf("lost (-want +got):\n%s", diff)
		}
	})
}

func TestServer_MemberStates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		state zvmsim.MemberState
		want  error
		guest zvmsim.State
	}{
		{zvmsim.MemberUp, nil, zvmsim.On},
		{zvmsim.MemberDown, syscall.ECONNREFUSED, zvmsim.Off},
		{zvmsim.MemberNoService, syscall.ECONNREFUSED, zvmsim.On},
		{zvmsim.MemberHung, smapi.ErrTimeout, zvmsim.On},
		{zvmsim.MemberFull, smapi.ErrTimeout, zvmsim.On},
		{zvmsim.MemberIsolated, nil, zvmsim.On},
	} {
		t.Run(tc.state.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
				sim.Do(zvmsim.SetMember{Member: "ZVM1", State: tc.state})
				if _, err := c.ImageStatus(t.Context(), "CNODE1"); !errors.Is(err, tc.want) {
					t.Errorf("status: %v, want %v", err, tc.want)
				}
				if got := sim.State("CNODE1"); got != tc.guest {
					t.Errorf("guest is %v, want %v", got, tc.guest)
				}
			})
		})
	}
}

func TestServer_HangEndsWithTheMember(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		sim.Do(zvmsim.SetMember{Member: "ZVM1", State: zvmsim.MemberHung})
		time.AfterFunc(5*time.Second, func() { sim.Do(zvmsim.SetMember{Member: "ZVM1", State: zvmsim.MemberUp}) })
		start := time.Now()
		if _, err := c.ImageStatus(t.Context(), "CNODE1"); !errors.Is(err, smapi.ErrLost) {
			t.Errorf("status: %v, want %v", err, smapi.ErrLost)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestServer_Events(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan smapi.Event, 10)
		done := make(chan error, 1)
		go func() {
			done <- c.Subscribe(ctx, "", func(e smapi.Event) error { events <- e; return nil })
		}()
		synctest.Wait()
		if _, err := c.ImageRecycle(ctx, "CNODE2"); err != nil {
			t.Fatal(err)
		}
		want := []smapi.Event{
			smapi.EncodeGuestEvents(smapi.GuestEvent{Kind: smapi.GuestLogoff, Guest: "CNODE2"}),
			smapi.EncodeGuestEvents(smapi.GuestEvent{Kind: smapi.GuestLogon, Guest: "CNODE2"}, smapi.GuestEvent{Kind: smapi.GuestRunnable, Guest: "CNODE2"}),
		}
		if diff := cmp.Diff(want, []smapi.Event{<-events, <-events}); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("subscription ended with %v", err)
		}
	})
}

func TestServer_HalfClosedClientGetsItsAnswer(t *testing.T) {
	t.Parallel()
	for _, aborts := range []bool{false, true} {
		bubble(t, func(c *zvmsim.Config) {
			c.Systems[0].Delays.Answer = time.Second
			c.Systems[0].Switches.HalfCloseAborts = aborts
		}, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
			msg := smapi.AppendRequest(nil, smapi.Request{Function: smapi.CheckAuthentication, User: "CMANAGER", Password: "SECRET"})
			conn := &halfClosed{in: bytes.NewReader(msg)}
			if err := sim.ServeConn(t.Context(), conn, zvmsim.Client{}); err != nil {
				t.Errorf("aborts %v: %v", aborts, err)
			}
			if got := conn.out.Len(); (got == 20) == aborts {
				t.Errorf("aborts %v: %d bytes of reply", aborts, got)
			}
		})
	}
}

// halfClosed is a connection whose client has shut down its sending side.
type halfClosed struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *halfClosed) Read(p []byte) (int, error)    { return c.in.Read(p) }
func (c *halfClosed) Write(p []byte) (int, error)   { return c.out.Write(p) }
func (c *halfClosed) Close() error                  { return nil }
func (c *halfClosed) SetDeadline(t time.Time) error { return nil }

// hexTalk sends bytes, given in hexadecimal with blanks, on a connection of
// its own and returns all that comes back.
func hexTalk(t *testing.T, sim *zvmtest.Sim, request string) string {
	t.Helper()
	msg, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := sim.Dialer("", "").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(msg); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(reply)
}

func TestServer_ManyClientsAtATime(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *zvmsim.Config) {
		c.Systems[0].Delays.Answer, c.Systems[0].Delays.AnswerSpread = time.Second, time.Second
	}, func(t *testing.T, sim *zvmtest.Sim, c *smapi.Client) {
		const n = 60
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids := map[uint32]bool{}
		c.ExchangeLimit = time.Minute
		for range n {
			wg.Go(func() {
				resp, err := c.Do(t.Context(), smapi.Request{Function: smapi.CheckAuthentication})
				mu.Lock()
				defer mu.Unlock()
				if err != nil || resp.RequestID != resp.ResponseID || ids[resp.RequestID] {
					t.Errorf("response %+v, %v", resp, err)
				}
				ids[resp.RequestID] = true
			})
		}
		start := time.Now()
		wg.Wait()
		// Three workers take 1 to 2 s for each request.
		if d := time.Since(start); d < n/3*time.Second || d > 2*n/3*time.Second {
			t.Errorf("%d requests took %v", n, d)
		}
	})
}

func FuzzServer(f *testing.F) {
	f.Add(smapi.AppendRequest(nil, smapi.Request{Function: smapi.ImageDeactivate, User: "CMANAGER", Password: "SECRET", Target: "CNODE1", Params: smapi.AppendString(nil, "IMMED")}), "")
	f.Add(smapi.AppendRequest(nil, smapi.Request{Function: smapi.AuthorizationListQuery, User: "CMANAGER", Password: "SECRET", Target: "X", Params: smapi.AppendString(smapi.AppendString(nil, "ALL"), "ALL")}), "CMANAGER")
	f.Add(smapi.AppendRequest(nil, smapi.Request{Function: smapi.ImageQueryActivateTime, Target: "CNODE1", Params: []byte{4}}), "CMANAGER")
	f.Add(smapi.AppendRequest(nil, smapi.Request{Function: smapi.EventStreamAdd, Target: "CNODE1", Params: []byte{0, 0, 0, 1}}), "CMANAGER")
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00"), "")
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), "x")
	f.Fuzz(func(t *testing.T, request []byte, peer string) {
		sim := zvmtest.StartWith(t, zvmtest.Config("CNODE1", "CNODE2"), zvmsim.ServerConfig{WriteLimit: time.Millisecond})
		conn := &halfClosed{in: bytes.NewReader(request)}
		_ = sim.ServeConn(t.Context(), conn, zvmsim.Client{Peer: peer})
		reply := conn.out.Bytes()
		if len(reply) <= 4 {
			return // nothing, or what ends with the request id
		}
		resp, err := smapi.ReadResponse(bytes.NewReader(reply), 1<<20)
		if err != nil || resp.RequestID != resp.ResponseID || len(reply) != 20+len(resp.Data) {
			t.Errorf("%x answers %x: %+v, %v", request, reply, resp, err)
		}
	})
}
