package agents

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxIncludes bounds the files that are read for one configuration. Ours:
// Debian's default has about 60.
const maxIncludes = 1000

// envvars reads the variables that Debian's configuration uses from
// SERVER_ROOT/envvars, a shell script there: lines "export NAME=VALUE", with
// $SUFFIX as that script makes it and other variables of the file. Nothing is
// run. Elsewhere there is no such file and no variable.
func envvars(c *Call, root string) ([]Param, error) {
	text, err := readLimited(c, path.Join(root, "envvars"), maxServerConf)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, Fail(BadArguments, "read variables of %s: %w", c.Instance(), err)
	}
	suffix, _ := strings.CutPrefix(path.Base(root), "apache2")
	if !strings.HasPrefix(suffix, "-") {
		suffix = ""
	}
	vars := []Param{{"SUFFIX", suffix}, {"APACHE_CONFDIR", root}}
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !ok {
			continue
		}
		words, err := Words(line)
		if err != nil || len(words) == 0 {
			continue
		}
		name, value, ok := strings.Cut(words[0], "=")
		if ok && isName(name) && !strings.ContainsAny(value, "`(") {
			vars = append(vars, Param{name, expand(value, vars)})
		}
	}
	return vars, nil
}

func isName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// expand replaces $NAME and ${NAME}; unknown ones become empty.
func expand(s string, vars []Param) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after := "", rest
		if body, ok := strings.CutPrefix(rest, "{"); ok {
			if n, r, ok := strings.Cut(body, "}"); ok {
				name, after = n, r
			}
		} else {
			i := 0
			for i < len(rest) && isName("x"+rest[i:i+1]) {
				i++
			}
			name, after = rest[:i], rest[i:]
		}
		if name == "" {
			b.WriteByte('$')
		}
		for _, v := range slices.Backward(vars) {
			if v.Name == name {
				b.WriteString(v.Value)
				break
			}
		}
		s = after
	}
}

// rewriter turns a server's configuration into the resource's.
type rewriter struct {
	c     *Call
	root  string
	vars  []Param
	ips   []netip.Addr
	out   strings.Builder
	stack []string // open sections
	seen  []listen
	files int
}

// listen is an address that stands in the output, and in which sections.
type listen struct {
	stack []string
	text  string
}

// rewrite returns the configuration file with the addresses ips in every Listen
// (and in Port, its name before Apache 2) and with its own pid file. Included
// files that have such lines are taken in.
func (a apache) rewrite(c *Call, file string, ips []netip.Addr, pid string) (string, error) {
	vars, err := envvars(c, c.Param("server_root"))
	if err != nil {
		return "", err
	}
	r := rewriter{c: c, root: c.Param("server_root"), vars: vars, ips: ips}
	text, err := source(c, file)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&r.out, "# Made from %s for %s. A file that is edited is left alone from then on.\n", file, c.Instance())
	fmt.Fprintf(&r.out, "PidFile \"%s\"\n", pid)
	if err := r.file(file, text, 0); err != nil {
		return "", err
	}
	return r.out.String(), nil
}

// directive splits a line into the directive's name in lower case and its
// arguments.
func directive(line string) (string, []string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil
	}
	words, err := Words(strings.ReplaceAll(line, `\`, `\\`))
	if err != nil || len(words) == 0 {
		words = strings.Fields(line)
	}
	return strings.ToLower(words[0]), words[1:]
}

// logical yields the lines of a configuration with continued ones joined.
func logical(text string) []string {
	var out []string
	pending := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if before, ok := strings.CutSuffix(line, `\`); ok && !strings.HasSuffix(before, `\`) {
			pending += before + " "
			continue
		}
		out = append(out, pending+line)
		pending = ""
	}
	if pending != "" {
		out = append(out, pending)
	}
	return out
}

func (r *rewriter) file(name, text string, depth int) error {
	for _, line := range logical(text) {
		d, args := directive(line)
		switch {
		case strings.HasPrefix(d, "</"):
			if len(r.stack) > 0 {
				r.stack = r.stack[:len(r.stack)-1]
			}
		case strings.HasPrefix(d, "<"):
			r.stack = append(r.stack, strings.TrimSpace(line))
		case d == "pidfile":
			continue // ours stands at the top
		case d == "serverroot" && len(args) == 1:
			r.root = expand(args[0], r.vars)
		case (d == "listen" || d == "port") && len(args) > 0 && len(r.ips) > 0:
			if err := r.listen(name, args); err != nil {
				return err
			}
			continue
		case (d == "include" || d == "includeoptional") && len(args) == 1:
			done, err := r.include(args[0], depth)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		r.out.WriteString(line + "\n")
	}
	return nil
}

// listen writes one Listen with the addresses of the service, each once in a
// section: the server refuses to listen twice.
func (r *rewriter) listen(file string, args []string) error {
	port, ok := listenPort(expand(args[0], r.vars))
	if !ok {
		return Fail(BadArguments, "%s: Listen %s has no port from 1 to 65535", file, args[0])
	}
	for _, ip := range r.ips {
		l := listen{slices.Clone(r.stack), strings.Join(append([]string{netip.AddrPortFrom(ip, port).String()}, args[1:]...), " ")}
		if slices.ContainsFunc(r.seen, func(o listen) bool {
			return o.text == l.text && len(o.stack) <= len(l.stack) && slices.Equal(o.stack, l.stack[:len(o.stack)])
		}) {
			continue
		}
		r.seen = append(r.seen, l)
		r.out.WriteString("Listen " + l.text + "\n")
	}
	return nil
}

// listenPort reads "80", "10.0.0.1:80", "[::1]:80" and "*:80".
func listenPort(s string) (uint16, bool) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		s = s[i+1:]
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// include takes an included file in, if it or what it includes would have to
// be changed; then done is true. Other includes stay as they are.
func (r *rewriter) include(pattern string, depth int) (done bool, err error) {
	pattern = expand(pattern, r.vars)
	if !path.IsAbs(pattern) {
		pattern = path.Join(r.root, pattern)
	}
	names, err := r.glob(pattern)
	if err != nil || depth > 16 { // 16: ours; httpd itself stops at 128
		return false, nil //nolint:nilerr // httpd says what is wrong with it, with the line
	}
	texts := make([]string, len(names))
	found := false
	for i, n := range names {
		if r.files++; r.files > maxIncludes {
			return false, Fail(BadArguments, "the configuration of %s includes more than %d files", r.c.Instance(), maxIncludes)
		}
		if texts[i], err = source(r.c, n); err != nil {
			return false, nil //nolint:nilerr // as above
		}
		found = found || r.matters(texts[i])
	}
	if !found {
		return false, nil
	}
	for i, n := range names {
		fmt.Fprintf(&r.out, "# from %s\n", n)
		if err := r.file(n, texts[i], depth+1); err != nil {
			return false, err
		}
	}
	return true, nil
}

// matters reports whether a text has a line that is rewritten, or may include
// one that has.
func (r *rewriter) matters(text string) bool {
	for _, line := range logical(text) {
		switch d, _ := directive(line); d {
		case "listen", "port", "pidfile", "include", "includeoptional":
			return true
		}
	}
	return false
}

// glob lists the files of a pattern: * and ? in any element, sorted; a folder
// stands for all files below it, as httpd does.
func (r *rewriter) glob(pattern string) ([]string, error) {
	names := []string{"/"}
	for _, elem := range strings.Split(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range names {
			if !strings.ContainsAny(elem, "*?[") {
				next = append(next, path.Join(dir, elem))
				continue
			}
			entries, err := r.c.Env.FS.ReadDir(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if ok, err := path.Match(elem, e.Name()); err == nil && ok && !strings.HasPrefix(e.Name(), ".") {
					next = append(next, path.Join(dir, e.Name()))
				}
			}
		}
		if names = next; len(names) > maxIncludes {
			return nil, fmt.Errorf("%s means more than %d files", pattern, maxIncludes)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if info, err := r.c.Env.FS.Stat(n); err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s is a folder", n) // left to httpd
		}
	}
	return names, nil
}

// listens are the addresses of the Listen lines of a generated configuration:
// those outside of all sections, and those that depend on something. Lines
// without an address are asked for at the loopback address.
func listens(text string, vars []Param) (sure, perhaps []netip.AddrPort) {
	level := 0
	for _, line := range logical(text) {
		d, args := directive(line)
		switch {
		case strings.HasPrefix(d, "</"):
			level--
		case strings.HasPrefix(d, "<"):
			level++
		case d == "listen" && len(args) > 0:
			a := expand(args[0], vars)
			at, err := netip.ParseAddrPort(a)
			if err != nil {
				port, ok := listenPort(a)
				if !ok {
					continue
				}
				at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
			}
			if at.Addr().IsUnspecified() {
				local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
				if at.Addr().Is6() {
					local = netip.IPv6Loopback()
				}
				at = netip.AddrPortFrom(local, at.Port())
			}
			if level == 0 {
				sure = append(sure, at)
			} else {
				perhaps = append(perhaps, at)
			}
		}
	}
	return sure, perhaps
}
