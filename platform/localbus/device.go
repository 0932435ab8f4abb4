//go:build linux

package localbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

var (
	// ErrWrongRing: the ring changed; act on the new one.
	ErrWrongRing = errors.New("not the ring of the moment")
	// ErrNoDevice: the node has no quorum device of that name.
	ErrNoDevice = errors.New("no such quorum device")
	// ErrOtherDevice: the node has a quorum device with another name.
	ErrOtherDevice = errors.New("another quorum device is registered")
)

// Device is the quorum device of a node. The hub keeps one for each node that
// registered one, as votequorum does (votequorum_qdevice_register(3)): it is
// alive while it is polled more often than its limit, and its vote is good for
// the ring in which it was given.
type Device struct {
	Node  uint32 `json:"node"`
	Name  string `json:"name"`
	Alive bool   `json:"alive,omitempty"`
	Cast  bool   `json:"cast,omitempty"`
	Wins  bool   `json:"wins,omitempty"`
	Ring  RingID `json:"ring,omitzero"` // of the last poll
	// LimitMS is how long it lives after a poll, in ms.
	LimitMS int64 `json:"limit,omitempty"`
}

// What a client asks for with kindDevice.
const (
	opRegister   = "register"
	opPoll       = "poll"
	opWins       = "wins"
	opUnregister = "unregister"
)

// hubDevice is a Device in the hub.
type hubDevice struct {
	Device
	polls int // tells the timer of the last poll from older ones
}

// device is the quorum device of a node, or nil; h.mu is held.
func (h *hub) device(node uint32) *hubDevice {
	for _, d := range h.devices {
		if d.Node == node {
			return d
		}
	}
	return nil
}

// deviceList is what clients are told; h.mu is held.
func (h *hub) deviceList() (out []Device) {
	for _, d := range h.devices {
		out = append(out, d.Device)
	}
	slices.SortFunc(out, func(a, b Device) int { return int(int64(a.Node) - int64(b.Node)) })
	return out
}

// tellDevices tells all clients of a change; h.mu is held.
func (h *hub) tellDevices() { h.toAll(head{Kind: kindDevices, Devices: h.deviceList()}) }

// adopt takes over a device that a client knows of an earlier hub: as alive as
// it was, in the ring of then. h.mu is held.
func (h *hub) adopt(node uint32, known []Device) {
	for _, d := range known {
		if d.Node == node && d.Name != "" && d.LimitMS > 0 && h.device(node) == nil {
			n := &hubDevice{Device: d}
			h.devices = append(h.devices, n)
			if n.Alive {
				h.watch(n)
			}
		}
	}
}

// watch lets a device die unless it is polled in time; h.mu is held.
func (h *hub) watch(d *hubDevice) {
	d.polls++
	polls := d.polls
	time.AfterFunc(time.Duration(d.LimitMS)*time.Millisecond, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if d.polls == polls && slices.Contains(h.devices, d) && h.rules() {
			d.Alive, d.Cast = false, false
			h.tellDevices()
		}
	})
}

// ask does what a client wants of its node's device; h.mu is held.
func (h *hub) ask(c *client, f head) (code string) {
	var want Device
	if len(f.Devices) == 1 {
		want = f.Devices[0]
	}
	d := h.device(c.node.ID)
	if f.Op == opRegister {
		switch {
		case want.Name == "" || want.LimitMS <= 0:
			return codeNoDevice
		case d != nil && d.Name != want.Name:
			return codeOtherDevice
		case d == nil:
			h.devices = append(h.devices, &hubDevice{Device: Device{Node: c.node.ID, Name: want.Name, LimitMS: want.LimitMS}})
			h.tellDevices()
		default:
			d.LimitMS = want.LimitMS
		}
		return ""
	}
	switch {
	case d == nil:
		return codeNoDevice
	case d.Name != want.Name:
		return codeOtherDevice
	}
	before := d.Device
	switch f.Op {
	case opPoll:
		if want.Ring != h.ring() {
			return codeWrongRing
		}
		d.Alive, d.Cast, d.Ring = true, want.Cast, want.Ring
		h.watch(d)
	case opWins:
		d.Wins = want.Wins
	case opUnregister:
		h.devices = slices.DeleteFunc(h.devices, func(o *hubDevice) bool { return o == d })
		h.tellDevices()
		return ""
	}
	if d.Device != before {
		h.tellDevices()
	}
	return ""
}

// Codes of answers.
const (
	codeNoDevice    = "no device"
	codeOtherDevice = "other device"
	codeWrongRing   = "ring"
)

// RegisterDevice makes the quorum device of this node known; limit is how long
// it lives after a poll.
func (b *Bus) RegisterDevice(ctx context.Context, name string, limit time.Duration) error {
	return b.deviceCall(ctx, opRegister, Device{Name: name, LimitMS: max(limit.Milliseconds(), 1)})
}

// PollDevice says that the device is alive, and whether it votes in a ring.
// While the hub changes it returns ErrWrongRing: a new ring is under way.
func (b *Bus) PollDevice(ctx context.Context, name string, cast bool, ring RingID) error {
	err := b.deviceCall(ctx, opPoll, Device{Name: name, Cast: cast, Ring: ring})
	if errors.Is(err, errHubGone) {
		return ErrWrongRing
	}
	return err
}

// MasterWins lets a node with this device be quorate by its vote alone.
func (b *Bus) MasterWins(ctx context.Context, name string, allow bool) error {
	return b.deviceCall(ctx, opWins, Device{Name: name, Wins: allow})
}

// UnregisterDevice takes the device of this node and its vote away.
func (b *Bus) UnregisterDevice(ctx context.Context, name string) error {
	return b.deviceCall(ctx, opUnregister, Device{Name: name})
}

func (b *Bus) deviceCall(ctx context.Context, op string, d Device) error {
	a, err := b.call(ctx, head{Kind: kindDevice, Op: op, Devices: []Device{d}})
	switch {
	case err != nil:
		return fmt.Errorf("%s the quorum device %s: %w", op, d.Name, err)
	case a.Error == codeNoDevice:
		return fmt.Errorf("%s: %w", d.Name, ErrNoDevice)
	case a.Error == codeOtherDevice:
		return fmt.Errorf("%s: %w", d.Name, ErrOtherDevice)
	case a.Error == codeWrongRing:
		return ErrWrongRing
	}
	return nil
}

// ownDevices are the devices of this node; b.mu is held.
func (b *Bus) ownDevices() (out []Device) {
	for _, d := range b.devices {
		if d.Node == b.cfg.Node.ID {
			out = append(out, d)
		}
	}
	return out
}

// errHubGone: the hub that was asked is gone, and another is being looked for.
var errHubGone = errors.New("the hub is gone")

// call asks the hub something and waits for its answer, for Takeover at most.
func (b *Bus) call(ctx context.Context, f head) (head, error) {
	answer := make(chan head, 1)
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return head{}, b.err
	}
	b.lastCall++
	f.ID = b.lastCall
	b.calls[f.ID] = answer
	b.post(f, nil)
	if b.conn == nil {
		b.dropCalls()
	}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.calls, f.ID)
		b.mu.Unlock()
	}()
	t := time.NewTimer(b.cfg.Takeover)
	defer t.Stop()
	select {
	case a, ok := <-answer:
		if !ok {
			return head{}, errHubGone
		}
		return a, nil
	case <-b.done:
		return head{}, b.Err()
	case <-ctx.Done():
		return head{}, ctx.Err()
	case <-t.C:
		return head{}, ErrTimeout
	}
}

// dropCalls ends what waits for a hub that is gone; b.mu is held.
func (b *Bus) dropCalls() {
	for id, answer := range b.calls {
		close(answer)
		delete(b.calls, id)
	}
}
