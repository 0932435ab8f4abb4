package clusterconf

import (
	"io"
	"path"

	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
)

// Read reads a file for Parse. What is longer than Parse takes, or has no end
// (a device), is cut behind that length, so that Parse says so.
func Read(fs platform.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, xmldoc.MaxSize+1))
}

// maxLinks is how many symlinks Target follows: as many as the kernel,
// path_resolution(7).
const maxLinks = 40

// Target is the file that is written to replace name: where symlinks lead,
// because a configuration that is kept elsewhere is to change there.
func Target(fs platform.FS, name string) string {
	for range maxLinks {
		to, err := fs.Readlink(name)
		if err != nil {
			return name
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = to
	}
	return name
}
