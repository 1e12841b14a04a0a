package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// Twin is a twin with what its document shows of the device or module.
type Twin struct {
	twin.Doc
	Identity twin.Identity
}

// Append writes the document as back-end applications read it.
func (t *Twin) Append(dst []byte) ([]byte, error) { return t.Doc.Append(dst, &t.Identity) }

// TwinLimits gives what the hub allows of twins.
func (s *Service) TwinLimits() twin.Limits { return s.deps.Twins.Limits() }

// Twin gives the twin of a device or module.
func (s *Service) Twin(ctx context.Context, id iot.ID) (Twin, error) {
	return s.withTwin(ctx, id, s.paced(quota.TwinReads, 0, s.deps.Twins.Get))
}

// PatchTwin merges a change of tags and desired properties; null removes. etag,
// when not nil, must be that of the twin.
func (s *Service) PatchTwin(ctx context.Context, id iot.ID, body []byte, etag *string) (Twin, error) {
	return s.withTwin(ctx, id, s.paced(quota.TwinUpdates, len(body), func(ctx context.Context, k twin.Key) (twin.Doc, error) {
		return s.deps.Twins.Patch(ctx, k, body, etag)
	}))
}

// ReplaceTwin puts the given sections in the place of those of the twin.
func (s *Service) ReplaceTwin(ctx context.Context, id iot.ID, body []byte, etag *string) (Twin, error) {
	return s.withTwin(ctx, id, s.paced(quota.TwinUpdates, len(body), func(ctx context.Context, k twin.Key) (twin.Doc, error) {
		return s.deps.Twins.Replace(ctx, k, body, etag)
	}))
}

func (s *Service) withTwin(ctx context.Context, id iot.ID, do func(context.Context, twin.Key) (twin.Doc, error)) (Twin, error) {
	var t Twin
	if err := s.connect(path("twins", id)); err != nil {
		return t, err
	}
	var generation uint64
	if id.IsModule() {
		m, err := s.deps.Registry.Module(ctx, id)
		if err != nil {
			return t, err
		}
		s.live(id, &m.Activity)
		generation, t.Identity = m.Generation, moduleIdentity(&m)
	} else {
		d, err := s.deps.Registry.Device(ctx, id.Device)
		if err != nil {
			return t, err
		}
		s.live(id, &d.Activity)
		generation, t.Identity = d.Generation, deviceIdentity(&d)
	}
	var err error
	if t.Identity.Messages, err = s.deps.Commands.Depth(ctx, id); err != nil {
		return t, err
	}
	if t.Doc, err = do(ctx, twin.Key{ID: id, Generation: generation}); err != nil || s.deps.Configurations == nil {
		return t, err
	}
	of, err := s.deps.Configurations.Of(ctx, id, generation)
	for _, c := range of {
		t.Identity.Configurations = append(t.Identity.Configurations, twin.Configured(c))
	}
	return t, err
}

func deviceIdentity(d *registry.Device) twin.Identity {
	return twin.Identity{
		ID: iot.ID{Device: d.ID}, ETag: d.ETag, Disabled: d.Status == registry.Disabled, StatusReason: d.StatusReason, StatusSince: d.StatusSince,
		Connected: d.Connected, LastActivity: d.Last, AuthType: d.Proof.String(),
		PrimaryThumbprint: d.PrimaryThumbprint, SecondaryThumbprint: d.SecondaryThumbprint,
		Edge: d.Edge, Scope: d.Scope, ParentScopes: d.ParentScopes,
	}
}

func moduleIdentity(m *registry.Module) twin.Identity {
	return twin.Identity{
		ID: m.ID, ETag: m.ETag, Connected: m.Connected, LastActivity: m.Last, AuthType: m.Proof.String(),
		PrimaryThumbprint: m.PrimaryThumbprint, SecondaryThumbprint: m.SecondaryThumbprint,
	}
}

// BulkEntry is one entry of a bulk call with what it brings for the twin.
type BulkEntry struct {
	registry.BulkEntry
	Twin     []byte // JSON with tags and properties; nil when there is none
	TwinETag string
}

// BulkResult is what came of a bulk call.
type BulkResult struct {
	Failed   []registry.BulkError
	Twinless []registry.BulkError // registered, but their twin was not written
}

// Bulk does each entry for itself and answers those that were refused.
func (s *Service) Bulk(ctx context.Context, entries []BulkEntry) (out BulkResult, err error) {
	if err := s.writing(ctx, "devices", min(len(entries), registry.MaxBulk)); err != nil {
		return out, err
	}
	return s.bulk(ctx, entries)
}

func (s *Service) bulk(ctx context.Context, entries []BulkEntry) (out BulkResult, err error) {
	if err := s.room(ctx, creations(entries)); err != nil {
		return out, err
	}
	plain := make([]registry.BulkEntry, len(entries))
	for i := range entries {
		e := &entries[i]
		plain[i] = e.BulkEntry
		if e.Twin != nil && e.Err == nil && len(entries) <= registry.MaxBulk {
			plain[i].Err = s.deps.Twins.Check(e.ID(), e.Twin)
		}
	}
	failed, ended, err := s.deps.Registry.Bulk(ctx, plain, time.Now())
	if err != nil {
		return out, err
	}
	s.end(ended)
	out.Failed = failed
	refused := make(map[iot.ID]bool, len(failed))
	for _, f := range failed {
		refused[f.ID] = true
	}
	// Side by side, as they are then committed together.
	errs := make([]*iot.Error, len(entries))
	var wait sync.WaitGroup
	for i := range entries {
		e := &entries[i]
		if e.Twin == nil || refused[e.ID()] || e.Mode == registry.BulkDelete || e.Mode == registry.BulkDeleteIfMatch {
			continue
		}
		wait.Go(func() { errs[i] = s.bulkTwin(ctx, e) })
	}
	wait.Wait()
	for i, err := range errs {
		if e := &entries[i]; err != nil {
			b := registry.BulkError{ID: e.ID(), Mode: e.Mode, Err: err}
			if e.Mode == registry.BulkUpdateTwin || e.Mode == registry.BulkUpdateTwinIfMatch {
				out.Failed = append(out.Failed, b)
			} else {
				out.Twinless = append(out.Twinless, b)
			}
		}
	}
	return out, nil
}

// creations counts the devices that entries may make.
func creations(entries []BulkEntry) int {
	n := 0
	for i := range entries {
		e := &entries[i]
		if e.Err == nil && e.Mode == registry.BulkCreate && !e.ID().IsModule() {
			n++
		}
	}
	return n
}

func (s *Service) bulkTwin(ctx context.Context, e *BulkEntry) *iot.Error {
	var etag *string
	if e.Mode == registry.BulkUpdateTwinIfMatch && e.TwinETag != "*" {
		etag = &e.TwinETag
	}
	have, err := s.deps.Registry.Standing(ctx, e.ID())
	if err == nil {
		_, err = s.deps.Twins.Patch(ctx, twin.Key{ID: e.ID(), Generation: have.Generation}, e.Twin, etag)
	}
	if err == nil {
		return nil
	}
	if domain, ok := errors.AsType[*iot.Error](err); ok {
		return domain
	}
	return &iot.Error{Code: iot.ServerError, Message: "the server could not write the twin", Err: err}
}
