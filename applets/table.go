package applets

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	ccsconfigdump "github.com/haobox/haobox/applets/ccs_config_dump"
	ccsconfigvalidate "github.com/haobox/haobox/applets/ccs_config_validate"
	ccstool "github.com/haobox/haobox/applets/ccs_tool"
	fencezvm "github.com/haobox/haobox/applets/fence_zvm"
	fencezvmip "github.com/haobox/haobox/applets/fence_zvmip"
	"github.com/haobox/haobox/applets/haobox"
	"github.com/haobox/haobox/applets/ksys"
	"github.com/haobox/haobox/applets/ksysstatus"
	"github.com/haobox/haobox/applets/longrunmonksys"
	"github.com/haobox/haobox/applets/phaksyssetup"
	"github.com/haobox/haobox/applets/phasim"
	rgtest "github.com/haobox/haobox/applets/rg_test"
	"github.com/haobox/haobox/applets/smapictl"
	"github.com/haobox/haobox/applets/smapid"
	"github.com/haobox/haobox/applets/startksys"
	"github.com/haobox/haobox/applets/startupmonksys"
	"github.com/haobox/haobox/applets/stopksys"
	"github.com/haobox/haobox/platform"
)

// common lists the applets of every system, sorted by name. Those that need
// Linux are in table_linux.go.
func common() []applet.Entry {
	return []applet.Entry{
		{Applet: &ccsconfigdump.Applet, Links: []string{"sbin/ccs_config_dump"}},
		{Applet: &ccsconfigvalidate.Applet, Links: []string{"sbin/ccs_config_validate"}},
		{Applet: &ccstool.Applet, Links: []string{"sbin/ccs_tool"}},
		{Applet: &fencezvm.Applet, Links: []string{"sbin/fence_zvm"}},
		{Applet: &fencezvmip.Applet, Links: []string{"sbin/fence_zvmip"}},
		{Applet: &applet.Applet{
			Name: haobox.Name, Section: 8, Class: applet.Tool, Summary: haobox.Summary,
			Run: func(ctx context.Context, env platform.Env, args []string) error {
				return haobox.Run(ctx, env, All(), args)
			},
		}, Links: []string{"sbin/haobox"}},
		{Applet: &ksys.Applet, Aliases: []string{"ksys.sh"}, Links: []string{"share/cluster/ksys.sh"}},
		{Applet: &ksysstatus.Applet, Links: []string{"sbin/ksysstatus"}},
		{Applet: &longrunmonksys.Applet, Aliases: []string{"longrunmonksys.sh"}, Links: []string{"lib/haobox/ksys/longrunmonksys"}},
		{Applet: &phaksyssetup.Applet, Aliases: []string{"phaksyssetup.sh"}, Links: []string{"sbin/phaksyssetup"}},
		{Applet: &phasim.Applet, Aliases: []string{"chrsrc", "clRGinfo", "cl_rsh", "clcmd", "clmgr", "ksysmgr", "lslpp", "lspv",
			"lsrpdomain", "lssrc", "startrpdomain", "startsrc", "stoprpdomain", "stopsrc"}, Links: []string{"sbin/phasim"}},
		{Applet: &rgtest.Applet, Links: []string{"sbin/rg_test"}},
		{Applet: &smapictl.Applet, Links: []string{"sbin/smapictl"}},
		{Applet: &smapid.Applet, Links: []string{"sbin/smapid"}},
		{Applet: &startksys.Applet, Aliases: []string{"startksys.sh"}, Links: []string{"lib/haobox/ksys/startksys"}},
		{Applet: &startupmonksys.Applet, Aliases: []string{"startupmonksys.sh"}, Links: []string{"lib/haobox/ksys/startupmonksys"}},
		{Applet: &stopksys.Applet, Aliases: []string{"stopksys.sh"}, Links: []string{"lib/haobox/ksys/stopksys"}},
	}
}
