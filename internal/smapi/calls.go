package smapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Power is the state of an image.
type Power int

const (
	// PowerUnknown is not off.
	PowerUnknown Power = iota
	// PowerOn: the image is active.
	PowerOn
	// PowerOff: the server says that the image is not active. It says so too
	// of a name that is not in its directory, and of an image that is active
	// on another member of its SSI cluster.
	PowerOff
	// PowerGoingOff: the image is active and its logoff is pending.
	PowerGoingOff
)

// String returns "unknown", "on", "off" or "going off".
func (p Power) String() string {
	switch p {
	case PowerOn:
		return "on"
	case PowerOff:
		return "off"
	case PowerGoingOff:
		return "going off"
	}
	return "unknown"
}

// Result is what every answer has.
type Result struct {
	RequestID      uint32
	Return, Reason int
}

// ImageResult is the answer of Image_Activate, Image_Deactivate and
// Image_Recycle.
type ImageResult struct {
	Result
	ImageCounts
}

// call does one request and turns any return code but 0 into a *ResultError.
// The response is returned with that error too.
func (c *Client) call(ctx context.Context, function, target string, params []byte) (Response, error) {
	resp, err := c.Do(ctx, Request{Function: function, Target: target, Params: params})
	if err != nil || resp.Return == 0 {
		return resp, err
	}
	fault := &ResultError{Function: function, Return: resp.Return, Reason: resp.Reason}
	if resp.Return == 592 {
		// The id is the output, or the reason code of an older server.
		fault.Operation = uint32(resp.Reason)
		if id, _, err := CutInt4(resp.Data); err == nil && resp.Reason == 0 {
			fault.Operation = id
		}
	}
	return resp, fault
}

// malformed is the error of an answer that says success and cannot be read.
func malformed(function, target string, err error) error {
	return &TransportError{Function: function, Target: upper(target), Kind: ErrProtocol, Err: err}
}

// self is the target of a function that asks about no image.
func (c *Client) self() string {
	switch {
	case c.User != "":
		return c.User
	case c.Self != "":
		return c.Self
	}
	return "ALL"
}

// ImageStatus asks whether one image is active. The errors are a *ResultError
// or a *TransportError, and the state is then PowerUnknown. An answer that
// contradicts itself is an ErrProtocol.
func (c *Client) ImageStatus(ctx context.Context, target string) (Power, error) {
	resp, err := c.call(ctx, ImageStatusQuery, target, nil)
	var fault *ResultError
	switch {
	case errors.As(err, &fault) && fault.Return == 200 && fault.Reason == 16:
		return PowerGoingOff, nil
	case err != nil:
		return PowerUnknown, err
	}
	names, err := DecodeNameArray(resp.Data)
	if err != nil {
		return PowerUnknown, malformed(ImageStatusQuery, target, err)
	}
	listed := slices.ContainsFunc(names, func(n string) bool { return trimName(n) == upper(target) })
	switch {
	case resp.Reason == 0 && (listed || len(names) == 0):
		return PowerOn, nil
	case resp.Reason == 12 && !listed:
		return PowerOff, nil
	}
	return PowerUnknown, malformed(ImageStatusQuery, target,
		fmt.Errorf("reason code %d contradicts the list of active images %q", resp.Reason, names))
}

// trimName makes a name from the wire comparable.
func trimName(s string) string {
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return upper(s)
}

// ActiveImages lists the active images, in the server's order.
func (c *Client) ActiveImages(ctx context.Context) ([]string, error) {
	resp, err := c.call(ctx, ImageStatusQuery, "*", nil)
	return nameList(resp, err, ImageStatusQuery)
}

// DirectoryNames lists all images of the user directory, in the server's
// order.
func (c *Client) DirectoryNames(ctx context.Context) ([]string, error) {
	resp, err := c.call(ctx, ImageNameQueryDM, c.self(), nil)
	return nameList(resp, err, ImageNameQueryDM)
}

// nameList decodes the names of a successful answer. With an ErrProtocol the
// names before the fault are returned.
func nameList(resp Response, err error, function string) ([]string, error) {
	if err != nil {
		return nil, err
	}
	names, err := DecodeNameArray(resp.Data)
	for i := range names {
		names[i] = trimName(names[i])
	}
	if err != nil {
		return names, malformed(function, "", err)
	}
	return names, nil
}

// ImageActivate logs an image on, or all images of a list. Success means that
// it was accepted.
func (c *Client) ImageActivate(ctx context.Context, target string) (ImageResult, error) {
	return c.image(ctx, ImageActivate, target, nil)
}

// ImageDeactivate logs an image off, or all images of a list. forceTime is ""
// for the system's shutdown time, Immediate, "WITHIN n" or "BY hh:mm". Success
// means that it was accepted, not that the image is off; the reason code may
// then be a number of seconds.
func (c *Client) ImageDeactivate(ctx context.Context, target, forceTime string) (ImageResult, error) {
	return c.image(ctx, ImageDeactivate, target, AppendString(nil, forceTime))
}

// ImageRecycle logs an image off and on again, or all images of a list.
// Success means that it was accepted.
func (c *Client) ImageRecycle(ctx context.Context, target string) (ImageResult, error) {
	return c.image(ctx, ImageRecycle, target, nil)
}

// image does one of the three. With a *ResultError the counts are returned as
// far as the server gave any: an error may come without them or with other
// data.
func (c *Client) image(ctx context.Context, function, target string, params []byte) (ImageResult, error) {
	resp, err := c.call(ctx, function, target, params)
	res := ImageResult{Result: Result{resp.RequestID, resp.Return, resp.Reason}}
	var fault *ResultError
	if err != nil && !errors.As(err, &fault) {
		return res, err
	}
	counts, bad := DecodeImageCounts(resp.Data)
	switch {
	case bad == nil:
		res.ImageCounts = counts
	case err == nil:
		return res, malformed(function, target, bad)
	}
	return res, err
}

// CheckAuthentication asks whether the server accepts the user and password.
func (c *Client) CheckAuthentication(ctx context.Context) error {
	_, err := c.call(ctx, CheckAuthentication, "", nil)
	return err
}

// FunctionalLevel returns the level of the API: 0 for z/VM 5.3, 540, 610 and
// so on.
func (c *Client) FunctionalLevel(ctx context.Context) (int, error) {
	resp, err := c.call(ctx, QueryAPIFunctionalLevel, c.self(), nil)
	if err != nil {
		return 0, err
	}
	return resp.Reason, nil
}

// Event is one event of a subscription.
type Event struct {
	Type int
	Data []byte
}

// AppendEvent appends an event in wire form: length of what follows, type and
// data.
func AppendEvent(dst []byte, e Event) []byte {
	dst = AppendInt4(dst, uint32(4+len(e.Data)))
	dst = AppendInt4(dst, uint32(int32(e.Type)))
	return append(dst, e.Data...)
}

// Subscribe calls f for every event that matches key until ctx ends, f returns
// an error, which is returned, or the server ends it. ExchangeLimit applies
// until the server has accepted the request; the wait for events has no limit.
func (c *Client) Subscribe(ctx context.Context, key string, f func(Event) error) error {
	x, err := c.start(ctx, Request{Function: EventSubscribe, Target: c.self(), Params: AppendString(nil, key)})
	if err != nil {
		return err
	}
	defer x.close()
	x.unlimited()
	for first := true; ; first = false {
		var body []byte
		err := x.read(func(r io.Reader) (err error) {
			body, err = readFrame(r, smallOutput)
			return err
		})
		if err != nil {
			return err
		}
		d := decoder{b: body}
		kind := d.int4()
		if first && len(body) == minResponse && kind == x.id {
			// A refusal has the shape of any response.
			ret, reason := int(int32(d.int4())), int(int32(d.int4()))
			if ret == 0 {
				continue
			}
			return &ResultError{Function: EventSubscribe, Return: ret, Reason: reason}
		}
		if err := f(Event{Type: int(int32(kind)), Data: d.b}); err != nil {
			return err
		}
	}
}

// readFrame reads a length of at least 4 and as many bytes.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	n, err := readRequestID(r)
	switch {
	case err != nil:
		return nil, err
	case n < 4 || uint64(n) > uint64(limit):
		return nil, fmt.Errorf("%w: event of %d bytes", ErrProtocol, n)
	}
	b, err := readN(r, int(n))
	return b, unexpected(err)
}
