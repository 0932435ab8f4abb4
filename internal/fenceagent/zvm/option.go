package zvm

import (
	"slices"
	"strconv"

	"github.com/haobox/haobox/internal/fenceagent"
)

// The names of the two agents.
const (
	// IUCV is fence_zvm: SMAPI over AF_IUCV, the guest's own name is its
	// credential.
	IUCV = "fence_zvm"
	// IP is fence_zvmip: SMAPI over TCP with user id and password.
	IP = "fence_zvmip"
)

// ServerGuest is the SMAPI server for IUCV in z/VM's default configuration.
const ServerGuest = "VSMREQIU"

// Options returns the options of an agent. Both agents accept the options of
// both, so that one set of device attributes fits either; what an agent has
// no use for is ignored and not in its metadata.
func Options(agent string) []fenceagent.Option {
	out := slices.Clone(options)
	ignored := ipOnly
	if agent == IP {
		ignored = iucvOnly
	}
	for i := range out {
		o := &out[i]
		if slices.Contains(ignored, o.Name) {
			o.Ignored, o.Internal, o.Required = true, true, false
		}
		if agent == IUCV && o.Name == "ip" {
			o.Default, o.Required = ServerGuest, false
			o.Summary = "z/VM user id of the SMAPI server for IUCV; several, with commas, are the members of an SSI cluster"
		}
	}
	return out
}

// ipOnly and iucvOnly are the options that only one of the agents uses.
var (
	ipOnly = []string{"ipport", "username", "password", "password_script", "password_file", "ssl", "ssl_secure",
		"ssl_insecure", "disable_ssl", "ssl_ca", "inet4_only", "inet6_only", "gnutlscli_path", "tls1.0", "notls"}
	iucvOnly = []string{"zvmsys"}
)

// portOrUser tells the two meanings of -u apart: the port of the Python
// agents, the user id of the manual's table 7.
func portOrUser(spelling, value string) string {
	if n, err := strconv.Atoi(value); spelling == "-u" && (err != nil || n < 1 || n > 65535) {
		return "username"
	}
	return "ipport"
}

// options is the merged table of the manual's tables 6 and 7, the old C
// agents and the Python agent; names, letters and defaults that the Python
// agent has are its own.
var options = []fenceagent.Option{
	{Name: "action", Aliases: []string{"option"}, Long: "action", Short: "o", Arg: "action", Default: "reboot", Required: true,
		Summary: "What to do"},
	{Name: "ip", Deprecated: []string{"ipaddr"}, Aliases: []string{"members"}, Long: "ip", OtherLong: []string{"ipaddr", "members"}, Short: "a", Arg: "ip", Required: true,
		Summary: "Address of the z/VM system's SMAPI server; several, with commas, are the members of an SSI cluster"},
	{Name: "ipport", Long: "ipport", Short: "u", Arg: "port", Kind: fenceagent.Integer, Default: "44444", Redirect: portOrUser,
		Summary: "TCP port of the SMAPI server"},
	{Name: "username", Deprecated: []string{"login"}, Aliases: []string{"authuser"}, Long: "username", Short: "l", Arg: "name", Required: true,
		Summary: "User id that is authorised in the SMAPI server's AUTHLIST"},
	{Name: "password", Deprecated: []string{"passwd"}, Long: "password", Short: "p", Arg: "password",
		Summary: "Password of that user id"},
	{Name: "password_script", Deprecated: []string{"passwd_script"}, Long: "password-script", Short: "S", Arg: "script",
		Summary: "Command that prints the password; it wins over password"},
	{Name: "password_file", Long: "password-file", Arg: "file",
		Summary: "File with the password in its first line; it wins over password"},
	{Name: "plug", Deprecated: []string{"port"}, Aliases: []string{"target"}, Long: "plug", OtherLong: []string{"port"}, Short: "n", Arg: "id", Required: true,
		Summary: "z/VM user id of the guest to fence"},
	{Name: "zvmsys", Aliases: []string{"zvm_sys"}, Long: "zvmsys", Arg: "system",
		Summary: "z/VM system of the SMAPI server; for future use, Linux has no distributed IUCV"},
	{Name: "method", Long: "method", Short: "m", Arg: "method", Kind: fenceagent.Select, Choices: []string{"onoff", "cycle"}, Default: "onoff",
		Summary: "How to reboot: off, proof of off, and on; or Image_Recycle and proof that it happened"},
	{Name: "force_time", Long: "force-time", Arg: "time", Default: "IMMED",
		Summary: "When the guest is forced off: IMMED, WITHIN seconds, BY hh:mm; only IMMED is right for fencing"},
	{Name: "ssl", Long: "ssl", Short: "z", Kind: fenceagent.Boolean, Default: "1",
		Summary: "Use TLS and verify the server's certificate"},
	{Name: "ssl_secure", Long: "ssl-secure", Kind: fenceagent.Boolean,
		Summary: "Use TLS and verify the server's certificate, the same as ssl"},
	{Name: "ssl_insecure", Long: "ssl-insecure", Kind: fenceagent.Boolean,
		Summary: "Use TLS without verifying the server's certificate"},
	{Name: "disable_ssl", Long: "disable-ssl", Kind: fenceagent.Boolean,
		Summary: "Use plain TCP: the password crosses the network in clear"},
	{Name: "ssl_ca", Aliases: []string{"ca_file"}, Long: "ssl-ca", Arg: "file",
		Summary: "File of the certificate authorities to trust instead of the system's"},
	{Name: "tls1.0", Kind: fenceagent.Boolean, Internal: true, Ignored: true},
	{Name: "notls", Kind: fenceagent.Boolean, Internal: true, Ignored: true},
	{Name: "inet4_only", Long: "inet4-only", Short: "4", Kind: fenceagent.Boolean,
		Summary: "Use IPv4 addresses only"},
	{Name: "inet6_only", Long: "inet6-only", Short: "6", Kind: fenceagent.Boolean,
		Summary: "Use IPv6 addresses only"},
	{Name: "missing_as_off", Long: "missing-as-off", Kind: fenceagent.Boolean, Default: "1",
		Summary: "Take a guest that z/VM does not know for off when the directory cannot be asked; given explicitly, without asking"},
	{Name: "verify_plug", Long: "verify-plug", Arg: "0|1|auto", Kind: fenceagent.Select, Choices: []string{"auto", "0", "1"}, Default: "auto",
		Summary: "Ask the directory whether the guest exists before believing that a guest never seen on is off"},
	{Name: "ssi_unreachable", Long: "ssi-unreachable", Arg: "fail|ignore|down", Kind: fenceagent.Select, Choices: []string{"fail", "ignore", "down"}, Default: "fail",
		Summary: "What a member of the SSI cluster means that does not answer: failure, nothing, or nothing if SSI_Query says that it is down"},
	{Name: "nodename_as_plug", Long: "nodename-as-plug", Kind: fenceagent.Boolean,
		Summary: "Take the node's name for the guest's when no plug is given"},
	{Name: "nodename", Aliases: []string{"node"}, Long: "nodename", Arg: "name", Internal: true, Ignored: true},
	{Name: "delay", Long: "delay", Arg: "seconds", Kind: fenceagent.Seconds, Default: "0",
		Summary: "Wait before off and reboot"},
	{Name: "login_timeout", Long: "login-timeout", Arg: "seconds", Kind: fenceagent.Seconds, Default: "5",
		Summary: "Limit of one connect with its TLS handshake"},
	{Name: "shell_timeout", Long: "shell-timeout", Arg: "seconds", Kind: fenceagent.Seconds, Default: "5",
		Summary: "Limit of one SMAPI request and its answer"},
	{Name: "power_timeout", Long: "power-timeout", Arg: "seconds", Kind: fenceagent.Seconds, Default: "20",
		Summary: "Limit for the guest to go off, and again to go on"},
	{Name: "power_wait", Long: "power-wait", Arg: "seconds", Kind: fenceagent.Seconds, Default: "0",
		Summary: "Wait after each accepted off and on"},
	{Name: "stonith_status_sleep", Long: "stonith-status-sleep", Arg: "seconds", Kind: fenceagent.Seconds, Default: "1",
		Summary: "Longest pause between two looks at the guest's state; the first ones are shorter"},
	{Name: "retry_on", Long: "retry-on", Arg: "attempts", Kind: fenceagent.Integer, Default: "1",
		Summary: "Further attempts to switch the guest on"},
	{Name: "disable_timeout", Long: "disable-timeout", Arg: "true/false", Kind: fenceagent.Boolean,
		Summary: "Leave the limits to the caller (default true under pacemaker-fenced)"},
	{Name: "timeout", Long: "timeout", Short: "Tt", Arg: "seconds", Kind: fenceagent.Seconds, Internal: true, Ignored: true,
		Summary: "Accepted and ignored, as in the manual"},
	{Name: "separator", Long: "separator", Short: "C", Arg: "char", Default: ",",
		Summary: "Separator in the output of list and list-status"},
	{Name: "plug_separator", Long: "plug-separator", Arg: "char", Default: ",",
		Summary: "Separator between several guests in plug"},
	{Name: "verbose", Long: "verbose", Short: "v", Kind: fenceagent.Boolean,
		Summary: "Say on standard error what is done; -vv shows the messages"},
	{Name: "verbose_level", Long: "verbose-level", Arg: "level", Kind: fenceagent.Integer, Bare: true,
		Summary: "The same as a number"},
	{Name: "quiet", Long: "quiet", Short: "q", Kind: fenceagent.Boolean,
		Summary: "Write nothing to standard error but what verbose asks for"},
	{Name: "debug_file", Deprecated: []string{"debug"}, Long: "debug-file", Short: "D", Arg: "debugfile",
		Summary: "File to append all that is said and sent; never holds a password"},
	{Name: "gnutlscli_path", Long: "gnutlscli-path", Arg: "path", Default: "/usr/bin/gnutls-cli", Ignored: true,
		Summary: "Accepted and ignored: TLS is built in"},
	{Name: "version", Long: "version", Short: "V", Kind: fenceagent.Boolean,
		Summary: "Print the version and exit"},
	{Name: "help", Aliases: []string{"usage"}, Long: "help", Short: "h", Kind: fenceagent.Boolean,
		Summary: "Print this help and exit"},
}
