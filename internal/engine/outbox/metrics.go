package outbox

import (
	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/iot"
)

type metrics struct {
	rows   prometheus.Gauge
	lag    prometheus.Gauge
	events *prometheus.CounterVec
	aside  prometheus.Counter
	errors prometheus.Counter
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		rows: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_outbox_rows",
			Help: "Rows of events that wait to be appended to the event log, as last seen by the relay.",
		}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_outbox_lag_seconds",
			Help: "Age of the oldest event when it was appended last, or that still waits; 0 when none waits.",
		}),
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
	r.MustRegister(m.rows, m.lag, m.events, m.aside, m.errors)
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
