package iothub

import "net/http"

// deleteDevice answers DELETE /devices/{device}.
func deleteDevice(c *call) error {
	match, err := c.match()
	if err != nil {
		return err
	}
	if err := c.hub.DeleteDevice(c.r.Context(), c.device, match); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
