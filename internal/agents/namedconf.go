package agents

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// namedToken is a piece of named.conf: a word, a quoted string, one of "{", "}"
// and ";", or blanks and comments.
type namedToken struct {
	text  string
	space bool
}

// namedTokens cuts the text of named.conf into tokens that give the text again
// when joined. Comments are those of C, C++ and the shell (BIND 9 reference,
// "Comments").
func namedTokens(text string) ([]namedToken, error) {
	var out []namedToken
	for i := 0; i < len(text); {
		start, space := i, false
		rest := text[i:]
		switch ch := text[i]; {
		case ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r':
			i, space = i+1, true
		case ch == '#' || strings.HasPrefix(rest, "//"):
			space = true
			if j := strings.IndexByte(rest, '\n'); j >= 0 {
				i += j
			} else {
				i = len(text)
			}
		case strings.HasPrefix(rest, "/*"):
			j := strings.Index(rest[2:], "*/")
			if j < 0 {
				return nil, fmt.Errorf("a comment has no end")
			}
			i, space = i+j+4, true
		case ch == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if i++; i > len(text) {
				return nil, fmt.Errorf("a string has no end")
			}
		case strings.IndexByte("{};", ch) >= 0:
			i++
		default:
			for i < len(text) && strings.IndexByte(" \t\r\n{};\"", text[i]) < 0 &&
				!strings.HasPrefix(text[i:], "//") && !strings.HasPrefix(text[i:], "/*") {
				i++
			}
		}
		out = append(out, namedToken{text[start:i], space})
	}
	return out, nil
}

// statement is a top-level or inner statement: its words up to the first brace
// and the place of its tokens, with the final ";".
type statement struct {
	words       []string
	from, to    int // tokens[from:to]
	open, close int // tokens of its first braces, or 0
}

// statements splits tokens[from:to] at the semicolons outside of braces.
func statements(tokens []namedToken, from, to int) ([]statement, error) {
	var out []statement
	depth := 0
	s := statement{from: -1}
	for i := from; i < to; i++ {
		t := tokens[i]
		if t.space {
			continue
		}
		if s.from < 0 {
			s.from = i
		}
		switch t.text {
		case "{":
			if depth++; depth == 1 && s.open == 0 {
				s.open = i
			}
		case "}":
			if depth--; depth < 0 {
				return nil, fmt.Errorf("a brace is closed that was not opened")
			}
			if depth == 0 && s.close == 0 {
				s.close = i
			}
		case ";":
			if depth == 0 {
				s.to = i + 1
				out = append(out, s)
				s = statement{from: -1}
			}
		default:
			if depth == 0 && s.open == 0 {
				s.words = append(s.words, strings.Trim(t.text, `"`))
			}
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("a brace has no end")
	}
	return out, nil
}

func joinTokens(t []namedToken) string {
	var b strings.Builder
	for _, x := range t {
		b.WriteString(x.text)
	}
	return b.String()
}

// namedConf is the given configuration with the resource's addresses and pid
// file in its options. Included files that hold the options are taken in.
func namedConf(c *Call, file string, ips []netip.Addr, pid string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made from %s for %s. A file that is edited is left alone from then on.\n", file, c.Instance())
	body, found, err := namedFile(c, file, ips, pid, 0)
	if err != nil {
		return "", err
	}
	b.WriteString(body)
	if !found {
		fmt.Fprintf(&b, "\noptions {\n\tdirectory \"%s\";\n%s};\n", c.Param("named_working_dir"), namedOptions(ips, pid, nil))
	}
	return b.String(), nil
}

// listenOn is what a removed listen-on statement said beside its addresses.
type listenOn struct{ extra string } // "port 5353", "tls ephemeral"

// namedOptions are the resource's statements for the options.
func namedOptions(ips []netip.Addr, pid string, ports []listenOn) string {
	var b strings.Builder
	if len(ips) > 0 {
		if len(ports) == 0 {
			ports = []listenOn{{}}
		}
		for _, p := range ports {
			for _, family := range []string{"listen-on", "listen-on-v6"} {
				list := ""
				for _, a := range ips {
					if a.Is6() == (family == "listen-on-v6") {
						list += " " + a.WithZone("").String() + ";"
					}
				}
				if list == "" {
					list = " none;"
				}
				fmt.Fprintf(&b, "\t%s%s {%s };\n", family, p.extra, list)
			}
		}
	}
	fmt.Fprintf(&b, "\tpid-file \"%s\";\n", pid)
	return b.String()
}

// namedFile rewrites one file. found is true if it, or a file that it includes,
// has the options.
func namedFile(c *Call, file string, ips []netip.Addr, pid string, depth int) (text string, found bool, err error) {
	source, err := source(c, file)
	if err != nil {
		return "", false, err
	}
	tokens, err := namedTokens(source)
	var list []statement
	if err == nil {
		list, err = statements(tokens, 0, len(tokens))
	}
	if err != nil {
		return "", false, Fail(BadArguments, "read %s: %w", file, err)
	}
	var b strings.Builder
	last := 0
	for _, s := range list {
		if len(s.words) == 0 {
			continue
		}
		switch {
		case s.words[0] == "options" && s.open > 0 && !found:
			inner, err := statements(tokens, s.open+1, s.close)
			if err != nil {
				return "", false, Fail(BadArguments, "read the options in %s: %w", file, err)
			}
			b.WriteString(joinTokens(tokens[last : s.open+1]))
			last = s.open + 1
			var ports []listenOn
			for _, o := range inner {
				name := ""
				if len(o.words) > 0 {
					name = o.words[0]
				}
				listen := name == "listen-on" || name == "listen-on-v6"
				if name != "pid-file" && (!listen || len(ips) == 0) {
					continue
				}
				if p := (listenOn{joinWords(o.words)}); listen && !hasPort(ports, p) {
					ports = append(ports, p)
				}
				b.WriteString(joinTokens(tokens[last:o.from]))
				last = o.to
			}
			b.WriteString(joinTokens(tokens[last:s.close]))
			b.WriteString("\n" + namedOptions(ips, pid, ports))
			last, found = s.close, true
		case s.words[0] == "include" && len(s.words) == 2 && depth < 16 && !strings.ContainsAny(s.words[1], "*?["):
			// 16: ours; BIND itself has no limit.
			name := s.words[1]
			if !path.IsAbs(name) {
				name = path.Join(c.Param("named_working_dir"), name)
			}
			inner, has, err := namedFile(c, name, ips, pid, depth+1)
			if err != nil || !has || found {
				continue // named says what is wrong with it
			}
			b.WriteString(joinTokens(tokens[last:s.from]))
			fmt.Fprintf(&b, "# from %s\n%s\n", name, inner)
			last, found = s.to, true
		}
	}
	b.WriteString(joinTokens(tokens[last:]))
	return b.String(), found, nil
}

// joinWords are the words after the first, each with a blank in front.
func joinWords(words []string) string {
	out := ""
	for _, w := range words[1:] {
		out += " " + w
	}
	return out
}

func hasPort(list []listenOn, p listenOn) bool {
	for _, o := range list {
		if o == p {
			return true
		}
	}
	return false
}
