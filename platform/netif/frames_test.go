package netif

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var hw = [6]byte{2, 0, 0, 0, 0, 0x6d}

// TestARP_Bytes: the field order of RFC 826 and RFC 5227.
func TestARP_Bytes(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("172.17.16.3")
	for _, tc := range []struct {
		name string
		arp  arp
		want string
	}{
		{"probe", arp{op: arpRequest, senderHW: hw, sender: netip.IPv4Unspecified(), target: a},
			"0001080006040001" + "02000000006d" + "00000000" + "000000000000" + "ac111003"},
		{"announcement", arp{op: arpRequest, senderHW: hw, sender: a, target: a},
			"0001080006040001" + "02000000006d" + "ac111003" + "000000000000" + "ac111003"},
		{"gratuitous reply", arp{op: arpReply, senderHW: hw, sender: a, targetHW: hw, target: a},
			"0001080006040002" + "02000000006d" + "ac111003" + "02000000006d" + "ac111003"},
	} {
		b := tc.arp.encode()
		if got := hex.EncodeToString(b); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		if got, err := decodeARP(append(b, make([]byte, 18)...)); err != nil || got != tc.arp {
			t.Errorf("%s: read back %+v, %v", tc.name, got, err)
		}
	}
}

// TestNDP_Bytes: an unsolicited advertisement whose checksum was worked out
// with another program from RFC 4443, and its way back.
func TestNDP_Bytes(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("2001:db8::50")
	adv := ndp{typ: advertisement, src: a, dst: netip.IPv6LinkLocalAllNodes(), target: a, hw: hw[:]}
	b := adv.encode()
	want := "60000000" + "0020" + "3aff" + "20010db8000000000000000000000050" + "ff020000000000000000000000000001" +
		"8800" + "f820" + "20000000" + "20010db8000000000000000000000050" + "0201" + "02000000006d"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if checksum(b) != 0 {
		t.Error("the checksum over the whole is not 0")
	}
	got, err := decodeNDP(b)
	if err != nil || got.typ != adv.typ || got.target != a || !cmp.Equal(got.hw, adv.hw) {
		t.Errorf("read back %+v, %v", got, err)
	}
	b[len(b)-1]++
	if _, err := decodeNDP(b); err == nil {
		t.Error("a wrong checksum is not seen")
	}
	if g := solicited(a); g != netip.MustParseAddr("ff02::1:ff00:50") || hex.EncodeToString(groupHW(g)) != "3333ff000050" {
		t.Errorf("group %v at %x", g, groupHW(g))
	}
}

func FuzzDecodeARP(f *testing.F) {
	f.Add(arp{op: arpReply, senderHW: hw, sender: netip.MustParseAddr("192.0.2.1"), target: netip.MustParseAddr("192.0.2.2")}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeARP(b)
		if err == nil && string(a.encode()) != string(b[:arpSize]) {
			t.Errorf("%x is read as %+v", b, a)
		}
	})
}

func FuzzDecodeNDP(f *testing.F) {
	a := netip.MustParseAddr("2001:db8::50")
	f.Add(ndp{typ: advertisement, src: a, dst: netip.IPv6LinkLocalAllNodes(), target: a, hw: hw[:]}.encode())
	f.Add(ndp{typ: solicitation, src: netip.IPv6Unspecified(), dst: solicited(a), target: a}.encode())
	f.Add([]byte{0x60})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeNDP(b); err == nil && (p.hw != nil && len(p.hw) != hwSize || !p.target.Is6()) {
			t.Errorf("%x is read as %+v", b, p)
		}
	})
}
