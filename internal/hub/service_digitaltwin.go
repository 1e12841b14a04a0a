package hub

import (
	"context"
	"strings"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// DigitalTwin gives the twin of a device or module, to be written as a digital
// twin.
func (s *Service) DigitalTwin(ctx context.Context, id iot.ID) (twin.Doc, error) {
	return s.digitalTwin(ctx, id, s.paced(quota.TwinReads, 0, s.deps.Twins.Get))
}

// PatchDigitalTwin applies a JSON patch of the digital twin. etag, when not
// nil, must be that of the twin.
func (s *Service) PatchDigitalTwin(ctx context.Context, id iot.ID, patch []byte, etag *string) (twin.Doc, error) {
	return s.digitalTwin(ctx, id, s.paced(quota.TwinUpdates, len(patch), func(ctx context.Context, k twin.Key) (twin.Doc, error) {
		return s.deps.Twins.PatchDigital(ctx, k, patch, etag)
	}))
}

func (s *Service) digitalTwin(ctx context.Context, id iot.ID, do func(context.Context, twin.Key) (twin.Doc, error)) (twin.Doc, error) {
	if err := s.connect("digitaltwins/" + twin.DigitalID(id)); err != nil {
		return twin.Doc{}, err
	}
	have, err := s.deps.Registry.Standing(ctx, id)
	if err != nil {
		return twin.Doc{}, err
	}
	return do(ctx, twin.Key{ID: id, Generation: have.Generation})
}

// InvokeCommand calls a command of a digital twin: a direct method, whose name
// begins with that of the component. The component is empty for commands of
// the root.
func (s *Service) InvokeCommand(ctx context.Context, id iot.ID, component string, c command.Call) (command.Result, error) {
	switch {
	case strings.Contains(component, "*"):
		return command.Result{}, iot.Errorf(iot.ArgumentInvalid, "the component '%.128s' is not valid: it must not hold an asterisk", component)
	case component != "":
		c.Method = component + "*" + c.Method
	}
	return s.Invoke(ctx, id, c)
}
