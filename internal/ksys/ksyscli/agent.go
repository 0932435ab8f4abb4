package ksyscli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/platform"
)

// Exit statuses of a resource agent (OCF resource agent API 1.0).
const (
	ocfSuccess        = 0
	ocfGeneric        = 1
	ocfArgs           = 2
	ocfUnimplemented  = 3
	ocfNotInstalled   = 5
	ocfNotRunning     = 7
	agentUsage        = "usage: ksys.sh start | stop | status | monitor | meta-data | validate-all | --help\n\n" + "  --help     print this text\n"
	ocfParameterStart = "OCF_RESKEY_"
)

// agentMetadata describes the agent in the dialect of rgmanager. The times
// are those of the scripts: the start takes up to 110 s, the stop 90, a call
// of the monitor 45.
const agentMetadata = `<?xml version="1.0"?>
<resource-agent version="rgmanager 2.0" name="ksys">
    <version>1.0</version>
    <longdesc lang="en">
        The KSYS daemon (IBM.VMR) on the group leader of its RSCT peer domain. Only one service of a cluster can have it.
    </longdesc>
    <shortdesc lang="en">
        KSYS daemon of VM Recovery Manager
    </shortdesc>
    <parameters>
        <parameter name="name" primary="1" unique="1">
            <longdesc lang="en">A name for this resource.</longdesc>
            <shortdesc lang="en">Name</shortdesc>
            <content type="string"/>
        </parameter>
        <parameter name="policy">
            <longdesc lang="en">Whether the flag file of a start that has not finished counts: paper or strict.</longdesc>
            <shortdesc lang="en">Startup policy</shortdesc>
            <content type="string" default="strict"/>
        </parameter>
        <parameter name="statedir">
            <longdesc lang="en">Folder of the flag file, the lock and the counter.</longdesc>
            <shortdesc lang="en">State folder</shortdesc>
            <content type="string" default="/var/ksys/run"/>
        </parameter>
    </parameters>
    <actions>
        <action name="start" timeout="115"/>
        <action name="stop" timeout="95"/>
        <action name="status" interval="60" timeout="50"/>
        <action name="monitor" interval="60" timeout="50"/>
        <action name="meta-data" timeout="5"/>
        <action name="validate-all" timeout="15"/>
    </actions>
    <special tag="rgmanager">
        <attributes maxinstances="1"/>
    </special>
</resource-agent>
`

// Agent runs one action of the resource agent. A manager that uses it starts
// the resource once and waits for it, so it needs no startup monitor; the
// status is the long-running monitor's.
func Agent(ctx context.Context, env platform.Env, args []string, m ksys.Machine) int {
	if len(args) != 2 {
		io.WriteString(env.Stderr, agentUsage)
		return ocfArgs
	}
	switch args[1] {
	case "meta-data":
		io.WriteString(env.Stdout, agentMetadata)
		return ocfSuccess
	case "--help", "-h":
		io.WriteString(env.Stdout, agentUsage)
		return ocfSuccess
	case "start", "stop", "status", "monitor", "validate-all":
	default:
		io.WriteString(env.Stderr, agentUsage)
		return ocfUnimplemented
	}
	getenv := env.Getenv
	env.Getenv = func(key string) string {
		// The manager's parameters stand for the scripts' own variables.
		if key == ksys.EnvPolicy || key == ksys.EnvStateDir {
			word := strings.ToLower(key[strings.LastIndexByte(key, '_')+1:])
			if v := getenv(ocfParameterStart + word); v != "" {
				return v
			}
		}
		return getenv(key)
	}
	env, open, err := phasim.Surroundings(env, phasim.Opener(m.OpenStore))
	if err != nil {
		fmt.Fprintf(env.Stderr, "ksys: %v\n", err)
		return ocfGeneric
	}
	m.OpenStore = open
	r := ksys.NewRuntime(ctx, env, m, "ksys", args[1] == "start" || args[1] == "stop")
	switch args[1] {
	case "start":
		return agentCode(r.Run(ctx, &ksys.Start{Config: r.Config, Node: r.Node()}))
	case "stop":
		return agentCode(r.Run(ctx, &ksys.Stop{Config: r.Config, Node: r.Node()}))
	case "validate-all":
		d := r.Look(ctx)
		switch {
		case d.Missing:
			r.Log(slog.LevelError, "lssrc is not installed")
			return ocfNotInstalled
		case d.State == ksys.DaemonAbsent:
			r.Log(slog.LevelError, ksys.DaemonName+" is not defined")
			return ocfNotInstalled
		}
		return ocfSuccess
	}
	code := r.Run(ctx, &ksys.Longrun{Config: r.Config, Node: r.Node()})
	// Not the leader, or no daemon: it does not run here, and a manager that
	// asks before a start must not take that for a failure.
	if code == ksys.LongrunNotActive || code == ksys.LongrunNotLeader {
		return ocfNotRunning
	}
	if code == ksys.LongrunProbe {
		return ocfGeneric
	}
	return agentCode(code)
}

func agentCode(code int) int {
	switch code {
	case ksys.ExitOK:
		return ocfSuccess
	case ksys.ExitMissing, ksys.StartAbsent:
		return ocfNotInstalled
	}
	return ocfGeneric
}
