package haobox

import (
	"time"

	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform/blockdev"
)

// showLimit bounds one call of a device that is only looked at.
const showLimit = 10 * time.Second

// openQuorumDisk opens a device, or an image in a file, for reading.
func openQuorumDisk(path string) (quorumdisk.Disk, func(), error) {
	d, err := blockdev.Open(path, blockdev.Options{File: 512})
	if err != nil {
		return nil, nil, err
	}
	// Closing waits for a call that hangs; the process ends anyway.
	return blockdev.Limit(d, showLimit), func() { go d.Close() }, nil
}
