package host

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/haobox/haobox/platform"
)

// rooted is the real file system below a folder.
type rooted struct {
	root string
	// run, if not empty, stands for /run and /var/run.
	run string
}

// NewFS returns the real file system below root; "" means /.
func NewFS(root string) platform.FS { return NewRunFS(root, "") }

// NewRunFS returns the real file system below root, with run in the place of
// /run and /var/run: several nodes on one machine share all but these. A run
// of "" is that of root.
func NewRunFS(root, run string) platform.FS {
	if root == "/" {
		root = ""
	}
	return rooted{root, run}
}

func (r rooted) Path(name string) string {
	if r.run != "" {
		clean := strings.TrimPrefix(filepath.Clean("/"+name), "/var")
		if rest, ok := strings.CutPrefix(clean, "/run"); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(r.run, rest)
		}
	}
	if r.root == "" {
		return name
	}
	return filepath.Join(r.root, filepath.Clean("/"+name))
}

func (r rooted) Open(name string) (platform.File, error) { return r.OpenFile(name, os.O_RDONLY, 0) }

func (r rooted) OpenFile(name string, flag int, perm fs.FileMode) (platform.File, error) {
	f, err := os.OpenFile(r.Path(name), flag, perm)
	if err != nil {
		return nil, err // not a typed nil inside the interface
	}
	return f, nil
}

func (r rooted) ReadFile(name string) ([]byte, error) { return os.ReadFile(r.Path(name)) }

func (r rooted) WriteFile(name string, data []byte, perm fs.FileMode) error {
	p := r.Path(name)
	err := renameio.WriteFile(p, data, perm, renameio.WithStaticPermissions(perm), renameio.WithTempDir(filepath.Dir(p)))
	if err != nil {
		return err
	}
	// renameio syncs the file; the rename itself is safe only once the
	// folder is on the disk.
	dir, err := os.Open(filepath.Dir(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (r rooted) Stat(name string) (fs.FileInfo, error)      { return os.Stat(r.Path(name)) }
func (r rooted) Lstat(name string) (fs.FileInfo, error)     { return os.Lstat(r.Path(name)) }
func (r rooted) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(r.Path(name)) }
func (r rooted) Readlink(name string) (string, error)       { return os.Readlink(r.Path(name)) }
func (r rooted) Symlink(target, name string) error          { return os.Symlink(target, r.Path(name)) }
func (r rooted) Rename(from, to string) error               { return os.Rename(r.Path(from), r.Path(to)) }
func (r rooted) Remove(name string) error                   { return os.Remove(r.Path(name)) }
func (r rooted) MkdirAll(name string, perm fs.FileMode) error {
	return os.MkdirAll(r.Path(name), perm)
}
