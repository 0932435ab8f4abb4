package mkqdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform/blockdev"
)

const (
	// writeLimit bounds one block: a disk that is slower can not carry
	// heartbeats. slowAfter is when a person is told that it takes long. Ours.
	writeLimit = 2 * time.Minute
	slowAfter  = 3 * time.Second
	// heartbeatLooks is how often a disk that was used is looked at for heartbeats,
	// which come each second if nothing else is configured. Ours.
	heartbeatLooks = 6
	heartbeatPause = 500 * time.Millisecond
)

// create makes a disk. It asks when all that can be looked at before has been:
// the original asked first.
func (c command) create(ctx context.Context) error {
	if len(c.label) > quorumdisk.MaxLabel {
		return failed("the label has %d characters: use at most %d (the original cut it, and then no configuration matched)", len(c.label), quorumdisk.MaxLabel)
	}
	if strings.ContainsFunc(c.label, unicode.IsControl) {
		return failed("the label %q has control characters: lists of disks would not show it as it is; use letters, digits and signs", c.label)
	}
	path := c.env.FS.Path(c.device)
	var unknown error
	if !c.force {
		var uses []string
		uses, unknown = blockdev.Uses(path, blockdev.SystemRoots(c.env.FS.Path))
		if len(uses) > 0 {
			return failed("%s is %s: choose another device, or say --force if its content may be lost", c.device, strings.Join(uses, ", "))
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
	if unknown != nil { // and not because it can not be opened
		return failed("look whether %s is in use: %v: say --force if its content may be lost", c.device, unknown)
	}
	if need := quorumdisk.MinSize(dev.SectorSize()); dev.Size() < need {
		return failed("%s is too small: it has %d bytes and a quorum disk needs %d", c.device, dev.Size(), need)
	}
	d := &patient{blockdev.Limit(dev, writeLimit), c}
	_, before := quorumdisk.Probe(d)
	if before == nil && !c.force {
		if ids := c.writers(ctx, d); len(ids) > 0 {
			return failed("%s is the quorum disk of a running cluster, node %s writes to it: stop qdiskd there, or say --force", c.device, strings.Join(ids, ", "))
		}
	}
	host, err := c.env.Hostname()
	if err != nil {
		return failed("ask for this machine's name: %v", err)
	}
	fmt.Fprintf(c.env.Stdout, "Writing new quorum disk label '%s' to %s.\nWARNING: About to destroy all data on %s; proceed [N/y] ? ", c.label, c.device, c.device)
	if !c.yes {
		answer := make([]byte, 1)
		if n, _ := io.ReadFull(c.env.Stdin, answer); n != 1 || answer[0] != 'y' {
			fmt.Fprintln(c.env.Stdout, "Good thinking.")
			return nil
		}
	}
	switch {
	case before == nil:
		fmt.Fprintln(c.env.Stdout, "Warning: Initializing previously initialized partition")
	case errors.Is(before, quorumdisk.ErrOldDisk):
		fmt.Fprintln(c.env.Stdout, "Warning: Red Hat Cluster Manager 1.2.x header found")
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

// writers are the nodes whose heartbeat changes. Where no node is marked as
// running it does not wait.
func (c command) writers(ctx context.Context, d quorumdisk.Disk) (ids []string) {
	running := func(b *quorumdisk.Block) bool { return b.Err == nil && b.Status.State >= quorumdisk.StateInitializing }
	before := quorumdisk.ReadAll(d, nil)
	maybe := false
	for id := 1; id <= quorumdisk.MaxNodes; id++ {
		maybe = maybe || running(before.Node(id))
	}
	for left := heartbeatLooks; maybe && len(ids) == 0 && left > 0; left-- {
		if c.env.Clock.Sleep(ctx, heartbeatPause) != nil {
			break
		}
		now := quorumdisk.ReadAll(d, nil)
		for id := 1; id <= quorumdisk.MaxNodes; id++ {
			if b := now.Node(id); running(b) && running(before.Node(id)) && b.Status.Timestamp != before.Node(id).Status.Timestamp {
				ids = append(ids, strconv.Itoa(id))
			}
		}
	}
	return ids
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
