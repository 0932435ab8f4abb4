// Package mkqdisk is mkqdisk: it makes quorum disks and lists them.
package mkqdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

	// writeLimit bounds one block: a disk that is slower can not carry
	// heartbeats. slowAfter is when a person is told that it takes long. Ours.
	writeLimit = 2 * time.Minute
	slowAfter  = 3 * time.Second
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
func run(_ context.Context, env platform.Env, args []string) error {
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
	return c.create()
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
	trouble := func(path string, err error) {
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
	if matches == 0 {
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

// create makes a disk.
func (c command) create() error {
	if len(c.label) > quorumdisk.MaxLabel {
		return failed("the label has %d characters: use at most %d (the original cut it, and then no configuration matched)", len(c.label), quorumdisk.MaxLabel)
	}
	path := c.env.FS.Path(c.device)
	if !c.force {
		uses, err := blockdev.Uses(path, blockdev.SystemRoots(c.env.FS.Path))
		// What can not be opened at all is said below, where the original did.
		if len(uses) > 0 {
			return failed("%s is %s: choose another device, or say --force if its content may be lost", c.device, strings.Join(uses, ", "))
		}
		c.logf(levelDebug, "look for other uses of %s: %v", c.device, err)
	}
	fmt.Fprintf(c.env.Stdout, "Writing new quorum disk label '%s' to %s.\nWARNING: About to destroy all data on %s; proceed [N/y] ? ", c.label, c.device, c.device)
	if !c.yes {
		answer := make([]byte, 1)
		if n, _ := io.ReadFull(c.env.Stdin, answer); n != 1 || answer[0] != 'y' {
			fmt.Fprintln(c.env.Stdout, "Good thinking.")
			return nil
		}
	}
	o := blockdev.Options{Write: true}
	if c.force {
		o.File = 512
	}
	dev, err := blockdev.Open(path, o)
	if err != nil {
		return failed("%v", err)
	}
	defer dev.Close()
	if need := quorumdisk.MinSize(dev.SectorSize()); dev.Size() < need {
		return failed("%s is too small: it has %d bytes and a quorum disk needs %d", c.device, dev.Size(), need)
	}
	d := &patient{blockdev.Limit(dev, writeLimit), c}
	switch _, err := quorumdisk.Probe(d); {
	case err == nil:
		fmt.Fprintln(c.env.Stdout, "Warning: Initializing previously initialized partition")
	case errors.Is(err, quorumdisk.ErrOldDisk):
		fmt.Fprintln(c.env.Stdout, "Warning: Red Hat Cluster Manager 1.2.x header found")
	}
	host, err := c.env.Hostname()
	if err != nil {
		return failed("ask for this machine's name: %v", err)
	}
	now := max(c.env.Clock.Now().Unix(), 0)
	err = quorumdisk.Format(d, quorumdisk.Header{Host: host, Label: c.label}, uint64(now), func(id int) {
		fmt.Fprintf(c.env.Stdout, "Initializing status block for node %d...\n", id)
	})
	var node *quorumdisk.NodeError
	switch {
	case errors.As(err, &node):
		fmt.Fprintf(c.env.Stdout, "Error writing node ID block %d\n", node.Node)
		return failed("%v", err)
	case err != nil:
		return failed("write the header: %v", err)
	}
	return nil
}

// patient tells a person when the disk takes long.
type patient struct {
	*blockdev.Limited
	c command
}

// WriteAt writes one block.
func (p *patient) WriteAt(b []byte, offset int64) error {
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		for waited := slowAfter; ; waited += slowAfter {
			after, stop := p.c.env.Clock.After(slowAfter)
			select {
			case <-done:
				stop()
				return
			case <-after:
				fmt.Fprintf(p.c.env.Stderr, "%s: %s has not answered for %v; it has %v in all\n", name, p.c.device, waited, writeLimit)
			}
		}
	}()
	err := p.Limited.WriteAt(b, offset)
	close(done)
	<-told
	return err
}
