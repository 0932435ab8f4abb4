package ksys

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// MaxConfigXML is the largest ksysmgr.xml that is read, in bytes. Ours.
const MaxConfigXML = 1 << 20

// The faults of ksysmgr.xml.
var (
	// ErrXMLTooLarge, ErrXMLDeclaration: refused unread.
	ErrXMLTooLarge    = errors.New("larger than 1 MiB")
	ErrXMLDeclaration = errors.New("has a document type or entity declaration")
	// ErrXMLSyntax: not well formed.
	ErrXMLSyntax = errors.New("not well-formed XML")
	// ErrXMLUnknown: well formed, but not exactly one cluster with a name, a
	// state and a type.
	ErrXMLUnknown = errors.New("no single cluster element with name, state and type")
)

// configXMLForm is the form used when there is no ksysmgr.xml. The real schema
// is not public: an assumption.
const configXMLForm = `<?xml version="1.0" encoding="UTF-8"?>
<ksysmgr>
  <cluster>
    <name>%s</name>
    <state>%s</state>
    <type>%s</type>
  </cluster>
</ksysmgr>
`

// NewConfigXML returns a new ksysmgr.xml.
func NewConfigXML(c KsysCluster) []byte {
	return fmt.Appendf(nil, configXMLForm, escapeXML(c.Name), escapeXML(c.State), escapeXML(c.Type))
}

func escapeXML(s string) string {
	var b bytes.Buffer
	// EscapeText fails only if the buffer does.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// span is where a value stands in the file.
type span struct {
	from, to int
	set      bool
	value    string
}

// xmlValues are the places of the three values.
type xmlValues struct{ name, state, typ span }

func (v *xmlValues) of(key string) *span {
	switch strings.ToLower(key) {
	case "name":
		return &v.name
	case "state":
		return &v.state
	case "type":
		return &v.typ
	}
	return nil
}

// ParseConfigXML returns the cluster of a ksysmgr.xml.
func ParseConfigXML(data []byte) (KsysCluster, error) {
	v, err := locate(data)
	if err != nil {
		return KsysCluster{}, err
	}
	return KsysCluster{v.name.value, v.state.value, v.typ.value}, nil
}

// EditConfigXML returns data with the cluster's name and type changed and
// every other byte as it was. The state is KSYS's own and stays.
func EditConfigXML(data []byte, name, typ string) ([]byte, error) {
	v, err := locate(data)
	if err != nil {
		return nil, err
	}
	type change struct {
		span
		text string
	}
	changes := []change{{v.name, name}, {v.typ, typ}}
	slices.SortFunc(changes, func(a, b change) int { return b.from - a.from })
	out := slices.Clone(data)
	for _, c := range changes {
		if c.value != c.text {
			out = slices.Replace(out, c.from, c.to, []byte(escapeXML(c.text))...)
		}
	}
	return out, nil
}

// locate finds the one cluster element and the places of its values.
func locate(data []byte) (xmlValues, error) {
	var found xmlValues
	if len(data) > MaxConfigXML {
		return found, ErrXMLTooLarge
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	clusters := 0
	depth := 0     // below the cluster element
	var in *span   // value element being read
	inside := 0    // its depth
	plain := false // it has held text only
	for {
		before := int(d.InputOffset())
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return found, fmt.Errorf("%w: %v", ErrXMLSyntax, err)
		}
		after := int(d.InputOffset())
		switch t := tok.(type) {
		case xml.Directive:
			return found, ErrXMLDeclaration
		case xml.StartElement:
			name := strings.ToLower(t.Name.Local)
			switch {
			case depth > 0:
				depth++
				if in != nil {
					plain = false
				}
				if s := found.of(name); s != nil && depth == 2 {
					if s.set {
						return found, ErrXMLUnknown
					}
					in, inside, plain = s, depth, true
					s.from, s.to = after, after
				}
			case name == "cluster" || name == "ksyscluster":
				clusters++
				depth = 1
				attributes(data[before:after], before, t, &found)
			}
		case xml.CharData:
			if in != nil && depth == inside {
				in.to = after
				in.value += string(t)
			}
		case xml.Comment, xml.ProcInst:
			if in != nil {
				plain = false
			}
		case xml.EndElement:
			if depth > 0 {
				if in != nil && depth == inside {
					if !plain {
						return found, ErrXMLUnknown
					}
					in.set = true
					trim(data, in)
					in = nil
				}
				depth--
			}
		}
	}
	if err := wellFormed(data); err != nil {
		return found, err
	}
	if clusters != 1 || !found.name.set || !found.state.set || !found.typ.set {
		return found, ErrXMLUnknown
	}
	return found, nil
}

// wellFormed reads all tokens with the checks of nesting that RawToken leaves
// out.
func wellFormed(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: %v", ErrXMLSyntax, err)
		}
	}
}

// trim takes the blanks around a value out of its place.
func trim(data []byte, s *span) {
	for s.from < s.to && strings.IndexByte(" \t\r\n", data[s.from]) >= 0 {
		s.from++
	}
	for s.to > s.from && strings.IndexByte(" \t\r\n", data[s.to-1]) >= 0 {
		s.to--
	}
	s.value = strings.TrimSpace(s.value)
}

// attributes finds the values that stand as attributes of the start tag. The
// decoder does not say where, so the tag's own bytes are read once more.
func attributes(tag []byte, offset int, t xml.StartElement, found *xmlValues) {
	at := 0
	for _, a := range t.Attr {
		key := a.Name.Local
		if a.Name.Space != "" {
			key = a.Name.Space + ":" + key
		}
		i := bytes.Index(tag[at:], []byte(key))
		if i < 0 {
			return
		}
		at += i + len(key)
		q := bytes.IndexAny(tag[at:], `"'`)
		if q < 0 {
			return
		}
		from := at + q + 1
		end := bytes.IndexByte(tag[from:], tag[at+q])
		if end < 0 {
			return
		}
		if s := found.of(key); s != nil {
			*s = span{offset + from, offset + from + end, true, a.Value}
		}
		at = from + end + 1
	}
}
