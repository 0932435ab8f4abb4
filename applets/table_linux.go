package applets

import (
	"github.com/haobox/haobox/applets/applet"
	cmantool "github.com/haobox/haobox/applets/cman_tool"
	ip "github.com/haobox/haobox/applets/ip.sh"
	script "github.com/haobox/haobox/applets/script.sh"
	service "github.com/haobox/haobox/applets/service.sh"
)

// native lists the applets that need Linux, sorted by name.
func native() []applet.Entry {
	return []applet.Entry{
		{Applet: &cmantool.Applet, Links: []string{"sbin/cman_tool"}},
		agent(&ip.Applet, "ip"),
		agent(&script.Applet, "script"),
		agent(&service.Applet, "service"),
	}
}

// agent is the row of a resource agent: NAME.sh for rgmanager, NAME for
// Pacemaker. The two are told apart by the name that it is called by.
func agent(a *applet.Applet, ocf string) applet.Entry {
	return applet.Entry{
		Applet:  a,
		Aliases: []string{ocf},
		Links:   []string{"share/cluster/" + a.Name, "lib/ocf/resource.d/haobox/" + ocf},
	}
}
