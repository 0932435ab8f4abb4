package vsock

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		errno syscall.Errno
		want  error
	}{
		{syscall.EAFNOSUPPORT, ErrNoSupport},
		{syscall.ENODEV, ErrNoTransport},
		{syscall.EHOSTUNREACH, ErrNoTransport},
		{syscall.ETIMEDOUT, ErrNoAnswer},
		{syscall.ECONNRESET, ErrNoListener},
		{syscall.ECONNREFUSED, ErrNoListener},
		{syscall.EACCES, syscall.EACCES},
	}
	for _, tc := range tests {
		err := explain(fmt.Errorf("dial: %w", tc.errno))
		if !errors.Is(err, tc.want) || !errors.Is(err, tc.errno) {
			t.Errorf("explain(%v) = %v, want %v", tc.errno, err, tc.want)
		}
	}
}
