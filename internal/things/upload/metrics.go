package upload

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	begun    prometheus.Counter
	finished *prometheus.CounterVec
	notes    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		begun: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_uploads_begun_total",
			Help: "File uploads that devices have begun.",
		}),
		finished: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_uploads_finished_total",
			Help: "File uploads by what devices have said of their end: success, failure.",
		}, []string{"outcome"}),
		notes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_upload_notifications_total",
			Help: "Notifications of uploaded files that were queued for applications.",
		}),
	}
	reg.MustRegister(m.begun, m.finished, m.notes)
	return m
}

func (m *metrics) finish(success, told bool) {
	outcome := "failure"
	if success {
		outcome = "success"
	}
	m.finished.WithLabelValues(outcome).Inc()
	if told {
		m.notes.Inc()
	}
}
