package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
)

// ConfiguredTwins lets configurations read and write twins and identities.
type ConfiguredTwins struct {
	Twins    *twin.Room
	Registry *registry.Registry
}

var _ configuration.Twins = (*ConfiguredTwins)(nil)

// Documents implements configuration.Twins.
func (c *ConfiguredTwins) Documents(ctx context.Context, from twinql.Collection, devices []string, each func(configuration.Document) error) error {
	return c.Twins.Documents(ctx, from, devices, func(d *twin.Document) error {
		k, doc := d.Key(), d.Doc()
		return each(configuration.Document{ID: k.ID, Generation: k.Generation, Edge: d.Edge(), ETag: doc.ETag(), Desired: doc.Desired(), Source: d})
	})
}

// Select implements configuration.Twins.
func (c *ConfiguredTwins) Select(ctx context.Context, t *twinql.Target, after iot.ID, n int) (ids []iot.ID, next iot.ID, more bool, err error) {
	keys, next, more, err := c.Twins.Select(ctx, t, after, n)
	ids = make([]iot.ID, len(keys))
	for i := range keys {
		ids[i] = keys[i].ID
	}
	return ids, next, more, err
}

// Patch implements configuration.Twins.
func (c *ConfiguredTwins) Patch(ctx context.Context, id iot.ID, generation uint64, body []byte, etag string) (desired string, version int64, err error) {
	var match *string
	if etag != "" {
		match = &etag
	}
	d, err := c.Twins.Patch(ctx, twin.Key{ID: id, Generation: generation}, body, match)
	if err != nil {
		return "", 0, err
	}
	return d.Desired(), d.Version(), nil
}

// Check implements configuration.Twins.
func (c *ConfiguredTwins) Check(id iot.ID, body []byte) error { return c.Twins.Check(id, body) }

// Count implements configuration.Twins.
func (c *ConfiguredTwins) Count(ctx context.Context, query string) (int64, error) {
	page, err := c.Twins.Query(ctx, query, "", 1, nil)
	if err != nil {
		return 0, err
	}
	var rows []struct{ N int64 }
	if err := json.Unmarshal(page.Items, &rows); err != nil || len(rows) > 1 {
		return 0, fmt.Errorf("hub: count: %d rows: %w", len(rows), err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	return rows[0].N, nil
}

// AddModule implements configuration.Twins.
func (c *ConfiguredTwins) AddModule(ctx context.Context, id iot.ID) error {
	by := "iotEdge"
	_, _, err := c.Registry.PutModule(ctx, registry.ModuleSpec{ID: id, ManagedBy: &by}, registry.Match{}, time.Now())
	if iot.CodeOf(err) == iot.ModuleAlreadyExists {
		return nil
	}
	return err
}

// ConfigurationsOf gives the function by which documents and queries show the
// configurations of twins.
func ConfigurationsOf(db state.DB) twin.Configurations {
	return func(ctx context.Context, tx state.Tx, devices []string, each func(twin.Configured)) error {
		return configuration.Statuses(ctx, db, tx, devices, func(s configuration.Status) {
			each(twin.Configured(s))
		})
	}
}
