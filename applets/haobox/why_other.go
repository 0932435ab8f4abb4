//go:build !linux

package haobox

import (
	"errors"

	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/platform"
)

func rgmanagerClient(platform.Env) (*ctl.Client, error) {
	return nil, errors.New("rgmanager runs on Linux only")
}
