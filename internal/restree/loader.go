package restree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

const (
	// AgentDir is where rgmanager looks for resource agents.
	AgentDir = "/usr/share/cluster"
	// MetadataLimit is the longest time an agent gets to print its metadata.
	// Ours: the original waits for ever. A shell agent needs about 20 ms.
	MetadataLimit = 10 * time.Second
	// MetadataSize is the longest metadata that is read, in bytes. Ours.
	MetadataSize = 1 << 20
)

// LoadRules asks every agent in dir for its metadata, in the order of the
// directory, and returns the rules. Agents without usable metadata give none,
// and say nothing. out gets what is said on the way; it may be nil. The error
// is that of reading dir.
func LoadRules(ctx context.Context, fsys platform.FS, runner platform.Runner, dir string, out func(Message)) (Rules, error) {
	if out == nil {
		out = func(Message) {}
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the folder of resource agents %s: %w", dir, err)
	}
	rules := Rules{}
	for _, e := range entries {
		name := e.Name()
		file := path.Join(dir, name)
		info, err := fsys.Stat(file) // through symlinks
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 || strings.HasSuffix(name, "~") {
			continue
		}
		if ext := path.Ext(name); len(ext) >= 4 && strings.EqualFold(ext[:4], ".rpm") {
			out(Message{Kind: KindStderr, Text: fmt.Sprintf("Warning: Ignoring %s: Bad extension %s", file, ext)})
			continue
		}
		out(Message{Text: "Loading resource rule from " + file})
		text, err := metadata(ctx, fsys, runner, file)
		if err != nil {
			continue
		}
		r, msgs, err := ParseRule(name, text)
		for _, m := range msgs {
			out(m)
		}
		if err != nil {
			continue
		}
		if m, ok := rules.Add(r); !ok {
			out(m)
		}
	}
	return rules, nil
}

// errNoMetadata is an agent that prints nothing, too much, or not in time.
var errNoMetadata = errors.New("no metadata")

// metadata runs "FILE meta-data". Only the output counts, not the status.
func metadata(ctx context.Context, fsys platform.FS, runner platform.Runner, file string) ([]byte, error) {
	buf := &limited{left: MetadataSize}
	res, err := runner.Run(ctx, platform.Cmd{
		Path: fsys.Path(file), Args: []string{file, "meta-data"}, Stdout: buf, Limit: MetadataLimit,
	})
	if err != nil {
		return nil, err
	}
	if res.TimedOut || buf.left < 0 || buf.buf.Len() == 0 {
		return nil, errNoMetadata
	}
	return buf.buf.Bytes(), nil
}

// limited keeps the first bytes that are written and drops the rest. The
// buffer is a field so that nothing writes to it past Write.
type limited struct {
	buf  bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	l.left -= len(p)
	if l.left >= 0 {
		l.buf.Write(p)
	}
	return len(p), nil
}
