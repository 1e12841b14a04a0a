package iothub

import (
	"encoding/json"
	"net/http"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// bulkEntry is one entry of POST /devices: a device, or a module when moduleId
// is there. encoding/json takes etag and eTag alike.
type bulkEntry struct {
	ID         string          `json:"id"`
	ModuleID   string          `json:"moduleId"`
	ETag       string          `json:"eTag"`
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
	entries := make([]registry.BulkEntry, len(body))
	for i := range body {
		entries[i] = body[i].entry()
	}
	failed, err := c.hub.Bulk(c.r.Context(), entries)
	if err != nil {
		return err
	}
	out := bulkResult{IsSuccessful: len(failed) == 0, Errors: []bulkError{}, Warnings: []bulkWarning{}}
	refused := make(map[iot.ID]bool, len(failed))
	for _, f := range failed {
		refused[f.ID] = true
		out.Errors = append(out.Errors, bulkError{
			DeviceID: f.ID.Device, ModuleID: f.ID.Module, ErrorCode: f.Err.Code.Name(), ErrorStatus: f.Err.Message, Operation: f.Mode.String(),
		})
	}
	for i := range body {
		e := &body[i]
		if !refused[iot.ID{Device: e.ID, Module: e.ModuleID}] && e.hasTwin() {
			out.Warnings = append(out.Warnings, bulkWarning{
				DeviceID: e.ID, WarningCode: "DeviceRegisteredWithoutTwin",
				WarningStatus: "tags and properties were not stored: this version of dunlin has no device twins",
			})
		}
	}
	status := http.StatusOK
	if !out.IsSuccessful {
		status = http.StatusBadRequest
	}
	return c.reply(status, out)
}

// hasTwin reports whether the entry brings content for the twin; an empty
// object or null is none.
func (e *bulkEntry) hasTwin() bool {
	for _, raw := range [...]json.RawMessage{e.Tags, e.Properties} {
		var v map[string]json.RawMessage
		if raw != nil && (json.Unmarshal(raw, &v) != nil || len(v) > 0) {
			return true
		}
	}
	return false
}

func (e *bulkEntry) entry() registry.BulkEntry {
	out := registry.BulkEntry{ETag: e.ETag}
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
