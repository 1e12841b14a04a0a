package iothub

import (
	"context"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/trust/access"
)

// versionAny stands for operations that take any api-version.
const versionAny = "2000-01-01"

// deviceOperations is what devices can do. They show credentials of a device,
// or a token of a policy with DeviceConnect.
var deviceOperations = [...]operation{
	{"POST", "/devices/{device}/messages/events", access.DeviceConnect, versionAny, sendTelemetry, "TestTelemetry|TestNodeHTTP/a message|TestNodeHTTP/a batch"},
	{"POST", "/devices/{device}/modules/{module}/messages/events", access.DeviceConnect, versionAny, sendTelemetry, "TestTelemetry|TestNodeHTTP/a module over HTTPS"},
	{"GET", "/devices/{device}/messages/devicebound", access.DeviceConnect, versionAny, receiveMessage, "TestDeviceMessages|TestNodeHTTP/all that waits is received, in order"},
	{"DELETE", "/devices/{device}/messages/devicebound/{token}", access.DeviceConnect, versionAny, completeMessage, "TestDeviceMessages|TestNodeHTTP/a cloud-to-device message is received and completed|TestNodeHTTP/a rejected message does not come again"},
	{"POST", "/devices/{device}/messages/devicebound/{token}/abandon", access.DeviceConnect, versionAny, abandonMessage, "TestDeviceMessages|TestNodeHTTP/an abandoned message comes again"},
	{"GET", "/devices/{device}/modules/{module}/messages/devicebound", access.DeviceConnect, versionAny, receiveMessage, "TestDeviceMessages|TestNodeHTTP/a module over HTTPS"},
	{"DELETE", "/devices/{device}/modules/{module}/messages/devicebound/{token}", access.DeviceConnect, versionAny, completeMessage, "TestDeviceMessages|TestNodeHTTP/a module over HTTPS"},
	{"POST", "/devices/{device}/modules/{module}/messages/devicebound/{token}/abandon", access.DeviceConnect, versionAny, abandonMessage, "TestDeviceMessages|TestNodeHTTP/a module over HTTPS"},
	{"POST", "/devices/{device}/files", access.DeviceConnect, versionAny, beginUpload, "TestFileUpload|TestNodeUploads/a small file|TestNodeUploads/an upload in three steps"},
	{"POST", "/devices/{device}/files/notifications", access.DeviceConnect, versionAny, finishUpload, "TestFileUpload|TestNodeUploads/the same without an SDK"},
	{"POST", "/devices/{device}/files/notifications/{token}", access.DeviceConnect, versionAny, finishUpload, "TestFileUpload|TestNodeUploads/an upload in three steps"},
}

// visit authenticates the device that the path names.
func (s *server) visit(ctx context.Context, c *call) error {
	r := c.r
	cred := hub.Credentials{
		ID: iot.ID{Device: c.device, Module: c.module}, Token: r.Header.Get("Authorization"),
		Product: r.UserAgent(), Protocol: "HTTPS", Remote: remote(r),
	}
	if r.TLS != nil {
		cred.Certificates = r.TLS.PeerCertificates
	}
	if cred.Token == "" && len(cred.Certificates) == 0 {
		return iot.Errorf(iot.UnauthorizedAccess, "Authorization header missing")
	}
	var err error
	c.visitor, err = s.devices.Open(ctx, cred)
	return err
}

// sendTelemetry answers POST /devices/{device}[/modules/{module}]/messages/events
// with 204 once all of it is durable.
func sendTelemetry(c *call) error {
	var msgs []iot.Message
	if kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err == nil && kind == batchType {
		if msgs, err = c.batch(); err != nil {
			return err
		}
	} else {
		m, err := c.message(iot.MaxMessage)
		if err != nil {
			return err
		}
		if n := m.Size(); n > iot.MaxMessage {
			return iot.Errorf(iot.MessageTooLarge, "the message has %d bytes with its properties, the limit is %d", n, iot.MaxMessage)
		}
		msgs = []iot.Message{*m}
	}
	if err := c.visitor.Send(c.r.Context(), msgs); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// The range in seconds of the time that a device can ask for with
// iothub-messagelocktimeout.
const (
	minLock = 10
	maxLock = 300
)

// receiveMessage answers GET .../messages/devicebound: 204 when nothing waits.
func receiveMessage(c *call) error {
	var hide time.Duration
	if text := c.r.Header.Get("iothub-messagelocktimeout"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < minLock || n > maxLock {
			return iot.Errorf(iot.ArgumentInvalid, "iothub-messagelocktimeout is '%.20s', it must be a number of seconds from %d to %d", text, minLock, maxLock)
		}
		hide = time.Duration(n) * time.Second
	}
	in, err := c.visitor.Receive(c.r.Context(), hide)
	if err != nil {
		return err
	}
	if in == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	c.writeMessage(in)
	return nil
}

// completeMessage answers DELETE .../messages/devicebound/{token}, which with
// the parameter reject refuses the message.
func completeMessage(c *call) error {
	o := iot.Complete
	if values, ok := c.query["reject"]; ok {
		reject, err := strconv.ParseBool(values[0])
		if values[0] != "" && err != nil {
			return iot.Errorf(iot.ArgumentInvalid, "reject is '%.20s', it must be true or false", values[0])
		}
		if reject || values[0] == "" {
			o = iot.Reject
		}
	}
	return c.settle(o)
}

// abandonMessage answers POST .../messages/devicebound/{token}/abandon.
func abandonMessage(c *call) error { return c.settle(iot.Abandon) }

func (c *call) settle(o iot.Outcome) error {
	token, err := c.lockToken()
	if err != nil {
		return err
	}
	if err := c.visitor.Settle(c.r.Context(), token, o); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// remote is the address of the peer.
func remote(r *http.Request) netip.AddrPort {
	a, _ := netip.ParseAddrPort(r.RemoteAddr) // invalid where there is no network
	return a
}
