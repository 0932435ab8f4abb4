//go:build !linux

package haobox

import (
	"errors"

	"github.com/haobox/haobox/internal/quorumdisk"
)

func openQuorumDisk(string) (quorumdisk.Disk, func(), error) {
	return nil, nil, errors.New("quorum disks are read on Linux only")
}
