package iothub

import "net/http"

// deleteConfiguration answers DELETE /configurations/{configuration}.
func deleteConfiguration(c *call) error {
	match, err := c.configurationMatch()
	if err != nil {
		return err
	}
	if err := c.hub.DeleteConfiguration(c.r.Context(), c.configuration, match); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
