package iothub

import "net/http"

// putDevice answers PUT /devices/{device}: it creates without If-Match and
// changes with it.
func putDevice(c *call) error {
	match, err := c.match()
	if err != nil {
		return err
	}
	var body struct {
		DeviceID *string `json:"deviceId"`
		deviceIn
	}
	if err := c.decode(maxBody, &body); err != nil {
		return err
	}
	if err := same("deviceId", c.device, body.DeviceID); err != nil {
		return err
	}
	spec, err := body.spec(c.device)
	if err != nil {
		return err
	}
	d, err := c.hub.PutDevice(c.r.Context(), spec, match)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", `"`+d.ETag+`"`)
	return c.reply(http.StatusOK, deviceOut(&d))
}
