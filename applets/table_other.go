//go:build !linux

package applets

import "github.com/haobox/haobox/applets/applet"

// native lists the applets of this system alone: none yet.
func native() []applet.Entry { return nil }
