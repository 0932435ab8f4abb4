package applets

import (
	apache "github.com/haobox/haobox/applets/apache.sh"
	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/clufindhostname"
	"github.com/haobox/haobox/applets/clulog"
	"github.com/haobox/haobox/applets/clustat"
	clusterfs "github.com/haobox/haobox/applets/clusterfs.sh"
	"github.com/haobox/haobox/applets/clusvcadm"
	cmantool "github.com/haobox/haobox/applets/cman_tool"
	fenceackmanual "github.com/haobox/haobox/applets/fence_ack_manual"
	fencecheck "github.com/haobox/haobox/applets/fence_check"
	fencedomain "github.com/haobox/haobox/applets/fence_domain"
	fencehistory "github.com/haobox/haobox/applets/fence_history"
	fencenode "github.com/haobox/haobox/applets/fence_node"
	fencetool "github.com/haobox/haobox/applets/fence_tool"
	"github.com/haobox/haobox/applets/fenced"
	fs "github.com/haobox/haobox/applets/fs.sh"
	ip "github.com/haobox/haobox/applets/ip.sh"
	lvm "github.com/haobox/haobox/applets/lvm.sh"
	"github.com/haobox/haobox/applets/mkqdisk"
	mysql "github.com/haobox/haobox/applets/mysql.sh"
	named "github.com/haobox/haobox/applets/named.sh"
	netfs "github.com/haobox/haobox/applets/netfs.sh"
	nfsclient "github.com/haobox/haobox/applets/nfsclient.sh"
	nfsexport "github.com/haobox/haobox/applets/nfsexport.sh"
	nfsserver "github.com/haobox/haobox/applets/nfsserver.sh"
	ocf "github.com/haobox/haobox/applets/ocf.sh"
	postgres8 "github.com/haobox/haobox/applets/postgres-8.sh"
	"github.com/haobox/haobox/applets/qdiskd"
	"github.com/haobox/haobox/applets/rgmanager"
	samba "github.com/haobox/haobox/applets/samba.sh"
	script "github.com/haobox/haobox/applets/script.sh"
	service "github.com/haobox/haobox/applets/service.sh"
	systemd "github.com/haobox/haobox/applets/systemd.sh"
	vm "github.com/haobox/haobox/applets/vm.sh"
)

// native lists the applets that need Linux, sorted by name.
func native() []applet.Entry {
	return []applet.Entry{
		agent(&apache.Applet, "apache"),
		{Applet: &clufindhostname.Applet, Links: []string{"sbin/clufindhostname"}},
		{Applet: &clulog.Applet, Links: []string{"sbin/clulog"}},
		{Applet: &clustat.Applet, Links: []string{"sbin/clustat"}},
		agent(&clusterfs.Applet, "clusterfs"),
		{Applet: &clusvcadm.Applet, Links: []string{"sbin/clusvcadm"}},
		{Applet: &cmantool.Applet, Links: []string{"sbin/cman_tool"}},
		{Applet: &fenceackmanual.Applet, Links: []string{"sbin/fence_ack_manual"}},
		{Applet: &fencecheck.Applet, Links: []string{"sbin/fence_check"}},
		{Applet: &fencedomain.Applet, Links: []string{"sbin/fence_domain"}},
		{Applet: &fencehistory.Applet, Links: []string{"sbin/fence_history"}},
		{Applet: &fencenode.Applet, Links: []string{"sbin/fence_node"}},
		{Applet: &fencetool.Applet, Links: []string{"sbin/fence_tool"}},
		{Applet: &fenced.Applet, Links: []string{"sbin/fenced"}},
		agent(&fs.Applet, "fs"),
		agent(&ip.Applet, "ip"),
		agent(&lvm.Applet, "lvm"),
		{Applet: &mkqdisk.Applet, Links: []string{"sbin/mkqdisk"}},
		agent(&mysql.Applet, "mysql"),
		agent(&named.Applet, "named"),
		agent(&netfs.Applet, "netfs"),
		agent(&nfsclient.Applet, "nfsclient"),
		agent(&nfsexport.Applet, "nfsexport"),
		agent(&nfsserver.Applet, "nfsserver"),
		agent(&ocf.Applet, "ocf"),
		agent(&postgres8.Applet, "postgres-8"),
		{Applet: &qdiskd.Applet, Links: []string{"sbin/qdiskd"}},
		{Applet: &rgmanager.Applet, Aliases: []string{"clurgmgrd"}, Links: []string{"sbin/rgmanager", "sbin/clurgmgrd"}},
		agent(&samba.Applet, "samba"),
		agent(&script.Applet, "script"),
		agent(&service.Applet, "service"),
		agent(&systemd.Applet, "systemd"),
		agent(&vm.Applet, "vm"),
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
