//go:build linux

package blockdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

type unixStat = syscall.Stat_t

// Uses says for what this machine uses the device, in words for a person, or
// nothing: mounted, swap, below another device, a partition or disk that is
// claimed (open(2), O_EXCL), a member of LVM or md by what stands on it. An
// error says what could not be found out: unknown is not unused.
func Uses(path string, r Roots) ([]string, error) {
	n, err := NumberOf(path)
	if err != nil {
		return nil, err
	}
	var uses []string
	mounts, err := os.ReadFile(filepath.Join(r.Proc, "self", "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("find out what is mounted: %w", err)
	}
	if at := mountedAt(string(mounts), n); at != "" {
		uses = append(uses, "mounted on "+at)
	}
	if swaps, err := os.ReadFile(filepath.Join(r.Proc, "swaps")); err == nil {
		for line := range strings.Lines(string(swaps)) {
			if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], "/") {
				if m, err := NumberOf(f[0]); err == nil && m == n {
					uses = append(uses, "swap space")
				}
			}
		}
	}
	devices, err := Scan(r)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		switch {
		case d.Number != n:
		case d.RAID == Array:
			uses = append(uses, "an active RAID array")
		case d.RAID == Part:
			uses = append(uses, "a member of an active RAID array")
		case d.Holders > 0:
			uses = append(uses, "below another block device (LVM, multipath or encryption)")
		}
	}
	if len(uses) == 0 {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EBUSY):
			uses = append(uses, "claimed by the kernel, or one of its partitions is")
		case err != nil:
			return nil, err
		default:
			f.Close()
		}
	}
	d, err := Open(path, Options{})
	if err != nil {
		return uses, err
	}
	defer d.Close()
	sign, err := signature(d)
	if sign != "" {
		uses = append(uses, sign)
	}
	return uses, err
}

// mountedAt returns a mount point of the device (proc_pid_mountinfo(5)).
func mountedAt(mountinfo string, n Number) string {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) > 4 && f[2] == n.String() {
			return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4])
		}
	}
	return ""
}

const (
	// The label of an LVM physical volume is in one of the first four sectors
	// of 512 bytes (lvm.conf(5), "label_scan").
	lvmLabel = "LABELONE"
	lvmType  = "LVM2 001"
	// mdMagic starts an md superblock (linux/raid/md_p.h, MD_SB_MAGIC).
	mdMagic = 0xa92b4efc
)

// signature looks for what LVM and md leave on a member.
func signature(d *Device) (string, error) {
	const head = 8192
	read := func(at int64, n int) ([]byte, error) {
		unit := int64(d.sector)
		from := at / unit * unit
		to := min((at+int64(n)+unit-1)/unit*unit, d.size/unit*unit)
		if from < 0 || to <= from {
			return nil, nil
		}
		b := make([]byte, to-from)
		if err := d.ReadAt(b, from); err != nil {
			return nil, err
		}
		return b[min(at-from, int64(len(b))):], nil
	}
	isMD := func(b []byte) bool {
		return len(b) >= 4 && (binary.LittleEndian.Uint32(b) == mdMagic || binary.BigEndian.Uint32(b) == mdMagic)
	}
	b, err := read(0, head)
	if err != nil {
		return "", err
	}
	for at := 0; at+32 <= len(b) && at < 2048; at += 512 {
		if string(b[at:at+8]) == lvmLabel && string(b[at+24:at+32]) == lvmType {
			return "a physical volume of LVM", nil
		}
	}
	if isMD(b) || len(b) > 4096 && isMD(b[4096:]) { // superblocks 1.1 and 1.2
		return "a member of a RAID array", nil
	}
	// Superblock 1.0 is 8 KiB before the end at a multiple of 4 KiB, 0.90 in
	// the last whole 64 KiB.
	for _, at := range []int64{(d.size - 8192) &^ 4095, d.size&^65535 - 65536} {
		if at < head {
			continue
		}
		b, err := read(at, 512)
		if err != nil {
			return "", err
		}
		if isMD(b) {
			return "a member of a RAID array", nil
		}
	}
	return "", nil
}
