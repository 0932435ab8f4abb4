//go:build linux

package fenced

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/fencing"
)

// header is a request of the old tools, for tests.
func header(command, option, length uint32, data int32) []byte {
	var b []byte
	for _, v := range []uint32{oldMagic, oldVersion, command, option, length, uint32(data), 0, 0} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func TestOldRequest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   []byte
		want oldRequest
		err  error
	}{
		{"domain nodes", header(oldDomainNodes, optionAll, 32, 100), oldRequest{oldDomainNodes, optionAll, 32, 100}, nil},
		{"external, with its name", header(oldExternal, 0, 32+256, -1), oldRequest{oldExternal, 0, 288, -1}, nil},
		{"a newer minor version", append(append(header(1, 0, 32, 0)[:4:4], binary.NativeEndian.AppendUint32(nil, 0x00010007)...), header(1, 0, 32, 0)[8:]...), oldRequest{1, 0, 32, 0}, nil},
		{"another version", append(append(header(1, 0, 32, 0)[:4:4], binary.NativeEndian.AppendUint32(nil, 0x00020001)...), header(1, 0, 32, 0)[8:]...), oldRequest{}, errOldRequest},
		{"another magic", make([]byte, 32), oldRequest{}, errOldRequest},
		{"short", header(1, 0, 32, 0)[:31], oldRequest{}, errOldRequest},
		{"a length beyond what there is", header(oldExternal, 0, 1<<31, 0), oldRequest{}, errOldRequest},
	} {
		got, err := decodeOld(tc.in)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", tc.name, got, err, tc.want, tc.err)
		}
	}
}

func TestOldReply(t *testing.T) {
	t.Parallel()
	got := oldRequest{command: oldNodeInfo, option: 3}.reply(-enoent, []byte("abc"))
	want := append(header(oldNodeInfo, 3, 35, -2), "abc"...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var node []byte
	for _, v := range []uint32{2, 1, 0, 1, 4, 0} {
		node = binary.NativeEndian.AppendUint32(node, v)
	}
	node = binary.NativeEndian.AppendUint64(node, 1388500000)
	n := fencing.NodeInfo{ID: 2, Member: true, LastMaster: 1, LastHow: fencing.HowExternal, LastTime: time.Unix(1388500000, 0)}
	if diff := cmp.Diff(node, oldNode(n)); diff != "" || len(node) != 32 {
		t.Errorf("node record of %d bytes (-want +got):\n%s", len(node), diff)
	}
}

// FuzzOldRequest: what is accepted is within its limits, and comes back the
// same.
func FuzzOldRequest(f *testing.F) {
	f.Add(header(oldDomainInfo, 0, 32, 0))
	f.Add(header(oldExternal, 0, 288, 0))
	f.Add(header(oldDump, 0, 1<<31, 0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeOld(b)
		if err != nil {
			return
		}
		if r.length > oldHeader+oldName {
			t.Errorf("length %d accepted", r.length)
		}
		again := header(r.command, r.option, r.length, r.data)
		if !bytes.Equal(again[8:24], b[8:24]) {
			t.Errorf("%x came back as %x", b, again)
		}
	})
}
