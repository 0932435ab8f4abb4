package smapi

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// unhex decodes a dump with blanks and line ends.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Requests that a z/VM server or the Python fence_zvmip's stream agrees with.
var requestDumps = []struct {
	name string
	dump string
	req  Request
}{
	{
		"deactivate at once",
		`0000003d 00000010 496d6167 655f4465 61637469 76617465 00000008 434d414e 41474552
		 00000006 53454352 45540000 0006434e 4f444531 00000005 494d4d45 44`,
		Request{
			Function: ImageDeactivate, User: "CMANAGER", Password: "SECRET", Target: "CNODE1",
			Params: AppendString(nil, Immediate),
		},
	},
	{
		"recycle over IUCV, without credentials",
		`00000023 0000000d 496d6167 655f5265 6379636c 65000000 00000000 00000000 06434e4f 444531`,
		Request{Function: ImageRecycle, Target: "CNODE1"},
	},
	{
		"check of the credentials, without a target",
		`0000002e 00000014 43686563 6b5f4175 7468656e 74696361 74696f6e 00000008 434d414e
		 41474552 00000006 53454352 4554`,
		Request{Function: CheckAuthentication, User: "CMANAGER", Password: "SECRET"},
	},
}

func TestRequest_Dumps(t *testing.T) {
	t.Parallel()
	for _, tc := range requestDumps {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := unhex(t, tc.dump)
			if diff := cmp.Diff(want, AppendRequest(nil, tc.req)); diff != "" {
				t.Errorf("encoded (-want +got):\n%s", diff)
			}
			got, err := ReadRequest(iotest.OneByteReader(bytes.NewReader(want)), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.req, got, revealed()); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// revealed compares passwords by their text.
func revealed() cmp.Option {
	return cmp.Options{
		cmp.Transformer("password", func(s Secret) string { return s.Reveal() }),
		cmpopts.EquateEmpty(),
	}
}

// Replies after their request id.
var responseDumps = []struct {
	name   string
	dump   string
	resp   Response
	counts *ImageCounts
	names  []string
}{
	{
		name: "deactivated",
		dump: "00000018 00002719 00000000 00000000 00000001 00000000 00000000",
		resp: Response{
			RequestID: 0x2719, ResponseID: 0x2719,
			Data: EncodeImageCounts(1, 0, nil),
		},
		counts: &ImageCounts{Done: 1},
	},
	{
		name: "not active, with one failing entry",
		dump: `0000002e 0000271a 000000c8 0000000c 00000000 00000001 00000016 00000012 00000006
		       434e4f44 45310000 00c80000 000c`,
		resp: Response{
			RequestID: 0x271a, ResponseID: 0x271a, Return: 200, Reason: 12,
			Data: EncodeImageCounts(0, 1, []Failing{{"CNODE1", 200, 12}}),
		},
		counts: &ImageCounts{NotDone: 1, Failing: []Failing{{"CNODE1", 200, 12}}},
	},
	{
		name: "active image",
		dump: "0000001a 0000271b 00000000 00000000 0000000a 00000006 434e4f444531",
		resp: Response{
			RequestID: 0x271b, ResponseID: 0x271b,
			Data: EncodeNameArray([]string{"CNODE1"}),
		},
		names: []string{"CNODE1"},
	},
	{
		name: "inactive image, with an empty array",
		dump: "00000010 0000271c 00000000 0000000c 00000000",
		resp: Response{
			RequestID: 0x271c, ResponseID: 0x271c, Reason: 12,
			Data: EncodeNameArray(nil),
		},
	},
	{
		name: "inactive image, without an array",
		dump: "0000000c 0000271d 00000000 0000000c",
		resp: Response{RequestID: 0x271d, ResponseID: 0x271d, Reason: 12},
	},
}

func TestResponse_Dumps(t *testing.T) {
	t.Parallel()
	for _, tc := range responseDumps {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := unhex(t, tc.dump)
			if diff := cmp.Diff(want, AppendResponse(nil, tc.resp)); diff != "" {
				t.Errorf("encoded (-want +got):\n%s", diff)
			}
			stream := append(AppendRequestID(nil, tc.resp.RequestID), want...)
			got, err := ReadResponse(iotest.OneByteReader(bytes.NewReader(stream)), smallOutput)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.resp, got); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if tc.counts != nil {
				counts, err := DecodeImageCounts(got.Data)
				if diff := cmp.Diff(*tc.counts, counts); diff != "" || err != nil {
					t.Errorf("counts, error %v (-want +got):\n%s", err, diff)
				}
				return
			}
			names, err := DecodeNameArray(got.Data)
			if diff := cmp.Diff(tc.names, names); diff != "" || err != nil {
				t.Errorf("names, error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestReadRequest_Faults(t *testing.T) {
	t.Parallel()
	good := AppendRequest(nil, requestDumps[0].req)
	with := func(at int, b ...byte) []byte {
		out := bytes.Clone(good)
		copy(out[at:], b)
		return out
	}
	tests := []struct {
		name   string
		in     []byte
		want   []error
		ret    int
		reason int
	}{
		{"nothing", nil, []error{io.EOF}, 0, 0},
		{"closed in the length", good[:2], []error{io.ErrUnexpectedEOF}, 0, 0},
		{"closed after the length", good[:4], []error{io.ErrUnexpectedEOF}, 0, 0},
		{"closed in the middle", good[:20], []error{io.ErrUnexpectedEOF}, 0, 0},
		{"length zero", with(0, 0, 0, 0, 0), []error{ErrLengthRange}, 900, 36},
		{"length one below the smallest", with(0, 0, 0, 0, 11), []error{ErrLengthRange}, 900, 36},
		{"length above the limit", with(0, 0, 1, 0, 1), []error{ErrLengthRange}, 900, 36},
		{"length negative", with(0, 0xff, 0xff, 0xff, 0xff), []error{ErrLengthRange}, 900, 36},
		{"function name longer than the request", with(4, 0, 0, 1, 0), []error{ErrLengthMismatch}, 900, 20},
		{"user id longer than the request", with(24, 0x7f, 0xff, 0xff, 0xff), []error{ErrLengthMismatch}, 900, 20},
		{"password longer than the request", with(36, 0, 0, 0, 99), []error{ErrLengthMismatch}, 900, 20},
		{"target longer than the request", with(46, 0, 0, 0, 99), []error{ErrLengthMismatch}, 900, 20},
		{"total length one short", append(with(0, 0, 0, 0, 14)[:4], good[4:18]...), []error{ErrLengthMismatch}, 900, 20},
		{"TLS client hello", []byte{0x16, 3, 1, 2, 0, 1}, []error{ErrLengthRange, ErrTLSHello}, 900, 36},
		{"HTTP request", []byte("GET / HTTP/1.1\r\n\r\n"), []error{ErrLengthRange, ErrHTTP}, 900, 36},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadRequest(bytes.NewReader(tc.in), Limits{})
			for _, want := range tc.want {
				if !errors.Is(err, want) {
					t.Errorf("error %v, want one that is %v", err, want)
				}
			}
			ret, reason, ok := RequestFault(err)
			if ret != tc.ret || reason != tc.reason || ok != (tc.ret != 0) {
				t.Errorf("RequestFault = %d, %d, %v; want %d, %d", ret, reason, ok, tc.ret, tc.reason)
			}
		})
	}
}

func TestReadRequest_UnknownFunction(t *testing.T) {
	t.Parallel()
	// Two strings and nothing that could be a target.
	body := AppendString(AppendString(AppendString(nil, "No_Such_Function"), "U"), "P")
	req, err := DecodeRequest(append(body, 0xff))
	if err != nil || req.Function != "No_Such_Function" || req.Target != "" || len(req.Params) != 1 {
		t.Errorf("got %+v, %v", req, err)
	}
}

func TestReadResponse_Faults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   string
		want []error
	}{
		{"nothing", "", []error{io.EOF}},
		{"closed in the request id", "0000", []error{io.ErrUnexpectedEOF}},
		{"closed after the request id", "00002719", []error{io.ErrUnexpectedEOF}},
		{"closed in the output length", "00002719 0000", []error{io.ErrUnexpectedEOF}},
		{"closed after the output length", "00002719 0000000c", []error{io.ErrUnexpectedEOF}},
		{"closed in the codes", "00002719 0000000c 00002719 0000", []error{io.ErrUnexpectedEOF}},
		{"closed in the data", "00002719 00000010 00002719 00000000 00000000 00", []error{io.ErrUnexpectedEOF}},
		{"output length 11", "00002719 0000000b 00002719 00000000 000000", []error{ErrProtocol}},
		{"output length 0", "00002719 00000000", []error{ErrProtocol}},
		{"output length above the limit", "00002719 00100001", []error{ErrProtocol}},
		{"output length negative", "00002719 80000000", []error{ErrProtocol}},
		{"output length 2^31-1", "00002719 7fffffff", []error{ErrProtocol}},
		{"TLS alert and end", "15030300 020246", []error{ErrTLSServer, io.ErrUnexpectedEOF}},
		{"TLS alert and more", "15030300 02024615", []error{ErrTLSServer, ErrProtocol}},
		{"HTTP server", hex.EncodeToString([]byte("HTTP/1.1 400 Bad Request\r\n")), []error{ErrHTTP, ErrProtocol}},
		{"SSH server", hex.EncodeToString([]byte("SSH-2.0-OpenSSH\r\n")), []error{ErrProtocol}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{
				bytes.NewReader(unhex(t, tc.in)),
				iotest.OneByteReader(bytes.NewReader(unhex(t, tc.in))),
			} {
				_, err := ReadResponse(r, smallOutput)
				for _, want := range tc.want {
					if !errors.Is(err, want) {
						t.Errorf("error %v, want one that is %v", err, want)
					}
				}
			}
		})
	}
}

func TestReadResponse_RequestIDLikeAlert(t *testing.T) {
	t.Parallel()
	// A legal id that happens to look like the start of a TLS alert.
	resp := Response{RequestID: 0x15030300, ResponseID: 0x15030300, Reason: 12}
	got, err := ReadResponse(bytes.NewReader(AppendResponse(AppendRequestID(nil, resp.RequestID), resp)), smallOutput)
	if diff := cmp.Diff(resp, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestDecodeArrays_Faults(t *testing.T) {
	t.Parallel()
	names := func(b []byte) (any, error) { return DecodeNameArray(b) }
	counts := func(b []byte) (any, error) { return DecodeImageCounts(b) }
	var noNames []string
	tests := []struct {
		name   string
		decode func([]byte) (any, error)
		in     string
		want   any
		fault  bool
	}{
		{"no data is no names", names, "", noNames, false},
		{"bytes after the array are skipped", names, "00000005 00000001 41 ffff", []string{"A"}, false},
		{"array longer than the data", names, "00000006 00000001 41", noNames, true},
		{"array length cut", names, "000000", noNames, true},
		{"name longer than the array", names, "0000000a 00000001 41 00000002 42 43", []string{"A"}, true},
		{"leftover bytes in the array", names, "00000007 00000001 41 0000", []string{"A"}, true},
		{"negative name length", names, "00000004 ffffffff", noNames, true},
		{"no data is no counts", counts, "", ImageCounts{}, false},
		{"counts cut", counts, "00000001 000000", ImageCounts{}, true},
		{"counts without an array", counts, "00000001 00000000", ImageCounts{Done: 1}, false},
		{
			"fields added to an entry are skipped", counts,
			"00000000 00000001 00000013 0000000f 00000001 41 000000c8 0000000c 5858",
			ImageCounts{NotDone: 1, Failing: []Failing{{"A", 200, 12}}}, false,
		},
		{
			"entry shorter than its fields", counts,
			"00000000 00000001 0000000d 00000009 00000001 41 000000c8",
			ImageCounts{NotDone: 1}, true,
		},
		{
			"entry longer than the array", counts,
			"00000000 00000001 00000011 0000000e 00000001 41 000000c8 0000000c",
			ImageCounts{NotDone: 1}, true,
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := tc.decode(unhex(t, tc.in))
			if errors.Is(err, ErrMalformed) != tc.fault {
				t.Errorf("error %v, want a fault: %v", err, tc.fault)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func genName() *rapid.Generator[string] { return rapid.StringMatching(`[A-Z0-9@#$+:-]{1,8}`) }

func genRequest() *rapid.Generator[Request] {
	return rapid.Custom(func(t *rapid.T) Request {
		r := Request{
			Function: rapid.SampledFrom(functions).Draw(t, "function").Name,
			User:     rapid.StringN(-1, -1, 20).Draw(t, "user"),
			Password: Secret(rapid.StringN(-1, -1, 250).Draw(t, "password")),
			Params:   rapid.SliceOf(rapid.Byte()).Draw(t, "params"),
		}
		if r.HasTarget() {
			r.Target = rapid.StringN(-1, -1, 70).Draw(t, "target")
		}
		return r
	})
}

func TestRequest_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := genRequest().Draw(t, "request")
		msg := AppendRequest([]byte("prefix"), want)[len("prefix"):]
		got, err := ReadRequest(iotest.HalfReader(bytes.NewReader(msg)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, revealed()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestResponse_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Uint32Min(1).Draw(t, "id")
		want := Response{
			RequestID: id, ResponseID: id,
			Return: int(rapid.Int32().Draw(t, "return")), Reason: int(rapid.Int32().Draw(t, "reason")),
			Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
		msg := AppendResponse(AppendRequestID(nil, id), want)
		got, err := ReadResponse(iotest.OneByteReader(bytes.NewReader(msg)), smallOutput)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestArrays_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(genName()).Draw(t, "names")
		gotNames, err := DecodeNameArray(EncodeNameArray(names))
		if diff := cmp.Diff(names, gotNames, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Fatalf("names, error %v (-want +got):\n%s", err, diff)
		}
		want := ImageCounts{Done: rapid.IntRange(0, 99).Draw(t, "done"), NotDone: rapid.IntRange(0, 99).Draw(t, "not")}
		for _, n := range names {
			want.Failing = append(want.Failing, Failing{n, rapid.IntRange(0, 999).Draw(t, "rc"), rapid.IntRange(0, 9999).Draw(t, "rs")})
		}
		got, err := DecodeImageCounts(EncodeImageCounts(want.Done, want.NotDone, want.Failing))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("counts, error %v (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzReadRequest(f *testing.F) {
	for _, tc := range requestDumps {
		f.Add(unhex(f, tc.dump))
	}
	f.Add([]byte{0x16, 3, 1, 2, 0, 1})
	f.Add([]byte("POST / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := ReadRequest(bytes.NewReader(in), Limits{})
		if err != nil {
			return
		}
		req.Check()
		if _, known := LookupFunction(req.Function); !known {
			return
		}
		msg := AppendRequest(nil, req)
		if !bytes.Equal(msg, in[:len(msg)]) {
			t.Errorf("decoded and encoded again: %x, was %x", msg, in)
		}
	})
}

func FuzzReadResponse(f *testing.F) {
	for _, tc := range responseDumps {
		f.Add(append(AppendRequestID(nil, tc.resp.RequestID), unhex(f, tc.dump)...))
	}
	f.Add(unhex(f, "15030300 020246"))
	f.Fuzz(func(t *testing.T, in []byte) {
		resp, err := ReadResponse(bytes.NewReader(in), smallOutput)
		if err != nil {
			return
		}
		DecodeNameArray(resp.Data)
		DecodeImageCounts(resp.Data)
	})
}
