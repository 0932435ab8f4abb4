package smapi

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestImageConfiguration_Dump(t *testing.T) {
	t.Parallel()
	want := ImageConfiguration{
		Memory: 2048, MemoryUnit: MiB, ShareType: ShareRelative, Share: "100", CPUCount: 1,
		CPUs:    []CPU{{0, "FF0123453931", CPUBase}},
		Devices: []Device{{DeviceConsole, "0009"}, {DeviceDASD, "0150"}},
	}
	data := unhex(t, `
		00000800 02 01 00000003 313030 00000001
		00000019 00000015 00000000 0000000c 464630313233343533393331 01
		0000001a 00000009 01 00000004 30303039 00000009 05 00000004 30313530`)
	if diff := cmp.Diff(data, EncodeImageConfiguration(want)); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}
	got, err := DecodeImageConfiguration(data)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("decoded, error %v (-want +got):\n%s", err, diff)
	}
	for n := range data {
		if _, err := DecodeImageConfiguration(data[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d bytes: error %v", n, err)
		}
	}
}

// The members that SSI_Query gave on a system of four slots, with two in use.
const ssiDump = "POKSSI\x00Stable\x00Enabled\x00CVD964_on_D964\x00" +
	"1 POKDEV62 Joined 02/05/2013_22:34:40 02/05/2013_22:34:40\x00" +
	"2 POKTST62 Joined 02/05/2013_22:34:28 02/05/2013_22:34:28\x00"

func TestSSI_Dump(t *testing.T) {
	t.Parallel()
	want := SSI{
		Name: "POKSSI", Mode: "Stable", CrossSystemTimeouts: "Enabled", PDR: "CVD964_on_D964",
		Members: []SSIMember{
			{1, "POKDEV62", "Joined", "02/05/2013_22:34:40", "02/05/2013_22:34:40"},
			{2, "POKTST62", "Joined", "02/05/2013_22:34:28", "02/05/2013_22:34:28"},
		},
	}
	if got := string(EncodeSSI(want)); got != ssiDump {
		t.Errorf("encoded %q, want %q", got, ssiDump)
	}
	for _, text := range []string{ssiDump, ssiDump[:len(ssiDump)-1]} {
		got, err := DecodeSSI([]byte(text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("decoded, error %v (-want +got):\n%s", err, diff)
		}
	}
	if s, err := DecodeSSI([]byte("A\x00B\x00C\x00D\x003 SYS3 Down\x00")); err != nil || len(s.Members) != 1 || s.Members[0].State != "Down" {
		t.Errorf("member without heartbeats: %+v, %v", s, err)
	}
	for _, text := range []string{"", "A\x00B\x00C\x00", "A\x00B\x00C\x00D\x001 SYS\x00", "A\x00B\x00C\x00D\x00x SYS Down\x00"} {
		if s, err := DecodeSSI([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %+v, %v", text, s, err)
		}
	}
}

func TestActivateTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2013, 12, 31, 14, 38, 18, 0, time.UTC)
	for format, want := range map[DateFormat]string{
		DateMMDDYY: "12/31/13", DateMMDDYYYY: "12/31/2013", DateYYMMDD: "13/12/31",
		DateYYYYMMDD: "2013/12/31", DateDDMMYY: "31/12/13", DateDDMMYYYY: "31/12/2013",
	} {
		a, ok := NewActivateTime("CNODE1", at, format)
		got, err := DecodeActivateTime(EncodeActivateTime(a))
		if !ok || err != nil || got != (ActivateTime{"CNODE1", want, "14:38:18"}) {
			t.Errorf("format %d: %+v, %v, %v; want date %s", format, got, ok, err, want)
		}
	}
	for _, format := range []DateFormat{0, 7, 255} {
		if _, ok := NewActivateTime("CNODE1", at, format); ok {
			t.Errorf("format %d is taken", format)
		}
	}
}

// What Event_Subscribe sent on z/VM 6.1 when the guest SMAPC05D was logged on.
const eventDump = `0000001c 00000000
	00000000 e2d4c1d7c3f0f5c4
	00000005 e2d4c1d7c3f0f5c4`

func TestGuestEvents_Dump(t *testing.T) {
	t.Parallel()
	want := []GuestEvent{{Kind: GuestLogon, Guest: "SMAPC05D"}, {Kind: GuestRunnable, Guest: "SMAPC05D"}}
	wire := unhex(t, eventDump)
	if diff := cmp.Diff(wire, AppendEvent(nil, EncodeGuestEvents(want...))); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}
	got, err := DecodeGuestEvents(Event{Data: wire[8:]})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("decoded, error %v (-want +got):\n%s", err, diff)
	}
}

func TestDecodeGuestEvents(t *testing.T) {
	t.Parallel()
	logoff := "00000001 c3d5d6c4c5f14040"
	first := []GuestEvent{{Kind: GuestLogoff, Guest: "CNODE1"}}
	tests := []struct {
		name, data string
		kind       int
		want       []GuestEvent
		fault      bool
	}{
		{"nothing", "", GuestEvents, nil, false},
		{"logoff, name padded", logoff, GuestEvents, first, false},
		{"name in ASCII", "00000001 434e4f4445312020", GuestEvents, first, false},
		{
			"unknown kind with extra data at the end", logoff + "00000003 c3d5d6c4c5f14040 0102", GuestEvents,
			append(first[:1:1], GuestEvent{Kind: 3, Guest: "CNODE1", Extra: []byte{1, 2}}), false,
		},
		{"unknown kind before others", "00000003 c3d5d6c4c5f14040" + logoff, GuestEvents, nil, true},
		{"cut", logoff + "0000", GuestEvents, first, true},
		{"another type", logoff, 1, nil, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := DecodeGuestEvents(Event{Type: tc.kind, Data: unhex(t, tc.data)})
			if errors.Is(err, ErrMalformed) != tc.fault {
				t.Errorf("error %v, want a fault: %v", err, tc.fault)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func genWord() *rapid.Generator[string] { return rapid.StringMatching(`[A-Za-z0-9@#$+:-]{1,8}`) }

func TestOutputs_RoundTrip(t *testing.T) {
	t.Parallel()
	same := func(t *rapid.T, what string, want, got any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Fatalf("%s, error %v (-want +got):\n%s", what, err, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 20, -1)
		config := ImageConfiguration{
			Memory: rapid.Uint32().Draw(t, "memory"), MemoryUnit: MemoryUnit(rapid.Byte().Draw(t, "unit")),
			ShareType: ShareType(rapid.Byte().Draw(t, "type")), Share: text.Draw(t, "share"), CPUCount: rapid.Uint32().Draw(t, "count"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			config.CPUs = append(config.CPUs, CPU{rapid.Uint32().Draw(t, "cpu"), text.Draw(t, "id"), CPUState(rapid.Byte().Draw(t, "state"))})
			config.Devices = append(config.Devices, Device{DeviceType(rapid.Byte().Draw(t, "kind")), text.Draw(t, "address")})
		}
		got, err := DecodeImageConfiguration(EncodeImageConfiguration(config))
		same(t, "configuration", config, got, err)

		ssi := SSI{genWord().Draw(t, "name"), genWord().Draw(t, "mode"), genWord().Draw(t, "timeouts"), genWord().Draw(t, "pdr"), nil}
		var auth []Authorization
		var events []GuestEvent
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			ssi.Members = append(ssi.Members, SSIMember{
				rapid.IntRange(1, 8).Draw(t, "slot"), genWord().Draw(t, "system"), genWord().Draw(t, "state"),
				genWord().Draw(t, "heartbeat"), genWord().Draw(t, "received"),
			})
			auth = append(auth, Authorization{
				text.Draw(t, "requester"), rapid.Bool().Draw(t, "list"), text.Draw(t, "target"),
				rapid.Bool().Draw(t, "list"), text.Draw(t, "function"), rapid.Bool().Draw(t, "list"),
			})
			events = append(events, GuestEvent{
				Kind:  rapid.SampledFrom([]GuestEventKind{GuestLogon, GuestLogoff, GuestRunnable}).Draw(t, "event"),
				Guest: "C" + rapid.StringMatching(`[A-Z0-9@#$+:-]{0,7}`).Draw(t, "guest"),
			})
		}
		gotSSI, err := DecodeSSI(EncodeSSI(ssi))
		same(t, "SSI", ssi, gotSSI, err)
		gotAuth, err := DecodeAuthorizations(EncodeAuthorizations(auth))
		same(t, "authorizations", auth, gotAuth, err)
		gotEvents, err := DecodeGuestEvents(EncodeGuestEvents(events...))
		same(t, "guest events", events, gotEvents, err)

		lines := rapid.SliceOf(rapid.StringMatching(`[ -~]{1,20}`)).Draw(t, "lines")
		gotLines, err := DecodeSystemInformation(EncodeSystemInformation(lines))
		same(t, "system information", lines, gotLines, err)
	})
}

func FuzzDecodeOutputs(f *testing.F) {
	f.Add(EncodeNameArray([]string{"CNODE1", "CNODE2"}))
	f.Add(EncodeImageCounts(1, 1, []Failing{{"CNODE1", 200, 12}}))
	f.Add(EncodeImageConfiguration(ImageConfiguration{Share: "100", CPUs: []CPU{{0, "FF", CPUBase}}, Devices: []Device{{DeviceDASD, "0150"}}}))
	f.Add([]byte(ssiDump))
	f.Add(EncodeAuthorizations([]Authorization{{Requester: "CMANAGER", Target: "ALL", Function: "IMAGE_OPERATIONS", FunctionList: true}}))
	f.Add(unhex(f, eventDump))
	f.Add(EncodeSystemInformation([]string{"a", "b"}))
	f.Fuzz(func(t *testing.T, in []byte) {
		faults := []error{}
		keep := func(_ any, err error) { faults = append(faults, err) }
		keep(DecodeNameArray(in))
		keep(DecodeRecordArray(in))
		keep(DecodeImageCounts(in))
		keep(DecodeImageConfiguration(in))
		keep(DecodeActivateTime(in))
		keep(DecodeSSI(in))
		keep(DecodeSystemInformation(in))
		keep(DecodeAuthorizations(in))
		keep(DecodeGuestEvents(Event{Data: in}))
		for _, err := range faults {
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v is no ErrMalformed", err)
			}
		}
		if c, err := DecodeImageConfiguration(in); err == nil {
			again, err := DecodeImageConfiguration(EncodeImageConfiguration(c))
			if diff := cmp.Diff(c, again); diff != "" || err != nil {
				t.Errorf("encoded again, error %v (-want +got):\n%s", err, diff)
			}
		}
	})
}

func TestClient_Queries(t *testing.T) {
	t.Parallel()
	call := func(data []byte, reason int, f func(*Client) (any, error)) (any, error) {
		p := &pipe{serve: answer(0, reason, data)}
		defer p.wg.Wait()
		return f(testClient(p))
	}
	ctx := t.Context()
	config := ImageConfiguration{Memory: 2, MemoryUnit: GiB, Share: "100"}
	ssi := SSI{Name: "A", Mode: "Stable", CrossSystemTimeouts: "Enabled", PDR: "V_on_1"}
	tests := []struct {
		name   string
		data   []byte
		reason int
		call   func(*Client) (any, error)
		want   any
		err    error
	}{
		{"active images", EncodeNameArray([]string{"cnode1 ", "CNODE2"}), 0,
			func(c *Client) (any, error) { return c.ActiveImages(ctx) }, []string{"CNODE1", "CNODE2"}, nil},
		{"no active images", nil, 28,
			func(c *Client) (any, error) { return c.ActiveImages(ctx) }, []string(nil), nil},
		{"active images, array lies", []byte{0, 0, 0, 9, 0, 0, 0, 1}, 0,
			func(c *Client) (any, error) { return c.ActiveImages(ctx) }, []string(nil), ErrProtocol},
		{"directory names, leftover bytes", append([]byte{0, 0, 0, 7}, "\x00\x00\x00\x01A\x00\x00"...), 0,
			func(c *Client) (any, error) { return c.DirectoryNames(ctx) }, []string{"A"}, ErrProtocol},
		{"directory entry", EncodeRecordArray([]string{"USER CNODE1 XXXX   ", "  CPU 00"}), 0,
			func(c *Client) (any, error) { return c.DirectoryEntry(ctx, "CNODE1") }, []string{"USER CNODE1 XXXX", "  CPU 00"}, nil},
		{"configuration", EncodeImageConfiguration(config), 0,
			func(c *Client) (any, error) { return c.ActiveConfiguration(ctx, "CNODE1") }, config, nil},
		{"configuration, cut", []byte{1}, 0,
			func(c *Client) (any, error) { return c.ActiveConfiguration(ctx, "CNODE1") }, ImageConfiguration{}, ErrProtocol},
		{"activate time", EncodeActivateTime(ActivateTime{"A", "2013/12/31", "14:38:18"}), 0,
			func(c *Client) (any, error) { return c.ActivateTime(ctx, "A", DateYYYYMMDD) }, ActivateTime{"A", "2013/12/31", "14:38:18"}, nil},
		{"SSI", EncodeSSI(ssi), 0, func(c *Client) (any, error) { return c.SSI(ctx) }, ssi, nil},
		{"system information", EncodeSystemInformation([]string{"x"}), 0,
			func(c *Client) (any, error) { return c.SystemInformation(ctx) }, []string{"x"}, nil},
		{"directory manager", AppendString(nil, "DVHXMX 730"), 0,
			func(c *Client) (any, error) { return c.DirectoryManagerLevel(ctx) }, "DVHXMX 730", nil},
		{"functional level", nil, 720, func(c *Client) (any, error) { return c.FunctionalLevel(ctx) }, 720, nil},
		{"operation done", nil, 100, func(c *Client) (any, error) { return c.Operation(ctx, 1) }, OperationDone, nil},
		{"operation in no known state", nil, 0, func(c *Client) (any, error) { return c.Operation(ctx, 1) }, OperationState(0), ErrProtocol},
		{"deactivate, seconds in the reason code", EncodeImageCounts(1, 0, nil), 30,
			func(c *Client) (any, error) {
				r, err := c.ImageDeactivate(ctx, "CNODE1", Immediate)
				return r.Reason, err
			}, 30, nil},
		{"event added", nil, 0, func(c *Client) (any, error) { return nil, c.AddEvent(ctx, Event{Type: 5, Data: []byte("x")}) }, nil, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := call(tc.data, tc.reason, tc.call)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestClient_UnsubscribeHasNoResponse(t *testing.T) {
	t.Parallel()
	p := &pipe{serve: func(conn net.Conn) {
		ReadRequest(conn, Limits{})
		conn.Write(AppendRequestID(nil, 7))
	}}
	if err := testClient(p).Unsubscribe(t.Context()); err != nil {
		t.Error(err)
	}
	p.wg.Wait()
}
