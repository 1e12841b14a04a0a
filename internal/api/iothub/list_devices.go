package iothub

import (
	"net/http"
	"strconv"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// listDevices answers GET /devices?top=N: an array in the order of ids.
func listDevices(c *call) error {
	n := registry.MaxPage
	if top := c.query.Get("top"); top != "" {
		v, err := strconv.Atoi(top)
		if err != nil || v < 1 {
			return iot.Errorf(iot.ArgumentInvalid, "top '%.20s' is not valid: 1 to %d", top, registry.MaxPage)
		}
		n = min(v, registry.MaxPage)
	}
	list, err := c.hub.Devices(c.r.Context(), "", n)
	if err != nil {
		return err
	}
	out := make([]deviceJSON, len(list))
	for i := range list {
		out[i] = deviceOut(&list[i])
	}
	return c.reply(http.StatusOK, out)
}
