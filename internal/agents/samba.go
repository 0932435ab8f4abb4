package agents

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/haobox/haobox/platform"
)

// Samba runs smbd and nmbd on the addresses of its service, with a
// configuration made from the given one and a folder of their own for the pid
// files. Without NetBIOS ("disable netbios = yes") there is no nmbd.
func Samba(kill Kill) *Agent {
	s := samba{kill}
	return &Agent{Type: "samba", Validate: s.verify, Start: s.start, Stop: s.stop, Status: s.status, InProcess: (*Call).checking}
}

type samba struct{ kill Kill }

// daemons are the servers in the order of their start. Both are "second": the
// agent says once what happens to the pair. The names of their pid
// files are those that they choose for a configuration named smb.conf.
func (s samba) daemons(c *Call) ([]*server, error) {
	inst, err := instanceFile(c)
	if err != nil {
		return nil, err
	}
	dir := pidRoot + "/samba/" + inst
	return []*server{
		{kill: s.kill, pid: dir + "/smbd.pid", programs: []string{"smbd"}, second: true},
		{kill: s.kill, pid: dir + "/nmbd.pid", programs: []string{"nmbd"}, second: true},
	}, nil
}

func (s samba) verify(ctx context.Context, c *Call) error {
	c.Debugf("Verifying Configuration Of %s", c.Instance())
	if _, err := s.daemons(c); err != nil {
		return err
	}
	if err := inService(c); err != nil {
		return err
	}
	for _, p := range []string{"smbd_options", "nmbd_options"} {
		if _, err := options(c, p); err != nil {
			return err
		}
	}
	if _, err := waitFor(c, shutdownWait); err != nil {
		return err
	}
	if _, err := c.Find("smbd"); err != nil {
		return err
	}
	file := c.Param("config_file")
	if err := needsSource(c, file); err != nil {
		return err
	}
	if _, err := c.Find("testparm"); err != nil {
		return nil // an optional package; smbd says itself what is wrong
	}
	c.Debugf("Checking Syntax Of The File %s", file)
	o, err := c.Exec(ctx, checkLimit, "testparm", "-s", c.Env.FS.Path(file))
	if err != nil {
		return err
	}
	if !o.OK() {
		return Fail(Generic, "Checking Syntax Of The File %s [%s] > Failed: %s", file, c.Instance(), o.Last())
	}
	c.Debugf("Checking Syntax Of The File %s > Succeed", file)
	return nil
}

func (s samba) start(ctx context.Context, c *Call) error {
	daemons, err := s.daemons(c)
	if err != nil {
		return err
	}
	text, err := source(c, c.Param("config_file"))
	if err != nil {
		return err
	}
	want := daemons
	if noNetBIOS(text) {
		want = daemons[:1]
	}
	running := 0
	for _, d := range want {
		if _, state, err := d.look(c); err == nil && state == pidAlive {
			running++
		}
	}
	if running == len(want) {
		c.Debugf("Monitoring Service %s > Service Is Running", c.Instance())
		return nil
	}
	c.Infof("Starting Service %s", c.Instance())
	for _, d := range want {
		done, err := d.begin(c)
		if err != nil {
			return err
		}
		if done {
			c.Errorf("Checking Non-Existence of PID File %s [%s] > Failed - PID File Exists For %s", d.pid, c.Instance(), c.Instance())
			return Quiet(Generic)
		}
	}
	ips, err := someAddresses(c)
	if err != nil {
		return err
	}
	from, to := c.Param("config_file"), generated(c, "smb.conf")
	if err := generate(c, to, from, sambaConf(c, text, ips, c.Env.FS.Path(path.Dir(daemons[0].pid))), inherited(c, from)); err != nil {
		return err
	}
	for i, d := range want {
		words, err := options(c, d.programs[0]+"_options")
		if err != nil {
			return err
		}
		args := append([]string{d.programs[0], "-D", "-s", c.Env.FS.Path(to)}, words...)
		o, err := c.Run(ctx, platform.Cmd{Path: d.programs[0], Args: args, Limit: c.Budget(startLimit)})
		if err == nil && !o.OK() {
			err = fmt.Errorf("%s: %s: %s", d.programs[0], o.Ended(), o.Last())
		}
		if err == nil {
			err = d.await(ctx, c, c.Budget(startLimit), nil)
		}
		if err == nil && i == 0 {
			err = s.listening(ctx, c, d, ips, text)
		}
		if err == nil {
			continue
		}
		c.Errorf("Starting Service %s > Failed: %v", c.Instance(), err)
		// What has started would go on without its fellow.
		for _, started := range want[:i+1] {
			if err := started.end(ctx, c, step{SIGTERM, shutdownWait}); err != nil {
				c.Warnf("Stop %s again: %v", started.programs[0], err)
			}
		}
		return Quiet(max(Code(err), Generic))
	}
	c.Infof("Starting Service %s > Succeed", c.Instance())
	return nil
}

// stop ends the daemons in the order of their start, each with its children.
func (s samba) stop(ctx context.Context, c *Call) error {
	daemons, err := s.daemons(c)
	if err != nil {
		return err
	}
	wait, err := waitFor(c, shutdownWait)
	if err != nil && c.Dialect != OCF {
		return err
	}
	c.Infof("Stopping Service %s", c.Instance())
	var first error
	for i, d := range daemons {
		if _, state, err := d.look(c); i > 0 && err == nil && state == pidNone {
			continue // no nmbd: said once is enough
		}
		if err := d.end(ctx, c, step{SIGTERM, wait}); err != nil && first == nil {
			first = err
		}
	}
	if first == nil {
		c.Infof("Stopping Service %s > Succeed", c.Instance())
	}
	return first
}

// listening waits until smbd has its ports on all addresses: it goes on with a
// message in its log when another program has one.
func (s samba) listening(ctx context.Context, c *Call, d *server, ips []netip.Addr, text string) error {
	ports := []string{"445", "139"} // the default of "smb ports", smb.conf(5)
	sambaLines(text, func(section, line string) {
		if k, v := sambaParam(line); k == "smbports" && (section == "global" || section == "globals") {
			ports = strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
		}
	})
	var want []netip.AddrPort
	for _, a := range ips {
		for _, p := range ports {
			if n, ok := listenPort(p); ok {
				want = append(want, netip.AddrPortFrom(a, n))
			}
		}
	}
	return d.listening(ctx, c, want)
}

func (s samba) status(_ context.Context, c *Call) error {
	daemons, err := s.daemons(c)
	if err != nil {
		return err
	}
	if err := daemons[0].monitor(c); err != nil {
		// With one of two alive it is not cleanly stopped.
		if _, state, e := daemons[1].look(c); Code(err) == NotRunning && (e != nil || state == pidAlive) {
			return Quiet(Generic)
		}
		return err
	}
	if text, err := source(c, generated(c, "smb.conf")); err == nil && noNetBIOS(text) {
		return nil
	}
	if err := daemons[1].monitor(c); err != nil {
		c.Errorf("Monitoring Service %s > nmbd Is Not Running", c.Instance())
		return Quiet(Generic)
	}
	return nil
}

// sambaParam is the name of a line "name = value" as Samba compares it: in
// lower case and without blanks (smb.conf(5)); "" for other lines.
func sambaParam(line string) (name, value string) {
	k, v, ok := strings.Cut(line, "=")
	if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") || strings.HasPrefix(strings.TrimSpace(line), ";") {
		return "", ""
	}
	return strings.ToLower(strings.Join(strings.Fields(k), "")), strings.TrimSpace(v)
}

// sambaSection is the name of a line "[name]" in lower case.
func sambaSection(line string) (string, bool) {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "[") {
		return "", false
	}
	name, _, ok := strings.Cut(line[1:], "]")
	return strings.ToLower(strings.Join(strings.Fields(name), "")), ok
}

// sambaLines are the lines of a configuration with continued ones joined, each
// with the section that it belongs to.
func sambaLines(text string, each func(section, line string)) {
	section := "global" // lines before the first section are global ones
	for _, line := range logical(text) {
		if s, ok := sambaSection(line); ok {
			section = s
		}
		each(section, line)
	}
}

func noNetBIOS(text string) bool {
	off := false
	sambaLines(text, func(section, line string) {
		if k, v := sambaParam(line); k == "disablenetbios" && (section == "global" || section == "globals") {
			off = Yes(v)
		}
	})
	return off
}

// sambaConf is the given configuration without its own interfaces and pid
// folder, and with those of the resource in a global section at its end, where
// no included file can change them any more.
func sambaConf(c *Call, text string, ips []netip.Addr, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made from %s for %s. A file that is edited is left alone from then on.\n", c.Param("config_file"), c.Instance())
	sambaLines(text, func(section, line string) {
		if section == "global" || section == "globals" {
			switch k, _ := sambaParam(line); {
			case k == "piddirectory", len(ips) > 0 && (k == "interfaces" || k == "bindinterfacesonly"):
				return
			}
		}
		b.WriteString(line + "\n")
	})
	b.WriteString("[global]\n")
	if len(ips) > 0 {
		b.WriteString("\tinterfaces =")
		for _, a := range ips {
			b.WriteString(" " + a.String())
		}
		b.WriteString("\n\tbind interfaces only = yes\n")
	}
	fmt.Fprintf(&b, "\tpid directory = %s\n", dir)
	return b.String()
}
