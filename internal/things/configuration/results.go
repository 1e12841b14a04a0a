package configuration

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"dunlin/internal/engine/state"
)

const (
	// askAfter is how old custom metrics must be for a reader to refresh them,
	// and askFor how long that may take.
	askAfter = 2 * time.Second
	askFor   = 3 * time.Second
)

// results keeps what metrics gave when they were refreshed last.
type results struct {
	mu   sync.Mutex
	kept map[int64]result // by number
}

type result struct {
	at             time.Time
	custom, system map[string]int64
}

func (x *results) init() { x.kept = map[int64]result{} }

func (x *results) get(number int64) result {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.kept[number]
}

func (x *results) forget(number int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.kept, number)
}

// ask refreshes the metrics of a configuration that somebody looks at.
func (x *results) ask(ctx context.Context, r *Room, rec *entry) {
	if time.Since(x.get(rec.number).at) < askAfter {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	x.renew(ctx, r, rec)
}

// run refreshes the metrics of all configurations from time to time.
func (x *results) run(ctx context.Context, r *Room) {
	for {
		wait(ctx, r.refresh)
		if ctx.Err() != nil {
			return
		}
		s := r.set.Load()
		for _, a := range s.all {
			if !a.deleted && !a.broken {
				x.renew(ctx, r, &a.entry)
			}
		}
		x.mu.Lock()
		maps.DeleteFunc(x.kept, func(number int64, _ result) bool { return s.byNumber[number] == nil })
		x.mu.Unlock()
	}
}

// renew runs the queries of a configuration. One that fails keeps its result.
func (x *results) renew(ctx context.Context, r *Room, rec *entry) {
	var queries map[string]string
	if err := json.Unmarshal([]byte(rec.queries), &queries); err != nil {
		return // reading it tells
	}
	old := x.get(rec.number)
	now := result{at: time.Now(), custom: map[string]int64{}, system: map[string]int64{}}
	count := func(into, before map[string]int64, name, query string) {
		m, err := readMetric(name, query)
		if err != nil {
			return // it was refused when it was written
		}
		n, err := r.twins.Count(ctx, m.count)
		if err != nil {
			if ctx.Err() == nil {
				r.logger.Warn("metric of a configuration not refreshed", slog.String("configuration", rec.id), slog.String("metric", name), slog.Any("error", err))
			}
			var have bool
			if n, have = before[name]; !have {
				return
			}
		}
		if m.top > 0 {
			n = min(n, int64(m.top))
		}
		into[name] = n
	}
	for _, name := range slices.Sorted(maps.Keys(queries)) {
		count(now.custom, old.custom, name, queries[name])
	}
	if c, err := parseContent(rec.content); err == nil && c.kind == Edge {
		system := systemQueries(rec, c.kind)
		for _, name := range [...]string{reportedSuccess, reportedFailure} {
			count(now.system, old.system, name, system[name])
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept[rec.number] = now
}

// Names of the system metrics.
const (
	targetedCount   = "targetedCount"
	appliedCount    = "appliedCount"
	reportedSuccess = "reportedSuccessfulCount"
	reportedFailure = "reportedFailedCount"
)

// systemQueries gives the documented queries behind the system metrics.
func systemQueries(rec *entry, kind Kind) map[string]string {
	status := "configurations.[[" + rec.id + "]].status"
	target := strings.TrimSpace(rec.target)
	out := map[string]string{}
	columns, from := "select deviceId", "devices"
	if kind == Modules {
		columns, from = "select deviceId, moduleId", "devices.modules"
	}
	out[appliedCount] = columns + " from " + from + " where " + status + " = 'Applied'"
	all := columns + " from " + from
	if kind == Edge {
		all += " where capabilities.iotEdge = true"
	}
	switch {
	case target == "":
		out[targetedCount] = columns + " from " + from + " where " + status + " in ['Targeted', 'Applied']"
	case target == "*":
		out[targetedCount] = all
	case kind == Modules:
		out[targetedCount] = columns + " " + target
	case kind == Edge:
		out[targetedCount] = all + " and (" + target + ")"
	default:
		out[targetedCount] = all + " where " + target
	}
	if kind == Edge {
		agent := "select deviceId from devices.modules where moduleId = '$edgeAgent' and " + status + " = 'Applied'" +
			" and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code "
		out[reportedSuccess], out[reportedFailure] = agent+"= 200", agent+"!= 200"
	}
	return out
}

// describe gives a configuration with its metrics.
func (r *Room) describe(ctx context.Context, rec *entry) (Configuration, error) {
	c, err := rec.configuration()
	if err != nil {
		return c, err
	}
	content, err := parseContent(rec.content)
	if err != nil {
		return c, err
	}
	kept := r.results.get(rec.number)
	c.Custom = kept.custom
	c.SystemQueries = systemQueries(rec, content.kind)
	c.System = map[string]int64{targetedCount: 0, appliedCount: 0}
	if content.kind == Edge {
		c.System[reportedSuccess], c.System[reportedFailure] = kept.system[reportedSuccess], kept.system[reportedFailure]
	}
	query := "SELECT status, count(*) FROM configuration_target WHERE configuration = ?"
	if content.kind != Modules {
		query += " AND module = ''"
	}
	err = r.db.Read(ctx, func(tx state.Tx) error {
		c.System[targetedCount], c.System[appliedCount] = 0, 0
		rows, err := tx.Query(ctx, query+" GROUP BY status", rec.number)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var status int
			var n int64
			if err := rows.Scan(&status, &n); err != nil {
				return err
			}
			c.System[targetedCount] += n
			if status == applied {
				c.System[appliedCount] += n
			}
		}
		return rows.Err()
	})
	return c, stored(err, "count what a configuration is for")
}
