package outbox

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

type metrics struct {
	oldest atomic.Int64 // Unix nanoseconds of the oldest event that the relay works on; 0 without one
	events *prometheus.CounterVec
	aside  prometheus.Counter
	errors prometheus.Counter
}

// How long counting may take, and how many rows it looks at.
const countLimit = time.Second

const countRows = "SELECT count(*) FROM (SELECT id FROM outbox LIMIT 100000) AS some"

func newMetrics(ctx context.Context, db state.DB, r prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_outbox_events_total",
			Help: "Events of state changes appended to the event log.",
		}, []string{"source"}),
		aside: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_outbox_aside_total",
			Help: "Rows of events that could not be relayed and were put aside.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_outbox_errors_total",
			Help: "Times that the relay of events failed and had to try again.",
		}),
	}
	rows := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dunlin_outbox_rows",
		Help: "Rows of events that wait to be appended to the event log, counted up to 100,000; not a number when the store does not answer.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(ctx, countLimit)
		defer cancel()
		var n int64
		if db.Get(ctx, []any{&n}, countRows) != nil {
			return math.NaN()
		}
		return float64(n)
	})
	lag := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dunlin_outbox_lag_seconds",
		Help: "Age of the oldest event that this node is appending to the event log; 0 without one.",
	}, func() float64 {
		if at := m.oldest.Load(); at != 0 {
			return max(0, time.Since(time.Unix(0, at)).Seconds())
		}
		return 0
	})
	r.MustRegister(rows, lag, m.events, m.aside, m.errors)
	m.appended(nil)
	return m
}

// appended counts events by their sources.
func (m *metrics) appended(events []event) {
	var n [iot.SourceDigitalTwin + 1]int
	for i := range events {
		n[min(events[i].source, iot.SourceDigitalTwin)]++
	}
	for s := iot.SourceTwinChange; s <= iot.SourceDigitalTwin; s++ {
		m.events.WithLabelValues(s.String()).Add(float64(n[s]))
	}
}
