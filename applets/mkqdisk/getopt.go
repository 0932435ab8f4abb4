package mkqdisk

import (
	"fmt"
	"strings"
)

// request is the command line.
type request struct {
	device, label       string
	hasDevice, hasLabel bool
	list, find          bool
	verbosity           int
	help, yes, force    bool
	// long says that --help asked for it.
	long bool
	// faults are the complaints of getopt(3), one a line.
	faults []string
}

// parse reads a command line as the original did: it never fails. Options that
// it does not know are complained about and passed over, operands too, without
// a word; the last of -L and -f decides. -h ends it at once. The long options
// and -y are ours.
func parse(name string, args []string) request {
	r := request{verbosity: 1}
	value := func(i *int, rest string, c byte) (string, bool) {
		if rest != "" {
			return rest, true
		}
		if *i+1 < len(args) {
			*i++
			return args[*i], true
		}
		r.faults = append(r.faults, fmt.Sprintf("%s: option requires an argument -- '%c'", name, c))
		return "", false
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return r
		case arg == "--help":
			r.help, r.long = true, true
			return r
		case arg == "--yes":
			r.yes = true
			continue
		case arg == "--force":
			r.force = true
			continue
		case len(arg) < 2 || arg[0] != '-':
			continue // operands are not looked at
		}
		for j := 1; j < len(arg); j++ {
			c, rest := arg[j], arg[j+1:]
			switch c {
			case 'h':
				r.help = true
				return r
			case 'd':
				r.verbosity = min(r.verbosity+1, 7)
			case 'L':
				r.list, r.find = true, false
			case 'y':
				r.yes = true
			case 'c', 'l', 'f':
				v, ok := value(&i, rest, c)
				j = len(arg)
				if !ok {
					continue
				}
				switch c {
				case 'c':
					r.device, r.hasDevice = v, true
				case 'l':
					r.label, r.hasLabel = v, true
				case 'f':
					r.label, r.hasLabel = v, true
					r.list, r.find = false, true
				}
			default:
				r.faults = append(r.faults, fmt.Sprintf("%s: invalid option -- '%c'", name, c))
			}
		}
	}
	return r
}

// complaints are the faults as the original printed them: it read its command
// line twice.
func (r request) complaints() string {
	if len(r.faults) == 0 {
		return ""
	}
	text := strings.Join(r.faults, "\n") + "\n"
	return text + text
}
