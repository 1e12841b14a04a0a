package iothub

import "net/http"

// maxConfiguration is the largest configuration in bytes, with its labels and
// metrics.
const maxConfiguration = 1 << 20

// putConfiguration answers PUT /configurations/{configuration}: 201 when it was
// created, without If-Match, and 200 when it was changed.
func putConfiguration(c *call) error {
	match, err := c.configurationMatch()
	if err != nil {
		return err
	}
	var in configurationIn
	if err := c.decode(maxConfiguration, &in); err != nil {
		return err
	}
	spec, err := in.spec(c.configuration)
	if err != nil {
		return err
	}
	conf, made, err := c.hub.PutConfiguration(c.r.Context(), spec, match)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	c.w.Header().Set("ETag", `"`+conf.ETag+`"`)
	return c.reply(status, configurationOut(&conf))
}
