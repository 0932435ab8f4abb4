package haobox

import (
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/platform"
)

// rgmanagerClient talks to rgmanager of this node.
func rgmanagerClient(env platform.Env) (*ctl.Client, error) {
	return daemon.Client(env, "rgmanager"), nil
}
