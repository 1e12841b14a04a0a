package hub

import (
	"context"

	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// Query gives one page of a query over devices, modules or jobs; see
// twin.Room.Query. Connection states in its rows are those of the moment.
func (s *Service) Query(ctx context.Context, text, token string, size int) (twin.Page, error) {
	if err := s.connect("devices/query"); err != nil {
		return twin.Page{}, err
	}
	if err := s.take(ctx, quota.Queries, 1); err != nil {
		return twin.Page{}, err
	}
	if page, ok, err := s.queryJobs(ctx, text, token, size); ok {
		return page, err
	}
	p, err := s.deps.Twins.Query(ctx, text, token, size, s.deps.Presence.State)
	s.deps.Quota.Note(len(p.Items))
	return p, err
}
