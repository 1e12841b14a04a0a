package iothub

import (
	"net/http"

	"dunlin/internal/hub"
	"dunlin/internal/iot"
)

// getTwin answers GET /twins/{device} and /twins/{device}/modules/{module}.
func getTwin(c *call) error {
	t, err := c.hub.Twin(c.r.Context(), iot.ID{Device: c.device, Module: c.module})
	if err != nil {
		return err
	}
	return c.replyTwin(&t)
}

// replyTwin writes the document, in which numbers stay as they were sent.
func (c *call) replyTwin(t *hub.Twin) error {
	b, err := t.Append(make([]byte, 0, 2<<10))
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("ETag", `"`+t.ETag()+`"`)
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(b) //nolint:errcheck // the caller has gone
	return nil
}
