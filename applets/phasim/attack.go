package phasim

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/platform"
)

// foreignUser is the owner of a planted flag file: nobody, on most systems.
const foreignUser = 65534

// attack puts something else in the place of a node's flag file.
func attack(env platform.Env, d *phasim.Dir, w *phasim.World, i phasim.Injection) error {
	n := w.Node(i.Node)
	dir := env.FS.Path(path.Join(d.Root(n.Name), ksys.DefaultConfig().StateDir))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p := path.Join(dir, ksys.FlagFile)
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch i.What {
	case "flag symlink":
		return os.Symlink("/etc/passwd", p)
	case "flag fifo":
		return unix.Mknod(p, unix.S_IFIFO|0o600, 0)
	case "flag foreign-owner":
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			return err
		}
		return os.Chown(p, foreignUser, foreignUser)
	case "flag stale":
		f := ksys.Flag{Node: n.Name, State: ksys.FlagStarted, Created: w.Clock(), Boot: "an earlier boot", PID: 1}
		return os.WriteFile(p, f.Encode(), 0o600)
	}
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		return err
	}
	// Its age is that of the simulated clock.
	return os.Chtimes(p, w.Clock(), w.Clock())
}
