package haobox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/sandbox"
)

const (
	demoService = "service:ZHA_WEBSERVICE"
	// corosyncToken is corosync's token in the story, in ms: its default before
	// version 3.1, which a machine that is busy keeps.
	corosyncToken = 1000
	// lookEvery is the time between two looks at the service's state: how exact
	// "detected after" is.
	lookEvery = 10 * time.Millisecond
	// actLimit bounds a wait of the story, and serviceLimit all of it. Ours: real
	// daemons on a machine that has other things to do.
	actLimit     = time.Minute
	serviceLimit = 4 * time.Minute
	// stayTime is how long the story looks on while nothing is to happen.
	stayTime = 2 * time.Second
)

// sceneConf is the manual's figure 1: version, votes, token, nodes, address and
// port of the simulated z/VM, nofailback, domain and resources are filled in.
const sceneConf = `<cluster name="ZCLUSTER" config_version="%d">
  <cman %s/>
  <totem %s secauth="off"/>
  <logging to_syslog="no"><logging_daemon name="fenced" debug="on"/></logging>
  <clusternodes>
%s  </clusternodes>
  <fencedevices>
    <fencedevice name="ZVMPPOWER" agent="fence_zvmip" ipaddr="%s" ipport="%s" disable_ssl="1" login="CMANAGER" passwd="SECRET"/>
  </fencedevices>
  <fence_daemon post_join_delay="60" fence_race="none"/>
  <rm>
    <failoverdomains>
      <failoverdomain name="ZHA_FAILOVER" ordered="1" nofailback="%d">
%s      </failoverdomain>
    </failoverdomains>
    <service domain="ZHA_FAILOVER" name="ZHA_WEBSERVICE" recovery="relocate">
%s    </service>
  </rm>
</cluster>
`

// webServer is what the service serves with.
type webServer struct {
	name     string
	resource string // its element in cluster.conf
	mark     string // a part of the command line of its processes
}

// scene is the story while it is told.
type scene struct {
	tool
	self, dir string
	// private: nodes have namespaces, and the service an address and, if device
	// is not "", a file system.
	private bool
	// corosync: the nodes have corosync, and not the embedded engine.
	corosync bool
	outer    string        // the stage's process number outside
	host     *sandbox.Host // the client's, if it is private
	vm       string        // address of the simulated z/VM
	address  string        // address and port of the web server
	device   string
	web      webServer
	missing  []string

	story *story
	z     *zvm
	nodes []*member // the survivor, the one that is frozen

	mu   sync.Mutex
	seen []sight
}

// sight is what rgmanager of CNODE2 shows from a time on.
type sight struct {
	at    time.Time
	state int
	owner string
	// lost: CNODE1 is no member, or has no rgmanager.
	lost bool
}

// same reports whether nothing has changed but the time.
func (s sight) same(as sight) bool {
	return s.state == as.state && s.owner == as.owner && s.lost == as.lost
}

// without notes something that this story lacks.
func (x *scene) without(format string, args ...any) {
	x.missing = append(x.missing, fmt.Sprintf(format, args...))
}

// tell tells the story.
func (x *scene) tell(ctx context.Context, o serviceOptions) error {
	x.story = &story{out: x.env.Stdout, now: x.env.Clock.Now, start: x.env.Clock.Now()}
	if f, ok := x.env.Stdout.(*os.File); ok && proc.IsTerminal(f) && x.env.Getenv("TERM") != "dumb" {
		x.story.live, x.story.color = true, x.env.Getenv("NO_COLOR") == "" // no-color.org
	}
	x.nodes = x.members(o.nodes)
	acting, cancel := context.WithTimeout(ctx, serviceLimit)
	defer cancel()
	// Processes and goroutines outlive the acts if the cluster is kept.
	living, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	defer x.stop()
	err := x.acts(acting, living, &all)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		x.dumpLogs(x.env.Stderr)
		return err
	}
	if o.keep {
		x.howToPlay()
		x.reboots(ctx, living)
		x.story.heading("The end: everything is stopped and taken away")
	}
	return nil
}

// reboots boots nodes that were switched off, until ctx ends.
func (x *scene) reboots(ctx, living context.Context) {
	for {
		i := -1
		for i < 0 {
			i = slices.IndexFunc(x.nodes, func(m *member) bool { return !m.alive() })
			if x.env.Clock.Sleep(ctx, lookEvery) != nil {
				return
			}
		}
		m, other := x.nodes[i], x.nodes[(i+1)%len(x.nodes)]
		off := x.env.Clock.Now()
		// A guest boots when z/VM logs it on, which takes longer than fenced needs
		// to know that it was off; here it would be too quick. One that nobody logs
		// on boots in the end, to be played with.
		_ = x.eventually(ctx, m.name+" is logged on", func() bool {
			lines, err := x.z.log(ctx)
			on := slices.ContainsFunc(lines, func(l simd.LogLine) bool {
				return l.Time.After(off) && strings.Contains(l.Line, "LOGON") && strings.Contains(l.Line, m.name)
			})
			var in fencing.Info
			return err == nil && on && other.fenced.Do(ctx, "GET", "/v1/domain", nil, &in) == nil && len(in.Victims) == 0
		})
		if ctx.Err() != nil {
			return
		}
		x.story.tell(m.name, "was switched off, and boots")
		if err := x.boot(living, m); err != nil {
			x.story.tell(m.name, "does not boot: %v", err)
			return
		}
	}
}

// alive reports whether a node's first process is there, frozen or not.
func (m *member) alive() bool {
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// stop ends what still runs.
func (x *scene) stop() {
	for _, m := range x.nodes {
		if m.proc != nil {
			_ = m.proc.Signal(syscall.SIGKILL)
			<-m.ended
		}
	}
	if x.z != nil {
		x.z.stop()
	}
}

// prepare makes the folders, the file system, the configuration and the
// simulated z/VM.
func (x *scene) prepare(ctx, living context.Context) (release func(), err error) {
	release = func() {}
	folders := []string{x.dir + "/bin", x.dir + "/www", x.dir + "/httpd"}
	for _, m := range x.nodes {
		folders = append(folders, m.dir+"/etc/cluster")
	}
	for _, d := range folders {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return release, err
		}
	}
	for _, e := range x.all {
		if err := os.Symlink(x.self, x.dir+"/bin/"+e.Name); err != nil {
			return release, err
		}
	}
	page := x.dir + "/www"
	if x.private {
		page = x.dir + "/page"
		if err := os.MkdirAll(page, 0o755); err != nil {
			return release, err
		}
	}
	if err := os.WriteFile(page+"/index.html", []byte("<h1>"+demoPage+"</h1>\n"), 0o644); err != nil {
		return release, err
	}
	if x.private {
		if release, err = x.disk(ctx, page); err != nil {
			x.without("the file system: %v", err)
			if err := os.Rename(page+"/index.html", x.dir+"/www/index.html"); err != nil {
				return release, err
			}
		}
	}
	if err := x.prepareWeb(); err != nil {
		return release, err
	}
	names, hosts := make([]string, len(x.nodes)), "127.0.0.1 localhost\n"
	for i, m := range x.nodes {
		address, _, _ := strings.Cut(m.address, "/")
		names[i] = m.name
		hosts += address + " " + m.name + "\n"
	}
	slices.Sort(names)
	if err := os.WriteFile(x.dir+"/hosts", []byte(hosts), 0o644); err != nil {
		return release, err
	}
	x.z, err = x.startZVM(living, x.self, x.dir, x.vm, strings.Join(names, ","), demoLogoff, "--on-logoff", `"`+x.dir+`/bin/haobox" demo service-off "`+x.dir+`" "$1"`)
	if err != nil {
		return release, err
	}
	return release, x.configure(1, 1)
}

// disk makes a file system with the page on a loop device, which both nodes see.
func (x *scene) disk(ctx context.Context, page string) (release func(), err error) {
	release = func() {}
	file := x.dir + "/disk"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return release, err
	}
	if err := os.Truncate(file, 16<<20); err != nil {
		return release, err
	}
	var out strings.Builder
	res, err := x.env.Runner.Run(ctx, platform.Cmd{
		Path: "/sbin/mkfs.ext4", Args: []string{"mkfs.ext4", "-q", "-F", "-d", page, file}, Stdout: &out, Stderr: &out, Limit: mkfsLimit,
	})
	if err != nil {
		return release, err
	}
	if !res.OK() {
		return release, fmt.Errorf("mkfs.ext4: exit status %d: %s", res.ExitCode, strings.TrimSpace(out.String()))
	}
	dev, err := sandbox.Loop(file)
	if err != nil {
		return release, err
	}
	x.device = dev.Name()
	return func() { _ = dev.Close() }, nil
}

// configure writes cluster.conf for both nodes.
func (x *scene) configure(version, nofailback int) error {
	var resources strings.Builder
	if x.device != "" {
		fmt.Fprintf(&resources, "      <fs name=\"ZHA-FS\" device=\"%s\" fstype=\"ext4\" mountpoint=\"%s/www\" force_unmount=\"1\"/>\n", x.device, x.dir)
	}
	if x.private {
		fmt.Fprintf(&resources, "      <ip address=\"%s/24\" sleep_time=\"0\"/>\n", serviceAddress)
	}
	fmt.Fprintf(&resources, "      %s\n", x.web.resource)
	votes, totem := `two_node="1" expected_votes="1"`, fmt.Sprintf(`token="%d"`, freezeToken)
	if x.corosync {
		totem = fmt.Sprintf(`token="%d"`, corosyncToken)
	}
	if len(x.nodes) > 2 {
		votes = fmt.Sprintf(`expected_votes="%d"`, len(x.nodes))
		// cman waits two seconds longer than a token where there are more than
		// two; the least that corosync takes is 1.2 tokens (corosync.conf(5)).
		totem += fmt.Sprintf(` consensus="%d"`, corosyncToken*12/10)
	}
	var nodes, domain strings.Builder
	for i := range len(x.nodes) {
		const node = "    <clusternode name=\"CNODE%[1]d\" nodeid=\"%[1]d\">\n" +
			"      <fence><method name=\"ZVMFENCE\"><device name=\"ZVMPPOWER\" port=\"CNODE%[1]d\"/></method></fence>\n    </clusternode>\n"
		fmt.Fprintf(&nodes, node, i+1)
		fmt.Fprintf(&domain, "        <failoverdomainnode name=\"CNODE%[1]d\" priority=\"%[1]d\"/>\n", i+1)
	}
	text := fmt.Appendf(nil, sceneConf, version, votes, totem, nodes.String(), x.vm, x.z.port, nofailback, domain.String(), resources.String())
	for _, m := range x.nodes {
		if err := os.WriteFile(m.conf(), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// acts are the story.
func (x *scene) acts(ctx, living context.Context, all *sync.WaitGroup) error {
	s := x.story
	s.heading("haobox demo: a web service that moves (the manual, chapter 6)")
	release, err := x.prepare(ctx, living)
	// The loop device is closed when the last node is gone.
	context.AfterFunc(living, release)
	if err != nil {
		return err
	}
	for _, m := range x.missing {
		s.tell("left out", "%s", m)
	}
	s.tell("smapid", "a simulated z/VM; %s are logged on", x.names())
	if x.corosync {
		s.tell("engine", "corosync, one on each node, with a token of %d ms", corosyncToken)
	} else {
		s.tell("engine", "the embedded one, with a token of %d ms", freezeToken)
	}
	what := x.web.name
	if x.private {
		what += " at " + serviceAddress + "/24"
	}
	if x.device != "" {
		what += ", its pages on " + x.device + " (ext4)"
	}
	s.tell("service", "ZHA_WEBSERVICE: %s", what)
	var dial func(context.Context, string, string) (net.Conn, error)
	if x.host != nil {
		dial = x.host.DialContext
		s.tell("client", "a host of its own, 172.17.16.%d, asks http://%s/ every 10 ms", clientHost, x.address)
	}
	asks := newClient("http://"+x.address+"/index.html", x.env.Clock, dial)
	n2, n1 := x.nodes[0], x.nodes[1]
	var table []act

	s.heading("Act 1: " + x.names() + " start")
	start := x.env.Clock.Now()
	all.Go(func() { asks.run(living) })
	for _, m := range x.nodes {
		if err := x.boot(living, m); err != nil {
			return err
		}
		s.tell(m.name, "boots: %s", x.daemons())
		if err := x.eventually(ctx, "fenced of "+m.name+" answers", func() bool {
			return m.fenced.Do(ctx, "GET", "/v1/domain", nil, nil) == nil
		}); err != nil {
			return err
		}
	}
	all.Go(func() { x.watch(living, n2) })
	if err := x.runsOn(ctx, asks, n1, start); err != nil {
		return err
	}
	_, back := asks.since(start)
	table = append(table, act{name: "start of all nodes", start: start, back: back})
	s.at(back, "client", "has the first answer of http://%s/", x.address)
	if err := x.showNeighbour(n1); err != nil {
		return err
	}
	if err := x.domain(ctx, n2); err != nil {
		return err
	}

	s.heading("Act 2: clusvcadm -r ZHA_WEBSERVICE -m CNODE2")
	row := act{name: "relocate by clusvcadm", start: x.env.Clock.Now()}
	if _, err := x.command(ctx, n1, "clusvcadm", "-r", "ZHA_WEBSERVICE", "-m", "CNODE2"); err != nil {
		return err
	}
	if err := x.ends(ctx, asks, n2, &row, &table); err != nil {
		return err
	}

	s.heading("Act 3: the web server on CNODE2 is killed; recovery=\"relocate\"")
	row = act{name: "web server killed", start: x.env.Clock.Now()}
	if n := x.killWeb(n2); n == 0 {
		return errors.New("found no process of the web server on CNODE2")
	}
	row.detected, err = x.noticed(ctx, "rgmanager sees that the web server is gone", row.start, func(s sight) bool {
		return s.state != rgmctl.StateStarted || s.owner != n2.name
	})
	if err != nil {
		return err
	}
	s.at(row.detected, "rgmanager", "shows that the service has failed, after %.3f s", row.detected.Sub(row.start).Seconds())
	if err := x.ends(ctx, asks, n1, &row, &table); err != nil {
		return err
	}

	s.heading("Act 4: #CP SLEEP on the console of CNODE1")
	row = act{name: "CNODE1 frozen", start: x.env.Clock.Now()}
	proc.StopTree(n1.proc.PID())
	s.tell("CNODE1", "is frozen: its processes are there, and answer nobody")
	row.detected, err = x.noticed(ctx, "the token is lost: CNODE1 has said nothing for too long", row.start, func(s sight) bool { return s.lost })
	if err != nil {
		return err
	}
	s.at(row.detected, "rgmanager", "shows that CNODE1 is gone, after %.3f s; the service waits for fenced", row.detected.Sub(row.start).Seconds())
	var op fencing.Op
	if err := x.eventually(ctx, "z/VM says that CNODE1 is off", func() bool {
		var ops []fencing.Op
		if n2.fenced.Do(ctx, "GET", "/v1/history", nil, &ops) != nil {
			return false
		}
		i := slices.IndexFunc(ops, func(o fencing.Op) bool { return o.Name == n1.name && o.OK })
		if i >= 0 {
			op = ops[i]
		}
		return i >= 0
	}); err != nil {
		return err
	}
	row.fenced = op.End
	s.at(op.Start, "fenced", "CNODE%d fences CNODE1", op.Master)
	s.at(op.End, "fenced", "%s has seen CNODE1 off, after %.3f s", op.Agent, op.End.Sub(op.Start).Seconds())
	if err := x.ends(ctx, asks, n2, &row, &table); err != nil {
		return err
	}
	select {
	case <-n1.ended:
	case <-ctx.Done():
		return ctx.Err()
	}

	s.heading("Act 5: CNODE1 boots; nofailback=\"1\" keeps the service where it is")
	row = act{name: "CNODE1 back, nofailback=\"1\"", start: x.env.Clock.Now()}
	if err := x.boot(living, n1); err != nil {
		return err
	}
	s.tell(n1.name, "boots: %s", x.daemons())
	if err := x.domain(ctx, n2); err != nil {
		return err
	}
	if err := x.online(ctx); err != nil {
		return err
	}
	s.tell("CNODE1", "has joined the fence domain; rgmanager runs there")
	stays := x.env.Clock.Now()
	if err := x.eventually(ctx, "it is sure that nothing moves", func() bool { return x.env.Clock.Now().Sub(stays) > stayTime }); err != nil {
		return err
	}
	if err := x.ends(ctx, asks, n2, &row, &table); err != nil {
		return err
	}

	s.heading("Act 6: the administrator sets nofailback=\"0\"; CNODE1 has the better priority")
	row = act{name: "nofailback=\"0\"", start: x.env.Clock.Now()}
	if err := x.configure(2, 0); err != nil {
		return err
	}
	for _, m := range x.nodes {
		for _, d := range []struct {
			name string
			do   func(context.Context, string, string, any, any) error
		}{{"fenced", m.fenced.Do}, {"rgmanager", m.rgmanager.Do}} {
			if err := d.do(ctx, "POST", "/v1/reload", nil, nil); err != nil {
				return fmt.Errorf("reload %s of %s: %w", d.name, m.name, err)
			}
		}
	}
	if err := x.ends(ctx, asks, n1, &row, &table); err != nil {
		return err
	}
	return x.epilogue(ctx, table)
}

// ends waits for the end of an act, when the service runs on m and answers, and
// adds its row.
func (x *scene) ends(ctx context.Context, asks *client, m *member, row *act, table *[]act) error {
	if err := x.runsOn(ctx, asks, m, row.start); err != nil {
		return err
	}
	lost, back := asks.since(row.start)
	row.counted, row.lost = true, lost
	if lost == 0 {
		x.story.tell("client", "lost no request; the service is on %s", m.name)
	} else {
		row.back = back
		x.story.at(back, "client", "is answered again by %s, after %.3f s; %d requests were lost", m.name, back.Sub(row.start).Seconds(), lost)
		if err := x.showNeighbour(m); err != nil {
			return err
		}
	}
	*table = append(*table, *row)
	return nil
}

// showNeighbour shows where the client sends what is for the service: what the
// address's announcements have told it.
func (x *scene) showNeighbour(m *member) error {
	if x.host == nil {
		return nil
	}
	mac, err := x.host.Neighbour(netip.MustParseAddr(serviceAddress))
	if err != nil {
		return fmt.Errorf("look at the client's neighbours: %w", err)
	}
	whose := "nobody's"
	for _, n := range x.nodes {
		if bytes.Equal(mac, sandbox.MAC(netip.MustParsePrefix(n.address).Addr())) {
			whose = n.name + "'s"
		}
	}
	x.story.tell("client", "finds %s at %v, %s eth0", serviceAddress, mac, whose)
	return nil
}

// daemons are what a node starts.
func (x *scene) daemons() string {
	if x.corosync {
		return "corosync, fenced, rgmanager"
	}
	return "fenced, rgmanager"
}

// waitShown is after what time of waiting the story says what for. Ours.
const waitShown = 300 * time.Millisecond

// waiting shows, on a terminal, for what the story waits. It is called again and
// again, until rest.
func (s *story) waiting(what string) {
	now := s.now()
	if s.waits.IsZero() {
		s.waits = now
	}
	if !s.live || now.Sub(s.waits) < waitShown {
		return
	}
	line := fmt.Sprintf("%8.1f s  %-12s %s", now.Sub(s.start).Seconds(), "...", "waiting until "+what)
	if line != s.pending {
		fmt.Fprint(s.out, clearLine+s.paint(faint, line))
	}
	s.pending = line
}

// eventually looks again and again, at most for actLimit, and tells who watches
// for what the story waits.
func (x *scene) eventually(ctx context.Context, what string, look func() bool) error {
	within, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	defer x.story.rest()
	for !look() {
		x.story.waiting(what)
		switch err := x.env.Clock.Sleep(within, lookEvery); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("waited for %v until %s", actLimit, what)
		}
	}
	return nil
}

// epilogue shows the logs and the table.
func (x *scene) epilogue(ctx context.Context, table []act) error {
	for _, f := range []struct {
		name, title string
		first       []string
		last        string
	}{
		{"fenced", " (the manual's figure 20)", nodeRemoved, "receive_complete"},
		{"rgmanager", "", []string{"CNODE1 DOWN"}, "Service " + demoService + " started"},
	} {
		log, err := os.ReadFile(filepath.Join(x.nodes[0].dir, "var/log/cluster", f.name+".log"))
		if err != nil {
			return err
		}
		x.story.heading("Act 4 in /var/log/cluster/" + f.name + ".log of CNODE2" + f.title)
		x.printLines(string(log), f.first, f.last)
	}
	lines, err := x.z.log(ctx)
	if err != nil {
		return err
	}
	x.story.heading("The operator's log of the simulated z/VM (figure 21)")
	for _, l := range lines {
		fmt.Fprintln(x.env.Stdout, l.Line)
	}
	text, err := x.command(ctx, x.nodes[0], "clustat")
	if err != nil {
		return err
	}
	x.story.heading("clustat on CNODE2")
	fmt.Fprint(x.env.Stdout, text)
	x.story.heading("What it took; the client asked every 10 ms and gave up after " + strconv.Itoa(int(askLimit.Milliseconds())) + " ms")
	x.story.table(table)
	fmt.Fprintln(x.env.Stdout)
	return nil
}

// status is what rgmanager of a node says of the service.
func (x *scene) status(ctx context.Context, m *member) (st rgmctl.Status, service rgmctl.Service, ok bool) {
	if m.rgmanager.Do(ctx, "GET", "/v1/status", nil, &st) != nil {
		return st, service, false
	}
	i := slices.IndexFunc(st.Services, func(s rgmctl.Service) bool { return s.Name == demoService })
	if i < 0 {
		return st, service, false
	}
	return st, st.Services[i], true
}

// watch notes the changes of what a node's rgmanager shows.
func (x *scene) watch(ctx context.Context, m *member) {
	last := sight{state: -1}
	for x.env.Clock.Sleep(ctx, lookEvery) == nil {
		st, s, ok := x.status(ctx, m)
		now := sight{at: x.env.Clock.Now(), state: s.State, owner: st.NodeName(s.Owner), lost: slices.ContainsFunc(st.Nodes, func(n rgmctl.Node) bool {
			return n.Name == x.nodes[1].name && (!n.Online || !n.RGManager)
		})}
		if !ok || now.same(last) {
			continue
		}
		last = now
		x.mu.Lock()
		x.seen = append(x.seen, now)
		x.mu.Unlock()
	}
}

// noticed is when rgmanager first showed something after a time.
func (x *scene) noticed(ctx context.Context, what string, from time.Time, is func(sight) bool) (at time.Time, err error) {
	err = x.eventually(ctx, what, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		i := slices.IndexFunc(x.seen, func(s sight) bool { return s.at.After(from) && is(s) })
		if i >= 0 {
			at = x.seen[i].at
		}
		return i >= 0
	})
	return at, err
}

// runsOn waits until the service is started on a node, and a request made
// afterwards was answered.
func (x *scene) runsOn(ctx context.Context, asks *client, m *member, from time.Time) error {
	if err := x.eventually(ctx, "ZHA_WEBSERVICE is started on "+m.name, func() bool {
		st, s, ok := x.status(ctx, x.nodes[0])
		return ok && s.State == rgmctl.StateStarted && st.NodeName(s.Owner) == m.name
	}); err != nil {
		return err
	}
	now := x.env.Clock.Now()
	return x.eventually(ctx, "the web server answers", func() bool { return asks.settled(now) })
}

// domain waits until both nodes are in the fence domain.
func (x *scene) domain(ctx context.Context, m *member) error {
	return x.eventually(ctx, fmt.Sprintf("%s sees %d members of the fence domain", m.name, len(x.nodes)), func() bool {
		var in fencing.Info
		return m.fenced.Do(ctx, "GET", "/v1/domain", nil, &in) == nil && in.Joined && len(in.Members) == len(x.nodes) && in.Wait == fencing.WaitNone
	})
}

// online waits until all rgmanagers know of each other.
func (x *scene) online(ctx context.Context) error {
	return x.eventually(ctx, "rgmanager runs on all nodes", func() bool {
		for _, m := range x.nodes {
			st, _, ok := x.status(ctx, m)
			if !ok || len(st.Nodes) != len(x.nodes) || slices.ContainsFunc(st.Nodes, func(n rgmctl.Node) bool { return !n.RGManager }) {
				return false
			}
		}
		return true
	})
}

// names lists the nodes.
func (x *scene) names() string {
	if len(x.nodes) == 2 {
		return "CNODE1 and CNODE2"
	}
	return "CNODE1, CNODE2 and CNODE3"
}

// howToPlay says how to look at what goes on running.
func (x *scene) howToPlay() {
	on, err := x.onScript()
	if err != nil {
		x.story.tell("left out", "a way to play: %v", err)
	}
	x.story.heading("It goes on running until you press Ctrl-C. In another terminal:")
	lines := []string{
		"$on CNODE2 clustat -i 1",
		"$on CNODE2 clusvcadm -r ZHA_WEBSERVICE -m CNODE2",
		"$on CNODE2 haobox why ZHA_WEBSERVICE",
		"$on CNODE2 haobox plan kill CNODE1",
		"$on CNODE2 fence_history",
		"$on CNODE1 freeze                  # as #CP SLEEP",
	}
	if x.corosync {
		lines = append(lines, "$on CNODE2 cman_tool nodes")
	}
	if x.private {
		on = "nsenter -t " + x.outer + " -m -p " + on
		lines = append(lines, "$on CNODE2 tail -f /var/log/cluster/rgmanager.log", "$on CNODE2 sh                      # a shell there; ip addr, ps")
	} else {
		lines = append(lines, "tail -f "+x.nodes[0].dir+"/var/log/cluster/rgmanager.log")
	}
	for _, l := range append([]string{`on="` + on + `"`}, lines...) {
		fmt.Fprintf(x.env.Stdout, "    %s\n", l)
	}
	fmt.Fprintln(x.env.Stdout)
}

// onScript makes the program that runs others as on a node.
func (x *scene) onScript() (file string, err error) {
	script := "#!/bin/sh\n# usage: on NODE PROGRAM [ARGUMENT...], or on NODE freeze\nn=$1\ncase $n in\n" +
		"'') echo 'usage: on NODE PROGRAM [ARGUMENT...], or on NODE freeze' >&2; exit 2;;\n"
	for _, m := range x.nodes {
		script += m.name + ") export"
		for _, kv := range x.environ(m) {
			k, v, _ := strings.Cut(kv, "=")
			script += " " + k + "='" + v + "'"
		}
		script += ";;\n"
	}
	script += "*) echo \"on: there is no node '$n'\" >&2; exit 2;;\nesac\nshift\ncase $1 in\n" +
		"'') echo 'usage: on NODE PROGRAM [ARGUMENT...]' >&2; exit 2;;\n" +
		"freeze) exec haobox demo service-freeze '" + x.dir + "' \"$n\";;\nesac\n"
	if x.private {
		script += "exec nsenter -t \"$(cat '" + x.dir + "'/\"$n\".pid)\" -m -n -p -- \"$@\"\n"
	} else {
		script += "exec \"$@\"\n"
	}
	file = x.dir + "/on"
	return file, os.WriteFile(file, []byte(script), 0o755)
}
