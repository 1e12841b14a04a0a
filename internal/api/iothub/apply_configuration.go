package iothub

import "net/http"

// applyConfiguration answers POST /devices/{device}/applyConfigurationContent.
func applyConfiguration(c *call) error {
	content, err := c.body(maxConfiguration)
	if err != nil {
		return err
	}
	if err := c.hub.ApplyConfiguration(c.r.Context(), c.device, content); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
