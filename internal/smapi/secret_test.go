package smapi

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecret_IsNeverPrinted(t *testing.T) {
	t.Parallel()
	const word = "hunter2-XyZ"
	req := Request{Function: ImageRecycle, User: "U", Password: word, Target: "T"}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%#q", "%10.3s", "%t"} {
		fmt.Fprintf(&out, verb+"\n", Secret(word))
		fmt.Fprintf(&out, verb+"\n", req)
		fmt.Fprintf(&out, verb+"\n", &req)
		fmt.Fprintf(&out, verb+"\n", []Secret{word})
		fmt.Fprintf(&out, verb+"\n", map[string]Secret{"k": word})
	}
	fmt.Fprintln(&out, Secret(word), req)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "password", Secret(word), "request", req)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "password", Secret(word), "request", req)
	if err := json.NewEncoder(&out).Encode(req); err != nil {
		t.Fatal(err)
	}
	if err := xml.NewEncoder(&out).Encode(req); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", Secret(word)))
	for _, form := range []string{word, fmt.Sprintf("%x", word), fmt.Sprintf("%X", word), fmt.Sprintf("% x", word), word[:3]} {
		if strings.Contains(out.String(), form) {
			t.Errorf("output contains the password as %q:\n%s", form, out.String())
		}
	}
	if got := Secret("").String(); got != "" {
		t.Errorf("empty password prints %q", got)
	}
	if got := Secret(word).Reveal(); got != word {
		t.Errorf("Reveal gives %q", got)
	}
}
