package hub

import (
	"context"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/quota"
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
	q := s.deps.Quota
	if q == nil {
		return s.deps.Commands.Invoke(ctx, id, c)
	}
	if err := s.take(ctx, quota.Methods, blocks(len(c.Payload))); err != nil {
		return command.Result{}, err
	}
	q.Note(len(c.Payload))
	out, err := s.deps.Commands.Invoke(ctx, id, c)
	if err == nil {
		q.Note(len(out.Payload))
		q.Debit(quota.Methods, blocks(len(out.Payload)))
	}
	return out, err
}

// SendMessage queues a cloud-to-device message and returns when it is durable.
func (s *Service) SendMessage(ctx context.Context, id iot.ID, m *iot.Message) error {
	if err := s.connect("messages/devicebound"); err != nil {
		return err
	}
	// Who is connected and takes messages exists: that needs no read of the
	// store, which costs as much as a fifth of sending.
	generation, ok := s.deps.Commands.Receiver(id)
	if !ok {
		have, err := s.deps.Registry.Standing(ctx, id)
		if err != nil {
			return err
		}
		generation = have.Generation
	}
	if s.deps.Quota != nil {
		if err := s.take(ctx, quota.Messages, 1); err != nil {
			return err
		}
		s.deps.Quota.Note(m.Size())
	}
	return s.deps.Commands.Enqueue(ctx, id, generation, m)
}

// PurgeMessages removes the cloud-to-device messages that wait for a device or
// module, and counts them. Those that a device is working on stay.
func (s *Service) PurgeMessages(ctx context.Context, id iot.ID) (int, error) {
	if err := s.connect(path("devices", id) + "/commands"); err != nil {
		return 0, err
	}
	if err := s.deps.Quota.Offers(quota.Messages); err != nil {
		return 0, err
	}
	if _, err := s.deps.Registry.Standing(ctx, id); err != nil {
		return 0, err
	}
	return s.deps.Commands.Purge(ctx, id)
}

// ReceiveFeedback gives feedback on messages that wait, nil when there is none.
func (s *Service) ReceiveFeedback(ctx context.Context) (*command.Feedback, error) {
	if err := s.connect("messages/servicebound/feedback"); err != nil {
		return nil, err
	}
	if err := s.deps.Quota.Offers(quota.Messages); err != nil {
		return nil, err
	}
	return s.deps.Commands.ReceiveFeedback(ctx)
}

// SettleFeedback removes feedback that was received, or gives it back.
func (s *Service) SettleFeedback(ctx context.Context, token iot.LockToken, o iot.Outcome) error {
	if err := s.connect("messages/servicebound/feedback"); err != nil {
		return err
	}
	if err := s.deps.Quota.Offers(quota.Messages); err != nil {
		return err
	}
	return s.deps.Commands.SettleFeedback(ctx, token, o)
}

// waiting counts the messages of an identity that was just changed. The change
// is durable: that the number cannot be read must not make it look undone.
func (s *Service) waiting(ctx context.Context, id iot.ID) int {
	n, err := s.deps.Commands.Depth(ctx, id)
	if err != nil {
		return 0
	}
	return n
}
