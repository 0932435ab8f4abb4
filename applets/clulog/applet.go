// Package clulog is clulog: shell agents put a line into rgmanager's log with
// it (rgmanager 3.2).
package clulog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "clulog", Section: 8, Class: applet.Tool,
	Summary: "put a line into rgmanager's log",
	Run:     Run,
}

const (
	// daemon is whose log it is, and the name that has no prefix.
	daemon = "rgmanager"
	// defaultSeverity is that of a line without -s: info.
	defaultSeverity = 6
	logMode         = 0o644
)

// severities are the numbers of syslog(3), with the words of <logging>.
func severities() []string {
	return []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
}

func options() []argv.Option {
	return []argv.Option{
		{Name: "m", Short: "m", Arity: argv.Required}, {Name: "s", Short: "sl", Arity: argv.Required},
		{Name: "help", Short: "h"},
	}
}

// Run runs the command line args. The exit status is 0 whatever happens: a log
// line must not decide over an agent.
func Run(_ context.Context, env platform.Env, args []string) error {
	severity, name := defaultSeverity, ""
	settings, words, err := argv.Parse(options(), args[1:])
	if err != nil {
		return usage(env.Stderr, args[0])
	}
	for _, s := range settings {
		switch s.Name {
		case "help":
			return usage(env.Stdout, args[0])
		case "m":
			name = s.Value
		case "s":
			if n, err := strconv.Atoi(s.Value); err == nil && n >= 0 && n < len(severities()) {
				severity = n
			}
		}
	}
	if len(words) == 0 {
		return usage(env.Stderr, args[0])
	}
	text := words[0]
	if name != "" && name != daemon {
		text = "[" + name + "] " + text
	}
	write(env, severity, strings.Join(strings.Fields(text), " "))
	return nil
}

func usage(w io.Writer, name string) error {
	fmt.Fprintf(w, "%s [-m logname] -s severity \"message text\"\n\n", name)
	fmt.Fprint(w, "   -m name      what logs: \"[name] \" goes in front of the text\n"+
		"   -s, -l number  severity, 0 (emerg) to 7 (debug); 6 without it\n"+
		"   -h, --help   this text\n")
	return nil
}

// write sends the line to where rgmanager's settings say, and to standard
// error.
func write(env platform.Env, severity int, text string) {
	to := settings(env)
	fmt.Fprintln(env.Stderr, text)
	if to.ToSyslog && severity <= number(to.SyslogPriority) && env.Log != nil {
		env.Log.With(slog.String(platform.AppletKey, daemon)).Log(context.Background(), level(severity), text)
	}
	if !to.ToLogfile || severity > number(to.LogfilePriority) {
		return
	}
	f, err := env.FS.OpenFile(to.Logfile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, logMode)
	if err != nil {
		return // no folder, no file: syslog has it
	}
	defer f.Close()
	fmt.Fprintf(f, "%s %s %s\n", env.Clock.Now().Format("Jan 02 15:04:05"), daemon, text)
}

// settings reads rgmanager's; without a configuration they are the defaults.
func settings(env platform.Env) clusterconf.Logging {
	empty := []byte("<cluster/>")
	config := clusterconf.File(env.Getenv)
	text, err := env.FS.ReadFile(config)
	if err != nil {
		text = empty
	}
	doc, err := xmldoc.Parse(config, text)
	if err != nil {
		if doc, err = xmldoc.Parse(config, empty); err != nil {
			return clusterconf.Logging{ToSyslog: true, SyslogPriority: "info"}
		}
	}
	return clusterconf.Decode(doc).Logging(daemon)
}

// number is the severity of a word; one that is unknown keeps everything.
func number(word string) int {
	for i, s := range severities() {
		if s == word {
			return i
		}
	}
	return len(severities())
}

func level(severity int) slog.Level {
	switch severity {
	case 0, 1:
		return slog.LevelError + 8
	case 2:
		return slog.LevelError + 4
	case 3:
		return slog.LevelError
	case 4:
		return slog.LevelWarn
	case 5:
		return slog.LevelInfo + 2
	case 6:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
