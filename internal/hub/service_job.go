package hub

import (
	"context"

	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/job"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// job asks whether the principal may, and takes one operation on jobs.
func (s *Service) job(ctx context.Context, what string) error {
	if err := s.connect(what); err != nil {
		return err
	}
	if err := s.deps.Quota.Offers(quota.Jobs); err != nil {
		return err
	}
	return s.deps.Quota.Take(ctx, quota.Jobs, 1)
}

// ScheduleJob stores a job over many devices, which begins when it is due.
func (s *Service) ScheduleJob(ctx context.Context, spec job.Spec) (job.Job, error) {
	if err := s.job(ctx, "jobs/v2/"+spec.ID); err != nil {
		return job.Job{}, err
	}
	return s.deps.Jobs.Schedule(ctx, spec)
}

// ScheduledJob gives a job with its numbers of the moment.
func (s *Service) ScheduledJob(ctx context.Context, id string) (job.Job, error) {
	if err := s.job(ctx, "jobs/v2/"+id); err != nil {
		return job.Job{}, err
	}
	return s.deps.Jobs.Job(ctx, id)
}

// CancelJob ends a job before it is done.
func (s *Service) CancelJob(ctx context.Context, id string) (job.Job, error) {
	if err := s.job(ctx, "jobs/v2/"+id+"/cancel"); err != nil {
		return job.Job{}, err
	}
	return s.deps.Jobs.Cancel(ctx, id)
}

// ScheduledJobs gives a page of the jobs that a filter selects, and the token
// of the next one.
func (s *Service) ScheduledJobs(ctx context.Context, f job.Filter, token string, size int) ([]job.Job, string, error) {
	if err := s.job(ctx, "jobs/v2/query"); err != nil {
		return nil, "", err
	}
	return s.deps.Jobs.List(ctx, f, token, size)
}

// queryJobs answers a query over devices.jobs; ok is false for other ones.
func (s *Service) queryJobs(ctx context.Context, text, token string, size int) (page twin.Page, ok bool, err error) {
	if q, err := twinql.Parse(text); err != nil || q.From != twinql.Jobs {
		return page, false, nil //nolint:nilerr // whoever is asked next says what is wrong
	}
	p, err := s.deps.Jobs.Query(ctx, text, token, size)
	return twin.Page{Items: p.Items, Kind: twin.KindJob, Continuation: p.Continuation, Notes: p.Notes}, true, err
}
