package iothub

import "net/http"

// getConfiguration answers GET /configurations/{configuration}.
func getConfiguration(c *call) error {
	conf, err := c.hub.Configuration(c.r.Context(), c.configuration)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", `"`+conf.ETag+`"`)
	return c.reply(http.StatusOK, configurationOut(&conf))
}
