package agents

import (
	"crypto/sha1" //nolint:gosec // a mark of rgmanager's agents that tells an edited file, no protection
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strings"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/xmldoc"
)

const (
	// sumMark starts the last line of a generated file.
	sumMark = "# rgmanager-sha1 "
	// maxServerConf is the largest configuration of a server that is read, in
	// bytes. Ours.
	maxServerConf = 4 << 20
	appendFlags   = os.O_WRONLY | os.O_CREATE | os.O_APPEND
)

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// clusterFile is the cluster.conf that the node runs with: that of rgmanager
// may be older than the file, and its addresses are the ones that are up.
func clusterFile(c *Call) string {
	return clusterconf.RunningFile(c.Env.Getenv, func(file string) bool {
		_, err := c.Env.FS.Stat(file)
		return err == nil
	})
}

// serviceAddresses are the addresses of the service of a resource, without
// prefix lengths, in the order of cluster.conf: its ip elements at any level,
// written out or references.
func serviceAddresses(c *Call, service string) ([]netip.Addr, error) {
	file := clusterFile(c)
	text, err := readLimited(c, file, xmldoc.MaxSize)
	if err != nil {
		return nil, err
	}
	doc, err := xmldoc.Parse(file, text)
	if err != nil {
		return nil, err
	}
	rm := doc.Root.Child("rm")
	if rm == nil {
		return nil, nil
	}
	var out []netip.Addr
	var walk func(e *xmldoc.Element) error
	walk = func(e *xmldoc.Element) error {
		for _, k := range e.Elements() {
			if k.Name == "ip" {
				a := k.Get("address")
				if ref, ok := k.Attr("ref"); ok {
					a = ref
				}
				bare, _, _ := strings.Cut(a, "/")
				addr, err := netip.ParseAddr(strings.TrimSpace(bare))
				if err != nil {
					return Fail(Generic, "%v: address %q of service %s is no IP address", k.Pos(), a, service)
				}
				out = append(out, addr)
			}
			if err := walk(k); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range rm.ChildrenNamed("service") {
		name := s.Get("name")
		if ref := s.Get("ref"); ref != "" {
			name = ref
		}
		if name == service {
			return out, walk(s)
		}
	}
	return nil, nil
}

// addresses looks for the addresses of the resource's service and says so. Without
// a service (Pacemaker) there are none and no error.
func addresses(c *Call) ([]netip.Addr, error) {
	service := c.Param("service_name")
	if service == "" {
		return nil, nil
	}
	c.Debugf("Looking For IP Addresses")
	found, err := serviceAddresses(c, service)
	if err != nil {
		c.Errorf("Looking For IP Addresses [%s] > Failed: %v", c.Instance(), err)
		return nil, Quiet(Generic)
	}
	c.Debugf("%d IP addresses found for %s/%s", len(found), service, c.Name)
	return found, nil
}

// someAddresses is addresses for agents that need one.
func someAddresses(c *Call) ([]netip.Addr, error) {
	found, err := addresses(c)
	if err != nil || c.Param("service_name") == "" {
		return nil, err
	}
	if len(found) == 0 {
		c.Errorf("Looking For IP Addresses [%s] > Failed - No IP Addresses Found", c.Instance())
		return nil, Quiet(Generic)
	}
	c.Debugf("Looking For IP Addresses > Succeed - IP Addresses Found")
	return found, nil
}

// readLimited reads a file that is not longer than limit bytes.
func readLimited(c *Call, name string, limit int64) ([]byte, error) {
	info, err := c.Env.FS.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is no regular file")}
	}
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is too long")}
	}
	return c.Env.FS.ReadFile(name)
}

// source reads a server's own configuration.
func source(c *Call, name string) (string, error) {
	text, err := readLimited(c, name, maxServerConf)
	if err != nil {
		return "", Fail(BadArguments, "read the configuration of %s: %w", c.Instance(), err)
	}
	return string(text), nil
}

// incomplete is how validate-all fails for something that is not there: a wrong
// parameter to rgmanager, and to Pacemaker what is not installed on this node.
func incomplete(c *Call, format string, args ...any) error {
	code := BadArguments
	if c.Dialect == OCF {
		code = NotInstalled
	}
	return Fail(code, "Verifying Configuration Of %s > Failed - %w", c.Instance(), fmt.Errorf(format, args...))
}

// needsSource fails if a server's own configuration cannot be read.
func needsSource(c *Call, name string) error {
	if _, err := source(c, name); err != nil {
		return incomplete(c, "%w", err)
	}
	return nil
}

// firstFile is the first of the names that is a file, or "".
func firstFile(c *Call, names []string) string {
	for _, name := range names {
		if info, err := c.Env.FS.Stat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// generated is where the configuration for a resource is written.
func generated(c *Call, name string) string {
	return confRoot + "/" + c.Type + "/" + c.Instance() + "/" + name
}

// edited reports whether a generated file was changed by hand: its last line is
// not the sum of what stands before. A file that is missing or empty is not.
func edited(text string) bool {
	if strings.TrimSpace(text) == "" {
		return false
	}
	i := strings.LastIndex(text, sumMark)
	if i < 0 || i > 0 && text[i-1] != '\n' {
		return true
	}
	return strings.TrimSpace(text[i+len(sumMark):]) != sum(text[:i])
}

func sum(text string) string {
	return fmt.Sprintf("%x", sha1.Sum([]byte(text))) //nolint:gosec // see the import
}

// generate writes the configuration for a resource, made from another one,
// unless somebody has edited it. The file is replaced at once. mode is that of
// the source, if it may hold passwords (see inherited).
func generate(c *Call, file, from, text string, mode fs.FileMode) error {
	c.Debugf("Checking: SHA1 checksum of config file %s", file)
	old, err := readLimited(c, file, maxServerConf)
	if err != nil && !isMissing(err) {
		return Fail(Generic, "read the generated configuration: %w", err)
	}
	if err == nil && edited(string(old)) {
		c.Warnf("Checking: SHA1 checksum > failed - File %s was edited and is left alone; remove it to have it generated again", file)
		return nil
	}
	c.Debugf("Checking: SHA1 checksum > succeed")
	c.Debugf("Generating New Config File %s From %s", file, from)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if err := c.Env.FS.MkdirAll(path.Dir(file), 0o755); err != nil {
		return Fail(Generic, "make the folder of %s: %w", file, err)
	}
	if err := c.Env.FS.WriteFile(file, []byte(text+sumMark+sum(text)+"\n"), mode); err != nil {
		return Fail(Generic, "write the generated configuration %s: %w", file, err)
	}
	c.Debugf("Generating New Config File %s From %s > Succeed", file, from)
	return nil
}

// inherited is the mode of a generated file: never more than its source gives,
// because the source may hold passwords.
func inherited(c *Call, from string) fs.FileMode {
	info, err := c.Env.FS.Stat(from)
	if err != nil {
		return 0o600
	}
	return info.Mode().Perm() & 0o644
}

// checked is what a program that checks a configuration says of it.
func checked(c *Call, file string, o Output) error {
	if !o.OK() {
		return Fail(Generic, "Checking Syntax Of The File %s [%s] > Failed: %s", file, c.Instance(), strings.Join(o.Lines(), "; "))
	}
	c.Debugf("Checking Syntax Of The File %s > Succeed", file)
	return nil
}
