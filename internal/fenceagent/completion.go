package fenceagent

import "strings"

// CompletionFlag as the last argument asks for the words that a shell can
// offer next, as urfave/cli does it; only those are printed then.
const CompletionFlag = "--generate-bash-completion"

// Completion is the list of long options, one a line.
func Completion(options []Option) string {
	var b strings.Builder
	for i := range options {
		if o := &options[i]; o.Long != "" && !o.Ignored {
			b.WriteString("--" + o.Long + "\n")
		}
	}
	return b.String()
}
