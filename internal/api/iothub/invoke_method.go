package iothub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
)

// maxMethodBody is the largest body of a call: what the payload may have is for
// the hub to say.
const maxMethodBody = 2 * maxBody

// invokeMethod answers POST /twins/{device}[/modules/{module}]/methods.
func invokeMethod(c *call) error {
	var body struct {
		MethodName      string          `json:"methodName"`
		Payload         json.RawMessage `json:"payload"`
		ResponseTimeout *int32          `json:"responseTimeoutInSeconds"`
		ConnectTimeout  *int32          `json:"connectTimeoutInSeconds"`
	}
	if err := c.decode(maxMethodBody, &body); err != nil {
		return err
	}
	in := command.Call{Method: body.MethodName, Payload: body.Payload}
	if n := body.ResponseTimeout; n != nil {
		if *n == 0 {
			return iot.Errorf(iot.ArgumentInvalid, "responseTimeoutInSeconds is 0: leave it out for the default of %v", command.DefaultResponse)
		}
		in.Response = time.Duration(*n) * time.Second
	}
	if n := body.ConnectTimeout; n != nil {
		in.Connect = time.Duration(*n) * time.Second
	}
	out, err := c.hub.Invoke(c.r.Context(), iot.ID{Device: c.device, Module: c.module}, in)
	if err != nil {
		return outcomeOf(err, in)
	}
	return c.reply(http.StatusOK, struct {
		Status  int             `json:"status"`
		Payload json.RawMessage `json:"payload"` // nil is written as null
	}{out.Status, out.Payload})
}

// outcome is an error of a method that was looked for: what SDKs take apart
// there is JSON text.
type outcome struct {
	err  error
	info any
}

func (o *outcome) Error() string { return o.err.Error() }

func (o *outcome) Unwrap() error { return o.err }

// outcomeOf gives the errors of a call the form that they have for methods.
// That the device is unknown has the usual form: SDKs look for its code there.
func outcomeOf(err error, in command.Call) error {
	var after time.Duration
	switch iot.CodeOf(err) {
	case iot.DeviceNotOnline:
		after = in.Connect
	case iot.GatewayTimeout:
		if after = in.Response; after == 0 {
			after = command.DefaultResponse
		}
	case iot.BadDeviceResponse, iot.DeviceConnectionClosed, iot.MethodsInFlightExceeded, iot.Throttled:
		return &outcome{err: err}
	default:
		return err
	}
	s := int(after / time.Second)
	return &outcome{err: err, info: struct {
		Timeout string `json:"timeout"`
	}{fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)}}
}

// message writes the error as text for the member Message.
func (o *outcome) message(id string, now time.Time) (string, error) {
	var domain *iot.Error
	if !errors.As(o.err, &domain) {
		return "", o.err
	}
	b, err := json.Marshal(struct {
		ErrorCode  iot.Code `json:"errorCode"`
		TrackingID string   `json:"trackingId"`
		Message    string   `json:"message"`
		Info       any      `json:"info,omitempty"`
		Timestamp  string   `json:"timestampUtc"`
	}{domain.Code, id, domain.Message, o.info, now.UTC().Format("2006-01-02T15:04:05.0000000Z")})
	return string(b), err
}
