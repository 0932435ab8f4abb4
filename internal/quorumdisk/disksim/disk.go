package disksim

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/quorumdisk"
)

// epoch is the wall clock at the start, in Unix seconds.
const epoch = 1_300_000_000

// Brisk is the longest time of a call of a disk that is well.
const Brisk = 20 * time.Millisecond

// errIO is what a lost way to the disk gives.
var errIO = errors.New("input/output error")

// Disk is a quorum disk that machines share, in the time of a simulated
// cluster. It is for one goroutine.
type Disk struct {
	// Slow is the longest time of a call, Torn the chance of a write to lie on
	// the disk half for a while, or for ever.
	Slow time.Duration
	Torn float64

	sim    *clustersim.Sim
	rng    *rand.Rand
	blocks quorumdisk.Blocks
}

// NewDisk returns an empty disk as mkqdisk makes it.
func NewDisk(sim *clustersim.Sim, rng *rand.Rand) *Disk {
	d := &Disk{Slow: Brisk, sim: sim, rng: rng}
	for i := range d.blocks {
		d.blocks[i].Status = quorumdisk.Status{Node: uint32(i + 1), Timestamp: epoch}
	}
	return d
}

func (d *Disk) latency() time.Duration { return time.Duration(1 + d.rng.Int64N(int64(d.Slow))) }

// Path is the state of a machine's way to the disk.
type Path int

// Paths.
const (
	PathGood Path = iota
	PathFails
	PathHangs
)

// String is what such a way does.
func (p Path) String() string {
	switch p {
	case PathGood:
		return "it is good"
	case PathFails:
		return "calls fail"
	}
	return "calls hang"
}

// Port is a machine's way to the disk, over all its lives. Calls are carried
// out one after the other. What was on its way when the machine or its daemon
// ended may still reach the disk, and what hangs does so when the way is good
// again.
type Port struct {
	disk  *Disk
	path  Path
	stuck []func() // calls that wait for the path
	queue []func(done func())
	busy  bool
	alive func() bool
	// deliver gets what came of a call.
	deliver func(ev quorumdisk.Event, next func())
}

// Port returns a good way to the disk.
func (d *Disk) Port() *Port { return &Port{disk: d} }

// Open begins the life of a daemon. alive says whether it still lasts; deliver
// gets each quorumdisk.Read and quorumdisk.Wrote, and calls next when the next
// call may begin, at once or later.
func (p *Port) Open(alive func() bool, deliver func(ev quorumdisk.Event, next func())) {
	p.queue, p.busy, p.alive, p.deliver = nil, false, alive, deliver
}

// SetPath changes the way. Calls that hung go on unless it hangs again.
func (p *Port) SetPath(path Path) {
	p.path = path
	if path == PathHangs {
		return
	}
	all := p.stuck
	p.stuck = nil
	for _, do := range all {
		do()
	}
}

// reach calls do when the path lets a call through; that may be never.
func (p *Port) reach(do func()) {
	if p.path == PathHangs {
		p.stuck = append(p.stuck, do)
		return
	}
	do()
}

// call queues a call.
func (p *Port) call(do func(done func())) {
	p.queue = append(p.queue, do)
	p.next()
}

func (p *Port) next() {
	if p.busy || len(p.queue) == 0 {
		return
	}
	do, alive := p.queue[0], p.alive
	p.queue, p.busy = p.queue[1:], true
	do(func() {
		if alive() {
			p.busy = false
			p.next()
		}
	})
}

// Read reads all blocks.
func (p *Port) Read() {
	d, deliver := p.disk, p.deliver
	p.call(func(done func()) {
		p.reach(func() {
			before, after := d.latency()/2, d.latency()/2
			d.sim.After(before, func() {
				got := d.blocks // what the disk has in the middle of the call
				if p.path == PathFails {
					for i := range got {
						got[i].Err = errIO
					}
				}
				d.sim.After(after, func() {
					p.reach(func() { deliver(quorumdisk.Read{Blocks: &got}, done) })
				})
			})
		})
	})
}

// Write writes a block.
func (p *Port) Write(a quorumdisk.WriteBlock) {
	d, alive, deliver := p.disk, p.alive, p.deliver
	p.call(func(done func()) {
		p.reach(func() {
			before, after := d.latency()/2, d.latency()/2
			d.sim.After(before, func() {
				var err error
				if p.path == PathFails {
					err = errIO
				}
				// A failed write may have reached the disk all the same.
				if err == nil || d.rng.IntN(2) == 0 {
					land := func() { d.blocks[a.Node-1] = quorumdisk.Block{Status: a.Status} }
					if d.rng.Float64() < d.Torn {
						d.blocks[a.Node-1].Err = quorumdisk.ErrDataCRC
						if err == nil && alive() || d.rng.IntN(2) == 0 {
							d.sim.After(after, land) // the rest comes, or never
						}
					} else {
						land()
					}
				}
				d.sim.After(after, func() {
					p.reach(func() { deliver(quorumdisk.Wrote{Node: a.Node, Err: err}, done) })
				})
			})
		})
	})
}

// Clock is a machine's wall clock.
type Clock struct {
	// Stuck stops it.
	Stuck bool

	sim     *clustersim.Sim
	jump    int64
	stopped int64 // where it stands
}

// NewClock returns a clock that is right.
func NewClock(sim *clustersim.Sim) *Clock { return &Clock{sim: sim, stopped: epoch} }

// Wall is the time it shows, in Unix seconds.
func (c *Clock) Wall() int64 {
	if !c.Stuck {
		c.stopped = epoch + c.jump + int64(c.sim.Now()/time.Second)
	}
	return c.stopped
}

// Jump sets it forward or, with a negative number of seconds, back.
func (c *Clock) Jump(seconds int64) { c.jump += seconds }
