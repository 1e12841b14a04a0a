package iothub

import (
	"encoding/json"
	"net/http"

	"dunlin/internal/iot"
)

// beginUpload answers POST /devices/{device}/files with what a client of the
// blob surface needs.
func beginUpload(c *call) error {
	var in struct {
		BlobName string `json:"blobName"`
	}
	if err := c.decode(maxBody, &in); err != nil {
		return err
	}
	t, err := c.visitor.BeginUpload(c.r.Context(), in.BlobName, c.r.Host)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, struct {
		Correlation string `json:"correlationId"`
		Host        string `json:"hostName"`
		Container   string `json:"containerName"`
		Name        string `json:"blobName"`
		Token       string `json:"sasToken"`
	}{t.Correlation, t.Host, t.Container, t.Name, t.Query})
}

// finishUpload answers POST /devices/{device}/files/notifications, with the
// correlation id behind it or in the body.
func finishUpload(c *call) error {
	var in struct {
		Correlation string          `json:"correlationId"`
		Success     *bool           `json:"isSuccess"`
		StatusCode  json.RawMessage `json:"statusCode"`
	}
	if err := c.decode(maxBody, &in); err != nil {
		return err
	}
	id := c.token
	switch {
	case id == "" && in.Correlation == "":
		return iot.Errorf(iot.InvalidCorrelationID, "correlationId is missing: it stands behind the path or in the body")
	case id != "" && in.Correlation != "" && id != in.Correlation:
		return iot.Errorf(iot.InvalidCorrelationID, "correlationId is one in the path and another one in the body")
	case id == "":
		id = in.Correlation
	}
	if in.Success == nil {
		return iot.Errorf(iot.InvalidUploadStatus, "isSuccess is missing: it is true or false")
	}
	var code float64
	if in.StatusCode != nil && json.Unmarshal(in.StatusCode, &code) != nil {
		return iot.Errorf(iot.InvalidUploadStatus, "statusCode is not a number")
	}
	if err := c.visitor.FinishUpload(c.r.Context(), id, *in.Success); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
