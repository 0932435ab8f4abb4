package applets

import (
	"github.com/haobox/haobox/applets/applet"
	clusterfs "github.com/haobox/haobox/applets/clusterfs.sh"
	cmantool "github.com/haobox/haobox/applets/cman_tool"
	fs "github.com/haobox/haobox/applets/fs.sh"
	ip "github.com/haobox/haobox/applets/ip.sh"
	lvm "github.com/haobox/haobox/applets/lvm.sh"
	netfs "github.com/haobox/haobox/applets/netfs.sh"
	ocf "github.com/haobox/haobox/applets/ocf.sh"
	script "github.com/haobox/haobox/applets/script.sh"
	service "github.com/haobox/haobox/applets/service.sh"
	systemd "github.com/haobox/haobox/applets/systemd.sh"
)

// native lists the applets that need Linux, sorted by name.
func native() []applet.Entry {
	return []applet.Entry{
		agent(&clusterfs.Applet, "clusterfs"),
		{Applet: &cmantool.Applet, Links: []string{"sbin/cman_tool"}},
		agent(&fs.Applet, "fs"),
		agent(&ip.Applet, "ip"),
		agent(&lvm.Applet, "lvm"),
		agent(&netfs.Applet, "netfs"),
		agent(&ocf.Applet, "ocf"),
		agent(&script.Applet, "script"),
		agent(&service.Applet, "service"),
		agent(&systemd.Applet, "systemd"),
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
