package quorumdisk

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// image is a whole disk from testdata. Those of the old suite were put together
// from the format's description, with the leftovers that its programs had in
// unused fields and behind the payloads; no code of this package made them.
func image(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is a Disk in memory.
type memory struct {
	sector int
	b      []byte
	calls  []string
	// fail gives the error of a call by kind and offset.
	fail func(kind string, offset int64, n int) error
}

func newMemory(sector int) *memory { return &memory{sector: sector, b: make([]byte, MinSize(sector))} }

func (m *memory) SectorSize() int { return m.sector }

func (m *memory) note(kind string, offset int64, n int) error {
	m.calls = append(m.calls, kind)
	if m.fail != nil {
		return m.fail(kind, offset, n)
	}
	return nil
}

func (m *memory) ReadAt(b []byte, offset int64) error {
	if err := m.note("read", offset, len(b)); err != nil {
		return err
	}
	if offset+int64(len(b)) > int64(len(m.b)) {
		return io.ErrUnexpectedEOF
	}
	copy(b, m.b[offset:])
	return nil
}

func (m *memory) WriteAt(b []byte, offset int64) error {
	if err := m.note("write", offset, len(b)); err != nil {
		return err
	}
	copy(m.b[offset:], b)
	return nil
}

// TestFormat_Vector: the disk that mkqdisk 3.2 makes with its clock at
// 1300000000 and zeroed buffers.
func TestFormat_Vector(t *testing.T) {
	t.Parallel()
	d := newMemory(512)
	if err := Format(d, Header{Host: "node1.example.com", Label: "oracle512"}, 1300000000, nil); err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[int]string{
		0:      "1ebbde0090e65e0a187c6a2c100100000000000000000000006d7c4d00000000eb7a62c2389fabc4",
		0x1000: "1ebbde00d04f52ad53845720500000000000000000000000006d7c4d0000000047bacef800000000",
		0x2000: "1ebbde00532ad0b1125300a65000000000000000",
		0x3000: "1ebbde00d2f651ba2d1ecddb",
	} {
		w, _ := hex.DecodeString(want)
		if got := d.b[offset : offset+len(w)]; !bytes.Equal(got, w) {
			t.Errorf("block at %#x:\n got %x\nwant %x", offset, got, w)
		}
	}
	if bytes.Count(d.b[0x11000:], []byte{0}) != len(d.b)-0x11000 {
		t.Error("something is written behind the last block")
	}
}

func TestFormat_Offsets(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sector    int
		one, last int64
		size      int64
	}{{512, 0x1000, 0x10000, 73728}, {4096, 0x1000, 0x10000, 73728}, {8192, 0x2000, 0x20000, 147456}} {
		if Offset(1, tc.sector) != tc.one || Offset(16, tc.sector) != tc.last || MinSize(tc.sector) != tc.size {
			t.Errorf("sector %d: %d %d %d", tc.sector, Offset(1, tc.sector), Offset(16, tc.sector), MinSize(tc.sector))
		}
	}
}

// TestOldDisks: every field of disks as the old suite left them.
func TestOldDisks(t *testing.T) {
	t.Parallel()
	const started = 1388500700
	inc := Incarnation(started)
	want := func() (b Blocks) {
		for i := range b {
			b[i].Status = Status{Timestamp: 1388500698, Node: uint32(i + 1), Incarnation: 0xDEADBEEFCAFEF00D, Message: 0x7fff, Sequence: 0x1234,
				Argument: 0xABCDEF01, LastWrite: Elapsed{0, 0x7ffe1234}, Online: 0x1111111111111111, MasterMask: 0x9999999999999999}
		}
		b.Node(1).Status = Status{Updater: 1, Timestamp: 1388500800, Node: 1, State: StateMaster, Incarnation: inc, Sequence: 3,
			Online: MaskOf(1, 2, 3), MasterMask: MaskOf(1, 2), AverageWrite: Elapsed{0, 1500}, LastWrite: Elapsed{0, 900}}
		b.Node(2).Status = Status{Updater: 2, Timestamp: 1388500800, Node: 2, State: StateRunning, Incarnation: Incarnation(started + 5),
			Message: MessageAck, Sequence: 2, Argument: 1, Online: MaskOf(1, 2, 3), AverageWrite: Elapsed{1, 2}, LastWrite: Elapsed{3, 4}}
		b.Node(3).Status = Status{Updater: 3, Timestamp: 1388500799, Node: 3, State: StateInitializing, Incarnation: Incarnation(started + 9)}
		b.Node(4).Status = Status{Updater: 1, Timestamp: 1388500770, Node: 4, State: StateEvicted}
		b.Node(9).Status = Status{Updater: 9, Timestamp: 1388500710, Node: 9, Incarnation: inc, Sequence: 7}
		b.Node(16).Status = Status{Updater: 16, Timestamp: 1388500800, Node: 16, State: StateExiting, Incarnation: inc, Message: MessageBid,
			Sequence: 65535, Argument: 0xffffffff, Online: ^Mask(0), MasterMask: MaskOf(16, 64)}
		return b
	}()
	for _, tc := range []struct {
		name   string
		header Header
		sector int
	}{
		{"rhel6-512", Header{Created: 1388500698, Host: "cnode1.example.com", Label: "QDISK", Version2: true, SectorSize: 512}, 512},
		{"rhel6-4096", Header{Created: 1388500698, Host: "cnode1.example.com", Label: "QDISK", Version2: true, SectorSize: 4096}, 4096},
		{"rhcs4-512", Header{Created: 1388500698, Host: "cnode1.example.com", Label: "QDISK"}, 512},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := &memory{sector: tc.sector, b: image(t, tc.name)}
			h, err := Probe(d)
			if diff := cmp.Diff(tc.header, h); diff != "" || err != nil {
				t.Errorf("header (-want +got):\n%s%v", diff, err)
			}
			if err := h.Check(tc.sector); err != nil {
				t.Error(err)
			}
			if err := h.Check(2048); (err == nil) == tc.header.Version2 || err != nil && !errors.Is(err, ErrSectorSize) {
				t.Errorf("as a disk of other sectors: %v", err)
			}
			if diff := cmp.Diff(&want, ReadAll(d, nil), cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
			// Written by us the checked parts are the same bytes.
			for id := 1; id <= MaxNodes; id++ {
				s, err := ReadStatus(d, id)
				if err != nil {
					t.Fatal(err)
				}
				again, err := EncodeStatus(s, tc.sector)
				if err != nil {
					t.Fatal(err)
				}
				at := Offset(id, tc.sector)
				const length = envelopeSize + statusSize
				if !bytes.Equal(again[:length], d.b[at:at+length]) {
					t.Errorf("block of node %d:\n got %x\nwant %x", id, again[:length], d.b[at:at+length])
				}
			}
		})
	}
}

func TestReadAll_OneCall(t *testing.T) {
	t.Parallel()
	for _, sector := range []int{512, 4096} {
		d := newMemory(sector)
		if err := Format(d, Header{Label: "x"}, 1, nil); err != nil {
			t.Fatal(err)
		}
		d.calls = nil
		all := ReadAll(d, nil)
		if len(d.calls) != 1 || all.Node(16).Err != nil || all.Node(16).Status.Node != 16 {
			t.Errorf("%v, %+v", d.calls, all.Node(16))
		}
	}
}

// TestReadAll_OneBadSector costs one node, not all of them.
func TestReadAll_OneBadSector(t *testing.T) {
	t.Parallel()
	eio := errors.New("input/output error")
	d := newMemory(512)
	if err := Format(d, Header{Label: "x"}, 1, nil); err != nil {
		t.Fatal(err)
	}
	d.fail = func(_ string, offset int64, n int) error {
		if bad := Offset(3, 512); offset <= bad && bad < offset+int64(n) {
			return eio
		}
		return nil
	}
	all := ReadAll(d, nil)
	for id := 1; id <= MaxNodes; id++ {
		if err := all.Node(id).Err; (id == 3) != errors.Is(err, eio) || id != 3 && err != nil {
			t.Errorf("node %d: %v", id, err)
		}
	}
}

func TestEncodeHeader_Labels(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, label string
		err         error
	}{
		{"empty", "", nil},
		{"118 characters", strings.Repeat("l", 118), nil},
		{"119 characters", strings.Repeat("l", 119), ErrLabel},
		{"a NUL", "a\x00b", ErrLabel},
	} {
		b, err := EncodeHeader(Header{Label: tc.label, Host: strings.Repeat("h", 300), Version2: true, SectorSize: 512}, 512, 5)
		if !errors.Is(err, tc.err) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if tc.err != nil {
			continue
		}
		h, err := DecodeHeader(b)
		if err != nil || h.Label != tc.label || h.Host != strings.Repeat("h", 127) {
			t.Errorf("%s: %+v, %v", tc.name, h, err)
		}
	}
	if _, err := EncodeHeader(Header{}, 256, 0); !errors.Is(err, ErrShort) {
		t.Errorf("a sector too small: %v", err)
	}
}

func TestWriteStatus_Slots(t *testing.T) {
	t.Parallel()
	for _, id := range []int{0, -1, 17} {
		if err := WriteStatus(newMemory(512), id, Status{}); err == nil || !strings.Contains(err.Error(), "slots for 1 to 16") {
			t.Errorf("node %d: %v", id, err)
		}
	}
}

// sealed is a block of any payload with right checksums.
func sealed(payload []byte, magic uint32, length int) []byte {
	b := make([]byte, envelopeSize+len(payload))
	copy(b[envelopeSize:], payload)
	binary.LittleEndian.PutUint32(b[0:], magic)
	if length <= len(payload) {
		binary.LittleEndian.PutUint32(b[8:], crc32.ChecksumIEEE(payload[:length]))
	}
	binary.LittleEndian.PutUint32(b[12:], uint32(length))
	binary.LittleEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[:envelopeSize]))
	return b
}

func TestDecode_BadBlocks(t *testing.T) {
	t.Parallel()
	old := make([]byte, headerSize)
	binary.BigEndian.PutUint32(old, headerMagicOld)
	for _, tc := range []struct {
		name   string
		b      []byte
		header error
		status error
	}{
		{"nothing", nil, ErrShort, ErrShort},
		{"less than an envelope", make([]byte, 31), ErrShort, ErrShort},
		{"zeros", make([]byte, 512), ErrHeaderCRC, ErrHeaderCRC},
		{"another magic number", sealed(make([]byte, 300), 7, 272), ErrMagic, ErrMagic},
		{"another payload", sealed(make([]byte, 480), envelopeMagic, 272), ErrMagic, nil},
		{"Red Hat Cluster Manager 1.2", sealed(old, envelopeMagic, headerSize), ErrOldDisk, nil},
		{"a length beyond the block", sealed(make([]byte, 480), envelopeMagic, 1<<31), ErrMagic, nil},
		{"no payload", sealed(nil, envelopeMagic, 0), ErrMagic, nil},
		{"a payload that was torn", append(sealed(make([]byte, 480), envelopeMagic, 272)[:100], make([]byte, 412)...), ErrMagic, nil},
		{"a payload that is not the checked one", append(sealed(make([]byte, 80), envelopeMagic, 80)[:100], bytes.Repeat([]byte{1}, 412)...), ErrDataCRC, ErrDataCRC},
	} {
		if _, err := DecodeHeader(tc.b); !errors.Is(err, tc.header) {
			t.Errorf("%s as header: %v, want %v", tc.name, err, tc.header)
		}
		if _, err := DecodeStatus(tc.b); !errors.Is(err, tc.status) {
			t.Errorf("%s as status: %v, want %v", tc.name, err, tc.status)
		}
	}
}

// TestDecode_BitFlips: each single wrong bit of what is checked is seen, but
// for those of the length that make it reach beyond the block.
func TestDecode_BitFlips(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rhel6-512", "rhel6-4096"} {
		all := image(t, name)
		header, status := all[:512], all[4096:4096+512]
		for _, tc := range []struct {
			b       []byte
			checked int
			decode  func([]byte) error
		}{
			{header, envelopeSize + headerSize, func(b []byte) error { _, err := DecodeHeader(b); return err }},
			{status, envelopeSize + statusSize, func(b []byte) error { _, err := DecodeStatus(b); return err }},
		} {
			if err := tc.decode(tc.b); err != nil {
				t.Fatal(err)
			}
			for bit := range 8 * len(tc.b) {
				tc.b[bit/8] ^= 1 << (bit % 8)
				err := tc.decode(tc.b)
				if (bit/8 < tc.checked) != (err != nil) {
					t.Errorf("%s: bit %d of byte %d: %v", name, bit%8, bit/8, err)
				}
				tc.b[bit/8] ^= 1 << (bit % 8)
			}
		}
	}
}

// TestDecode_TornBlocks: a block whose first part is new and whose rest is old
// is not taken for either, wherever the cut is.
func TestDecode_TornBlocks(t *testing.T) {
	t.Parallel()
	before := Status{Updater: 1, Node: 1, Timestamp: 1000, State: StateRunning, Incarnation: Incarnation(7), Online: MaskOf(1, 2)}
	after := before
	after.Timestamp, after.State, after.MasterMask, after.Online = 1001, StateMaster, MaskOf(1, 2), MaskOf(1, 2, 3)
	a, err := EncodeStatus(before, 512)
	if err != nil {
		t.Fatal(err)
	}
	b, err := EncodeStatus(after, 512)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(a) + 1 {
		torn := append(append([]byte{}, b[:cut]...), a[cut:]...)
		got, err := DecodeStatus(torn)
		if err == nil && got != before && got != after {
			t.Errorf("cut at %d: %+v", cut, got)
		}
	}
}

func randomStatus(t *rapid.T) Status {
	u32 := rapid.Uint32()
	return Status{
		Updater: u32.Draw(t, "updater"), Timestamp: rapid.Uint64().Draw(t, "time"), Node: u32.Draw(t, "node"), State: State(rapid.Byte().Draw(t, "state")),
		Flags: rapid.Uint16().Draw(t, "flags"), Score: rapid.Uint16().Draw(t, "score"), MaxScore: rapid.Uint16().Draw(t, "max"),
		AverageWrite: Elapsed{u32.Draw(t, "s"), u32.Draw(t, "us")}, LastWrite: Elapsed{u32.Draw(t, "s"), u32.Draw(t, "us")},
		Incarnation: rapid.Uint64().Draw(t, "inc"), Message: Message(rapid.Uint16().Draw(t, "message")), Sequence: rapid.Uint16().Draw(t, "seq"),
		Argument: u32.Draw(t, "arg"), Online: Mask(rapid.Uint64().Draw(t, "online")), MasterMask: Mask(rapid.Uint64().Draw(t, "master")),
	}
}

func TestStatus_EncodeDecode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := randomStatus(t)
		b, err := EncodeStatus(want, rapid.SampledFrom([]int{512, 4096}).Draw(t, "sector"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeStatus(b)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("(-want +got):\n%s%v", diff, err)
		}
	})
}

func TestHeader_EncodeDecode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ -~]{0,118}`)
		want := Header{Created: rapid.Uint64().Draw(t, "created"), Host: name.Draw(t, "host"), Label: name.Draw(t, "label"), Version2: true, SectorSize: rapid.Uint32().Draw(t, "size")}
		b, err := EncodeHeader(want, 512, rapid.Uint64().Draw(t, "now"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeHeader(b)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("(-want +got):\n%s%v", diff, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"rhel6-512", "rhcs4-512"} {
		b := image(f, name)
		f.Add(b[:512])
		f.Add(b[4096 : 4096+512])
		f.Add(b[16*4096 : 16*4096+512])
	}
	f.Add(sealed(make([]byte, 480), envelopeMagic, 1<<31))
	f.Add(sealed(make([]byte, 4), envelopeMagic, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := DecodeHeader(b); err == nil && (len(h.Host) > hostSize || len(h.Label) > labelSize) {
			t.Errorf("%+v", h)
		}
		s, err := DecodeStatus(b)
		if err != nil {
			return
		}
		again, err := EncodeStatus(s, 512)
		if err != nil && !errors.Is(err, ErrZeroCRC) {
			t.Fatal(err)
		}
		if got, err := DecodeStatus(again); err == nil && got != s {
			t.Errorf("%+v, then %+v", s, got)
		}
	})
}

func TestMask(t *testing.T) {
	t.Parallel()
	m := MaskOf(1, 9, 16, 64, 0, 65)
	if diff := cmp.Diff([]int{1, 9, 16, 64}, m.IDs()); diff != "" {
		t.Error(diff)
	}
	if m.Has(0) || m.Has(65) || m.Without(9).Has(9) || !m.Has(64) {
		t.Errorf("%v", m.IDs())
	}
}
