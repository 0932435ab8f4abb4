package applets

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/haobox"
	rgtest "github.com/haobox/haobox/applets/rg_test"
	"github.com/haobox/haobox/platform"
)

// common lists the applets of every system, sorted by name. Those that need
// Linux are in table_linux.go.
func common() []applet.Entry {
	return []applet.Entry{
		{Applet: &applet.Applet{
			Name: haobox.Name, Section: 8, Class: applet.Tool, Summary: haobox.Summary,
			Run: func(ctx context.Context, env platform.Env, args []string) error {
				return haobox.Run(ctx, env, All(), args)
			},
		}, Links: []string{"sbin/haobox"}},
		{Applet: &rgtest.Applet, Links: []string{"sbin/rg_test"}},
	}
}
