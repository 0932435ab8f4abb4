package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
)

// corosyncName chooses the figures of corosync on the command line.
const corosyncName = "corosync"

// corosyncLimit bounds them, as go test's -timeout; they take half a minute.
const corosyncLimit = "5m"

// corosyncBench prints what platform/corosync's benches measure on real
// daemons: calls and round trips beside the C libraries on the same daemon, in
// turn, and the memory of a connection. A program in C is built for it.
func corosyncBench(w io.Writer) error {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^Benchmark(BesideC|Memory)$", "-benchtime", "1x", "-timeout", corosyncLimit, "./platform/corosync")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out.String())
	}
	rows := benchRows(out.String())
	if len(rows) == 0 {
		return fmt.Errorf("%s printed no figures:\n%s", strings.Join(cmd.Args, " "), out.String())
	}
	fmt.Fprintln(w, "\ncorosync: medians beside the C libraries on the same daemon; memory of a connection")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, r.name+"\t"+strings.Join(r.figures, "\t"))
	}
	return t.Flush()
}

// benchRow is one bench with its figures, each a number and a unit.
type benchRow struct {
	name    string
	figures []string
}

// benchRows reads the output of go test: the name, how often it ran, and pairs
// of a number and a unit.
func benchRows(text string) (rows []benchRow) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || len(f)%2 != 0 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // how many processors there are
		}
		r := benchRow{name: name}
		for i := 2; i < len(f); i += 2 {
			if f[i+1] != "ns/op" {
				r.figures = append(r.figures, f[i]+" "+f[i+1])
			}
		}
		rows = append(rows, r)
	}
	return rows
}
