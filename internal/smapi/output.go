package smapi

import (
	"encoding/binary"
	"fmt"
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
