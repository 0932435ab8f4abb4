package smapi

import (
	"context"
	"errors"
	"fmt"
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

// ActiveImages lists the active images, in the server's order. With an
// ErrProtocol the names before the fault are returned.
func (c *Client) ActiveImages(ctx context.Context) ([]string, error) {
	return decoded(ctx, c, ImageStatusQuery, "*", nil, decodeNames)
}

// DirectoryNames lists all images of the user directory, in the server's
// order. With an ErrProtocol the names before the fault are returned.
func (c *Client) DirectoryNames(ctx context.Context) ([]string, error) {
	return decoded(ctx, c, ImageNameQueryDM, c.self(), nil, decodeNames)
}

// decodeNames decodes a name array and normalises the names.
func decodeNames(data []byte) ([]string, error) {
	names, err := DecodeNameArray(data)
	for i := range names {
		names[i] = trimName(names[i])
	}
	return names, err
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

// DirectoryEntry returns the statements of an image's directory entry.
func (c *Client) DirectoryEntry(ctx context.Context, target string) ([]string, error) {
	return decoded(ctx, c, ImageQueryDM, target, nil, DecodeRecordArray)
}

// ActivateTime asks when an image was logged on.
func (c *Client) ActivateTime(ctx context.Context, target string, format DateFormat) (ActivateTime, error) {
	return decoded(ctx, c, ImageQueryActivateTime, target, []byte{byte(format)}, DecodeActivateTime)
}

// ActiveConfiguration asks for memory, processors and devices of an active
// image.
func (c *Client) ActiveConfiguration(ctx context.Context, target string) (ImageConfiguration, error) {
	return decoded(ctx, c, ImageActiveConfigurationQuery, target, nil, DecodeImageConfiguration)
}

// SSI asks for the state of the SSI cluster. A system that is in none answers
// with return code 4, reason code 3008.
func (c *Client) SSI(ctx context.Context) (SSI, error) {
	return decoded(ctx, c, SSIQuery, "ALL", nil, DecodeSSI)
}

// SystemInformation returns the lines that describe the system.
func (c *Client) SystemInformation(ctx context.Context) ([]string, error) {
	return decoded(ctx, c, SystemInformationQuery, c.self(), nil, DecodeSystemInformation)
}

// DirectoryManagerLevel names the directory manager and its level.
func (c *Client) DirectoryManagerLevel(ctx context.Context) (string, error) {
	return decoded(ctx, c, QueryDirectoryManagerLevelDM, c.self(), nil, func(b []byte) (string, error) {
		s, _, err := CutString(b)
		return s, err
	})
}

// decoded does one request and decodes the output of a successful answer. The
// values before a fault are returned with the ErrProtocol.
func decoded[T any](ctx context.Context, c *Client, function, target string, params []byte, decode func([]byte) (T, error)) (T, error) {
	resp, err := c.call(ctx, function, target, params)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := decode(resp.Data)
	if err != nil {
		err = malformed(function, target, err)
	}
	return v, err
}

// OperationState is how far an asynchronous operation is.
type OperationState int

// The states of an operation are the reason codes of
// Query_Asynchronous_Operation_DM.
const (
	OperationDone    OperationState = 100
	OperationRunning OperationState = 104
	OperationFailed  OperationState = 108
)

// Operation asks for the state of the operation that a *ResultError with
// return code 592 names.
func (c *Client) Operation(ctx context.Context, id uint32) (OperationState, error) {
	resp, err := c.call(ctx, QueryAsynchronousOperationDM, c.self(), AppendInt4(nil, id))
	if err != nil {
		return 0, err
	}
	switch s := OperationState(resp.Reason); s {
	case OperationDone, OperationRunning, OperationFailed:
		return s, nil
	}
	return 0, malformed(QueryAsynchronousOperationDM, "", fmt.Errorf("reason code %d is no state of an operation", resp.Reason))
}
