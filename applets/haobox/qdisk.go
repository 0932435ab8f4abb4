package haobox

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/quorumdisk"
)

// watchPause is the pause of "qdisk show --watch": qdiskd's default interval.
const watchPause = time.Second

// qdisk is "haobox qdisk": a look at quorum disks.
func (t tool) qdisk() *cli.Command {
	return &cli.Command{
		Name:  "qdisk",
		Usage: "look at a quorum disk",
		Subcommands: []*cli.Command{{
			Name:      "show",
			Usage:     "print every block of a quorum disk; only reads",
			ArgsUsage: "DEVICE",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "json", Usage: "as JSON, with --watch an object a line"},
				&cli.BoolFlag{Name: "watch", Usage: "again every second, until interrupted"},
				&cli.BoolFlag{Name: "all", Usage: "also the blocks of nodes in state None"},
			},
			Before:       optionsFirst,
			Action:       t.qdiskShow,
			OnUsageError: usageError,
		}},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return applet.Exitf(exitUsage, "haobox qdisk: there is no '%s', only show; see 'haobox qdisk --help'", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
		HideHelpCommand: true,
	}
}

// diskDump is a whole disk.
type diskDump struct {
	Device string                  `json:"device"`
	Sector int                     `json:"sector_size"`
	Header quorumdisk.HeaderDump   `json:"header"`
	Nodes  []quorumdisk.StatusDump `json:"nodes"`
}

func (t tool) qdiskShow(c *cli.Context) error {
	if c.NArg() != 1 {
		return applet.Exitf(exitUsage, "haobox qdisk show: one device at a time, not %d", c.NArg())
	}
	path := c.Args().First()
	d, done, err := openQuorumDisk(t.env.FS.Path(path))
	if err != nil {
		return fail("haobox qdisk show: %v", err)
	}
	defer done()
	for {
		h, err := quorumdisk.Probe(d)
		if err != nil {
			return fail("haobox qdisk show: read the header of %s: %v", path, err)
		}
		dump := diskDump{Device: path, Sector: d.SectorSize(), Header: h.Dump(), Nodes: []quorumdisk.StatusDump{}}
		all := quorumdisk.ReadAll(d, nil)
		for id := 1; id <= quorumdisk.MaxNodes; id++ {
			if b := all.Node(id); c.Bool("all") || b.Err != nil || b.Status.State != quorumdisk.StateNone {
				dump.Nodes = append(dump.Nodes, b.Dump(id))
			}
		}
		text := dump.text()
		switch {
		case c.Bool("json") && c.Bool("watch"):
			line, err := json.Marshal(dump)
			if err != nil {
				return fail("haobox qdisk show: %v", err)
			}
			text = string(line) + "\n"
		case c.Bool("json"):
			page, err := json.MarshalIndent(dump, "", "  ")
			if err != nil {
				return fail("haobox qdisk show: %v", err)
			}
			text = string(page) + "\n"
		case c.Bool("watch"):
			text = "\x1b[H\x1b[2J" + text // ECMA-48: home, clear
		}
		if err := t.print(text); err != nil {
			return err
		}
		if !c.Bool("watch") {
			return nil
		}
		if t.env.Clock.Sleep(c.Context, watchPause) != nil {
			return nil // interrupted: that is how it ends
		}
	}
}

// text is the dump for people.
func (d diskDump) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: label '%s', version %d, made on %s at %s", d.Device, d.Header.Label, d.Header.Version, d.Header.Host, d.Header.Created.Format(time.DateTime))
	fmt.Fprintf(&b, ", sectors of %d bytes", d.Sector)
	if d.Header.Version == 2 && d.Header.SectorSize != d.Sector {
		fmt.Fprintf(&b, " (made for %d: qdiskd refuses it)", d.Header.SectorSize)
	}
	b.WriteByte('\n')
	if len(d.Nodes) == 0 {
		b.WriteString("no node uses it\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%4s %-12s %-19s %2s %-8s %4s %4s %-9s %-16s %s\n", "node", "state", "heartbeat (UTC)", "by", "message", "seq", "arg", "write s", "incarnation", "sees / may vote")
	for _, n := range d.Nodes {
		if n.Error != "" {
			fmt.Fprintf(&b, "%4d %s\n", n.Node, n.Error)
			continue
		}
		masks := fmt.Sprint(n.Online)
		if n.State == quorumdisk.StateMaster.String() {
			masks += fmt.Sprint(" / ", n.MasterMask)
		}
		fmt.Fprintf(&b, "%4d %-12s %-19s %2d %-8s %4d %4d %9.6f %-16s %s\n", n.Node, n.State, n.Time.Format(time.DateTime), n.Updater, n.Message, n.Sequence,
			n.Argument, n.Average, n.Incarnation, masks)
	}
	return b.String()
}
