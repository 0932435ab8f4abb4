package clufindhostname

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform/platformtest"
)

// names answers like a name server with two hosts.
type names struct{}

func (names) LookupAddr(_ context.Context, a string) ([]string, error) {
	switch a {
	case "10.0.0.1", "fd00::1":
		return []string{"lnxa.example.org.", "other."}, nil
	case "10.0.0.2":
		return nil, nil
	}
	return nil, errors.New("no such host")
}

func (names) LookupCNAME(_ context.Context, n string) (string, error) {
	if n == "lnxa" {
		return "lnxa.example.org.", nil
	}
	return "", errors.New("no such host")
}

// TestRun is not parallel: urfave/cli writes package variables at every run.
func TestRun(t *testing.T) {
	for _, tc := range []struct {
		args, out, err string
		exit           int
	}{
		{args: "-i 10.0.0.1", out: "lnxa.example.org\n"},
		{args: "-i fd00::1", out: "lnxa.example.org\n"},
		{args: "-n lnxa", out: "lnxa.example.org\n"},
		{args: "-i 10.0.0.2", exit: 2},
		{args: "-i 10.0.0.9", exit: 2},
		{args: "-i 10.0.0.1.2", exit: 2},
		{args: "-i lnxa", exit: 2},
		{args: "-n nobody", exit: 2},
		{args: "", exit: 1, err: "Usage: clufindhostname [-i ip_addr] [-n ip_name]\n"},
		{args: "-n", exit: 1, err: "Usage: clufindhostname [-i ip_addr] [-n ip_name]\n"},
		{args: "-x lnxa", exit: 1, err: "Usage: clufindhostname [-i ip_addr] [-n ip_name]\n"},
		{args: "-n lnxa lnxb", exit: 1, err: "Usage: clufindhostname [-i ip_addr] [-n ip_name]\n"},
	} {
		env := platformtest.NewEnv(t)
		err := run(t.Context(), env.Env, append([]string{"clufindhostname"}, strings.Fields(tc.args)...), names{})
		exit := applet.Status(err, env.Stderr)
		if exit != tc.exit || env.Stdout.String() != tc.out || env.Stderr.String() != tc.err {
			t.Errorf("%q: exit %d, %q, %q; want %d, %q, %q", tc.args, exit, env.Stdout, env.Stderr, tc.exit, tc.out, tc.err)
		}
	}
}
