package iothub

import "net/http"

// getDevice answers GET /devices/{device}.
func getDevice(c *call) error {
	d, err := c.hub.Device(c.r.Context(), c.device)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", `"`+d.ETag+`"`)
	return c.reply(http.StatusOK, deviceOut(&d))
}
