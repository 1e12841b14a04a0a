package configuration

import (
	"context"
	"encoding/json"

	"dunlin/internal/engine/state"
)

// exported is a configuration as a line of an export.
type exported struct {
	ID            string          `json:"id"`
	SchemaVersion string          `json:"schemaVersion"`
	Labels        json.RawMessage `json:"labels"`
	Content       json.RawMessage `json:"content"`
	Target        string          `json:"targetCondition"`
	Priority      int64           `json:"priority"`
	Metrics       struct {
		Queries json.RawMessage `json:"queries"`
	} `json:"metrics"`
	ETag       string `json:"etag,omitempty"`
	ImportMode string `json:"importMode,omitempty"`
}

// Export calls each with every configuration as one line of JSON without its
// end, in the order of ids. The line is only valid during the call.
func (r *Room) Export(ctx context.Context, each func(line []byte) error) error {
	var list []*entry
	err := r.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		return readRecords(ctx, r.db, tx, false, func(rec *entry, damaged error) error {
			list = append(list, rec)
			return damaged
		})
	})
	if err != nil {
		return stored(err, "read the configurations")
	}
	for _, rec := range list {
		e := exported{
			ID: rec.id, SchemaVersion: rec.schema, Labels: json.RawMessage(rec.labels), Content: json.RawMessage(rec.content),
			Target: rec.target, Priority: rec.priority, ETag: etag(rec.revision), ImportMode: "createOrUpdateIfMatchETag",
		}
		e.Metrics.Queries = json.RawMessage(rec.queries)
		line, err := text(e)
		if err != nil {
			return err
		}
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}
