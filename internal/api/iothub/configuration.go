package iothub

import (
	"encoding/json"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
)

// configurationJSON is a configuration as applications read it.
type configurationJSON struct {
	ID              string          `json:"id"`
	SchemaVersion   string          `json:"schemaVersion"`
	Labels          json.RawMessage `json:"labels"`
	Content         json.RawMessage `json:"content"`
	TargetCondition string          `json:"targetCondition"`
	CreatedTime     string          `json:"createdTimeUtc"`
	UpdatedTime     string          `json:"lastUpdatedTimeUtc"`
	Priority        int64           `json:"priority"`
	SystemMetrics   metricsJSON     `json:"systemMetrics"`
	Metrics         metricsJSON     `json:"metrics"`
	ETag            string          `json:"etag"`
}

type metricsJSON struct {
	Results map[string]int64  `json:"results"`
	Queries map[string]string `json:"queries"`
}

func configurationOut(c *configuration.Configuration) configurationJSON {
	out := configurationJSON{
		ID: c.ID, SchemaVersion: c.SchemaVersion, Labels: c.Labels, Content: c.Content, TargetCondition: c.Target,
		CreatedTime: c.Created.Format(time.RFC3339Nano), UpdatedTime: c.Updated.Format(time.RFC3339Nano), Priority: c.Priority,
		SystemMetrics: metricsJSON{Results: c.System, Queries: c.SystemQueries}, Metrics: metricsJSON{Results: c.Custom, Queries: c.Queries}, ETag: c.ETag,
	}
	if out.Metrics.Results == nil {
		out.Metrics.Results = map[string]int64{}
	}
	if out.Metrics.Queries == nil {
		out.Metrics.Queries = map[string]string{}
	}
	return out
}

// configurationIn is a configuration as applications write it. What only the
// hub says of one is passed over, as callers send back what they were given.
type configurationIn struct {
	ID              *string         `json:"id"`
	SchemaVersion   string          `json:"schemaVersion"`
	Labels          json.RawMessage `json:"labels"`
	Content         json.RawMessage `json:"content"`
	TargetCondition string          `json:"targetCondition"`
	Priority        int64           `json:"priority"`
	Metrics         struct {
		Queries map[string]string `json:"queries"`
	} `json:"metrics"`
}

func (in *configurationIn) spec(id string) (configuration.Spec, error) {
	if err := same("id", id, in.ID); err != nil {
		return configuration.Spec{}, err
	}
	spec := configuration.Spec{
		ID: id, SchemaVersion: in.SchemaVersion, Labels: in.Labels, Content: in.Content, Target: in.TargetCondition,
		Priority: in.Priority, Queries: in.Metrics.Queries,
	}
	if string(spec.Content) == "null" {
		spec.Content = nil
	}
	return spec, nil
}

// configurationMatch is the condition of If-Match.
func (c *call) configurationMatch() (configuration.Match, error) {
	m, err := c.match()
	if err != nil || !m.IsSet() {
		return configuration.Match{}, err
	}
	out := configuration.Match{Set: true}
	if etag := m.ETag(); etag != nil {
		if out.ETag = *etag; out.ETag == "" {
			return out, iot.Errorf(iot.ArgumentInvalid, `If-Match is empty: it is "*" or an ETag`)
		}
	}
	return out, nil
}
