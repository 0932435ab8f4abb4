package smapi

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Failing is one image of a list for which a function failed.
type Failing struct {
	Name           string
	Return, Reason int
}

// EncodeNameArray encodes the output of Image_Status_Query and
// Image_Name_Query_DM: the total length in bytes and then each name.
func EncodeNameArray(names []string) []byte {
	b := AppendInt4(nil, 0)
	for _, n := range names {
		b = AppendString(b, n)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// DecodeNameArray decodes a name array. No data is an empty array; bytes after
// the array are skipped. With an error, which is an ErrMalformed, the names
// before the fault are returned.
func DecodeNameArray(data []byte) ([]string, error) {
	var names []string
	err := decodeArray(data, "name array", func(d *decoder) {
		if name := d.str(); d.err == nil {
			names = append(names, name)
		}
	})
	return names, err
}

// decodeArray calls entry until the array at the front of data is used up.
func decodeArray(data []byte, what string, entry func(d *decoder)) error {
	if len(data) == 0 {
		return nil
	}
	outer := decoder{b: data}
	d := decoder{b: outer.block(), err: outer.err}
	for n := 1; len(d.b) > 0 && d.err == nil; n++ {
		entry(&d)
		if d.err != nil {
			return fmt.Errorf("%s, entry %d: %w", what, n, d.err)
		}
	}
	if d.err != nil {
		return fmt.Errorf("%s: %w", what, d.err)
	}
	return nil
}

// EncodeImageCounts encodes the output of Image_Activate, Image_Deactivate and
// Image_Recycle: how many images it was done for, how many not, and which.
func EncodeImageCounts(done, notDone int, failing []Failing) []byte {
	b := AppendInt4(nil, uint32(done))
	b = AppendInt4(b, uint32(notDone))
	return append(b, EncodeFailingArray(failing)...)
}

// EncodeFailingArray encodes the total length in bytes and then each entry:
// its length, the name, the return and the reason code.
func EncodeFailingArray(failing []Failing) []byte {
	b := AppendInt4(nil, 0)
	for _, f := range failing {
		b = AppendInt4(b, uint32(4+len(f.Name)+8))
		b = AppendString(b, f.Name)
		b = AppendInt4(b, uint32(int32(f.Return)))
		b = AppendInt4(b, uint32(int32(f.Reason)))
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// ImageCounts is the output of Image_Activate, Image_Deactivate and
// Image_Recycle.
type ImageCounts struct {
	Done, NotDone int
	Failing       []Failing
}

// DecodeImageCounts decodes what EncodeImageCounts makes. No data is zero
// counts. Fields that a newer server adds to an entry and bytes after the
// array are skipped. With an error, which is an ErrMalformed, what stands
// before the fault is returned.
func DecodeImageCounts(data []byte) (ImageCounts, error) {
	var c ImageCounts
	if len(data) == 0 {
		return c, nil
	}
	d := decoder{b: data}
	c.Done, c.NotDone = int(int32(d.int4())), int(int32(d.int4()))
	if d.err != nil {
		return ImageCounts{}, fmt.Errorf("image counts: %w", d.err)
	}
	err := decodeArray(d.b, "failing array", func(d *decoder) {
		e := decoder{b: d.block(), err: d.err}
		f := Failing{Name: e.str(), Return: int(int32(e.int4())), Reason: int(int32(e.int4()))}
		if d.err = e.err; d.err == nil {
			c.Failing = append(c.Failing, f)
		}
	})
	return c, err
}

// EncodeRecordArray encodes the output of Image_Query_DM: the total length in
// bytes and then each record with its length.
func EncodeRecordArray(records []string) []byte { return EncodeNameArray(records) }

// DecodeRecordArray decodes the statements of a directory entry: records of 80
// bytes at most, whose trailing blanks are dropped. Errors are as those of
// DecodeNameArray.
func DecodeRecordArray(data []byte) ([]string, error) {
	records, err := DecodeNameArray(data)
	for i, r := range records {
		records[i] = strings.TrimRight(r, " ")
	}
	return records, err
}

// DateFormat is how Image_Query_Activate_Time writes the date.
type DateFormat byte

// The date formats of the API.
const (
	DateMMDDYY DateFormat = 1 + iota
	DateMMDDYYYY
	DateYYMMDD
	DateYYYYMMDD
	DateDDMMYY
	DateDDMMYYYY
)

// layout is the format for package time, "" if it is not one of the six.
func (f DateFormat) layout() string {
	layouts := [...]string{
		DateMMDDYY: "01/02/06", DateMMDDYYYY: "01/02/2006", DateYYMMDD: "06/01/02",
		DateYYYYMMDD: "2006/01/02", DateDDMMYY: "02/01/06", DateDDMMYYYY: "02/01/2006",
	}
	if int(f) >= len(layouts) {
		return ""
	}
	return layouts[f]
}

// ActivateTime is the output of Image_Query_Activate_Time: when the image was
// logged on, by the system's own clock and zone.
type ActivateTime struct {
	Image string
	// Date is in the format asked for, Time is hh:mm:ss.
	Date, Time string
}

// NewActivateTime writes t in the format; ok is false if the format is not one
// of the six.
func NewActivateTime(image string, t time.Time, f DateFormat) (a ActivateTime, ok bool) {
	layout := f.layout()
	return ActivateTime{image, t.Format(layout), t.Format(time.TimeOnly)}, layout != ""
}

// EncodeActivateTime encodes three strings.
func EncodeActivateTime(a ActivateTime) []byte {
	return AppendString(AppendString(AppendString(nil, a.Image), a.Date), a.Time)
}

// DecodeActivateTime decodes what EncodeActivateTime makes; bytes after it are
// skipped.
func DecodeActivateTime(data []byte) (ActivateTime, error) {
	d := decoder{b: data}
	a := ActivateTime{d.str(), d.str(), d.str()}
	if d.err != nil {
		return ActivateTime{}, fmt.Errorf("activate time: %w", d.err)
	}
	return a, nil
}

// ImageConfiguration is the output of Image_Active_Configuration_Query.
type ImageConfiguration struct {
	// Memory is a number of MemoryUnit.
	Memory     uint32
	MemoryUnit MemoryUnit
	ShareType  ShareType
	// Share is a number, of per cent if ShareType is ShareAbsolute.
	Share   string
	CPUs    []CPU
	Devices []Device
	// CPUCount is the number of processors by the server's own count.
	CPUCount uint32
}

// MemoryUnit is the unit of a memory size.
type MemoryUnit byte

// The units of memory sizes.
const (
	KiB MemoryUnit = 1 + iota
	MiB
	GiB
)

// String returns "K", "M" or "G".
func (u MemoryUnit) String() string { return nth(byte(u), "K", "M", "G") }

// ShareType is how an image's share of the processors is counted.
type ShareType byte

// The types of shares.
const (
	ShareRelative ShareType = 1 + iota
	ShareAbsolute
)

// String returns "relative" or "absolute".
func (s ShareType) String() string { return nth(byte(s), "relative", "absolute") }

// CPU is a virtual processor.
type CPU struct {
	Number uint32
	// ID is what STORE CPU ID gives, in hexadecimal.
	ID    string
	State CPUState
}

// CPUState is the state of a virtual processor.
type CPUState byte

// The states of virtual processors.
const (
	CPUBase CPUState = 1 + iota
	CPUStopped
	CPUCheckStopped
	CPUActive
)

// String returns "base", "stopped", "check-stopped" or "active".
func (s CPUState) String() string { return nth(byte(s), "base", "stopped", "check-stopped", "active") }

// Device is a virtual device.
type Device struct {
	Type    DeviceType
	Address string
}

// DeviceType is the kind of a virtual device.
type DeviceType byte

// The kinds of virtual devices.
const (
	DeviceConsole DeviceType = 1 + iota
	DeviceReader
	DevicePunch
	DevicePrinter
	DeviceDASD
)

// String returns "console", "reader", "punch", "printer" or "dasd".
func (d DeviceType) String() string {
	return nth(byte(d), "console", "reader", "punch", "printer", "dasd")
}

// nth returns the n-th name, counted from 1, or the number itself.
func nth(n byte, names ...string) string {
	if n >= 1 && int(n) <= len(names) {
		return names[n-1]
	}
	return strconv.Itoa(int(n))
}

// EncodeImageConfiguration encodes memory size, unit, share type, share, the
// number of processors and the two arrays, whose entries have lengths.
func EncodeImageConfiguration(c ImageConfiguration) []byte {
	b := AppendInt4(nil, c.Memory)
	b = append(b, byte(c.MemoryUnit), byte(c.ShareType))
	b = AppendString(b, c.Share)
	b = AppendInt4(b, c.CPUCount)
	var entries []byte
	for _, p := range c.CPUs {
		entries = AppendInt4(entries, uint32(4+4+len(p.ID)+1))
		entries = AppendString(AppendInt4(entries, p.Number), p.ID)
		entries = append(entries, byte(p.State))
	}
	b = append(AppendInt4(b, uint32(len(entries))), entries...)
	entries = entries[:0]
	for _, v := range c.Devices {
		entries = AppendInt4(entries, uint32(1+4+len(v.Address)))
		entries = AppendString(append(entries, byte(v.Type)), v.Address)
	}
	return append(AppendInt4(b, uint32(len(entries))), entries...)
}

// DecodeImageConfiguration decodes what EncodeImageConfiguration makes. Fields
// added to an entry and bytes after the arrays are skipped.
func DecodeImageConfiguration(data []byte) (ImageConfiguration, error) {
	d := decoder{b: data}
	c := ImageConfiguration{
		Memory: d.int4(), MemoryUnit: MemoryUnit(d.int1()), ShareType: ShareType(d.int1()),
		Share: d.str(), CPUCount: d.int4(),
	}
	cpus, devices := d.block(), decoder{}
	if devices.b, devices.err = d.block(), d.err; d.err != nil {
		return ImageConfiguration{}, fmt.Errorf("image configuration: %w", d.err)
	}
	for d := (decoder{b: cpus}); len(d.b) > 0; {
		e := decoder{b: d.block(), err: d.err}
		c.CPUs = append(c.CPUs, CPU{Number: e.int4(), ID: e.str(), State: CPUState(e.int1())})
		if e.err != nil {
			return ImageConfiguration{}, fmt.Errorf("processor %d of an image configuration: %w", len(c.CPUs), e.err)
		}
	}
	for d := devices; len(d.b) > 0; {
		e := decoder{b: d.block(), err: d.err}
		c.Devices = append(c.Devices, Device{Type: DeviceType(e.int1()), Address: e.str()})
		if e.err != nil {
			return ImageConfiguration{}, fmt.Errorf("device %d of an image configuration: %w", len(c.Devices), e.err)
		}
	}
	return c, nil
}

// SSI is the output of SSI_Query: the single-system image cluster of the
// server's system.
type SSI struct {
	Name string
	// Mode is "Stable", "Influx" or "Safe" as z/VM writes it.
	Mode string
	// CrossSystemTimeouts is "Enabled" or "Disabled".
	CrossSystemTimeouts string
	// PDR is where the persistent data record is: VOLUME_on_DEVICE.
	PDR     string
	Members []SSIMember
}

// SSIMember is a member system of an SSI cluster.
type SSIMember struct {
	// Slot is 1 to 8.
	Slot   int
	System string
	// State is "Joined", "Joining", "Leaving", "Down", "Isolated",
	// "Suspended" or "Unknown" as z/VM writes it.
	State string
	// PDRHeartbeat and ReceivedHeartbeat are mm/dd/yyyy_hh:mm:ss, or another
	// text where there is none.
	PDRHeartbeat, ReceivedHeartbeat string
}

// EncodeSSI encodes the strings of an SSI, each ended by a zero byte; a member
// is one string of five words.
func EncodeSSI(s SSI) []byte {
	var b []byte
	for _, text := range []string{s.Name, s.Mode, s.CrossSystemTimeouts, s.PDR} {
		b = append(append(b, text...), 0)
	}
	for _, m := range s.Members {
		b = fmt.Appendf(b, "%d %s %s %s %s\x00", m.Slot, m.System, m.State, m.PDRHeartbeat, m.ReceivedHeartbeat)
	}
	return b
}

// DecodeSSI decodes what EncodeSSI makes. A member may lack its heartbeats.
func DecodeSSI(data []byte) (SSI, error) {
	fields := splitZero(data)
	if len(fields) < 4 {
		return SSI{}, fmt.Errorf("%w: SSI with %d strings, 4 are the least", ErrMalformed, len(fields))
	}
	s := SSI{Name: fields[0], Mode: fields[1], CrossSystemTimeouts: fields[2], PDR: fields[3]}
	for _, text := range fields[4:] {
		words := strings.Fields(text)
		if len(words) < 3 {
			return SSI{}, fmt.Errorf("%w: SSI member %q has no state", ErrMalformed, text)
		}
		slot, err := strconv.ParseUint(words[0], 10, 8)
		if err != nil {
			return SSI{}, fmt.Errorf("%w: SSI member %q has no slot number", ErrMalformed, text)
		}
		words = append(words, "", "")
		s.Members = append(s.Members, SSIMember{int(slot), words[1], words[2], words[3], words[4]})
	}
	return s, nil
}

// splitZero splits strings that each end with a zero byte; the last one may
// lack it.
func splitZero(data []byte) []string {
	text := strings.TrimSuffix(string(data), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// EncodeSystemInformation encodes the output of System_Information_Query.
func EncodeSystemInformation(lines []string) []byte {
	return AppendString(nil, strings.Join(lines, "\x00"))
}

// DecodeSystemInformation returns its lines.
func DecodeSystemInformation(data []byte) ([]string, error) {
	s, _, err := CutString(data)
	if err != nil {
		return nil, fmt.Errorf("system information: %w", err)
	}
	return splitZero([]byte(s)), nil
}

// Authorization is an entry of a server's AUTHLIST as Authorization_List_Query
// gives it.
type Authorization struct {
	// Each is a name, or the name of a list if the flag after it is set.
	Requester     string
	RequesterList bool
	Target        string
	TargetList    bool
	Function      string
	FunctionList  bool
}

// EncodeAuthorizations encodes the total length in bytes and then each entry
// with its length.
func EncodeAuthorizations(list []Authorization) []byte {
	flag := func(b []byte, set bool) []byte {
		if set {
			return append(b, 1)
		}
		return append(b, 0)
	}
	b := AppendInt4(nil, 0)
	for _, a := range list {
		b = AppendInt4(b, uint32(3*(4+1)+len(a.Requester)+len(a.Target)+len(a.Function)))
		b = flag(AppendString(b, a.Requester), a.RequesterList)
		b = flag(AppendString(b, a.Target), a.TargetList)
		b = flag(AppendString(b, a.Function), a.FunctionList)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// DecodeAuthorizations decodes what EncodeAuthorizations makes.
func DecodeAuthorizations(data []byte) ([]Authorization, error) {
	var list []Authorization
	err := decodeArray(data, "authorization list", func(d *decoder) {
		e := decoder{b: d.block(), err: d.err}
		a := Authorization{e.str(), e.int1() != 0, e.str(), e.int1() != 0, e.str(), e.int1() != 0}
		if d.err = e.err; d.err == nil {
			list = append(list, a)
		}
	})
	return list, err
}
