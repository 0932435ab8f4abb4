package smapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestResultError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err   ResultError
		class Class
		text  string
	}{
		{ResultError{Function: ImageDeactivate, Return: 200, Reason: 12}, State,
			"Image_Deactivate: return code 200, reason code 12 (IMG_NOT_ACTIVE): the image is not active"},
		{ResultError{Function: ImageDeactivate, Return: 200, Reason: 36}, Permanent, "(BAD_FORCE_TIME)"},
		{ResultError{Function: ImageRecycle, Return: 200, Reason: 36}, State, "(SOME_NOT_RECYCLED)"},
		{ResultError{Function: ImageRecycle, Return: 100, Reason: 16}, Privilege, "(NOT_AUTH_SERVER)"},
		{ResultError{Function: ImageRecycle, Return: 100, Reason: 8}, Privilege, "(NOT_AUTH_ESM)"},
		{ResultError{Function: ImageNameQueryDM, Return: 100, Reason: 12}, Privilege, "(NOT_AUTH_DM)"},
		{ResultError{Function: CheckAuthentication, Return: 120}, Credentials, "(BAD_USER_PW)"},
		{ResultError{Function: CheckAuthentication, Return: 128}, Credentials, "(PW_EXPIRED)"},
		{ResultError{Function: ImageRecycle, Return: 900, Reason: 8}, Transient, "(WORKER_MISSING)"},
		{ResultError{Function: ImageRecycle, Return: 900, Reason: 12}, Permanent, "(FUNC_UNKNOWN)"},
		{ResultError{Function: ImageRecycle, Return: 900, Reason: 99}, Transient, "(RETRY)"},
		{ResultError{Function: ImageRecycle, Return: 192, Reason: 1}, Transient, "(PW_CHECK_FAIL)"},
		{ResultError{Function: ImageRecycle, Return: 396, Reason: 1813}, Transient, "(INTERNAL)"},
		{ResultError{Function: ImageNameQueryDM, Return: 500, Reason: 8}, Transient, "(DM_DOWN)"},
		{ResultError{Function: ImageNameQueryDM, Return: 592}, Started, "(ASYNC_STARTED)"},
		{ResultError{Function: ImageRecycle, Return: 24, Reason: 413}, Permanent, "(SYNTAX): parameter 4 (target) is too long"},
		{ResultError{Function: ImageDeactivate, Return: 24, Reason: 519}, Permanent, "(SYNTAX): parameter 5 is not one of the known values"},
		{ResultError{Function: ImageRecycle, Return: 24, Reason: 477}, Permanent, "parameter 4 (target) is wrong in a way that has no text (77)"},
		{ResultError{Function: ImageRecycle, Return: 24, Reason: -1}, Permanent, "(SYNTAX)"},
		{ResultError{Function: SSIQuery, Return: 4, Reason: 3008}, Warning, "(NOT_SSI_MEMBER)"},
		{ResultError{Function: ImageRecycle, Return: 8, Reason: 3006}, Transient, "(SSI_NOT_STABLE)"},
		{ResultError{Function: ImageRecycle, Return: 404, Reason: 4}, Permanent, "(DEF_ERROR)"},
		{ResultError{Function: ImageRecycle, Return: 9999, Reason: -5}, Permanent, "return code 9999, reason code -5 (UNKNOWN)"},
	}
	for _, tc := range tests {
		if got := tc.err.Error(); !strings.Contains(got, tc.text) || strings.Contains(got, "\n") {
			t.Errorf("%d/%d: text %q, want %q in it", tc.err.Return, tc.err.Reason, got, tc.text)
		}
		if got := tc.err.Class(); got != tc.class {
			t.Errorf("%d/%d: class %v, want %v", tc.err.Return, tc.err.Reason, got, tc.class)
		}
	}
	for _, tc := range []struct {
		function    string
		ret, reason int
		name        string
	}{
		{ImageActivate, 0, 0, "OK"}, {ImageStatusQuery, 0, 12, "OK_INFO"}, {ImageDeactivate, 0, 17, "OK_INFO"},
		{QueryAPIFunctionalLevel, 0, 720, "OK_INFO"}, {QueryAsynchronousOperationDM, 0, 104, "OK_INFO"},
	} {
		if name, meaning := Describe(tc.function, tc.ret, tc.reason); name != tc.name || meaning == "" || Classify(tc.function, tc.ret, tc.reason) != OK {
			t.Errorf("%s %d/%d is %s: %s", tc.function, tc.ret, tc.reason, name, meaning)
		}
	}
}

// A row behind a more general one could never be found.
func TestCodes_EveryRowIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range codes {
		reason := c.reason
		if reason == anyReason {
			reason = 987654
		}
		if got, ok := lookup(c.function, c.ret, reason); !ok || got != c {
			t.Errorf("row %+v is hidden by %+v", c, got)
		}
		if c.name == "" || c.meaning == "" || strings.HasSuffix(c.meaning, ".") {
			t.Errorf("row %+v lacks a name or a meaning, or ends with a stop", c)
		}
	}
}

func TestResultError_Is(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("wrapped: %w", &ResultError{Function: ImageRecycle, Return: 200, Reason: 12})
	for _, tc := range []struct {
		target *ResultError
		want   bool
	}{
		{&ResultError{Return: 200, Reason: 12}, true},
		{&ResultError{Function: ImageRecycle, Return: 200, Reason: 12}, true},
		{&ResultError{Function: ImageActivate, Return: 200, Reason: 12}, false},
		{&ResultError{Return: 200, Reason: 16}, false},
	} {
		if got := errors.Is(err, tc.target); got != tc.want {
			t.Errorf("errors.Is(%v, %v) = %v", err, tc.target, got)
		}
	}
}

func TestRequest_Check(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 65)
	tests := []struct {
		name   string
		req    Request
		reason int
	}{
		{"good", Request{Function: ImageRecycle, User: "CMANAGER", Password: "x", Target: "CNODE1"}, 0},
		{"no credentials", Request{Function: ImageRecycle, Target: "CNODE1"}, 0},
		{"all characters of a user id", Request{Function: ImageQueryDM, Target: "A0@#$+-:"}, 0},
		{"list name", Request{Function: ImageRecycle, Target: strings.Repeat("A", 63) + "_"}, 0},
		{"all active images", Request{Function: ImageStatusQuery, Target: "*"}, 0},
		{"unknown function", Request{Function: "Foo", Target: long}, 0},
		{"no target where none is", Request{Function: CheckAuthentication, User: "U"}, 0},
		{"user id of nine", Request{Function: ImageRecycle, User: "CMANAGER1", Target: "A"}, 213},
		{"user id with a blank", Request{Function: ImageRecycle, User: "A B", Target: "A"}, 242},
		{"password of 201", Request{Function: ImageRecycle, User: "A", Password: Secret(strings.Repeat("x", 201)), Target: "A"}, 313},
		{"password of 200 with any bytes", Request{Function: ImageRecycle, User: "A", Password: Secret(strings.Repeat("\xff", 200)), Target: "A"}, 0},
		{"no target", Request{Function: ImageRecycle}, 414},
		{"target of nine where lists are not", Request{Function: ImageQueryDM, Target: "CNODE1234"}, 413},
		{"target of 65", Request{Function: ImageRecycle, Target: long}, 413},
		{"target with a colon", Request{Function: ImageRecycle, Target: ":LIST"}, 401},
		{"target in lower case", Request{Function: ImageRecycle, Target: "cnode1"}, 443},
		{"target with an underscore where lists are not", Request{Function: ImageQueryDM, Target: "A_B"}, 442},
		{"star for another function", Request{Function: ImageRecycle, Target: "*"}, 443},
		{"parameter where none is", Request{Function: CheckAuthentication, Params: []byte{0}}, 425},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fault := tc.req.Check()
			switch {
			case tc.reason == 0 && fault != nil:
				t.Errorf("got %v, want none", fault)
			case tc.reason != 0 && (fault == nil || fault.Return != 24 || fault.Reason != tc.reason):
				t.Errorf("got %v, want 24/%d", fault, tc.reason)
			}
		})
	}
}

func TestParseForceTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want ForceTime
		ok   bool
	}{
		{"", ForceTime{}, true},
		{"IMMED", ForceTime{Kind: ForceNow}, true},
		{"immed", ForceTime{Kind: ForceNow}, true},
		{"WITHIN 1", ForceTime{Kind: ForceWithin, Interval: time.Second}, true},
		{"WITHIN 65535", ForceTime{Kind: ForceWithin, Interval: 65535 * time.Second}, true},
		{"BY 14:38", ForceTime{Kind: ForceAt, Of: 14*time.Hour + 38*time.Minute}, true},
		{"BY 23:59:59", ForceTime{Kind: ForceAt, Of: 24*time.Hour - time.Second}, true},
		{"BY 00:00", ForceTime{Kind: ForceAt}, true},
		{"WITHIN 0", ForceTime{}, false},
		{"WITHIN 65536", ForceTime{}, false},
		{"WITHIN", ForceTime{}, false},
		{"WITHIN -1", ForceTime{}, false},
		{"WITHIN 1234567", ForceTime{}, false},
		{"BY 24:00", ForceTime{}, false},
		{"BY 1:00", ForceTime{}, false},
		{"BY 12", ForceTime{}, false},
		{"IMMEDIATE", ForceTime{}, false},
		{"IMMED NOW", ForceTime{}, false},
	}
	for _, tc := range tests {
		got, err := ParseForceTime(tc.in)
		if got != tc.want || (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %+v, %v; want %+v", tc.in, got, err, tc.want)
		}
	}
}

func TestAppendDump(t *testing.T) {
	t.Parallel()
	at := time.Date(2013, 12, 31, 14, 38, 18, 123456000, time.UTC)
	got := string(AppendDump(nil, at, '>', 0, unhex(t, requestDumps[0].dump)))
	want := `20131231 14:38:18.123456 > 0
+0000  0000003D00000010496D6167655F4465616374697661746500000008434D414E     *...=....Image_Deactivate....CMAN*
+0032  41474552000000065345435245540000` + `0006434E4F44453100000005494D4D45     *AGER....SECRET....CNODE1....IMME*
+0064  44                                                                   *D*
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := string(AppendDump(nil, at, '<', 0, nil)); got != "20131231 14:38:18.123456 < 0\n" {
		t.Errorf("dump of nothing: %q", got)
	}
	if got := string(AppendDump(nil, at, '<', 0, []byte{0x7f, 0xc1, '~', ' ', '*'})); !strings.HasSuffix(got, "*..~ **\n") {
		t.Errorf("dump of other characters: %q", got)
	}
}

func TestAppendDump_EveryByteIsThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		lines := strings.Split(strings.TrimSuffix(string(AppendDump(nil, time.Time{}, '<', 0, data)), "\n"), "\n")[1:]
		var hexed strings.Builder
		for i, l := range lines {
			if !strings.HasPrefix(l, fmt.Sprintf("+%04d  ", i*32)) {
				t.Fatalf("row %d is %q", i, l)
			}
			hexed.WriteString(strings.TrimSpace(l[7:76]))
		}
		if want := fmt.Sprintf("%X", data); hexed.String() != want {
			t.Fatalf("hexadecimal %s, want %s", hexed.String(), want)
		}
	})
}
