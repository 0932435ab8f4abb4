package iucv

import (
	"strings"
	"testing"
)

func TestPadded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"VSMREQIU", "VSMREQIU", true},
		{"cnode1", "CNODE1  ", true},
		{"A  ", "A       ", true},
		{"A@#$+-:0", "A@#$+-:0", true},
		{"", "", false},
		{"   ", "", false},
		{"VSMREQIU1", "", false},
		{"A B", "", false},
		{"A\x00", "", false},
		{"É", "", false},
	}
	for _, tc := range tests {
		got, err := padded("guest", tc.in)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("padded(%q) = %q, %v; want %q, ok %v", tc.in, got, err, tc.want, tc.ok)
		}
	}
}

// What /proc/sysinfo says in a guest of z/VM in an LPAR, shortened.
const zvmSysinfo = `Manufacturer:         IBM
Type:                 3931
LPAR Number:          12
LPAR Name:            ZVM1
VM00 Name:            CNODE1
VM00 Control Program: z/VM    7.3.0
VM00 Adjustment:      500
`

func TestIdentity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, guest, system string
	}{
		{"guest of z/VM", zvmSysinfo, "CNODE1", "ZVM1"},
		{"LPAR", "Manufacturer: IBM\nLPAR Name: LP1\n", "", ""},
		{"guest of KVM", "LPAR Name: LP1\nVM00 Name: linux1\nVM00 Control Program: KVM/Linux\n", "", ""},
		{
			"guest of KVM in a guest of z/VM",
			strings.ReplaceAll(zvmSysinfo, "VM00", "VM01") + "VM00 Name: inner\nVM00 Control Program: KVM/Linux\n", "", "",
		},
		{"nothing", "", "", ""},
	}
	for _, tc := range tests {
		guest, system := Identity(tc.in)
		if guest != tc.guest || system != tc.system {
			t.Errorf("%s: got %q, %q; want %q, %q", tc.name, guest, system, tc.guest, tc.system)
		}
	}
}
