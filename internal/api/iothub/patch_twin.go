package iothub

import "dunlin/internal/iot"

// patchTwin answers PATCH /twins/{device} and /twins/{device}/modules/{module}:
// the sections in the body are merged, and null removes.
func patchTwin(c *call) error {
	etag, err := c.twinMatch()
	if err != nil {
		return err
	}
	limits := c.hub.TwinLimits()
	body, err := c.body(limits.MaxBody())
	if err != nil {
		return err
	}
	t, err := c.hub.PatchTwin(c.r.Context(), iot.ID{Device: c.device, Module: c.module}, body, etag)
	if err != nil {
		return err
	}
	return c.replyTwin(&t)
}
