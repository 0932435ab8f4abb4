package smapictl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
)

// passwordScriptLimit bounds --password-script: the fence agents' limit.
const passwordScriptLimit = 10 * time.Second

// passwordOutputLimit is what is read of a file or of a script's output, in
// bytes; the API's limit for a password is 200.
const passwordOutputLimit = 4 << 10

// password finds the password where the options say.
func (t *tool) password(c *cli.Context) (smapi.Secret, error) {
	given := 0
	for _, o := range []string{"password", "password-file", "password-script"} {
		if c.IsSet(o) {
			given++
		}
	}
	if given > 1 {
		return "", errors.New("give one of --password, --password-file and --password-script")
	}
	switch {
	case c.IsSet("password"):
		fmt.Fprintln(t.env.Stderr, "smapictl: warning: every user of this machine can read a password on the command line; use --password-file")
		return smapi.Secret(c.String("password")), nil
	case c.IsSet("password-file"):
		return t.passwordFile(c.String("password-file"))
	case c.IsSet("password-script"):
		return t.passwordScript(c.Context, c.String("password-script"))
	}
	return smapi.Secret(t.env.Getenv(passwordVariable)), nil
}

func (t *tool) passwordFile(name string) (smapi.Secret, error) {
	f, err := t.env.FS.Open(name)
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(t.env.Stderr, "smapictl: warning: others can read %s; run 'chmod 600 %s'\n", name, name)
	}
	text, err := io.ReadAll(io.LimitReader(f, passwordOutputLimit))
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	if s := firstLine(string(text)); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("--password-file: the first line of %s is empty", name)
}

func (t *tool) passwordScript(ctx context.Context, script string) (smapi.Secret, error) {
	var out limitedBuffer
	res, err := t.env.Runner.Run(ctx, platform.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: t.env.Stderr, Limit: passwordScriptLimit,
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("--password-script: %w", err)
	case res.TimedOut:
		return "", fmt.Errorf("--password-script: no answer within %v", passwordScriptLimit)
	case !res.OK():
		return "", fmt.Errorf("--password-script: it ended with exit status %d", res.ExitCode)
	}
	if s := firstLine(string(out)); s != "" {
		return s, nil
	}
	return "", errors.New("--password-script: it printed no password")
}

// limitedBuffer keeps the first passwordOutputLimit bytes.
type limitedBuffer []byte

func (b *limitedBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), passwordOutputLimit-len(*b))]...)
	return len(p), nil
}

// firstLine is a password as editors and echo write it.
func firstLine(text string) smapi.Secret {
	line, _, _ := strings.Cut(text, "\n")
	return smapi.Secret(strings.TrimSuffix(line, "\r"))
}
