package iothub

import (
	"net/http"

	"dunlin/internal/iot"
)

// deleteModule answers DELETE /devices/{device}/modules/{module}.
func deleteModule(c *call) error {
	match, err := c.match()
	if err != nil {
		return err
	}
	if err := c.hub.DeleteModule(c.r.Context(), iot.ID{Device: c.device, Module: c.module}, match); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
