//go:build linux

package cmantool

import (
	"os"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// TestReadme_RealCluster follows the README's section "On a real cluster" to
// the letter, on two nodes in namespaces.
func TestReadme_RealCluster(t *testing.T) {
	corotest.Need(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## On a real cluster\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := codeBlocks(section)
	if !found || len(blocks) != 4 {
		t.Fatalf("the section has %d blocks of commands, this test knows what to do with 4", len(blocks))
	}
	c := corotest.Start(t, corotest.Options{Nodes: 2, Idle: true})
	bin := cmdtest.Build(t, "../..", ".")
	sh := func(id int, script string) string {
		t.Helper()
		out, err := c.Nodes[id-1].Command("sh", "-ec", "PATH=/run/bin:$PATH\n"+script).CombinedOutput()
		if err != nil {
			t.Fatalf("node %d: %v\n%s\n%s", id, err, script, out)
		}
		return string(out)
	}
	for id := 1; id <= 2; id++ {
		n := c.Nodes[id-1]
		if err := os.WriteFile(n.Dir+"/hosts", []byte("10.77.0.1 cnode1\n10.77.0.2 cnode2\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		// Nothing of the machine is changed: /etc is an overlay, /var/log
		// another mount.
		sh(id, "mount -t tmpfs -o mode=755 tmpfs /var/log; mkdir -p /run/up /run/work /run/bin\n"+
			"mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/up,workdir=/run/work /etc\n"+
			"cp "+n.Dir+"/hosts /etc/hosts; rm -rf /etc/corosync /etc/cluster; mkdir /etc/corosync\n"+
			"for a in haobox cman_tool ccs_config_validate; do ln -s "+bin+" /run/bin/$a; done")
		t.Cleanup(func() {
			n.Command("sh", "-c", "kill -9 $(cat /run/corosync.pid /var/run/corosync.pid 2>/dev/null) 2>/dev/null").Run()
		})
	}
	if out := sh(1, blocks[0]); !strings.Contains(out, "crypto_cipher: aes256") || !strings.Contains(out, "ring0_addr: cnode2") {
		t.Errorf("the first node:\n%s", out)
	}
	for _, f := range []string{"/etc/corosync/authkey", "/etc/cluster/cluster.conf"} {
		b, err := c.Nodes[0].Command("cat", f).Output()
		if err != nil {
			t.Fatal(err)
		}
		cmd := c.Nodes[1].Command("sh", "-ec", "mkdir -p /etc/cluster; umask 377; cat > "+f)
		cmd.Stdin = strings.NewReader(string(b))
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]chan string, 2)
	for id := 1; id <= 2; id++ {
		out[id-1] = make(chan string, 1)
		go func() {
			b, err := c.Nodes[id-1].Command("sh", "-ec", "PATH=/run/bin:$PATH\n"+blocks[1]).CombinedOutput()
			if err != nil {
				t.Errorf("node %d: %v\n%s", id, err, b)
			}
			out[id-1] <- string(b)
		}()
	}
	for id := 1; id <= 2; id++ {
		if got := <-out[id-1]; !strings.Contains(got, "Membership state: Cluster-Member\n") || !strings.Contains(got, "Cluster Name: web\n") {
			t.Errorf("node %d:\n%s", id, got)
		}
	}
	c.Nodes[0].WaitMembers(2)
	for id := 1; id <= 2; id++ {
		sh(id, "sed -i 's/config_version=\"1\"/config_version=\"2\"/' /etc/cluster/cluster.conf")
		sh(id, blocks[2])
	}
	if got := sh(1, "cman_tool version; cman_tool nodes -F id,type"); !strings.HasPrefix(got, "6.2.0 config 2\n1 M \n2 M \n") {
		t.Errorf("after the new configuration:\n%s", got)
	}
	sh(1, blocks[3])
	sh(2, blocks[3])
}

// codeBlocks are the indented blocks of a Markdown text, without the indent.
func codeBlocks(text string) (out []string) {
	block := ""
	for line := range strings.Lines(text + "\n.\n") {
		if code, is := strings.CutPrefix(line, "    "); is {
			block += code
		} else if strings.TrimSpace(line) != "" && block != "" {
			out = append(out, block)
			block = ""
		}
	}
	return out
}
