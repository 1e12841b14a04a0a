package app

import (
	"context"

	"dunlin/internal/hub"
	"dunlin/internal/things/configuration"
	"dunlin/internal/trust/quota"
)

// openConfigurations opens the room of automatic configurations, which reads
// and writes twins and modules.
func (a *App) openConfigurations(ctx context.Context) error {
	r := &a.rooms
	var err error
	r.configurations, err = configuration.Open(ctx, configuration.Deps{
		DB: a.state, Log: a.log, Twins: &hub.ConfiguredTwins{Twins: r.twins, Registry: r.registry},
		Limits: a.cfg.Hub.configurations(), Refresh: a.cfg.Hub.Configurations.Refresh,
		Logger: a.room("configuration"), Registerer: a.registry,
	})
	return err
}

// configurations gives how many configurations the hub may have.
func (h *HubSettings) configurations() configuration.Limits {
	switch {
	case quota.Tier(h.Tier) == quota.F1:
		return configuration.FreeLimits()
	case h.Profile == profileOpen:
		return configuration.OpenLimits()
	}
	return configuration.StrictLimits()
}
