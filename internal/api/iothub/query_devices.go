package iothub

import (
	"net/http"
	"strconv"

	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
)

// queryDevices answers POST /devices/query: a page of the result, and in the
// headers what its items are and where the next page begins. There is a next
// page exactly when there is a continuation.
func queryDevices(c *call) error {
	var in struct {
		Query *string `json:"query"`
	}
	if err := c.decode(maxBody, &in); err != nil {
		return err
	}
	if in.Query == nil {
		return iot.Errorf(iot.ArgumentNull, `the body has no query: it is {"query":"SELECT * FROM devices"}`)
	}
	size := twin.DefaultPage
	if most := c.r.Header.Get("x-ms-max-item-count"); most != "" {
		n, err := strconv.Atoi(most)
		if err != nil || n < 1 {
			return iot.Errorf(iot.ArgumentInvalid, "x-ms-max-item-count '%.20s' is not valid: 1 to %d", most, twin.MaxPage)
		}
		size = min(n, twin.MaxPage)
	}
	page, err := c.hub.Query(c.r.Context(), *in.Query, c.r.Header.Get("x-ms-continuation"), size)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("x-ms-item-type", page.Kind)
	if page.Continuation != "" {
		h.Set("x-ms-continuation", page.Continuation)
	}
	// Hints at members that no document has: they are undefined and select
	// nothing, which is most often not what was meant.
	for _, note := range page.Notes[:min(len(page.Notes), 5)] {
		h.Add("x-dunlin-note", strconv.QuoteToASCII(note))
	}
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(page.Items) //nolint:errcheck // the caller has gone
	return nil
}
