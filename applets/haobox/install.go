package haobox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform"
)

// savedSuffix is what a file is called that made room for one of our links;
// uninstall puts it back.
const savedSuffix = ".before-haobox"

// placement is where the links go and what they point to.
type placement struct {
	fs     platform.FS
	prefix string // absolute, below the root
	binary string // the installed binary, absolute, below the root
	force  bool
	dryRun bool
	out    io.Writer
}

// flags that install and uninstall share.
func placementFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", Value: "/", Usage: "install below `DIR` instead of /"},
		&cli.StringFlag{Name: "prefix", Value: "/usr", Usage: "`DIR` of sbin, bin and share, below the root"},
		&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done and do nothing"},
	}
}

func (t tool) install() *cli.Command {
	return &cli.Command{
		Name:      "install",
		Usage:     "copy the binary to PREFIX/sbin/haobox and make the applets' symlinks",
		ArgsUsage: "[APPLET ...]",
		Description: "Without names, all applets are installed. A file that is in the way is left alone and reported,\n" +
			"unless --force: then it is kept beside the link with the suffix " + savedSuffix + ", and uninstall puts it back.",
		Flags: append(placementFlags(),
			&cli.BoolFlag{Name: "force", Usage: "move files out of the way that are not haobox's"},
			&cli.BoolFlag{Name: "no-copy", Usage: "only make the links; the binary is there already"}),
		Action: func(c *cli.Context) error {
			p, entries, err := t.place(c)
			if err != nil {
				return err
			}
			p.force = c.Bool("force")
			var errs []error
			if !c.Bool("no-copy") {
				if err := p.copyBinary(); err != nil {
					return fail("haobox install: %v", err)
				}
			}
			for _, e := range entries {
				for _, link := range e.Links {
					if name := p.path(link); name != p.binary {
						errs = append(errs, p.link(name))
					}
				}
			}
			return joined(errs)
		},
	}
}

func (t tool) uninstall() *cli.Command {
	return &cli.Command{
		Name:        "uninstall",
		Usage:       "remove the applets' symlinks, and without names the binary",
		ArgsUsage:   "[APPLET ...]",
		Description: "Only links that point to the installed binary are removed; files that install moved away come back.",
		Flags:       placementFlags(),
		Action: func(c *cli.Context) error {
			p, entries, err := t.place(c)
			if err != nil {
				return err
			}
			var errs []error
			for _, e := range entries {
				for _, link := range e.Links {
					if name := p.path(link); name != p.binary {
						errs = append(errs, p.unlink(name))
					}
				}
			}
			if !c.Args().Present() {
				errs = append(errs, p.do("remove "+p.binary, func() error {
					if err := p.fs.Remove(p.binary); !errors.Is(err, fs.ErrNotExist) {
						return err
					}
					return nil
				}))
			}
			return joined(errs)
		},
	}
}

// place reads the flags and the applets named.
func (t tool) place(c *cli.Context) (*placement, []applet.Entry, error) {
	prefix := path.Clean(c.String("prefix"))
	if !path.IsAbs(prefix) {
		return nil, nil, applet.Exitf(exitUsage, "haobox %s: --prefix '%s' is not an absolute path", c.Command.Name, c.String("prefix"))
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return nil, nil, fail("haobox %s: --root: %v", c.Command.Name, err)
	}
	p := &placement{
		fs: below{t.env.FS, root}, prefix: prefix, binary: path.Join(prefix, "sbin", Name),
		dryRun: c.Bool("dry-run"), out: t.env.Stdout,
	}
	if !c.Args().Present() {
		return p, t.all, nil
	}
	var entries []applet.Entry
	for _, name := range c.Args().Slice() {
		e, ok := t.entry(name)
		if !ok {
			return nil, nil, applet.Exitf(exitUsage, "haobox %s: no applet is called '%s'; 'haobox --list' prints them", c.Command.Name, name)
		}
		entries = append(entries, e)
	}
	return p, entries, nil
}

// entry finds an applet by its name or an alias.
func (t tool) entry(name string) (applet.Entry, bool) {
	for _, e := range t.all {
		if e.Answers(name) {
			return e, true
		}
	}
	return applet.Entry{}, false
}

// path is a link's place: relative ones are below the prefix.
func (p *placement) path(link string) string {
	if path.IsAbs(link) {
		return path.Clean(link)
	}
	return path.Join(p.prefix, link)
}

// do says what is done, and does it unless this is a dry run.
func (p *placement) do(what string, f func() error) error {
	if _, err := fmt.Fprintln(p.out, what); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	if p.dryRun {
		return nil
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// copyBinary copies the running binary to its place, unless it is there.
func (p *placement) copyBinary() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	here, err := os.Stat(self)
	if err != nil {
		return err
	}
	if there, err := p.fs.Stat(p.binary); err == nil && os.SameFile(here, there) {
		return nil
	}
	return p.do("copy "+self+" to "+p.binary, func() error {
		data, err := os.ReadFile(self)
		if err != nil {
			return err
		}
		if err := p.fs.MkdirAll(path.Dir(p.binary), 0o755); err != nil {
			return err
		}
		return p.fs.WriteFile(p.binary, data, 0o755)
	})
}

// target is what a link at name holds: a relative path to the binary, so that
// the tree can be moved and looked at below another root.
func (p *placement) target(name string) string {
	rel, err := filepath.Rel(path.Dir(name), p.binary)
	if err != nil {
		return p.binary
	}
	return rel
}

// ours reports whether a link holds the way to the installed binary, relative
// or absolute.
func (p *placement) ours(name, target string) bool {
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(name), target)
	}
	return path.Clean(target) == p.binary
}

// link makes one symlink.
func (p *placement) link(name string) error {
	switch info, err := p.fs.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0 && p.linksToUs(name):
		return nil
	case info.IsDir():
		return fmt.Errorf("link %s: a folder is in the way; remove it first", name)
	case !p.force:
		return fmt.Errorf("link %s: there is a file that is not haobox's; --force keeps it as %s", name, name+savedSuffix)
	default:
		err := p.do("move "+name+" to "+name+savedSuffix, func() error {
			if _, err := p.fs.Lstat(name + savedSuffix); err == nil {
				return errors.New("an older saved file is in the way")
			}
			return p.fs.Rename(name, name+savedSuffix)
		})
		if err != nil {
			return err
		}
	}
	return p.do("link "+name+" -> "+p.target(name), func() error {
		if err := p.fs.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return p.fs.Symlink(p.target(name), name)
	})
}

func (p *placement) linksToUs(name string) bool {
	target, err := p.fs.Readlink(name)
	return err == nil && p.ours(name, target)
}

// unlink removes one symlink if it is ours and puts back what it replaced.
func (p *placement) unlink(name string) error {
	switch info, err := p.fs.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink == 0 || !p.linksToUs(name):
		return nil
	}
	if err := p.do("remove "+name, func() error { return p.fs.Remove(name) }); err != nil {
		return err
	}
	if _, err := p.fs.Lstat(name + savedSuffix); err != nil {
		return nil
	}
	return p.do("move "+name+savedSuffix+" to "+name, func() error { return p.fs.Rename(name+savedSuffix, name) })
}

// below is a file system below one more folder.
type below struct {
	platform.FS
	root string
}

func (b below) at(name string) string { return path.Join(b.root, strings.TrimPrefix(name, "/")) }

func (b below) Stat(name string) (fs.FileInfo, error)  { return b.FS.Stat(b.at(name)) }
func (b below) Lstat(name string) (fs.FileInfo, error) { return b.FS.Lstat(b.at(name)) }
func (b below) Readlink(name string) (string, error)   { return b.FS.Readlink(b.at(name)) }
func (b below) Symlink(target, name string) error      { return b.FS.Symlink(target, b.at(name)) }
func (b below) Rename(from, to string) error           { return b.FS.Rename(b.at(from), b.at(to)) }
func (b below) Remove(name string) error               { return b.FS.Remove(b.at(name)) }
func (b below) MkdirAll(name string, perm fs.FileMode) error {
	return b.FS.MkdirAll(b.at(name), perm)
}
func (b below) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return b.FS.WriteFile(b.at(name), data, perm)
}
