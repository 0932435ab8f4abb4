package mkqdisk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		want request
	}{
		{"-c /dev/a -l Q", request{device: "/dev/a", hasDevice: true, label: "Q", hasLabel: true, verbosity: 1}},
		{"-c/dev/a -dlQ", request{device: "/dev/a", hasDevice: true, label: "Q", hasLabel: true, verbosity: 2}},
		{"-f X -L", request{label: "X", hasLabel: true, list: true, verbosity: 1}},
		{"-L -f X", request{label: "X", hasLabel: true, find: true, verbosity: 1}},
		{"-dddddddddd operand -L", request{list: true, verbosity: 7}},
		{"-Lhc", request{list: true, help: true, verbosity: 1}},
		{"-L -- -c x", request{list: true, verbosity: 1}},
		{"-v -c", request{verbosity: 1, faults: []string{"mkqdisk: invalid option -- 'v'", "mkqdisk: option requires an argument -- 'c'"}}},
		{"-y --yes --force", request{verbosity: 1, yes: true, force: true}},
		{"--help", request{verbosity: 1, help: true, long: true}},
	} {
		got := parse("mkqdisk", strings.Fields(tc.args))
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.args, diff)
		}
	}
}
