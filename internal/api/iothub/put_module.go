package iothub

import (
	"net/http"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// putModule answers PUT /devices/{device}/modules/{module}: 201 when it was
// created, without If-Match, and 200 when it was changed.
func putModule(c *call) error {
	match, err := c.match()
	if err != nil {
		return err
	}
	var body struct {
		DeviceID       *string    `json:"deviceId"`
		ModuleID       *string    `json:"moduleId"`
		ManagedBy      *string    `json:"managedBy"`
		Authentication *secretsIn `json:"authentication"`
	}
	if err := c.decode(maxBody, &body); err != nil {
		return err
	}
	if err := same("deviceId", c.device, body.DeviceID); err != nil {
		return err
	}
	if err := same("moduleId", c.module, body.ModuleID); err != nil {
		return err
	}
	spec := registry.ModuleSpec{ID: iot.ID{Device: c.device, Module: c.module}, ManagedBy: body.ManagedBy}
	if spec.Secrets, err = body.Authentication.spec(); err != nil {
		return err
	}
	m, err := c.hub.PutModule(c.r.Context(), spec, match)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if match.IsSet() {
		status = http.StatusOK
	}
	c.w.Header().Set("ETag", `"`+m.ETag+`"`)
	return c.reply(status, moduleOut(&m))
}
