package hub

import (
	"context"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
)

func (s *Service) connect(what string) error { return s.principal.Require(access.ServiceConnect, what) }

// path names an identity in the texts of refusals.
func path(collection string, id iot.ID) string {
	if id.IsModule() {
		return collection + "/" + id.Device + "/modules/" + id.Module
	}
	return collection + "/" + id.Device
}

// Invoke calls a direct method of a device or module and waits for its answer.
func (s *Service) Invoke(ctx context.Context, id iot.ID, c command.Call) (command.Result, error) {
	if err := s.connect(path("twins", id) + "/methods"); err != nil {
		return command.Result{}, err
	}
	// Who is connected exists and is enabled: that needs no read of the store.
	if connected, _, _, _ := s.deps.Presence.State(id); !connected {
		have, err := s.deps.Registry.Standing(ctx, id)
		if err != nil {
			return command.Result{}, err
		}
		if have.Status == registry.Disabled {
			return command.Result{}, iot.Errorf(iot.DeviceNotFound, "The requested device %s is disabled, enable it to call its methods.", id.Device)
		}
	}
	return s.deps.Commands.Invoke(ctx, id, c)
}
