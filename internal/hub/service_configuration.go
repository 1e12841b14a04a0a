package hub

import (
	"context"

	"dunlin/internal/things/configuration"
	"dunlin/internal/trust/quota"
)

// configuration asks whether the principal may, and takes one operation.
func (s *Service) configuration(ctx context.Context, may func(what string) error, what string) error {
	if err := may(what); err != nil {
		return err
	}
	if err := s.deps.Quota.Offers(quota.Configurations); err != nil {
		return err
	}
	return s.deps.Quota.Take(ctx, quota.Configurations, 1)
}

// Configuration gives one automatic configuration with its metrics.
func (s *Service) Configuration(ctx context.Context, id string) (configuration.Configuration, error) {
	if err := s.configuration(ctx, s.read, "configurations/"+id); err != nil {
		return configuration.Configuration{}, err
	}
	return s.deps.Configurations.Get(ctx, id)
}

// Configurations gives up to n of them in the order of their ids.
func (s *Service) Configurations(ctx context.Context, n int) ([]configuration.Configuration, error) {
	if err := s.configuration(ctx, s.read, "configurations"); err != nil {
		return nil, err
	}
	return s.deps.Configurations.List(ctx, n)
}

// PutConfiguration makes one when match is not set, else it changes one; made
// tells which it was.
func (s *Service) PutConfiguration(ctx context.Context, spec configuration.Spec, match configuration.Match) (c configuration.Configuration, made bool, err error) {
	if err := s.configuration(ctx, s.write, "configurations/"+spec.ID); err != nil {
		return c, false, err
	}
	return s.deps.Configurations.Put(ctx, spec, match)
}

// DeleteConfiguration deletes one.
func (s *Service) DeleteConfiguration(ctx context.Context, id string, match configuration.Match) error {
	if err := s.configuration(ctx, s.write, "configurations/"+id); err != nil {
		return err
	}
	return s.deps.Configurations.Delete(ctx, id, match)
}

// TestConfiguration tells what is wrong with a target condition and with
// metrics.
func (s *Service) TestConfiguration(ctx context.Context, target string, queries map[string]string) (targetError string, queryErrors map[string]string, err error) {
	if err := s.configuration(ctx, s.read, "configurations/testQueries"); err != nil {
		return "", nil, err
	}
	targetError, queryErrors = s.deps.Configurations.Test(target, queries)
	return targetError, queryErrors, nil
}

// ApplyConfiguration sets content in one device and its modules.
func (s *Service) ApplyConfiguration(ctx context.Context, device string, content []byte) error {
	if err := s.configuration(ctx, s.write, "devices/"+device+"/applyConfigurationContent"); err != nil {
		return err
	}
	return s.deps.Configurations.Apply(ctx, device, content)
}
