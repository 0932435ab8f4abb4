//go:build linux

package rgmanager

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// manualConf is the service of the manual's figure 1: its names, its order, its
// recovery. In the place of GFS2, which needs its kernel module and a lock manager,
// stands ext2 on a loop device, which only one node mounts at a time.
const manualConf = `<?xml version="1.0"?>
<cluster name="ZCLUSTER" config_version="1">
<totem token="1000"/>
<cman two_node="1" expected_votes="1"/>
<clusternodes><clusternode name="CNODE1" nodeid="1"/><clusternode name="CNODE2" nodeid="2"/></clusternodes>
<rm>
  <failoverdomains>
    <failoverdomain name="ZHA_FAILOVER" nofailback="1" ordered="1">
      <failoverdomainnode name="CNODE1" priority="1"/>
      <failoverdomainnode name="CNODE2" priority="2"/>
    </failoverdomain>
  </failoverdomains>
  <resources>
    <fs device="%[1]s" fsid="37908" fstype="ext2" mountpoint="%[2]s/www" name="ZHA-GFS"/>
    <apache config_file="httpd.conf" name="ZHA-WEB" server_root="%[2]s/httpd" shutdown_wait="5"/>
    <ip address="10.77.0.100/24"/>
  </resources>
  <service domain="ZHA_FAILOVER" name="ZHA_WEBSERVICE" recovery="relocate">
    <fs ref="ZHA-GFS"/>
    <ip ref="10.77.0.100/24"/>
    <apache ref="ZHA-WEB"/>
  </service>
</rm>
</cluster>
`

const httpdConf = `ServerRoot "%[1]s/httpd"
ServerName www
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
Listen 80
DocumentRoot "%[1]s/www"
ErrorLog "%[1]s/error.log"
`

// TestManual is the manual's chapter 6 with our commands: the web service is
// started, its server killed, and it comes up on the other node. What
// rgmanager.log says is the golden file, and the lines of the manual's section
// 6.10 are in it, in their order.
func TestManual(t *testing.T) {
	corotest.Need(t)
	t.Parallel()
	for _, p := range []string{"/usr/sbin/apache2", "/sbin/mkfs.ext2", "/sbin/losetup"} {
		if _, err := os.Stat(p); err != nil {
			t.Fatalf("%s is not installed: tools/setup does it", p)
		}
	}
	dir, err := os.MkdirTemp("", "rm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// 6.1 to 6.3: a disk that both nodes see, and a web server.
	sh(t, "chmod 755 %[1]s; mkdir -p %[1]s/www %[1]s/httpd; truncate -s 8M %[1]s/disk; mkfs.ext2 -q %[1]s/disk", dir)
	device := sh(t, "losetup -f --show %s/disk", dir)
	t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	if err := os.WriteFile(filepath.Join(dir, "httpd/httpd.conf"), fmt.Appendf(nil, httpdConf, dir), 0o644); err != nil {
		t.Fatal(err)
	}
	c := corotest.Start(t, corotest.Options{Nodes: 2, Quorum: []string{"two_node: 1", "wait_for_all: 0"}})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	clients := func(n int, f func(get func(path string, out any) error) error) error {
		return c.Nodes[n].In(func() error {
			return f(func(path string, out any) error {
				m := &machine{l: &lab{t: t}, root: "/"}
				return m.client().Do(t.Context(), "GET", path, nil, out)
			})
		})
	}
	logs := [2]string{}
	for i, n := range c.Nodes {
		// Each has folders of its own where it writes.
		logs[i] = filepath.Join(n.Dir, "cluster/rgmanager.log")
		for _, d := range []string{"etc", "cluster"} {
			if err := os.MkdirAll(filepath.Join(n.Dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(n.Dir, "etc/cluster.conf"), fmt.Appendf(nil, manualConf, device, dir), 0o600); err != nil {
			t.Fatal(err)
		}
		sh(t, "mkdir -p /etc/cluster /var/log/cluster")
		if out, err := n.Command("sh", "-ec", fmt.Sprintf("mount --bind %[1]s/etc /etc/cluster; mount --bind %[1]s/cluster /var/log/cluster", n.Dir)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		n.Daemon(fmt.Sprintf("%s=1 %s=/bin/true exec %s -f -d\n", daemonVariable, HardDownVariable, self))
	}
	t.Cleanup(func() {
		for i := range logs {
			if text, _ := os.ReadFile(logs[i]); t.Failed() {
				t.Logf("rgmanager.log of CNODE%d:\n%s", i+1, text)
			}
		}
	})
	started := func(owner uint32) {
		t.Helper()
		c.Eventually(fmt.Sprintf("the service runs on node %d", owner), func() error {
			return clients(int(owner)-1, func(get func(string, any) error) error {
				var st rgmctl.Status
				if err := get("/v1/status", &st); err != nil {
					return err
				}
				if g := st.Service("service:ZHA_WEBSERVICE"); g == nil || g.State != rgmctl.StateStarted || g.Owner != owner {
					return fmt.Errorf("it is %+v", g)
				}
				return nil
			})
		})
	}
	started(1)

	// 6.8 and 6.9: a page, and a look at it from another machine.
	page := func(node int) error {
		return c.Nodes[node].In(func() error {
			// Not net/http: it connects in a goroutine of its own, elsewhere.
			conn, err := net.DialTimeout("tcp", "10.77.0.100:80", time.Second)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			io.WriteString(conn, "GET /index.html HTTP/1.0\r\n\r\n")
			text, err := io.ReadAll(conn)
			if err == nil && !strings.Contains(string(text), "Cluster Test Page") {
				err = fmt.Errorf("%q", text)
			}
			return err
		})
	}
	if out, err := c.Nodes[0].Command("sh", "-ec", "echo '<h1>Cluster Test Page</h1>' >"+dir+"/www/index.html").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.Eventually("the page is there, seen from CNODE2", func() error { return page(1) })

	// 6.10: kill the web server on CNODE1.
	read := func(i int) []string { m := machine{root: filepath.Dir(filepath.Dir(logs[i]))}; return m.file(logs[i]) }
	c.Eventually("its process is watched", func() error {
		if !slices.ContainsFunc(read(0), func(s string) bool { return strings.HasPrefix(s, "Service service:ZHA_WEBSERVICE started") }) {
			return fmt.Errorf("%q", read(0))
		}
		return nil
	})
	before := [2]int{len(read(0)), len(read(1))}
	if out, err := c.Nodes[0].Command("sh", "-ec", "kill $(cat '/run/cluster/apache/apache:ZHA-WEB.pid')").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	began := time.Now()
	started(2)
	c.Eventually("the page is there, seen from CNODE1", func() error { return page(0) })
	t.Logf("the page is back after %v", time.Since(began).Round(time.Millisecond))

	tidy := regexp.MustCompile(`/dev/loop\d+|` + regexp.QuoteMeta(dir) + `|([0-9a-f]{2}:){5}[0-9a-f]{2} brd`)
	var got strings.Builder
	var all [2][]string
	for i := range logs {
		fmt.Fprintf(&got, "CNODE%d\n", i+1)
		for _, line := range read(i)[before[i]:] {
			if strings.HasPrefix(line, "something happened") || strings.HasPrefix(line, "watching the processes") {
				continue // ours, and as often as the kernel says
			}
			line = tidy.ReplaceAllStringFunc(line, func(s string) string {
				switch {
				case s == dir:
					return "DIR"
				case strings.HasPrefix(s, "/dev/"):
					return "DEV"
				}
				return "MAC brd"
			})
			all[i] = append(all[i], line)
			got.WriteString(line + "\n")
			if strings.HasPrefix(line, "Service service:ZHA_WEBSERVICE started") {
				break
			}
		}
	}
	goldentest.Compare(t, "testdata/manual_6_10.golden", got.String())
	for i, lines := range [2][]string{manualNode1, manualNode2} {
		at := 0
		for _, line := range lines {
			n := slices.Index(all[i][at:], line)
			if n < 0 {
				t.Errorf("CNODE%d: the log has no line %q after line %d", i+1, line, at)
				continue
			}
			at += n + 1
		}
	}
	var why rgmctl.Why
	if err := clients(1, func(get func(string, any) error) error { return get("/v1/why?service=ZHA_WEBSERVICE", &why) }); err != nil {
		t.Error(err)
	}
	if text, _ := json.Marshal(why); !strings.Contains(string(text), "status check of service:ZHA_WEBSERVICE failed") {
		t.Errorf("why: %s", text)
	}
}

// The lines of the manual's section 6.10, with the paths of this test.
var (
	manualNode1 = []string{
		`[apache] Verifying Configuration Of apache:ZHA-WEB`,
		`[apache] Checking Syntax Of The File DIR/httpd/httpd.conf`,
		`[apache] Checking Syntax Of The File DIR/httpd/httpd.conf > Succeed`,
		`[apache] Monitoring Service apache:ZHA-WEB`,
		`[apache] Monitoring Service apache:ZHA-WEB > Service Is Not Running`,
		`status on apache "ZHA-WEB" returned 7 (unspecified)`,
		`Stopping service service:ZHA_WEBSERVICE`,
		`[apache] Verifying Configuration Of apache:ZHA-WEB`,
		`[apache] Checking Syntax Of The File DIR/httpd/httpd.conf`,
		`[apache] Checking Syntax Of The File DIR/httpd/httpd.conf > Succeed`,
		`[apache] Stopping Service apache:ZHA-WEB`,
		`[apache] Stopping Service apache:ZHA-WEB > Succeed`,
		`[ip] Removing IPv4 address 10.77.0.100/24 from eth0`,
		`[fs] unmounting DIR/www`,
		`Service service:ZHA_WEBSERVICE is recovering`,
	}
	manualNode2 = []string{
		`Recovering failed service service:ZHA_WEBSERVICE`,
		`[fs] mounting DEV on DIR/www`,
		`[fs] mount -t ext2 DEV DIR/www`,
		`[ip] Adding IPv4 address 10.77.0.100/24 to eth0`,
		`[apache] Verifying Configuration Of apache:ZHA-WEB`,
		`[apache] Checking Syntax Of The File DIR/httpd/httpd.conf`,
		`[apache] Checking Syntax Of The File DIR/httpd/httpd.conf > Succeed`,
		`[apache] Monitoring Service apache:ZHA-WEB`,
		`[apache] Monitoring Service apache:ZHA-WEB > Service Is Not Running`,
		`[apache] Starting Service apache:ZHA-WEB`,
		`[apache] Looking For IP Addresses`,
		`[apache] 1 IP addresses found for ZHA_WEBSERVICE/ZHA-WEB`,
		`[apache] Starting Service apache:ZHA-WEB > Succeed`,
		`Service service:ZHA_WEBSERVICE started`,
	}
)
