//go:build linux

// Package qdiskdev finds quorum disks among the block devices of a machine: the
// assembly of platform/blockdev and internal/quorumdisk that mkqdisk, qdiskd and
// haobox share.
package qdiskdev

import (
	"errors"
	"fmt"
	"time"

	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform/blockdev"
)

// ProbeLimit bounds the look at one device. A disk that is slower than that is
// no quorum disk; one that hangs must not hide the others. Ours.
const ProbeLimit = 10 * time.Second

// Found is a device with a quorum disk.
type Found struct {
	Paths []string
	// Sector is the kernel's sector size.
	Sector int
	Header quorumdisk.Header
}

// Path is the device's name: the first one of /dev.
func (f Found) Path() string { return f.Paths[0] }

// Trouble is called for a candidate that could not be looked at, with the
// reason. It may be nil.
type Trouble func(path string, err error)

// All looks at all candidates in the order of sysfs and returns those that
// have a quorum disk with sectors of the kernel's size.
func All(roots blockdev.Roots, trouble Trouble) ([]Found, error) {
	devices, err := blockdev.Scan(roots)
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, d := range devices {
		if !d.Candidate() {
			continue
		}
		f, err := Probe(d.Paths[0])
		if err == nil {
			err = f.Header.Check(f.Sector)
		}
		if err != nil {
			if trouble != nil {
				trouble(d.Paths[0], err)
			}
			continue
		}
		f.Paths = d.Paths
		out = append(out, f)
	}
	return out, nil
}

// Labelled is All with that label, letter by letter.
func Labelled(roots blockdev.Roots, label string, trouble Trouble) ([]Found, error) {
	all, err := All(roots, trouble)
	var out []Found
	for _, f := range all {
		if f.Header.Label == label {
			out = append(out, f)
		}
	}
	return out, err
}

// Probe reads the header of one device within ProbeLimit; it does not compare
// sector sizes.
func Probe(path string) (Found, error) {
	type answer struct {
		f   Found
		err error
	}
	// Opening may hang as well, so all of it is left behind if it must be.
	done := make(chan answer, 1)
	go func() {
		d, err := blockdev.Open(path, blockdev.Options{})
		if err != nil {
			done <- answer{err: err}
			return
		}
		defer d.Close()
		if d.Size() == 0 {
			done <- answer{err: fmt.Errorf("read %s: the device is empty: %w", path, quorumdisk.ErrShort)}
			return
		}
		h, err := quorumdisk.Probe(d)
		done <- answer{Found{Paths: []string{path}, Sector: d.SectorSize(), Header: h}, err}
	}()
	t := time.NewTimer(ProbeLimit)
	defer t.Stop()
	select {
	case a := <-done:
		return a.f, a.err
	case <-t.C:
		return Found{}, fmt.Errorf("look at %s: %w (%v)", path, blockdev.ErrTimeout, ProbeLimit)
	}
}

// NotQuorumDisk reports whether an error of Probe says that the device was read
// and has no quorum disk.
func NotQuorumDisk(err error) bool {
	return errors.Is(err, quorumdisk.ErrHeaderCRC) || errors.Is(err, quorumdisk.ErrMagic) || errors.Is(err, quorumdisk.ErrDataCRC) ||
		errors.Is(err, quorumdisk.ErrOldDisk) || errors.Is(err, quorumdisk.ErrShort)
}
