package iothub

import "net/http"

// deviceStatistics answers GET /statistics/devices.
func deviceStatistics(c *call) error {
	n, err := c.hub.Count(c.r.Context())
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, struct {
		Total    int64 `json:"totalDeviceCount"`
		Enabled  int64 `json:"enabledDeviceCount"`
		Disabled int64 `json:"disabledDeviceCount"`
	}{n.Total, n.Enabled, n.Disabled})
}

// serviceStatistics answers GET /statistics/service.
func serviceStatistics(c *call) error {
	n, err := c.hub.ConnectedCount(c.r.Context())
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, struct {
		Connected int `json:"connectedDeviceCount"`
	}{n})
}
