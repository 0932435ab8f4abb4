package zvm

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

// Endpoint is where a SMAPI server listens and how to trust it.
type Endpoint struct {
	// Text is "tcp:HOST:PORT", "tls:HOST:PORT" (tcp4, tcp6, tls4, tls6 for one
	// kind of address only), "iucv:GUEST", "vsock:CID:PORT" or "unix:PATH".
	Text string
	// CAFile replaces the system's trusted authorities; Insecure verifies
	// nothing.
	CAFile   string
	Insecure bool
}

// endpoint turns one element of the ip option into an endpoint.
func endpoint(agent, addr string, v *fenceagent.Values) (Endpoint, error) {
	e := Endpoint{CAFile: v.Text("ssl_ca"), Insecure: v.Bool("ssl_insecure")}
	for _, scheme := range []string{"unix:", "vsock:", "iucv:"} {
		if rest, ok := strings.CutPrefix(addr, scheme); ok {
			if scheme == "vsock:" && !strings.Contains(rest, ":") {
				addr += ":" + v.Text("ipport")
			}
			e.Text = addr
			return e, nil
		}
	}
	if agent == IUCV {
		name := strings.ToUpper(addr)
		if !smapi.ValidUserID(name) {
			return e, usagef("Failed: '%s' is no z/VM user id for the SMAPI server: 1 to 8 characters of A-Z, 0-9, @#$+-:", addr)
		}
		e.Text = "iucv:" + name
		return e, nil
	}
	host, port, err := hostPort(addr, v.Text("ipport"))
	if err != nil {
		return e, err
	}
	scheme := "tls"
	if plain(v) {
		scheme = "tcp"
	}
	switch {
	case v.Bool("inet4_only"):
		scheme += "4"
	case v.Bool("inet6_only"):
		scheme += "6"
	}
	e.Text = scheme + ":" + host + ":" + port
	return e, nil
}

// plain reports whether TLS is off. TLS is the default, as in the Python
// agent; ssl=0 or disable_ssl=1 turn it off, and nothing else ever does.
func plain(v *fenceagent.Values) bool {
	if v.Bool("disable_ssl") {
		return true
	}
	return !v.Bool("ssl") && !v.Bool("ssl_secure") && !v.Bool("ssl_insecure")
}

// hostPort splits an address that may carry a port of its own: HOST,
// HOST:PORT, [V6]:PORT, [V6] or V6. The host comes back ready to be joined
// with a port.
func hostPort(addr, port string) (string, string, error) {
	host := addr
	if ip, err := netip.ParseAddr(addr); err != nil || ip.Is4() {
		if h, p, ok := strings.Cut(addr, ":"); ok && !strings.HasPrefix(addr, "[") {
			host, port = h, p
		} else if h, p, ok := strings.Cut(addr, "]"); ok && strings.HasPrefix(addr, "[") {
			host = h[1:]
			if p != "" {
				port = strings.TrimPrefix(p, ":")
			}
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", "", usagef("Failed: '%s' of address '%s' is no TCP port: 1 to 65535", port, addr)
	}
	if host == "" || strings.ContainsAny(host, " \t/[]") {
		return "", "", usagef("Failed: '%s' is no host name or address", addr)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host, port, nil
}

func usagef(format string, args ...any) error {
	return &fenceagent.UsageError{Text: fmt.Sprintf(format, args...)}
}
