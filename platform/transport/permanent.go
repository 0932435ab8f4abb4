package transport

import (
	"errors"

	"github.com/haobox/haobox/platform/iucv"
	"github.com/haobox/haobox/platform/vsock"
)

// permanent marks an error of Dial that the next attempt would meet again:
// what is missing must be put right by a person. Callers find it by its method
// Permanent, with errors.As.
type permanent struct{ error }

// Permanent is true.
func (permanent) Permanent() bool { return true }

// Unwrap returns the error itself.
func (p permanent) Unwrap() error { return p.error }

// lasting are the errors that Dial marks. A function, so that nothing is
// built at start.
func lasting() []error {
	return []error{
		iucv.ErrNoSupport, iucv.ErrNotZVM, iucv.ErrNoAuthority, vsock.ErrNoSupport, vsock.ErrNoTransport,
		ErrPlainServer, ErrUntrusted, ErrWrongHost, ErrExpired, ErrTLSVersion, ErrCAFile, ErrEndpoint,
	}
}

// mark marks err if it lasts.
func mark(err error) error {
	for _, l := range lasting() {
		if errors.Is(err, l) {
			return permanent{err}
		}
	}
	return err
}
