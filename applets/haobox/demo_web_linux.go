package haobox

import (
	"fmt"
	"os"
)

// debianModules is where Debian's apache2 has its modules.
const debianModules = "/usr/lib/apache2/modules"

// chooseWeb is Debian's apache2, else nginx, else the demo's own web server.
func (x *scene) chooseWeb() webServer {
	has := func(files ...string) bool {
		for _, f := range files {
			if _, err := os.Stat(f); err != nil {
				return false
			}
		}
		return true
	}
	switch {
	case has("/usr/sbin/apache2", debianModules+"/mod_mpm_event.so", debianModules+"/mod_authz_core.so"):
		return webServer{
			name: "apache2", mark: "/usr/sbin/apache2",
			resource: fmt.Sprintf(`<apache name="ZHA-WEB" server_root="%s/httpd" config_file="httpd.conf" shutdown_wait="0"/>`, x.dir),
		}
	case has("/usr/sbin/nginx"):
		w := x.scriptWeb()
		w.name, w.mark = "nginx", "nginx"
		return w
	}
	return x.ownWeb()
}

func (x *scene) ownWeb() webServer {
	w := x.scriptWeb()
	w.name, w.mark = "the demo's own web server", "service-web"
	return w
}

// scriptWeb is a web server under a script; the file is looked up below the
// node's root.
func (x *scene) scriptWeb() webServer {
	file := "/web"
	if x.private {
		file = x.dir + "/web"
	}
	return webServer{resource: fmt.Sprintf(`<script name="ZHA-WEB" file="%s"/>`, file)}
}

// prepareWeb writes the configuration of the web server, or its script.
func (x *scene) prepareWeb() error {
	root := x.dir + "/www"
	var command string
	switch x.web.name {
	case "apache2":
		return os.WriteFile(x.dir+"/httpd/httpd.conf", fmt.Appendf(nil, `ServerRoot "%[1]s/httpd"
ServerName www
User www-data
Group www-data
LoadModule mpm_event_module %[3]s/mod_mpm_event.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
Listen 80
DocumentRoot "%[2]s"
ErrorLog "/var/log/httpd.log"
`, x.dir, root, debianModules), 0o644)
	case "nginx":
		conf := x.dir + "/nginx.conf"
		if err := os.WriteFile(conf, fmt.Appendf(nil, `daemon off; pid /run/nginx.pid; error_log /var/log/nginx-error.log; events {}
http { access_log off; client_body_temp_path /run/nginx-1; proxy_temp_path /run/nginx-2; fastcgi_temp_path /run/nginx-3;
uwsgi_temp_path /run/nginx-4; scgi_temp_path /run/nginx-5; server { listen %s; root %s; } }
`, x.address, root), 0o644); err != nil {
			return err
		}
		// nginx writes over its environment, by which rgmanager finds the
		// processes of a service; the shell that waits for it does not.
		command = "setsid /bin/sh -c '/usr/sbin/nginx -c " + conf + "; exit'"
	default:
		command = "'" + x.dir + "/bin/haobox' demo service-web " + x.address + " '" + root + "'"
	}
	const script = `#!/bin/sh
P='%[1]s'
p=
[ -f "$P" ] && read -r p <"$P"
alive() {
	[ -n "$p" ] && [ -r "/proc/$p/status" ] || return 1
	while read -r k v x; do [ "$k" != State: ] || break; done <"/proc/$p/status" || return 1
	[ "$v" != Z ] && [ "$v" != X ]
}
case $1 in
start)
	alive && exit 0
	%[2]s >/dev/null 2>&1 </dev/null &
	echo $! >"$P";;
stop)
	[ -n "$p" ] || exit 0
	kill -- -"$p" 2>/dev/null || kill "$p" 2>/dev/null
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do alive || break; sleep 0.1; done
	kill -9 -- -"$p" 2>/dev/null
	rm -f "$P";;
status) alive;;
esac
`
	if x.private {
		return os.WriteFile(x.dir+"/web", fmt.Appendf(nil, script, "/run/ZHA-WEB.pid", command), 0o755)
	}
	for _, m := range x.nodes {
		if err := os.WriteFile(m.dir+"/web", fmt.Appendf(nil, script, m.dir+"/r/ZHA-WEB.pid", command), 0o755); err != nil {
			return err
		}
	}
	return nil
}
