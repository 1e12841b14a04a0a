package iothub

import (
	"net/http"

	"dunlin/internal/iot"
)

// getModule answers GET /devices/{device}/modules/{module}.
func getModule(c *call) error {
	m, err := c.hub.Module(c.r.Context(), iot.ID{Device: c.device, Module: c.module})
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", `"`+m.ETag+`"`)
	return c.reply(http.StatusOK, moduleOut(&m))
}
