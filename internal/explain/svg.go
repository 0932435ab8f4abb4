package explain

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/haobox/haobox/internal/xmldoc"
)

// The picture is a grid of boxes in three bands: fence devices above, nodes
// with the quorum disk in the middle, services with their addresses below.
// Sizes are in SVG user units, which a browser shows as pixels.
const (
	boxWidth  = 210
	boxHeight = 64
	gapX      = 30
	gapY      = 110 // room for the lines between the bands
	margin    = 24
	perRow    = 5
	titleRoom = 44
	lineRoom  = 16 // height of a line of text
	textMax   = 30 // characters of a line in a box
	// maxBoxes is how many boxes of a band are drawn: a picture of more shows
	// nothing. The text has them all.
	maxBoxes = 60
)

type box struct {
	x, y, h int
	lines   []string
}

func (b box) top() (int, int)    { return b.x + boxWidth/2, b.y }
func (b box) bottom() (int, int) { return b.x + boxWidth/2, b.y + b.h }

// SVG draws the cluster: nodes, fence devices, the quorum disk, services and
// addresses. The same page gives the same bytes.
func (p *Page) SVG(w io.Writer) error {
	devices := make([][]string, 0, len(p.Devices))
	for _, d := range p.Devices {
		devices = append(devices, []string{d.Name, d.Agent, firstOf(d.Args, "ipaddr=", "ip=", "device=")})
	}
	nodes := make([][]string, 0, len(p.Nodes)+1)
	for _, n := range p.Nodes {
		nodes = append(nodes, []string{n.Name, fmt.Sprintf("node %d, %s", n.ID, plural(n.Votes, "vote"))})
	}
	if p.Disk != nil {
		nodes = append(nodes, []string{"quorum disk", p.Disk.Where, plural(p.Disk.Votes, "vote")})
	}
	services := make([][]string, 0, len(p.Services))
	for _, s := range p.Services {
		lines := append([]string{s.ID, "recovery: " + s.Recovery}, s.Addresses...)
		for i := range s.Tree.Children {
			lines = flat(lines, &s.Tree.Children[i], 0)
		}
		services = append(services, lines)
	}
	y := margin + titleRoom
	deviceBoxes, y := place(devices, y)
	nodeBoxes, y := place(nodes, y)
	serviceBoxes, y := place(services, y)
	width := 0
	for _, b := range slices.Concat(deviceBoxes, nodeBoxes, serviceBoxes) {
		width = max(width, b.x+boxWidth+margin)
	}
	d := drawing{bufio.NewWriter(w)}
	d.begin(max(width, 2*margin+2*boxWidth), y-gapY+2*margin+lineRoom, p)
	for i, dev := range p.Devices[:len(deviceBoxes)] {
		for j, n := range p.Nodes[:min(len(p.Nodes), len(nodeBoxes))] {
			if slices.Contains(dev.Fences, n.Name) {
				d.link(deviceBoxes[i], nodeBoxes[j], "fences")
			}
		}
	}
	for i, s := range p.Services[:len(serviceBoxes)] {
		for j, n := range p.Nodes[:min(len(p.Nodes), len(nodeBoxes))] {
			if rank := slices.Index(s.RunsOn, n.Name); rank >= 0 {
				d.link(nodeBoxes[j], serviceBoxes[i], "runs")
			}
		}
	}
	for _, b := range deviceBoxes {
		d.box(b, "device")
	}
	for i, b := range nodeBoxes {
		class := "node"
		if i >= len(p.Nodes) {
			class = "disk"
		}
		d.box(b, class)
	}
	for _, b := range serviceBoxes {
		d.box(b, "service")
	}
	d.end(p, y-gapY+margin+lineRoom)
	return d.b.Flush()
}

// firstOf returns the first argument that begins with one of the names.
func firstOf(args []string, names ...string) string {
	for _, n := range names {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, n); ok {
				return v
			}
		}
	}
	return ""
}

// flat lists resources below each other, in start order. Addresses are there
// already.
func flat(lines []string, r *Resource, depth int) []string {
	if !strings.HasPrefix(r.ID, "ip:") {
		lines = append(lines, strings.Repeat("\u00a0\u00a0", depth)+r.ID)
	}
	for i := range r.Children {
		lines = flat(lines, &r.Children[i], depth+1)
	}
	return lines
}

// place lays out a band and returns where the next begins.
func place(texts [][]string, y int) ([]box, int) {
	if len(texts) == 0 {
		return nil, y
	}
	if len(texts) > maxBoxes {
		texts = texts[:maxBoxes]
	}
	boxes := make([]box, len(texts))
	for row := 0; row < len(texts); row += perRow {
		height := boxHeight
		for i := row; i < min(row+perRow, len(texts)); i++ {
			lines := slices.DeleteFunc(slices.Clone(texts[i]), func(s string) bool { return s == "" })
			boxes[i] = box{x: margin + (i-row)*(boxWidth+gapX), y: y, h: max(boxHeight, (len(lines)+1)*lineRoom), lines: lines}
			height = max(height, boxes[i].h)
		}
		y += height + gapX
	}
	return boxes, y - gapX + gapY
}

type drawing struct{ b *bufio.Writer }

func (d drawing) begin(width, height int, p *Page) {
	title := fmt.Sprintf("Cluster %s, version %d", p.Cluster, p.Version)
	fmt.Fprintf(d.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">
<title>%s</title>
<style>
text { font: 13px sans-serif; fill: #222 }
.head { font-weight: bold }
.title { font-size: 18px; font-weight: bold }
rect { stroke: #444; rx: 6 }
.node { fill: #cfe3f7 } .disk { fill: #e8e0c8 } .device { fill: #f6d2cd } .service { fill: #d5ecd0 }
line { stroke-width: 1.5 }
.fences { stroke: #b5493b; stroke-dasharray: 5 4 } .runs { stroke: #4d8a43 }
</style>
<rect width="%d" height="%d" style="fill: #fff; stroke: none"/>
<text class="title" x="%d" y="%d">%s</text>
`, width, height, width, height, xmldoc.Escape(title), width, height, margin, margin+14, xmldoc.Escape(title))
}

func (d drawing) link(from, to box, class string) {
	x1, y1 := from.bottom()
	x2, y2 := to.top()
	fmt.Fprintf(d.b, `<line class="%s" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", class, x1, y1, x2, y2)
}

func (d drawing) box(b box, class string) {
	fmt.Fprintf(d.b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"/>`+"\n", class, b.x, b.y, boxWidth, b.h)
	for i, l := range b.lines {
		style := ""
		if i == 0 {
			style = ` class="head"`
		}
		if r := []rune(l); len(r) > textMax {
			l = string(r[:textMax-1]) + "…"
		}
		fmt.Fprintf(d.b, `<text%s x="%d" y="%d">%s</text>`+"\n", style, b.x+10, b.y+(i+1)*lineRoom+2, xmldoc.Escape(l))
	}
}

func (d drawing) end(p *Page, y int) {
	mode := fmt.Sprintf("Quorum %d of %s", p.Quorum.Quorum, plural(p.Quorum.Expected, "expected vote"))
	if p.Quorum.TwoNode {
		mode = "Two-node mode: one vote is quorum"
	}
	fmt.Fprintf(d.b, `<text x="%d" y="%d">%s. Red, dashed: fences. Green: can run.</text>`+"\n</svg>\n", margin, y, mode)
}
