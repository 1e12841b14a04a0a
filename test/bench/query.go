//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
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
	s, err := h.serve()
	if err != nil {
		return err
	}
	defer s.stop()
	began := time.Now()
	if err := h.create(many, "q-"); err != nil {
		return err
	}
	m := measure(s.process)
	if err := b.tag(h, s); err != nil {
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
	add("twins written over REST", "per second", float64(many)/c.seconds, 0, false)
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

// tag gives each device tags and desired properties, with calls of as many
// devices as one may change.
func (b *bench) tag(h *hub, s *server) error {
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
			if from >= len(h.keys) {
				return
			}
			body = append(body[:0], '[')
			for n := from; n < min(from+batch, len(h.keys)); n++ {
				if n > from {
					body = append(body, ',')
				}
				body = fmt.Appendf(body, `{"id":%q,"importMode":"updateTwin","tags":{"site":"site%d","floor":"%d","customer":{"name":"somebody %d","since":2020}},`+
					`"properties":{"desired":{"interval":%d,"mode":"eco","place":{"room":"kitchen"}}}}`, h.keys[n].id, n%100, n%8, n%1000, n%100)
			}
			_, errs[i] = app.must(http.StatusOK, http.MethodPost, "/devices", "", append(body, ']'))
		}
	})
	return errors.Join(firstFew(errs)...)
}
