package haobox

import (
	"bytes"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/internal/ksys/phasim"
)

// demoKsys tells the paper's steps 1 to 4 in virtual time.
func (t tool) demoKsys() *cli.Command {
	return &cli.Command{
		Name:  "ksys",
		Usage: "fail a KSYS node under a simulated PowerHA in the middle of a VM's recovery",
		Action: func(*cli.Context) error {
			var story bytes.Buffer
			if err := phasim.TellStory(&story); err != nil {
				return fail("haobox demo: %v", err)
			}
			return t.print(story.String())
		},
	}
}
