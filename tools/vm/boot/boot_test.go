package boot

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"

	"github.com/haobox/haobox/tools/vm/wire"
)

// module returns an object file with a section .modinfo, and nothing else.
func module(t *testing.T, order binary.ByteOrder, info string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	if order == binary.BigEndian {
		ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	const head = 64
	sections := head + len(info) + len(names)
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{Ident: ident, Type: uint16(elf.ET_REL), Version: 1, Ehsize: head, Shoff: uint64(sections), Shentsize: 64, Shnum: 3, Shstrndx: 2},
		[]byte(info), []byte(names),
		elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: head, Size: uint64(len(info))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(head + len(info)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, order, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// kernel returns an unpacked kernel package with the modules a (needs b-c and
// d), b_c (needs d), d (wants soft_thing first, which f-generic and f-fast
// are), and with e inside the kernel.
func kernel(t *testing.T) *Kernel {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "lib/modules/6.1")
	files := []struct {
		name string
		data []byte
	}{
		{"boot/vmlinuz-6.1", nil},
		{"lib/modules/6.1/modules.builtin", []byte("kernel/x/e.ko\n")},
		{"lib/modules/6.1/kernel/a.ko", module(t, binary.BigEndian, "alias=x\x00depends=b_c,d\x00name=a\x00")},
		{"lib/modules/6.1/kernel/b-c.ko", module(t, binary.LittleEndian, "depends=d,e\x00")},
		{"lib/modules/6.1/kernel/d.ko", module(t, binary.BigEndian, "softdep=post: a pre: soft-thing nowhere post: a\x00depends=\x00")},
		{"lib/modules/6.1/kernel/f-generic.ko", module(t, binary.BigEndian, "alias=soft_thing\x00depends=\x00")},
		{"lib/modules/6.1/kernel/f-fast.ko", module(t, binary.BigEndian, "alias=soft_thing\x00depends=\x00")},
		{"lib/modules/6.1/kernel/broken.ko", []byte("no object")},
	}
	if err := errors.Join(os.MkdirAll(root+"/kernel", 0o755), os.MkdirAll(dir+"/boot", 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k, err := openKernel(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestResolve(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, modules, want string
		err                 error
	}{
		{"what a module needs comes first, once", "a b-c", "f-generic d b-c a", nil},
		{"dash and underscore are one", "b_c", "f-generic d b-c", nil},
		{"inside the kernel", "e", "", nil},
		{"missing", "a nosuch", "", ErrNoModule},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			files, err := kernel(t).Resolve(strings.Fields(tc.modules))
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			var got []string
			for _, f := range files {
				got = append(got, strings.TrimSuffix(filepath.Base(f), ".ko"))
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("got %q, want %q", s, tc.want)
			}
		})
	}
	if _, err := kernel(t).Resolve([]string{"broken"}); err == nil {
		t.Error("a file that is no module is taken for one")
	}
}

func TestWriteInitrd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := errors.Join(os.MkdirAll(tree+"/sub", 0o755), os.WriteFile(tree+"/sub/run", []byte("#!"), 0o755), os.Symlink("run", tree+"/sub/link"),
		os.WriteFile(dir+"/init", []byte("init"), 0o600)); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Arch: Arch{Name: "s390x"}, Kernel: kernel(t), Init: dir + "/init",
		Files:    []File{{Name: "/opt", Source: tree}, {Name: "/etc/deep/file", Data: []byte("text"), Mode: 0o640}},
		Commands: []wire.Command{{Args: []string{"/opt/sub/run"}, Limit: time.Second}},
	}
	// The driver of the port to the host has to be there.
	if err := writeInitrd(dir+"/initrd", cfg); !errors.Is(err, ErrNoModule) {
		t.Fatalf("without virtio_console: %v, want ErrNoModule", err)
	}
	cfg.Kernel.builtin["virtio_console"] = true
	cfg.Modules = []string{"b_c"}
	if err := writeInitrd(dir+"/initrd", cfg); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir + "/initrd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]string{}
	for r := cpio.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if parent := filepath.Dir(h.Name); parent != "." && got[parent] != "dir 755 " {
			t.Errorf("%s comes before its folder", h.Name)
		}
		kind := "file"
		switch {
		case h.Mode.IsDir():
			kind = "dir"
		case h.Mode&^cpio.ModePerm == cpio.TypeSymlink:
			kind = "link"
			data = []byte(h.Linkname)
		}
		got[h.Name] = kind + " " + octal(os.FileMode(h.Mode.Perm())) + " " + string(data)
	}
	for name, want := range map[string]string{
		"init": "file 755 init", "opt/sub/run": "file 755 #!", "opt/sub/link": "link 777 run", "etc/deep/file": "file 640 text",
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	var plan wire.Plan
	if err := json.Unmarshal([]byte(strings.TrimPrefix(got["vm-plan.json"], "file 600 ")), &plan); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(plan.Modules, " "); s != "/lib/modules/6.1/f_generic.ko /lib/modules/6.1/d.ko /lib/modules/6.1/b_c.ko" {
		t.Errorf("modules in the plan: %s", s)
	}
}

func octal(m os.FileMode) string {
	const digits = "01234567"
	return string([]byte{digits[m>>6&7], digits[m>>3&7], digits[m&7]})
}

func TestFollow(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, frames string
		fault        string // part of the error, "" for none
	}{
		{"a whole run", `{"Kind":"ready","Text":"6.1"}
{"Kind":"stdout","Command":0,"Data":"aGk="}
{"Kind":"exit","Command":0,"Code":3}
{"Kind":"stderr","Command":1,"Data":"aG8="}
{"Kind":"exit","Command":1,"TimedOut":true,"Code":137}
{"Kind":"done"}`, ""},
		{"the guest gives up", `{"Kind":"fault","Text":"load /x.ko: no such device"}`, "load /x.ko: no such device"},
		{"the guest dies", `{"Kind":"ready"}
{"Kind":"exit","Command":0}`, "ended before command 2 of 2"},
		{"the kernel dies", "", "ended before command 1 of 2"},
		{"noise", "Kernel panic\n", "read a frame"},
		{"a command that was not asked for", `{"Kind":"stdout","Command":2}`, "unknown command 2"},
		{"a kind that is not known", `{"Kind":"hello"}`, "unknown kind"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), "port")
			l, err := net.Listen("unix", name)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := net.Dial("unix", name)
			if err != nil {
				t.Fatal(err)
			}
			if tc.frames != "" {
				tc.frames += "\n"
			}
			if _, err := io.WriteString(c, tc.frames); err != nil {
				t.Fatal(err)
			}
			c.Close()
			cfg := Config{Commands: make([]wire.Command, 2)}
			s := &session{cfg: cfg, report: &Report{Results: make([]Result, 2)}, start: time.Now()}
			err = s.follow(l)
			switch {
			case tc.fault == "" && err != nil:
				t.Fatal(err)
			case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
				t.Fatalf("got %v, want %q", err, tc.fault)
			case tc.fault == "":
				r := s.report.Results
				if string(r[0].Stdout) != "hi" || r[0].Code != 3 || string(r[1].Stderr) != "ho" || !r[1].TimedOut || s.report.Release != "6.1" {
					t.Errorf("got %+v of %s", r, s.report.Release)
				}
			}
		})
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	dead, ready := errors.New("dead"), &Report{Boot: time.Second}
	type outcome struct {
		report *Report
		err    error
	}
	cases := []struct {
		name     string
		outcomes []outcome
		calls    int
		err      error
	}{
		{"at once", []outcome{{ready, nil}}, 1, nil},
		{"dead before the first command, then well", []outcome{{&Report{}, dead}, {ready, nil}}, 2, nil},
		{"dead each time", []outcome{{&Report{}, dead}, {&Report{}, dead}, {&Report{}, dead}}, 3, dead},
		{"dead among the tests is theirs", []outcome{{ready, dead}}, 1, dead},
		{"no emulator", []outcome{{nil, dead}}, 1, dead},
	}
	for _, tc := range cases {
		calls, again := 0, 0
		_, err := retry(t.Context(), 3, func(error) { again++ }, func() (*Report, error) {
			o := tc.outcomes[calls]
			calls++
			return o.report, o.err
		})
		if calls != tc.calls || again != tc.calls-1 || !errors.Is(err, tc.err) {
			t.Errorf("%s: %d boots, %d announced, error %v", tc.name, calls, again, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := retry(ctx, 3, nil, func() (*Report, error) { return &Report{}, dead }); !errors.Is(err, dead) {
		t.Errorf("broken off: %v", err)
	}
}
