package iothub

import (
	"net/http"
	"strconv"

	"dunlin/internal/iot"
)

// How many configurations are listed: by default, and at most.
const (
	listedConfigurations = 20
	mostConfigurations   = 1000
)

// listConfigurations answers GET /configurations?top=N: an array in the order
// of ids.
func listConfigurations(c *call) error {
	n := listedConfigurations
	if top := c.query.Get("top"); top != "" {
		v, err := strconv.Atoi(top)
		if err != nil || v < 1 {
			return iot.Errorf(iot.ArgumentInvalid, "top '%.20s' is not valid: 1 to %d", top, mostConfigurations)
		}
		n = min(v, mostConfigurations)
	}
	list, err := c.hub.Configurations(c.r.Context(), n)
	if err != nil {
		return err
	}
	out := make([]configurationJSON, len(list))
	for i := range list {
		out[i] = configurationOut(&list[i])
	}
	return c.reply(http.StatusOK, out)
}
