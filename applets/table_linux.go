package applets

import "github.com/haobox/haobox/applets/applet"

// native lists the applets that need Linux, sorted by name.
func native() []applet.Entry {
	return []applet.Entry{}
}
