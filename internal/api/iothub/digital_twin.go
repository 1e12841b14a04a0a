package iothub

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
)

// digitalID reads the id of a digital twin: that of a device, or of a device
// and a module with a tilde between them.
func (c *call) digitalID() iot.ID {
	device, module, _ := strings.Cut(c.device, "~")
	return iot.ID{Device: device, Module: module}
}

// getDigitalTwin answers GET /digitaltwins/{device}.
func getDigitalTwin(c *call) error {
	d, err := c.hub.DigitalTwin(c.r.Context(), c.digitalID())
	if err != nil {
		return err
	}
	b, err := d.AppendDigital(make([]byte, 0, 1<<10))
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("ETag", `"`+d.ETag()+`"`)
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(b) //nolint:errcheck // the caller has gone
	return nil
}

// patchDigitalTwin answers PATCH /digitaltwins/{device} with 202, which is the
// only answer that SDKs take: it is for the device to do what was asked for.
func patchDigitalTwin(c *call) error {
	etag, err := c.twinMatch()
	if err != nil {
		return err
	}
	limits := c.hub.TwinLimits()
	body, err := c.body(limits.MaxBody())
	if err != nil {
		return err
	}
	d, err := c.hub.PatchDigitalTwin(c.r.Context(), c.digitalID(), body, etag)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", `"`+d.ETag()+`"`)
	c.w.Header().Set("Location", "https://"+c.r.Host+"/digitaltwins/"+url.PathEscape(c.device))
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// invokeCommand answers POST /digitaltwins/{device}/commands/{command} and
// POST /digitaltwins/{device}/components/{component}/commands/{command}. The
// body is the payload as it is, and so is that of the answer, whose status
// stands in a header.
func invokeCommand(c *call) error {
	in := command.Call{Method: c.command}
	var err error
	if in.Connect, err = c.seconds("connectTimeoutInSeconds"); err != nil {
		return err
	}
	if in.Response, err = c.seconds("responseTimeoutInSeconds"); err != nil {
		return err
	}
	if c.r.ContentLength != 0 {
		if in.Payload, err = c.body(maxBody); err != nil {
			return err
		}
		if !json.Valid(in.Payload) {
			return iot.Errorf(iot.DeserializationError, "the body is not valid JSON: it is the payload of the command, such as 5 or {\"a\":1}")
		}
	}
	out, err := c.hub.InvokeCommand(c.r.Context(), c.digitalID(), c.component, in)
	if err != nil {
		return outcomeOf(err, in)
	}
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("x-ms-command-statuscode", strconv.Itoa(out.Status))
	c.w.WriteHeader(http.StatusOK)
	if out.Payload == nil {
		out.Payload = []byte("null")
	}
	c.w.Write(out.Payload) //nolint:errcheck // the caller has gone
	return nil
}

// seconds reads a time of the query; 0 when it is not there.
func (c *call) seconds(name string) (time.Duration, error) {
	text := c.query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, iot.Errorf(iot.ArgumentInvalid, "%s is '%.20s', it must be a number of seconds", name, text)
	}
	return time.Duration(n) * time.Second, nil
}
