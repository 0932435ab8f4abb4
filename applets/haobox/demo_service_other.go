//go:build !linux

package haobox

import (
	"context"

	"github.com/urfave/cli/v2"
)

func (t tool) tellService(context.Context, serviceOptions) error { return errNoCluster }

func (t tool) demoParts() []*cli.Command { return nil }
