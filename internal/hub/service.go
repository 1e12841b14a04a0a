package hub

import (
	"context"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/job"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/things/upload"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/grant"
	"dunlin/internal/trust/quota"
)

// Presence is what the service side needs to know of connections.
type Presence interface {
	// State answers what is known of an identity's connection on this node.
	State(id iot.ID) (connected bool, since, lastActivity time.Time, known bool)
	// Kick ends the connection of an identity, if there is one.
	Kick(id iot.ID, reason error)
	// Forget drops what is waiting to be stored of an identity that is gone.
	Forget(id iot.ID)
	// Connected counts the identities that are connected.
	Connected() int
}

// ServiceDeps is what the service side needs.
type ServiceDeps struct {
	Uploads        *upload.Room
	Blobs          blob.Store
	Grants         *grant.Room
	Registry       *registry.Registry
	Policies       *access.Policies
	Presence       Presence
	Commands       *command.Room
	Twins          *twin.Room
	Jobs           *job.Room           // nil: there are none
	Configurations *configuration.Room // nil: there are none
	Quota          *quota.Limiter      // nil limits nothing
}

// Services opens the service side of the hub to applications.
type Services struct{ deps ServiceDeps }

// NewServices makes the service side.
func NewServices(d ServiceDeps) *Services { return &Services{deps: d} }

// Open binds a service to the application that shows token, a shared access
// signature, for a path such as "/devices/d1" (decoded).
func (s *Services) Open(token, path string, now time.Time) (*Service, error) {
	p, err := s.deps.Policies.Authorize(token, path, now)
	if err != nil {
		return nil, err
	}
	return s.For(p), nil
}

// For binds a service to a principal that was verified elsewhere.
func (s *Services) For(p access.Principal) *Service {
	return &Service{deps: &s.deps, principal: p}
}

// Service is the hub as one authorised application may use it. Each method
// first asks whether the principal may do it: no door needs to.
type Service struct {
	deps      *ServiceDeps
	principal access.Principal
}

// Principal is the application that the service is bound to.
func (s *Service) Principal() access.Principal { return s.principal }

func (s *Service) read(what string) error { return s.principal.Require(access.RegistryRead, what) }

func (s *Service) write(what string) error { return s.principal.Require(access.RegistryWrite, what) }

// live puts the connection state of the moment over the stored one.
func (s *Service) live(id iot.ID, a *registry.Activity) {
	if connected, since, last, known := s.deps.Presence.State(id); known {
		a.Connected, a.Since, a.Last = connected, since, last
	}
}

// end ends the connections that a change has taken the ground from.
func (s *Service) end(ended []registry.Ended) {
	for _, e := range ended {
		s.deps.Presence.Kick(e.ID, e.Reason)
		if err := unreachable(&e); err != nil {
			s.deps.Commands.End(e.ID, err)
		}
		if e.Deleted() {
			s.deps.Presence.Forget(e.ID)
			s.deps.Twins.Drop(twin.Key{ID: e.ID, Generation: e.Generation})
			s.deps.Commands.Drop(e.ID, e.Generation)
			s.deps.Jobs.Wake(e.ID)
		}
	}
}

// unreachable is what callers of methods hear who wait for an identity that was
// deleted or disabled; nil when it may come back, with other keys.
func unreachable(e *registry.Ended) error {
	switch {
	case e.Deleted():
		return iot.Errorf(e.Reason.Code, "%s: it had not answered yet and may have done what it was asked for", e.Reason.Message)
	case e.Reason.Code == iot.DeviceDisabled:
		return iot.Errorf(iot.DeviceNotFound, "%s: it had not answered yet and may have done what it was asked for", e.Reason.Message)
	}
	return nil
}

// Device gives a device.
func (s *Service) Device(ctx context.Context, id string) (registry.Device, error) {
	if err := s.reading(ctx, "devices/"+id); err != nil {
		return registry.Device{}, err
	}
	d, err := s.deps.Registry.Device(ctx, id)
	if err == nil {
		s.live(iot.ID{Device: id}, &d.Activity)
		d.Messages, err = s.deps.Commands.Depth(ctx, iot.ID{Device: id})
	}
	return d, err
}

// Devices gives up to n devices after the id after, in the order of ids.
func (s *Service) Devices(ctx context.Context, after string, n int) ([]registry.Device, error) {
	if err := s.reading(ctx, "devices"); err != nil {
		return nil, err
	}
	list, err := s.deps.Registry.Devices(ctx, after, n)
	if err != nil || len(list) == 0 {
		return list, err
	}
	waiting, err := s.deps.Commands.Depths(ctx, list[0].ID, list[len(list)-1].ID)
	for i := range list {
		id := iot.ID{Device: list[i].ID}
		s.live(id, &list[i].Activity)
		list[i].Messages = waiting[id]
	}
	return list, err
}

// PutDevice makes a device when match is not set, else it changes one and ends
// its connections when it may not connect any more as it did.
func (s *Service) PutDevice(ctx context.Context, spec registry.DeviceSpec, match registry.Match) (registry.Device, error) {
	if err := s.writing(ctx, "devices/"+spec.ID, 1); err != nil {
		return registry.Device{}, err
	}
	if !match.IsSet() {
		if err := s.room(ctx, 1); err != nil {
			return registry.Device{}, err
		}
	}
	d, ended, err := s.deps.Registry.PutDevice(ctx, spec, match, time.Now())
	if err == nil {
		s.end(ended)
		s.live(iot.ID{Device: d.ID}, &d.Activity)
		d.Messages = s.waiting(ctx, iot.ID{Device: d.ID})
	}
	return d, err
}

// DeleteDevice deletes a device with its modules and ends their connections.
func (s *Service) DeleteDevice(ctx context.Context, id string, match registry.Match) error {
	if err := s.writing(ctx, "devices/"+id, 1); err != nil {
		return err
	}
	ended, err := s.deps.Registry.DeleteDevice(ctx, id, match)
	if err == nil {
		s.end(ended)
	}
	return err
}

// Module gives a module.
func (s *Service) Module(ctx context.Context, id iot.ID) (registry.Module, error) {
	if err := s.reading(ctx, "devices/"+id.Device+"/modules/"+id.Module); err != nil {
		return registry.Module{}, err
	}
	m, err := s.deps.Registry.Module(ctx, id)
	if err == nil {
		s.live(id, &m.Activity)
		m.Messages, err = s.deps.Commands.Depth(ctx, id)
	}
	return m, err
}

// Modules gives the modules of a device.
func (s *Service) Modules(ctx context.Context, device string) ([]registry.Module, error) {
	if err := s.reading(ctx, "devices/"+device+"/modules"); err != nil {
		return nil, err
	}
	list, err := s.deps.Registry.Modules(ctx, device)
	if err != nil || len(list) == 0 {
		return list, err
	}
	waiting, err := s.deps.Commands.Depths(ctx, device, device)
	for i := range list {
		s.live(list[i].ID, &list[i].Activity)
		list[i].Messages = waiting[list[i].ID]
	}
	return list, err
}

// PutModule makes a module when match is not set, else it changes one.
func (s *Service) PutModule(ctx context.Context, spec registry.ModuleSpec, match registry.Match) (registry.Module, error) {
	if err := s.writing(ctx, "devices/"+spec.ID.Device+"/modules/"+spec.ID.Module, 1); err != nil {
		return registry.Module{}, err
	}
	m, ended, err := s.deps.Registry.PutModule(ctx, spec, match, time.Now())
	if err == nil {
		s.end(ended)
		s.live(m.ID, &m.Activity)
		m.Messages = s.waiting(ctx, m.ID)
	}
	return m, err
}

// DeleteModule deletes a module and ends its connection.
func (s *Service) DeleteModule(ctx context.Context, id iot.ID, match registry.Match) error {
	if err := s.writing(ctx, "devices/"+id.Device+"/modules/"+id.Module, 1); err != nil {
		return err
	}
	ended, err := s.deps.Registry.DeleteModule(ctx, id, match)
	if err == nil {
		s.end(ended)
	}
	return err
}

// Import makes plain devices with symmetric keys, up to registry.ImportBatch.
func (s *Service) Import(ctx context.Context, ids []string, primary [][]byte) ([]registry.Imported, error) {
	if err := s.writing(ctx, "devices", 1); err != nil {
		return nil, err
	}
	if err := s.room(ctx, len(ids)); err != nil {
		return nil, err
	}
	return s.deps.Registry.Import(ctx, ids, primary, time.Now())
}

// Count counts the registered devices.
func (s *Service) Count(ctx context.Context) (registry.Counts, error) {
	if err := s.reading(ctx, "statistics/devices"); err != nil {
		return registry.Counts{}, err
	}
	return s.deps.Registry.Count(ctx)
}

// ConnectedCount counts the devices and modules that are connected.
func (s *Service) ConnectedCount(ctx context.Context) (int, error) {
	if err := s.reading(ctx, "statistics/service"); err != nil {
		return 0, err
	}
	return s.deps.Presence.Connected(), nil
}

// Authorities lists the device CA certificates.
func (s *Service) Authorities(ctx context.Context) ([]registry.Authority, error) {
	if err := s.read("certificates"); err != nil {
		return nil, err
	}
	return s.deps.Registry.Authorities(ctx)
}

// Authority gives one device CA certificate.
func (s *Service) Authority(ctx context.Context, name string) (registry.Authority, error) {
	if err := s.read("certificates/" + name); err != nil {
		return registry.Authority{}, err
	}
	return s.deps.Registry.Authority(ctx, name)
}

// AddAuthority registers a device CA certificate, PEM or DER.
func (s *Service) AddAuthority(ctx context.Context, name string, certificate []byte) (registry.Authority, error) {
	if err := s.write("certificates/" + name); err != nil {
		return registry.Authority{}, err
	}
	return s.deps.Registry.AddAuthority(ctx, name, certificate, time.Now())
}

// ProofCode makes a new verification code for a device CA certificate.
func (s *Service) ProofCode(ctx context.Context, name string) (registry.Authority, error) {
	if err := s.write("certificates/" + name); err != nil {
		return registry.Authority{}, err
	}
	return s.deps.Registry.ProofCode(ctx, name, time.Now())
}

// VerifyAuthority takes the proof that the key of a CA is at hand.
func (s *Service) VerifyAuthority(ctx context.Context, name string, proof []byte) (registry.Authority, error) {
	if err := s.write("certificates/" + name); err != nil {
		return registry.Authority{}, err
	}
	return s.deps.Registry.VerifyAuthority(ctx, name, proof, time.Now())
}

// DeleteAuthority removes a device CA certificate.
func (s *Service) DeleteAuthority(ctx context.Context, name string) error {
	if err := s.write("certificates/" + name); err != nil {
		return err
	}
	return s.deps.Registry.DeleteAuthority(ctx, name)
}
