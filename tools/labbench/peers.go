//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/haobox/haobox/platform/proc"
)

// Names of peers and cases on the command line.
const (
	haobox     = "haobox"
	pacemaker  = "pacemaker"
	keepalived = "keepalived"
)

var (
	peerNames = []string{haobox, pacemaker, keepalived}
	caseNames = []string{"kill", "move", "address", "crash", "cpu", "memory"}
)

// peer is one of those that are compared.
type peer struct {
	name string
	run  func(*lab, context.Context) error
}

func peers() []peer {
	return []peer{
		{haobox, (*lab).haobox},
		{pacemaker, (*lab).pacemaker},
		{keepalived, (*lab).keepalived},
	}
}

// story runs the cases that need a service; each peer gives its ways.
func (l *lab) story() bool {
	return l.has("kill") || l.has("move") || l.has("address") || l.has("crash")
}

const (
	webURL = "http://" + webAddress + "/"
	vipURL = "http://" + vipAddress + ":" + vipPort + "/"
	// checkSeconds is the interval of checks in the case cpu, and half of the
	// time over which processor time is taken.
	checkSeconds = 10
	cpuWindow    = 3 * checkSeconds * time.Second
)

// address of the addresses of the case cpu.
func address(i int) string { return fmt.Sprintf("10.77.%d.%d", 10+i/200, 1+i%200) }

// conf is a cluster.conf with the services given, and the fence race given, ""
// for the default. cman gives two nodes another
// consensus time than corosync.conf has by itself, 1.2 times the token.
func conf(services, race string) string {
	if race != "" {
		race = ` fence_race="` + race + `"`
	}
	nodes := ""
	for i := 1; i <= 2; i++ {
		nodes += fmt.Sprintf("    <clusternode name=\"n%d\" nodeid=\"%d\"><fence><method name=\"zvm\"><device name=\"zvm\" port=\"N%d\"/></method></fence></clusternode>\n", i, i, i)
	}
	return fmt.Sprintf(`<cluster name="lab" config_version="1">
  <cman two_node="1" expected_votes="1"/>
  <totem token="%d" consensus="%d"/>
  <logging to_syslog="no"/>
  <clusternodes>
%s  </clusternodes>
  <fencedevices>
    <fencedevice name="zvm" agent="fence_zvmip" ipaddr="%s" ipport="%s" disable_ssl="1" login="CMANAGER" passwd="SECRET"/>
  </fencedevices>
  <fence_daemon post_join_delay="60"%s/>
  <rm>
%s  </rm>
</cluster>
`, token, token*6/5, nodes, stageAddress, zvmPort, race, services)
}

// nginxScript is an init script for nginx. Debian's own sleeps for a second in
// each stop.
const nginxScript = `#!/bin/sh
p=$(cat /run/nginx.pid 2>/dev/null)
alive() { [ -n "$p" ] && grep -q '^State:.[^ZX]' "/proc/$p/status" 2>/dev/null; }
case $1 in
start) alive || exec nginx ;;
stop)
	alive || exit 0
	kill -TERM "$p"
	while alive; do sleep 0.01; done ;;
status) alive ;;
*) exit 2 ;;
esac
`

// scriptPath is where a node has it.
const scriptPath = "/etc/nginx/service"

const storyServices = `    <service name="web" recovery="restart">
      <ip address="` + webAddress + bits + `"/>
      <script name="nginx" file="` + scriptPath + `"/>
    </service>
    <service name="vip" recovery="relocate">
      <ip address="` + vipAddress + bits + `"/>
    </service>
`

// manyServices has one address in each.
func manyServices(count int) string {
	b := &strings.Builder{}
	for i := range count {
		fmt.Fprintf(b, "    <service name=\"s%d\"><ip address=\"%s%s\"><action name=\"status\" depth=\"0\" interval=\"%d\"/></ip></service>\n", i, address(i), bits, checkSeconds)
	}
	return b.String()
}

// startHaobox boots two nodes and waits until everything is started. Pacemaker
// has no fence race: where outages are compared there is none, where processor
// time is, ours pays for what it does by default.
func (l *lab) startHaobox(ctx context.Context, services, race string, count int) error {
	if err := l.prepare(true); err != nil {
		return err
	}
	for _, n := range l.nodes {
		if err := n.write("etc/cluster/cluster.conf", conf(services, race)); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(n.Dir, scriptPath), []byte(nginxScript), 0o755); err != nil {
			return err
		}
		n.program(l.Haobox, "fenced", "--join")
		n.program(l.Haobox, "rgmanager")
	}
	if err := l.boot(ctx); err != nil {
		return err
	}
	return l.haoboxStarted(ctx, count)
}

func (l *lab) haoboxStarted(ctx context.Context, count int) error {
	for _, n := range l.nodes {
		if n.p == nil {
			continue
		}
		if err := eventually(ctx, "rgmanager on "+n.Name+" has all services started", func() error {
			out, err := n.command(ctx, l.Haobox, "clustat")
			if err != nil {
				return err
			}
			if got := strings.Count(out, " started"); got < count {
				return fmt.Errorf("%d of %d are", got, count)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// haobox measures ours.
func (l *lab) haobox(ctx context.Context) error {
	if l.story() {
		if err := l.startHaobox(ctx, storyServices, "none", 2); err != nil {
			return err
		}
		if l.has("kill") {
			if err := l.kill(ctx, "kill", time.Second); err != nil {
				return err
			}
		}
		if err := l.moves(ctx, func(service string, from, to *node) error {
			_, err := from.command(ctx, l.Haobox, "clusvcadm", "-r", service, "-m", to.Name)
			return err
		}); err != nil {
			return err
		}
		if l.has("crash") {
			from, ring, survivor, err := l.crash(ctx, webURL)
			if err != nil {
				return err
			}
			agent, err := agentTime(ctx, l, survivor)
			if err != nil {
				return err
			}
			l.add("crash-ring", ring.Sub(from).Seconds())
			l.add("crash-agent", agent.Seconds())
		}
		l.end()
	}
	if l.has("cpu") || l.has("memory") {
		if err := l.startHaobox(ctx, manyServices(100), "", 100); err != nil {
			return err
		}
		if err := l.cpu(ctx, "cpu100", false); err != nil {
			return err
		}
		l.end()
	}
	if l.has("cpu") {
		if err := l.startHaobox(ctx, manyServices(1000), "", 1000); err != nil {
			return err
		}
		if err := l.cpu(ctx, "cpu1000", true); err != nil {
			return err
		}
	}
	return nil
}

// moves measures the cases move and address: relocate moves a service by the
// peer's command.
func (l *lab) moves(ctx context.Context, relocate func(service string, from, to *node) error) error {
	for _, c := range []struct{ name, url, service string }{{"move", webURL, "web"}, {"address", vipURL, "vip"}} {
		if !l.has(c.name) {
			continue
		}
		if err := l.move(ctx, c.name, c.url, func(from, to *node) error { return relocate(c.service, from, to) }); err != nil {
			return err
		}
	}
	return nil
}

// agentTime is how long the agent took that fenced the other node.
func agentTime(ctx context.Context, l *lab, n *node) (time.Duration, error) {
	out, err := n.command(ctx, l.Haobox, "fence_history", "--json")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		var op struct {
			Start, End time.Time
			OK         bool
		}
		if err := json.Unmarshal([]byte(line), &op); err != nil {
			return 0, err
		}
		if op.OK {
			return op.End.Sub(op.Start), nil
		}
	}
	return 0, errors.New("fenced has fenced nobody")
}

// cpu takes the processor time of the peer's processes, those of both nodes
// together, in percent of one core; and rgmanager's memory, the larger one.
func (l *lab) cpu(ctx context.Context, name string, cpuOnly bool) error {
	var rss int64
	if l.has("cpu") {
		pause(ctx, 2*settle)
		before, start := l.used(), time.Now()
		pause(ctx, cpuWindow)
		l.add(name, 100*(l.used()-before).Seconds()/time.Since(start).Seconds())
	}
	for _, n := range l.nodes {
		for _, pid := range proc.Tree(n.p.PID()) {
			if words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(words), "\x00rgmanager\x00") {
				text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				rss = max(rss, kib(string(text), "VmRSS:"))
			}
		}
	}
	if l.has("memory") && !cpuOnly && rss > 0 {
		l.add("memory", float64(rss)/1024)
	}
	return ctx.Err()
}

// kib is a line of /proc/PID/status (proc(5)).
func kib(text, key string) int64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// foreign are processes that every peer has: corosync, and our own probes.
var foreign = []string{"corosync", "labbench", "nginx"}

// used is the processor time of the peer on both nodes so far: of the processes
// that run, by /proc/PID/task/TID/schedstat in nanoseconds, and of their
// children that have ended, by /proc/PID/stat.
func (l *lab) used() (sum time.Duration) {
	for _, n := range l.nodes {
		for _, pid := range proc.Tree(n.p.PID()) {
			dir := fmt.Sprintf("/proc/%d/", pid)
			comm, _ := os.ReadFile(dir + "comm")
			stat, _ := os.ReadFile(dir + "stat")
			name := strings.TrimSpace(string(comm))
			if slices.Contains(foreign, name) {
				// Orphans of the peer end as children of process 1.
				if pid != n.p.PID() {
					continue
				}
			} else {
				tasks, _ := filepath.Glob(dir + "task/*/schedstat")
				for _, t := range tasks {
					text, _ := os.ReadFile(t)
					sum += schedstat(string(text))
				}
			}
			sum += childTime(string(stat))
		}
	}
	return sum
}

// schedstat is the time on a processor: the first number, in nanoseconds.
func schedstat(text string) time.Duration {
	f := strings.Fields(text)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return time.Duration(n)
}

// tickTime is USER_HZ, 100 on every Linux that Go runs on.
const tickTime = 10 * time.Millisecond

// childTime is cutime and cstime of /proc/PID/stat, fields 16 and 17.
func childTime(stat string) time.Duration {
	// The name, field 2, may have blanks and parentheses.
	i := strings.LastIndexByte(stat, ')')
	if i < 0 {
		return 0
	}
	f := strings.Fields(stat[i+1:])
	if len(f) < 15 {
		return 0
	}
	user, _ := strconv.ParseInt(f[13], 10, 64)
	system, _ := strconv.ParseInt(f[14], 10, 64)
	return time.Duration(user+system) * tickTime
}

// cib is a configuration of Pacemaker with the resources given.
func cib(resources string) string {
	return `<cib crm_feature_set="3.16.0" validate-with="pacemaker-3.8" epoch="5" num_updates="0" admin_epoch="1">
<configuration>
<crm_config><cluster_property_set id="options">
<nvpair id="o-stonith" name="stonith-enabled" value="true"/>
<nvpair id="o-dead" name="dc-deadtime" value="2s"/>
</cluster_property_set></crm_config>
<nodes/>
<resources>
<primitive id="zvm" class="stonith" type="fence_zvmip"><instance_attributes id="zvm-a">
<nvpair id="zvm-ip" name="ip" value="` + stageAddress + `"/><nvpair id="zvm-port" name="ipport" value="` + zvmPort + `"/>
<nvpair id="zvm-user" name="username" value="CMANAGER"/><nvpair id="zvm-pw" name="password" value="SECRET"/>
<nvpair id="zvm-ssl" name="disable_ssl" value="1"/>
<nvpair id="zvm-map" name="pcmk_host_map" value="n1:N1;n2:N2"/><nvpair id="zvm-check" name="pcmk_host_check" value="static-list"/>
</instance_attributes></primitive>
` + resources + `</resources>
<constraints/>
<rsc_defaults><meta_attributes id="defaults"><nvpair id="d-sticky" name="resource-stickiness" value="100"/></meta_attributes></rsc_defaults>
</configuration><status/></cib>
`
}

// ipPrimitive is an address of Pacemaker.
func ipPrimitive(id, addr string, seconds int) string {
	return fmt.Sprintf(`<primitive id="%[1]s" class="ocf" provider="heartbeat" type="IPaddr2"><instance_attributes id="%[1]s-a">
<nvpair id="%[1]s-ip" name="ip" value="%[2]s"/><nvpair id="%[1]s-bits" name="cidr_netmask" value="%[3]s"/>
</instance_attributes><operations><op id="%[1]s-monitor" name="monitor" interval="%[4]ds"/></operations></primitive>
`, id, addr, bits[1:], seconds)
}

const nginxPrimitive = `<primitive id="nginx" class="ocf" provider="heartbeat" type="nginx"><instance_attributes id="nginx-a">
<nvpair id="nginx-conf" name="configfile" value="/etc/nginx/nginx.conf"/>
</instance_attributes><operations><op id="nginx-monitor" name="monitor" interval="10s"/></operations></primitive>
`

// startPacemaker boots two nodes and waits until count resources are started.
func (l *lab) startPacemaker(ctx context.Context, resources string, count int) error {
	if err := l.prepare(true); err != nil {
		return err
	}
	for _, n := range l.nodes {
		path := filepath.Join(n.Dir, "pacemaker/cib/cib.xml")
		if err := os.WriteFile(path, []byte(cib(resources)), 0o600); err != nil {
			return err
		}
		owner, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if err := chownLike(path, owner); err != nil {
			return err
		}
		n.program("/bin/sh", "-c", "until corosync-cmapctl >/dev/null 2>&1; do sleep 0.1; done; exec pacemakerd -f")
	}
	if err := l.boot(ctx); err != nil {
		return err
	}
	return eventually(ctx, "Pacemaker has everything started", func() error {
		pause(ctx, time.Second)
		out, err := l.nodes[0].command(ctx, "crm_mon", "-1", "-r")
		if err != nil {
			return err
		}
		if got := strings.Count(out, "Started"); got < count+1 || !strings.Contains(out, "Online: [ n1 n2 ]") {
			return fmt.Errorf("%d of %d are: %s", got, count+1, out)
		}
		return nil
	})
}

// pacemaker measures Pacemaker 2.1.
func (l *lab) pacemaker(ctx context.Context) error {
	if l.story() {
		resources := "<group id=\"web\">\n" + ipPrimitive("web-ip", webAddress, 10) + nginxPrimitive + "</group>\n" + ipPrimitive("vip", vipAddress, 10)
		if err := l.startPacemaker(ctx, resources, 3); err != nil {
			return err
		}
		if l.has("kill") {
			if err := l.kill(ctx, "kill", 10*time.Second); err != nil {
				return err
			}
			if _, err := l.nodes[0].command(ctx, "cibadmin", "--modify", "-o", "resources", "--xml-text", `<op id="nginx-monitor" name="monitor" interval="1s"/>`); err != nil {
				return err
			}
			pause(ctx, 2*settle)
			if err := l.kill(ctx, "kill-1s", time.Second); err != nil {
				return err
			}
		}
		if err := l.moves(ctx, func(service string, from, to *node) error {
			_, err := from.command(ctx, "crm_resource", "--move", "-r", service, "-N", to.Name)
			return err
		}); err != nil {
			return err
		}
		if l.has("crash") {
			from, ring, _, err := l.crash(ctx, webURL)
			if err != nil {
				return err
			}
			l.add("crash-ring", ring.Sub(from).Seconds())
		}
		l.end()
	}
	if l.has("cpu") {
		b := &strings.Builder{}
		for i := range 100 {
			b.WriteString(ipPrimitive(fmt.Sprint("s", i), address(i), checkSeconds))
		}
		if err := l.startPacemaker(ctx, b.String(), 100); err != nil {
			return err
		}
		return l.cpu(ctx, "cpu100", false)
	}
	return nil
}

// keepalivedConf is one address with the defaults of VRRP.
func keepalivedConf(id int, addr string) string {
	return fmt.Sprintf(`global_defs {
  router_id n%d
}
vrrp_instance lab {
  state BACKUP
  interface eth0
  virtual_router_id 77
  priority %d
  advert_int 1
  virtual_ipaddress {
    %s%s
  }
}
`, id, 110-10*id, addr, bits)
}

// keepalived measures what VRRP can do: it knows no services, so the web server
// of the case address runs on both nodes.
func (l *lab) keepalived(ctx context.Context) error {
	if !l.has("address") && !l.has("crash") {
		return nil
	}
	if err := l.prepare(false); err != nil {
		return err
	}
	for i, n := range l.nodes {
		if err := n.write("etc/keepalived.conf", keepalivedConf(i+1, vipAddress)); err != nil {
			return err
		}
		// The node goes on when it is stopped.
		n.program("/bin/sh", "-c", "keepalived -n -l -f "+n.Dir+"/etc/keepalived.conf & while :; do sleep 1000; done")
	}
	if err := l.boot(ctx); err != nil {
		return err
	}
	if l.has("address") {
		if err := l.move(ctx, "address", vipURL, func(from, _ *node) error {
			_, err := from.command(ctx, "sh", "-c", "kill $(cat /run/keepalived.pid /run/keepalived/keepalived.pid 2>/dev/null)")
			return err
		}); err != nil {
			return err
		}
		// The crash is that of its peer's master, with both alive.
		if l.has("crash") {
			l.end()
			again := *l
			again.Cases = []string{"crash"}
			err := again.keepalived(ctx)
			l.nodes, l.vm = again.nodes, again.vm
			return err
		}
		return nil
	}
	_, _, _, err := l.crash(ctx, vipURL)
	return err
}

// chownLike gives a file the owner of another.
func chownLike(path string, like os.FileInfo) error {
	s, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("find the owner of %s", like.Name())
	}
	return os.Chown(path, int(s.Uid), int(s.Gid))
}
