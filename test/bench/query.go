//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/sqlite"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/access"
)

// query measures the query language over many twins, over REST. One device in
// a hundred has the site that is asked for.
func (b *bench) query() error {
	many := 1_000_000
	if b.quick {
		many = 10_000
	}
	h, err := b.devices(0, "--hub-indexes", "tags.site")
	if err != nil {
		return err
	}
	began := time.Now()
	over := min(many/10, 20_000)
	if err := h.fill(many, over); err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	defer s.stop()
	m := measure(s.process)
	if err := b.tag(h, s, over); err != nil {
		return err
	}
	c := m.end(b.cores)
	b.report.note("query: %d devices and their twins were made in %s", many, time.Since(began).Round(time.Second))
	app, err := h.application(s)
	if err != nil {
		return err
	}
	defer app.close()
	add := adder(b, "query", c)
	add("twins written over REST", "per second", float64(over)/c.seconds, 0, false)
	for _, q := range []struct {
		name, text string
		times      int
		limit      float64 // ms
		want       int     // rows of a page, or what is counted
	}{
		{"first page by indexed tag", "SELECT * FROM devices WHERE tags.site = 'site7'", 100, 10, min(100, many/100)},
		{"first page by device id", "SELECT * FROM devices WHERE deviceId = 'q-123'", 100, 10, 1},
		{"first page by status", "SELECT * FROM devices WHERE status = 'enabled'", 100, 10, 100},
		{"first page by connection state", "SELECT * FROM devices WHERE connectionState = 'Disconnected'", 100, 10, 100},
		{"count by indexed tag", "SELECT COUNT() AS n FROM devices WHERE tags.site = 'site7'", 20, 0, many / 100},
		{"count by tag that is not indexed", "SELECT COUNT() AS n FROM devices WHERE tags.floor = '3'", 5, 2000, many / 8},
		{"count by desired number", "SELECT COUNT() AS n FROM devices WHERE properties.desired.interval > 49", 5, 2000, many / 2},
	} {
		var took histogram
		body, err := json.Marshal(map[string]string{"query": q.text})
		if err != nil {
			return err
		}
		began := s.cpu()
		for range q.times {
			start := monotonic()
			answer, err := app.must(http.StatusOK, http.MethodPost, "/devices/query", "x-ms-max-item-count: 100\r\n", body)
			if err != nil {
				return err
			}
			took.add(time.Duration(monotonic() - start))
			var rows []struct{ N *int }
			if err := json.Unmarshal(answer, &rows); err != nil {
				return err
			}
			got := len(rows)
			if strings.HasPrefix(q.name, "count") {
				if len(rows) != 1 || rows[0].N == nil {
					return fmt.Errorf("%s: %s", q.text, answer)
				}
				got = *rows[0].N
			}
			if q.want >= 0 && got != q.want {
				return fmt.Errorf("%s: %d, want %d", q.text, got, q.want)
			}
		}
		add(q.name+" p50", "ms", took.quantile(0.5), q.limit, q.limit > 0)
		add(q.name, "CPU-ms of the server", 1000*(s.cpu()-began)/float64(q.times), 0, false)
	}
	rss, peak := s.memory()
	add("resident afterwards", "MiB", float64(rss)/(1<<20), 0, false)
	add("resident at most", "MiB", float64(peak)/(1<<20), 0, false)
	return nil
}

// twinOf is what the twin of a device holds beside what each has.
func twinOf(dst []byte, n int) []byte {
	return fmt.Appendf(dst, `"tags":{"site":"site%d","floor":"%d","customer":{"name":"somebody %d","since":2020}},`+
		`"properties":{"desired":{"interval":%d,"mode":"eco","place":{"room":"kitchen"}}}`, n%100, n%8, n%1000, n%100)
}

func queryID(n int) string { return "q-" + strconv.Itoa(n) }

// fill makes devices, and twins for those from number bare on, through the
// rooms of a server that does not run: over REST a million would take longer
// than all that is measured.
func (h *hub) fill(many, bare int) (err error) {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(h.dir, "state", "main.db")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	quiet := slog.New(slog.DiscardHandler)
	policies, err := access.Open(ctx, db, access.NewHosts("localhost"))
	if err != nil {
		return err
	}
	devices, err := registry.Open(ctx, registry.Deps{DB: db, Policies: policies, Logger: quiet})
	if err != nil {
		return err
	}
	nobody := func(iot.ID, *iot.Inbound) bool { return false }
	twins, err := twin.Open(ctx, twin.Deps{DB: db, Deliver: nobody, Limits: twin.StrictLimits(), Logger: quiet, Registerer: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, twins.Close()) }()
	for from := 0; from < many; from += registry.ImportBatch {
		ids := make([]string, min(registry.ImportBatch, many-from))
		for i := range ids {
			ids[i] = queryID(from + i)
		}
		made, err := devices.Import(ctx, ids, nil, time.Now())
		if err != nil {
			return err
		}
		for i := range made {
			if made[i].Err != nil {
				return made[i].Err
			}
		}
	}
	generations := make([]uint64, many)
	err = db.Read(ctx, func(tx state.Tx) error {
		rows, err := tx.Query(ctx, "SELECT id, generation FROM device")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var generation int64
			if err := rows.Scan(&id, &generation); err != nil {
				return err
			}
			n, err := strconv.Atoi(strings.TrimPrefix(id, "q-"))
			if err != nil {
				return err
			}
			generations[n] = uint64(generation)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	const writers = 1024 // whose changes are committed together
	errs := make([]error, writers)
	var next atomic.Int64
	next.Store(int64(bare))
	parallel(writers, writers, func(i int) {
		for errs[i] == nil {
			n := int(next.Add(1)) - 1
			if n >= many {
				return
			}
			key := twin.Key{ID: iot.ID{Device: queryID(n)}, Generation: generations[n]}
			_, errs[i] = twins.Patch(ctx, key, append(twinOf([]byte{'{'}, n), '}'), nil)
		}
	})
	return errors.Join(firstFew(errs)...)
}

// tag gives the first devices tags and desired properties, with calls of as
// many devices as one may change.
func (b *bench) tag(h *hub, s *server, many int) error {
	const batch, callers = 100, 16
	errs := make([]error, callers)
	var next atomic.Int64
	parallel(callers, callers, func(i int) {
		app, err := h.application(s)
		if err != nil {
			errs[i] = err
			return
		}
		defer app.close()
		var body []byte
		for errs[i] == nil {
			from := int(next.Add(batch)) - batch
			if from >= many {
				return
			}
			body = append(body[:0], '[')
			for n := from; n < min(from+batch, many); n++ {
				if n > from {
					body = append(body, ',')
				}
				body = fmt.Appendf(body, `{"id":%q,"importMode":"updateTwin",`, queryID(n))
				body = append(twinOf(body, n), '}')
			}
			_, errs[i] = app.must(http.StatusOK, http.MethodPost, "/devices", "", append(body, ']'))
		}
	})
	return errors.Join(firstFew(errs)...)
}
