package iothub

import (
	"encoding/json"
	"net/http"

	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// bulkEntry is one entry of POST /devices: a device, or a module when moduleId
// is there. encoding/json takes etag and eTag alike.
type bulkEntry struct {
	ID         string          `json:"id"`
	ModuleID   string          `json:"moduleId"`
	ETag       string          `json:"eTag"`
	TwinETag   *string         `json:"twinETag"`
	ImportMode string          `json:"importMode"`
	ManagedBy  *string         `json:"managedBy"`
	Tags       json.RawMessage `json:"tags"`
	Properties json.RawMessage `json:"properties"`
	deviceIn
}

type bulkResult struct {
	IsSuccessful bool          `json:"isSuccessful"`
	Errors       []bulkError   `json:"errors"`
	Warnings     []bulkWarning `json:"warnings"`
}

type bulkError struct {
	DeviceID    string `json:"deviceId"`
	ModuleID    string `json:"moduleId,omitempty"`
	ErrorCode   string `json:"errorCode"`
	ErrorStatus string `json:"errorStatus"`
	Operation   string `json:"operation"`
}

type bulkWarning struct {
	DeviceID      string `json:"deviceId"`
	WarningCode   string `json:"warningCode"`
	WarningStatus string `json:"warningStatus"`
}

// bulkDevices answers POST /devices: each entry is done for itself, and the
// status is 400 when one of them was refused.
func bulkDevices(c *call) error {
	var body []bulkEntry
	if err := c.decode(maxBulkBody, &body); err != nil {
		return err
	}
	entries := make([]hub.BulkEntry, len(body))
	for i := range body {
		entries[i] = body[i].entry()
	}
	done, err := c.hub.Bulk(c.r.Context(), entries)
	if err != nil {
		return err
	}
	out := bulkResult{IsSuccessful: len(done.Failed) == 0, Errors: []bulkError{}, Warnings: []bulkWarning{}}
	for _, f := range done.Failed {
		out.Errors = append(out.Errors, bulkError{
			DeviceID: f.ID.Device, ModuleID: f.ID.Module, ErrorCode: f.Err.Code.Name(), ErrorStatus: f.Err.Message, Operation: f.Mode.String(),
		})
	}
	for _, f := range done.Twinless {
		out.Warnings = append(out.Warnings, bulkWarning{
			DeviceID: f.ID.Device, WarningCode: "DeviceRegisteredWithoutTwin", WarningStatus: "tags and properties were not stored: " + f.Err.Message,
		})
	}
	status := http.StatusOK
	if !out.IsSuccessful {
		status = http.StatusBadRequest
	}
	return c.reply(status, out)
}

// twin gives the content for the twin, nil when there is none; an empty object
// or null is none.
func (e *bulkEntry) twin() []byte {
	var b []byte
	for _, m := range [...]struct {
		name string
		raw  json.RawMessage
	}{{"tags", e.Tags}, {"properties", e.Properties}} {
		var v map[string]json.RawMessage
		if m.raw == nil || (json.Unmarshal(m.raw, &v) == nil && len(v) == 0) {
			continue
		}
		sep := ","
		if b == nil {
			sep = "{"
		}
		b = append(append(b, sep+`"`+m.name+`":`...), m.raw...)
	}
	if b != nil {
		b = append(b, '}')
	}
	return b
}

func (e *bulkEntry) entry() hub.BulkEntry {
	out := hub.BulkEntry{BulkEntry: registry.BulkEntry{ETag: e.ETag}, Twin: e.twin(), TwinETag: e.ETag}
	if e.TwinETag != nil {
		out.TwinETag = *e.TwinETag
	}
	out.Mode = registry.BulkCreate
	if e.ImportMode != "" {
		out.Mode, out.Err = registry.ParseBulkMode(e.ImportMode)
	}
	spec, err := e.spec(e.ID)
	if out.Err == nil {
		out.Err = err
	}
	out.Device = spec
	if e.ModuleID != "" {
		out.Module = registry.ModuleSpec{ID: iot.ID{Device: e.ID, Module: e.ModuleID}, ManagedBy: e.ManagedBy, Secrets: spec.Secrets}
	}
	return out
}
