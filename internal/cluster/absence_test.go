package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/cluster"
)

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		why  cluster.Absence
		text string
	}{
		{fmt.Errorf("open: %w", cluster.ErrNotRunning), cluster.NotRunning, `"cman_tool join"`},
		{fmt.Errorf("open: %w", cluster.ErrDenied), cluster.Denied, "run the command as root"},
		{fmt.Errorf("%w: %w", cluster.ErrLost, cluster.ErrSilent), cluster.Silent, "does not answer"},
		{cluster.ErrLost, cluster.Gone, "no member any more"},
		{errors.New("odd"), cluster.Fault, "ask the cluster engine: odd"},
	} {
		u := cluster.NewUnavailable(tc.err)
		if u.Why != tc.why || !strings.Contains(u.Error(), tc.text) || strings.Contains(u.Error(), "\n") || !errors.Is(u, tc.err) {
			t.Errorf("%v: %v, %q", tc.err, u.Why, u)
		}
	}
}
