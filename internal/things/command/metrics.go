package command

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/iot"
)

type metrics struct {
	calls   *prometheus.CounterVec
	seconds prometheus.Histogram
	late    prometheus.Counter

	enqueued  prometheus.Counter
	delivered prometheus.Counter
	settled   *prometheus.CounterVec
	feedback  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, underWay func() float64) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_methods_total",
			Help: "Direct method calls that have ended, by outcome: ok, canceled by the caller, or the name of the error.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dunlin_method_seconds",
			Help:    "Time from a direct method call to the answer of the device, of calls that were answered.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 4, 10),
		}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_method_late_answers_total",
			Help: "Answers of devices to direct methods that nobody waited for any more.",
		}),
		enqueued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_c2d_enqueued_total",
			Help: "Cloud-to-device messages queued.",
		}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_c2d_delivered_total",
			Help: "Cloud-to-device messages handed to a device, each time they were.",
		}),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_c2d_settled_total",
			Help: "Cloud-to-device messages by what became of a delivery, or of the message: complete, abandon, reject, expired, purged.",
		}, []string{"outcome"}),
		feedback: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_c2d_feedback_total",
			Help: "Feedback records on cloud-to-device messages that were queued for applications.",
		}),
	}
	reg.MustRegister(m.calls, m.seconds, m.late, m.enqueued, m.delivered, m.settled, m.feedback, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dunlin_methods_under_way",
		Help: "Direct method calls that wait for a device.",
	}, underWay))
	return m
}

func (m *metrics) call(took time.Duration, err error) {
	outcome := "ok"
	switch {
	case err == nil:
		m.seconds.Observe(took.Seconds())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		outcome = "canceled"
	default:
		outcome = iot.CodeOf(err).Name()
	}
	m.calls.WithLabelValues(outcome).Inc()
}
