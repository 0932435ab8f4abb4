package boot

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Arch is a kind of machine that can be booted.
type Arch struct {
	// Name is its GOARCH, Debian the name that Debian gives it.
	Name, Debian string
	// Kernel is Debian's package that depends on the current kernel.
	Kernel string
	// qemu is the emulator's program, args its machine.
	qemu string
	args []string
	// console is the kernel's name of the first console.
	console string
	// serial is the device of the virtio serial bus; transport are the
	// modules below it.
	serial    string
	transport []string
}

// arches are the kinds of machine. An emulated processor "max" has everything
// the emulator knows.
var arches = []Arch{
	{
		Name: "s390x", Debian: "s390x", Kernel: "linux-image-s390x",
		qemu: "qemu-system-s390x", args: []string{"-machine", "s390-ccw-virtio", "-cpu", "max"},
		console: "ttysclp0", serial: "virtio-serial-ccw",
	},
	{
		Name: "amd64", Debian: "amd64", Kernel: "linux-image-amd64",
		qemu: "qemu-system-x86_64", args: []string{"-machine", "q35", "-cpu", "max"},
		console: "ttyS0", serial: "virtio-serial-pci", transport: []string{"virtio_pci"},
	},
}

// FindArch returns the kind of machine with the GOARCH name.
func FindArch(name string) (Arch, error) {
	var known []string
	for _, a := range arches {
		if a.Name == name {
			return a, nil
		}
		known = append(known, a.Name)
	}
	return Arch{}, fmt.Errorf("no machine of kind %q; there are %s", name, strings.Join(known, ", "))
}

// ErrNoModule is returned for a module that the kernel package does not have.
var ErrNoModule = errors.New("no such kernel module")

// Store keeps the packages of one kind of machine in a folder of the user's
// cache. It asks the machine's own Debian sources through a private apt
// configuration: nothing of the machine's package state changes, and no
// foreign architecture is added to it.
type Store struct {
	arch Arch
	dir  string
}

// NewStore returns the store of arch below dir; "" is the user's cache folder.
func NewStore(arch Arch, dir string) (*Store, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache folder: %w", err)
		}
		dir = filepath.Join(base, "haobox", "vm")
	}
	s := &Store{arch: arch, dir: filepath.Join(dir, arch.Debian)}
	for _, d := range []string{"lists/partial", "archives/partial", "tree"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// lock keeps a second process out until the returned function is called.
func (s *Store) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// apt runs a program of apt with the private configuration.
func (s *Store) apt(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(s.dir, "archives")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(s.dir, "apt.conf"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s for %s: %w\n%s%s", name, strings.Join(args, " "), s.arch.Debian, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// configure writes the private configuration: the Debian sources of this
// machine, another architecture, and an empty list of installed packages.
func (s *Store) configure(ctx context.Context) error {
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	signed := ""
	if _, err := os.Stat(keyring); err == nil {
		signed = "[signed-by=" + keyring + "] "
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "deb "+signed+"$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian").Output()
	if err != nil {
		return fmt.Errorf("ask apt-get for the package sources: %w", err)
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return errors.New("apt knows no source of Debian packages: run apt-get update and see /etc/apt/sources.list")
	}
	conf := fmt.Sprintf(`Dir::State %[1]q;
Dir::State::lists "lists";
Dir::State::status "%[1]s/status";
Dir::Cache %[1]q;
Dir::Etc::SourceList "%[1]s/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::Preferences "-";
Dir::Etc::PreferencesParts "-";
APT::Architecture %[2]q;
APT::Architectures { %[2]q; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
`, s.dir, s.arch.Debian)
	for _, f := range []struct{ name, text string }{{"sources.list", string(out)}, {"apt.conf", conf}, {"status", ""}} {
		if err := os.WriteFile(filepath.Join(s.dir, f.name), []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tree is the folder that holds the unpacked packages of one set, with all
// that they depend on.
func (s *Store) tree(set []string) string {
	slices.Sort(set)
	return filepath.Join(s.dir, "tree", strings.Join(slices.Compact(set), "+"))
}

// Packages returns a folder with the named packages and everything they depend
// on, unpacked and not installed. What was fetched before is not fetched again
// unless refresh is set.
func (s *Store) Packages(ctx context.Context, set []string, refresh bool) (string, error) {
	return s.fetch(ctx, s.tree(slices.Clone(set)), refresh, func() ([]string, error) {
		out, err := s.apt(ctx, "apt-get", append([]string{"-qq", "--simulate", "install"}, set...)...)
		if err != nil {
			return nil, err
		}
		var names []string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Inst" {
				names = append(names, f[1])
			}
		}
		return names, nil
	})
}

// Kernel returns a folder with Debian's current kernel and its modules.
func (s *Store) Kernel(ctx context.Context, refresh bool) (*Kernel, error) {
	dir, err := s.fetch(ctx, filepath.Join(s.dir, "tree", s.arch.Kernel), refresh, func() ([]string, error) {
		// The package is empty and depends on the one with the version in
		// its name.
		out, err := s.apt(ctx, "apt-cache", "depends", s.arch.Kernel)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "Depends:" && strings.HasPrefix(f[1], "linux-image-") {
				return f[1:], nil
			}
		}
		return nil, fmt.Errorf("package %s names no kernel:\n%s", s.arch.Kernel, out)
	})
	if err != nil {
		return nil, err
	}
	return openKernel(dir)
}

// fetch makes the folder dir of the packages that names returns.
func (s *Store) fetch(ctx context.Context, dir string, refresh bool, names func() ([]string, error)) (string, error) {
	unlock, err := s.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil && !refresh {
		return dir, nil
	}
	if err := s.configure(ctx); err != nil {
		return "", err
	}
	if _, err := s.apt(ctx, "apt-get", "-q", "update"); err != nil {
		return "", err
	}
	list, err := names()
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(s.dir, "unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	debs := filepath.Join(tmp, "debs")
	root := filepath.Join(tmp, "root")
	if err := errors.Join(os.Mkdir(debs, 0o755), os.Mkdir(root, 0o755)); err != nil {
		return "", err
	}
	// apt-get checks the packages against the signed lists as it downloads.
	cmd := append([]string{"-q", "-o", "Dir::Cache::archives=" + debs, "download"}, list...)
	if _, err := s.aptIn(ctx, debs, cmd); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(files) < len(list) {
		return "", fmt.Errorf("downloaded %d of %d packages: %s", len(files), len(list), strings.Join(list, " "))
	}
	for _, f := range files {
		if text, err := exec.CommandContext(ctx, "dpkg-deb", "-x", f, root).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpack %s: %w\n%s", filepath.Base(f), err, text)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(root, dir)
}

// aptIn is apt-get in another working directory: "download" writes there.
func (s *Store) aptIn(ctx context.Context, dir string, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(s.dir, "apt.conf"), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("apt-get %s for %s: %w\n%s", strings.Join(args, " "), s.arch.Debian, err, out)
	}
	return string(out), nil
}

// Kernel is an unpacked kernel package.
type Kernel struct {
	// Image is the kernel's file, Release what "uname -r" will say.
	Image, Release string
	// modules has the file of each module by name; builtin those inside Image.
	modules map[string]string
	builtin map[string]bool
	// aliases has the modules by their other names; it is read when a soft
	// dependency first needs it.
	aliases map[string][]string
}

// openKernel reads what is in an unpacked kernel package.
func openKernel(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinu[zx]-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s has %d kernels, not one", dir, len(images))
	}
	_, release, _ := strings.Cut(filepath.Base(images[0]), "-")
	k := &Kernel{Image: images[0], Release: release, modules: map[string]string{}, builtin: map[string]bool{}}
	var root string
	for _, lib := range []string{"lib", "usr/lib"} {
		if d := filepath.Join(dir, lib, "modules", release); exists(d) {
			root = d
		}
	}
	if root == "" {
		return nil, fmt.Errorf("%s has no modules of %s", dir, release)
	}
	list, err := os.ReadFile(filepath.Join(root, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		k.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			k.modules[moduleName(path)] = path
		}
		return err
	})
	return k, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// moduleName is the name of a module in a file: the kernel takes "-" for "_".
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// Resolve returns the files of the modules and of all they depend on, in the
// order to load them. Modules inside the kernel need no file. The package has
// no modules.dep (depmod writes it at installation), so the order comes from
// where depmod takes it, the modules' own information.
func (k *Kernel) Resolve(names []string) ([]string, error) {
	var out []string
	done := map[string]bool{}
	var add func(name, by string) error
	add = func(name, by string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if done[name] || k.builtin[name] {
			return nil
		}
		done[name] = true
		file, ok := k.modules[name]
		if !ok {
			return fmt.Errorf("%w: %s (wanted by %s) in %s", ErrNoModule, name, by, k.Release)
		}
		data, err := readModule(file)
		if err != nil {
			return err
		}
		info, err := modinfo(data)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		for _, soft := range info.before {
			// As with modprobe, what is missing may be inside the kernel.
			n, err := k.named(soft)
			if err != nil {
				return err
			}
			if n != "" {
				if err := add(n, name); err != nil {
					return err
				}
			}
		}
		for _, n := range info.needs {
			if err := add(n, name); err != nil {
				return err
			}
		}
		out = append(out, file)
		return nil
	}
	for _, n := range names {
		if err := add(n, "the caller"); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readModule returns a module's object code. Newer Debian kernels compress it.
func readModule(file string) ([]byte, error) {
	if strings.HasSuffix(file, ".ko") {
		return os.ReadFile(file)
	}
	for _, c := range []struct{ suffix, program string }{{".xz", "xz"}, {".zst", "zstd"}, {".gz", "gzip"}} {
		if strings.HasSuffix(file, c.suffix) {
			out, err := exec.Command(c.program, "-dc", file).Output()
			if err != nil {
				return nil, fmt.Errorf("%s -dc %s: %w", c.program, file, err)
			}
			return out, nil
		}
	}
	return nil, fmt.Errorf("%s is compressed in an unknown way", file)
}

// named returns the module with the name or alias, or "".
func (k *Kernel) named(name string) (string, error) {
	name = strings.ReplaceAll(name, "-", "_")
	if k.modules[name] != "" {
		return name, nil
	}
	if k.aliases == nil {
		k.aliases = map[string][]string{}
		for module, file := range k.modules {
			data, err := readModule(file)
			if err != nil {
				return "", err
			}
			info, err := modinfo(data)
			if err != nil {
				continue // broken, and nobody asked for it
			}
			for _, a := range info.aliases {
				a = strings.ReplaceAll(a, "-", "_")
				k.aliases[a] = append(k.aliases[a], module)
			}
		}
	}
	// Of several drivers of one thing, the one for every machine.
	found := slices.Sorted(slices.Values(k.aliases[name]))
	for _, m := range found {
		if strings.HasSuffix(m, "_generic") {
			return m, nil
		}
	}
	if len(found) > 0 {
		return found[0], nil
	}
	return "", nil
}

// info is what a module says of itself.
type info struct {
	// needs are the modules whose symbols it uses, before those it wants to
	// find loaded, aliases its other names.
	needs, before, aliases []string
}

// modinfo reads a module's section .modinfo, a list of zero-ended strings such
// as "depends=a,b" and "softdep=pre: c d post: e".
func modinfo(object []byte) (info, error) {
	var out info
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return out, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return out, errors.New("no section .modinfo: not a kernel module")
	}
	data, err := section.Data()
	if err != nil {
		return out, err
	}
	for _, entry := range bytes.Split(data, []byte{0}) {
		key, value, _ := strings.Cut(string(entry), "=")
		switch {
		case value == "":
		case key == "depends":
			out.needs = strings.Split(value, ",")
		case key == "alias":
			out.aliases = append(out.aliases, value)
		case key == "softdep":
			before := false
			for _, w := range strings.Fields(value) {
				switch {
				case strings.HasSuffix(w, ":"):
					before = w == "pre:"
				case before:
					out.before = append(out.before, w)
				}
			}
		}
	}
	return out, nil
}
