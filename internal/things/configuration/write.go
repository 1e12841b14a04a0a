package configuration

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// Get gives one configuration with its metrics. Custom ones that are older
// than some seconds are refreshed first, if that does not take long.
func (r *Room) Get(ctx context.Context, id string) (Configuration, error) {
	var rec *entry
	err := r.db.Read(ctx, func(tx state.Tx) error {
		var err error
		rec, err = readRecord(ctx, r.db, tx, id)
		return err
	})
	switch {
	case err != nil:
		return Configuration{}, stored(err, "read a configuration")
	case rec == nil:
		return Configuration{}, errNotFound(id)
	}
	r.results.ask(ctx, r, rec)
	return r.describe(ctx, rec)
}

// List gives up to n configurations in the order of their ids. Their custom
// metrics are those of the last refresh.
func (r *Room) List(ctx context.Context, n int) ([]Configuration, error) {
	var list []*entry
	err := r.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		return readRecords(ctx, r.db, tx, false, func(rec *entry, err error) error {
			if err == nil && len(list) < n {
				list = append(list, rec)
			}
			return nil // one that is damaged must not hide the others; reload has logged it
		})
	})
	if err != nil {
		return nil, stored(err, "list configurations")
	}
	out := make([]Configuration, len(list))
	for i, rec := range list {
		if out[i], err = r.describe(ctx, rec); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Put makes a configuration when match is not set, else it changes one. The
// twins follow soon after, not before it returns. made tells which it was.
func (r *Room) Put(ctx context.Context, spec Spec, match Match) (c Configuration, made bool, err error) {
	if err := spec.check(); err != nil {
		return c, false, err
	}
	if len(spec.Content) > maxText {
		return c, false, badContent("the content has %d bytes, at most %d are allowed", len(spec.Content), maxText)
	}
	var rec *entry
	err = r.db.Write(ctx, func(tx state.Tx) error {
		made = false
		old, err := readRecord(ctx, r.db, tx, spec.ID)
		switch {
		case err != nil:
			return err
		case match.Set && old == nil:
			return errNotFound(spec.ID)
		case !match.Set && old != nil:
			return iot.Errorf(iot.ConfigurationAlreadyExists, "A configuration with ID '%s' exists already. To change it send its ETag in If-Match.", spec.ID)
		case match.Set:
			if err := match.check(spec.ID, etag(old.revision)); err != nil {
				return err
			}
			rec, err = r.change(ctx, tx, old, &spec)
			return err
		}
		made = true
		rec, err = r.make(ctx, tx, &spec)
		return err
	})
	if err != nil {
		return c, false, stored(err, "write a configuration")
	}
	if err := r.reload(ctx); err != nil {
		return c, made, err
	}
	r.results.forget(rec.number)
	c, err = r.describe(ctx, rec)
	return c, made, err
}

func (r *Room) make(ctx context.Context, tx state.Tx, spec *Spec) (*entry, error) {
	if spec.Content == nil {
		return nil, badContent("a new configuration needs a content")
	}
	content, err := readContent(string(spec.Content), r.twins.Check)
	if err != nil {
		return nil, err
	}
	if _, err := readCondition(spec.Target, content.kind); err != nil {
		return nil, err
	}
	if err := r.room(ctx, tx, content.kind); err != nil {
		return nil, err
	}
	var last int64
	if err := tx.QueryRow(ctx, "SELECT COALESCE(max(number), 0) FROM configuration").Scan(&last); err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	rec := &entry{
		number: max(now, last+1), id: spec.ID, revision: 1, aim: 1, schema: spec.SchemaVersion, labels: string(spec.Labels), content: string(spec.Content),
		target: spec.Target, priority: spec.Priority, created: now, updated: now,
	}
	if rec.queries, err = queries(spec.Queries); err != nil {
		return nil, err
	}
	return rec, insertRecord(ctx, tx, rec)
}

func queries(q map[string]string) (string, error) {
	if q == nil {
		return "{}", nil
	}
	b, err := json.Marshal(q)
	return string(b), err
}

// room checks that the hub may have one more.
func (r *Room) room(ctx context.Context, tx state.Tx, kind Kind) error {
	total, edge := 0, 0
	err := readRecords(ctx, r.db, tx, false, func(rec *entry, damaged error) error {
		total++
		if c, err := parseContent(rec.content); damaged == nil && err == nil && c.kind == Edge {
			edge++
		}
		return nil
	})
	full := func(have, most int, what string) error {
		if most == 0 || have < most {
			return nil
		}
		return iot.Errorf(iot.TooManyConfigurations, "the hub has %d configurations%s, at most %d are allowed (%s limits)", have, what, most, r.limits.Profile)
	}
	if err == nil {
		err = full(total, r.limits.Total, "")
	}
	if err == nil && kind == Edge {
		err = full(edge, r.limits.Edge, " of edge devices")
	}
	if err == nil && kind != Edge {
		err = full(total-edge, r.limits.Devices, " of devices and modules")
	}
	return err
}

func (r *Room) change(ctx context.Context, tx state.Tx, old *entry, spec *Spec) (*entry, error) {
	if spec.Content != nil {
		same, err := sameJSON(string(spec.Content), old.content)
		if err != nil {
			return nil, badContent("the content is not valid JSON: %w", err)
		}
		if !same {
			return nil, iot.Errorf(iot.ConfigurationContentFixed, "the content of the configuration %s cannot be changed: make a new configuration with a higher priority, and delete this one", old.id)
		}
	}
	content, err := parseContent(old.content)
	if err != nil {
		return nil, err
	}
	if _, err := readCondition(spec.Target, content.kind); err != nil {
		return nil, err
	}
	rec := *old
	rec.revision++
	if spec.Target != old.target || spec.Priority != old.priority {
		rec.aim = rec.revision
	}
	rec.schema, rec.labels, rec.target, rec.priority, rec.updated = spec.SchemaVersion, string(spec.Labels), spec.Target, spec.Priority, time.Now().UnixNano()
	if rec.queries, err = queries(spec.Queries); err != nil {
		return nil, err
	}
	return &rec, updateRecord(ctx, tx, &rec)
}

func sameJSON(a, b string) (bool, error) {
	if a == b {
		return true, nil
	}
	x, err := parse(a)
	if err != nil {
		return false, err
	}
	y, err := parse(b)
	return reflect.DeepEqual(x, y), err
}

// Delete deletes a configuration. What it has set is removed from the twins
// soon after.
func (r *Room) Delete(ctx context.Context, id string, match Match) error {
	err := r.db.Write(ctx, func(tx state.Tx) error {
		// Read no more than is needed, so that a damaged row can be deleted.
		var number, revision int64
		err := tx.QueryRow(ctx, "SELECT COALESCE(max(number), 0), COALESCE(max(revision), 0) FROM configuration WHERE id = ? AND deleted = 0", id).Scan(&number, &revision)
		if err != nil {
			return err
		}
		if number == 0 {
			return errNotFound(id)
		}
		if err := match.check(id, etag(revision)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE configuration SET deleted = 1, revision = revision + 1, aim = revision + 1 WHERE number = ?", number)
		return err
	})
	if err != nil {
		return stored(err, "delete a configuration")
	}
	return r.reload(ctx)
}

// Test tells what is wrong with a target condition and with metrics, "" or
// nothing where nothing is.
func (r *Room) Test(target string, queries map[string]string) (targetError string, queryErrors map[string]string) {
	kind := Devices
	if t, err := twinql.ParseTarget(target); err == nil && t.From == twinql.Modules {
		kind = Modules
	}
	if _, err := readCondition(target, kind); err != nil {
		targetError = message(err)
	}
	queryErrors = map[string]string{}
	for name, text := range queries {
		if _, err := readMetric(name, text); err != nil {
			queryErrors[name] = message(err)
		}
	}
	return targetError, queryErrors
}

func message(err error) string {
	if domain, ok := err.(*iot.Error); ok { //nolint:errorlint // made here
		return domain.Message
	}
	return fmt.Sprint(err)
}

// stampOf tells one state of the configurations from another.
func stampOf(ctx context.Context, tx state.Tx) (string, error) {
	var count, revisions, newest, deleted, done int64
	err := tx.QueryRow(ctx, "SELECT count(*), CAST(COALESCE(sum(revision), 0) AS BIGINT), COALESCE(max(number), 0), CAST(COALESCE(sum(deleted), 0) AS BIGINT), CAST(COALESCE(sum(done), 0) AS BIGINT) FROM configuration").
		Scan(&count, &revisions, &newest, &deleted, &done)
	return fmt.Sprint(count, revisions, newest, deleted, done), err
}
