// Package mkqdisk is mkqdisk: it makes quorum disks and lists them.
package mkqdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/qdiskdev"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/blockdev"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Tool,
	Summary: "make and list quorum disks",
	Run:     run,
}

const (
	name  = "mkqdisk"
	usage = "usage: mkqdisk -L | -f <label> | -c <device> -l <label>"
	// exitUsage and exitFailed are the original's 1 and -1.
	exitUsage  = 1
	exitFailed = 255

	// Verbosity levels are those of syslog(3).
	levelError = 3
	levelInfo  = 6
	levelDebug = 7
)

const options = `
   -c DEVICE    make a quorum disk of DEVICE; needs -l
   -l LABEL     its label, at most 118 characters
   -L           list all quorum disks
   -f LABEL     list those with that label
   -d           say more; five of them show the blocks of the nodes
   -y, --yes    do not ask before DEVICE is overwritten
   --force      overwrite a device that is mounted, in use, or of LVM or RAID, or a file
   -h           print the usage
   --help       print this
`

// command is one run.
type command struct {
	env platform.Env
	request
}

// run does not use urfave/cli: getopt's complaints and what they leave
// undecided are part of the contract.
func run(ctx context.Context, env platform.Env, args []string) error {
	c := command{env: env, request: parse(args[0], args[1:])}
	io.WriteString(env.Stderr, c.complaints())
	if _, err := fmt.Fprintf(env.Stdout, "mkqdisk v%s\n\n", strings.TrimPrefix(version.String(), "v")); err != nil {
		return applet.Exitf(exitFailed, "%s: write the output: %v", name, err)
	}
	switch {
	case c.help:
		fmt.Fprintln(env.Stdout, usage+" [-d]")
		if c.long {
			io.WriteString(env.Stdout, options)
		}
		return nil
	case c.list || c.find:
		return c.show()
	case !c.hasDevice && !c.hasLabel:
		fmt.Fprintln(env.Stdout, usage)
		return applet.Exit(exitUsage)
	case !c.hasDevice || !c.hasLabel:
		fmt.Fprintln(env.Stdout, "Both a device and a label are required")
		return applet.Exit(exitUsage)
	}
	return c.create(ctx)
}

// logf writes a line of a level to standard error.
func (c command) logf(level int, format string, args ...any) {
	if level <= c.verbosity {
		fmt.Fprintf(c.env.Stderr, format+"\n", args...)
	}
}

// failed is a failure with its reason, which the original does not give.
func failed(format string, args ...any) error {
	return applet.Exitf(exitFailed, name+": "+format, args...)
}

// show lists disks.
func (c command) show() error {
	roots := blockdev.SystemRoots(c.env.FS.Path)
	var denied error
	trouble := func(path string, err error) {
		if errors.Is(err, syscall.EACCES) {
			denied = err
		}
		level := levelError
		if qdiskdev.NotQuorumDisk(err) {
			level = levelDebug
		}
		c.logf(level, "qdisk_validate: %s: %v", path, err)
	}
	found, err := qdiskdev.All(roots, trouble)
	if err != nil {
		return failed("%v", err)
	}
	matches := 0
	for _, f := range found {
		if c.find && f.Header.Label != c.label {
			continue
		}
		matches++
		if _, err := io.WriteString(c.env.Stdout, stanza(f)); err != nil {
			return failed("write the output: %v", err)
		}
		if c.verbosity >= levelInfo {
			c.blocks(f)
		}
	}
	switch {
	case matches > 0:
	case denied != nil: // it may be one of these
		return failed("%v: root may look at all devices", denied)
	default:
		return applet.Exit(exitFailed)
	}
	return nil
}

// stanza is the listing of one disk.
func stanza(f qdiskdev.Found) string {
	var b strings.Builder
	for _, p := range f.Paths {
		fmt.Fprintf(&b, "%s:\n", p)
	}
	h := f.Header
	fmt.Fprintf(&b, "\tMagic:                eb7a62c2\n\tLabel:                %s\n\tCreated:              %s\n\tHost:                 %s\n\tKernel Sector Size:   %d\n",
		h.Label, ctime(h.Created), h.Host, f.Sector)
	if h.Version2 {
		fmt.Fprintf(&b, "\tRecorded Sector Size: %d\n\n", h.SectorSize)
	}
	return b.String()
}

// ctime is ctime(3): in the local time zone.
func ctime(seconds uint64) string {
	return time.Unix(int64(seconds), 0).Local().Format("Mon Jan _2 15:04:05 2006")
}

// blocks prints the status blocks of nodes that are not in state None.
func (c command) blocks(f qdiskdev.Found) {
	d, err := blockdev.Open(f.Path(), blockdev.Options{})
	if err != nil {
		c.logf(levelError, "%s: %v", name, err)
		return
	}
	defer d.Close()
	all := quorumdisk.ReadAll(blockdev.Limit(d, qdiskdev.ProbeLimit), nil)
	for id := 1; id <= quorumdisk.MaxNodes; id++ {
		switch b := all.Node(id); {
		case b.Err != nil:
			c.logf(levelError, "Error reading node ID block %d: %v", id, b.Err)
		case b.Status.State != quorumdisk.StateNone:
			io.WriteString(c.env.Stderr, quorumdisk.StatusText(b.Status, ctime))
		}
	}
}
