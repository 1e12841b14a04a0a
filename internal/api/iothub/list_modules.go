package iothub

import "net/http"

// listModules answers GET /devices/{device}/modules.
func listModules(c *call) error {
	list, err := c.hub.Modules(c.r.Context(), c.device)
	if err != nil {
		return err
	}
	out := make([]moduleJSON, len(list))
	for i := range list {
		out[i] = moduleOut(&list[i])
	}
	return c.reply(http.StatusOK, out)
}
