package simconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is a YAML text that is being read. Faults are collected, so that a
// person sees all of them at once.
type document struct {
	name    string
	errs    []error
	anchors map[string]ast.Node
}

// field is one key of a mapping.
type field struct {
	key string
	set func(n ast.Node, path string)
}

// parse returns the root of text, nil if it is empty.
func (d *document) parse(text []byte) ast.Node {
	if len(text) > maxFile {
		d.errs = append(d.errs, fmt.Errorf("%s: %w: it has %d bytes, more than %d", d.name, ErrFile, len(text), maxFile))
		return nil
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		// Syntax errors of the parser know their place; its package of errors,
		// which would print it, brings reflection along.
		var at interface {
			GetToken() *token.Token
			GetMessage() string
		}
		if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			d.errs = append(d.errs, fmt.Errorf("%s:%d: %w: %s", d.name, at.GetToken().Position.Line, ErrFile, at.GetMessage()))
		} else {
			d.errs = append(d.errs, fmt.Errorf("%s: %w: %w", d.name, ErrFile, err))
		}
		return nil
	}
	switch {
	case len(file.Docs) > 1:
		d.bad(file.Docs[1].Body, "", "there is a second document; only one is read")
		return nil
	case len(file.Docs) == 0:
		return nil
	}
	return file.Docs[0].Body
}

// bad notes a fault at n.
func (d *document) bad(n ast.Node, path, format string, args ...any) {
	line := 0
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			line = t.Position.Line
		}
	}
	if path != "" {
		path += ": "
	}
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %w: %s%s", d.name, line, ErrFile, path, fmt.Sprintf(format, args...)))
}

// plain follows anchors, aliases and tags to the value itself; nil is null.
func (d *document) plain(n ast.Node, path string) ast.Node {
	// An alias may stand for another one; a chain longer than this is a loop.
	for range 10 {
		switch v := n.(type) {
		case *ast.AnchorNode:
			if v.Name != nil {
				if d.anchors == nil {
					d.anchors = map[string]ast.Node{}
				}
				d.anchors[v.Name.String()] = v.Value
			}
			n = v.Value
		case *ast.AliasNode:
			target, ok := d.anchors[v.Value.String()]
			if !ok {
				d.bad(n, path, "nothing above is called &%s", v.Value.String())
				return nil
			}
			n = target
		case *ast.TagNode:
			n = v.Value
		case *ast.NullNode:
			return nil
		default:
			return n
		}
	}
	d.bad(n, path, "it stands for itself")
	return nil
}

// mapping reads the keys of n.
func (d *document) mapping(n ast.Node, path string, fields []field) {
	v := d.plain(n, path)
	if v == nil {
		return
	}
	var pairs []*ast.MappingValueNode
	switch v := v.(type) {
	case *ast.MappingNode:
		pairs = v.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{v}
	default:
		d.bad(n, path, "it is %s, not keys with values", kind(v))
		return
	}
	for _, p := range pairs {
		key := scalarText(p.Key)
		found := false
		for _, f := range fields {
			if f.key == key {
				found = true
				at := key
				if path != "" {
					at = path + "." + key
				}
				f.set(p.Value, at)
			}
		}
		if !found {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.key
			}
			d.bad(p.Key, path, "unknown key %q; known are %s", key, strings.Join(names, ", "))
		}
	}
}

// isMapping reports whether n has keys.
func (d *document) isMapping(n ast.Node, path string) bool {
	switch d.plain(n, path).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// list calls each for every item of n; a single value is a list of one.
func (d *document) list(n ast.Node, path string, each func(n ast.Node, path string)) {
	v := d.plain(n, path)
	if v == nil {
		return
	}
	s, ok := v.(*ast.SequenceNode)
	if !ok {
		each(n, path)
		return
	}
	for i, item := range s.Values {
		each(item, fmt.Sprintf("%s[%d]", path, i))
	}
}

// kind names what a node is.
func kind(n ast.Node) string {
	switch n.(type) {
	case nil:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", scalarText(n))
}

// scalarText is the text of a scalar as it was written, so that a name such as
// 0012 stays one.
func scalarText(n ast.Node) string {
	switch v := n.(type) {
	case nil:
		return ""
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		if v.Value == nil {
			return ""
		}
		return v.Value.Value
	}
	if t := n.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

// textNode is a scalar that stands in no file.
func textNode(text string) ast.Node {
	return ast.String(token.New(text, text, &token.Position{}))
}

// scalar returns the text of a scalar; ok is false, and the fault noted, if it
// is none.
func (d *document) scalar(n ast.Node, path string) (text string, ok bool) {
	v := d.plain(n, path)
	switch v.(type) {
	case nil, *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		d.bad(n, path, "it is %s, not a single value", kind(v))
		return "", false
	}
	return scalarText(v), true
}

// value reads a scalar with convert and notes what that says.
func value[T any](d *document, to *T, convert func(string) (T, error)) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		text, ok := d.scalar(n, path)
		if !ok {
			return
		}
		v, err := convert(text)
		if err != nil {
			d.bad(n, path, "%v", err)
			return
		}
		*to = v
	}
}

func (d *document) str(to *string) func(ast.Node, string) {
	return value(d, to, func(s string) (string, error) { return s, nil })
}

func (d *document) boolean(to *bool) func(ast.Node, string) {
	return value(d, to, func(s string) (bool, error) {
		switch strings.ToLower(s) {
		case "true", "yes", "on":
			return true, nil
		case "false", "no", "off":
			return false, nil
		}
		return false, fmt.Errorf("%q is not true or false", s)
	})
}

func (d *document) integer(to *int, least, most int) func(ast.Node, string) {
	return value(d, to, func(s string) (int, error) {
		v, err := strconv.Atoi(s)
		if err != nil || v < least || v > most {
			return 0, fmt.Errorf("%q is not a number from %d to %d", s, least, most)
		}
		return v, nil
	})
}

func (d *document) duration(to *time.Duration) func(ast.Node, string) {
	return value(d, to, parseDuration)
}

func parseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 1.5s or 300ms", s)
	}
	return v, nil
}

func (d *document) strings(to *[]string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		d.list(n, path, func(n ast.Node, path string) {
			if s, ok := d.scalar(n, path); ok {
				*to = append(*to, s)
			}
		})
	}
}

// ErrFile is the cause of every error about a configuration file.
var ErrFile = errors.New("bad configuration")

// maxFile bounds a configuration file in bytes: ours.
const maxFile = 1 << 20
