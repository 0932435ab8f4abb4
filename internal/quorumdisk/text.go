package quorumdisk

import (
	"fmt"
	"strings"
	"time"
)

// StatusText is a status block as mkqdisk prints it; ctime gives the time of
// Unix seconds in the form of ctime(3).
func StatusText(s Status, ctime func(uint64) string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Status block for node %d", s.Node)
	line("\tLast updated by node %d", s.Updater)
	line("\tLast updated on %s", ctime(s.Timestamp))
	line("\tState: %s", s.State)
	line("\tFlags: %04x", s.Flags)
	line("\tScore: %d/%d", s.Score, s.MaxScore)
	line("\tAverage Cycle speed: %d.%06d seconds", s.AverageWrite.Seconds, s.AverageWrite.Micros)
	line("\tLast Cycle speed: %d.%06d seconds", s.LastWrite.Seconds, s.LastWrite.Micros)
	line("\tIncarnation: %016x", s.token())
	return b.String()
}

// token is the incarnation as its bytes lie on the disk, the way the original
// printed it.
func (s Status) token() uint64 {
	v, out := s.Incarnation, uint64(0)
	for range 8 {
		out = out<<8 | v&0xff
		v >>= 8
	}
	return out
}

// HeaderDump is the header for people's programs.
type HeaderDump struct {
	Label      string    `json:"label"`
	Host       string    `json:"host"`
	Created    time.Time `json:"created"`
	Version    int       `json:"version"`
	SectorSize int       `json:"recorded_sector_size,omitempty"`
}

// Dump is the header with names.
func (h Header) Dump() HeaderDump {
	d := HeaderDump{Label: h.Label, Host: h.Host, Created: unixTime(h.Created), Version: 1}
	if h.Version2 {
		d.Version, d.SectorSize = 2, int(h.SectorSize)
	}
	return d
}

// StatusDump is a status block for people's programs.
type StatusDump struct {
	Node        int       `json:"node"`
	Error       string    `json:"error,omitempty"`
	State       string    `json:"state,omitempty"`
	StateNumber int       `json:"state_number"`
	Updater     int       `json:"updated_by"`
	Time        time.Time `json:"time"`
	Flags       int       `json:"flags"`
	Score       int       `json:"score"`
	MaxScore    int       `json:"max_score"`
	Average     float64   `json:"average_write_seconds"`
	Last        float64   `json:"last_write_seconds"`
	Incarnation string    `json:"incarnation,omitempty"`
	Message     string    `json:"message,omitempty"`
	Sequence    int       `json:"sequence"`
	Argument    int       `json:"argument"`
	Online      []int     `json:"online"`
	MasterMask  []int     `json:"master_mask"`
}

// Dump is the block of a node with names; what a block in error says is left
// out.
func (b Block) Dump(node int) StatusDump {
	if b.Err != nil {
		return StatusDump{Node: node, Error: b.Err.Error(), Online: []int{}, MasterMask: []int{}}
	}
	s := b.Status
	seconds := func(e Elapsed) float64 { return float64(e.Seconds) + float64(e.Micros)/1e6 }
	return StatusDump{Node: node, State: s.State.String(), StateNumber: int(s.State), Updater: int(s.Updater), Time: unixTime(s.Timestamp),
		Flags: int(s.Flags), Score: int(s.Score), MaxScore: int(s.MaxScore), Average: seconds(s.AverageWrite), Last: seconds(s.LastWrite),
		Incarnation: fmt.Sprintf("%016x", s.token()), Message: s.Message.String(), Sequence: int(s.Sequence), Argument: int(s.Argument),
		Online: s.Online.IDs(), MasterMask: s.MasterMask.IDs()}
}

// maxUnix is the last second of the year 9999, the last one that has a JSON form.
const maxUnix = 253402300799

func unixTime(seconds uint64) time.Time { return time.Unix(int64(min(seconds, maxUnix)), 0).UTC() }
