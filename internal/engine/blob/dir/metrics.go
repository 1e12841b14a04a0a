package dir

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	written prometheus.Counter
	read    prometheus.Counter
	swept   prometheus.Counter
	expired prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, staged func() float64) *metrics {
	m := &metrics{
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_blob_written_bytes_total",
			Help: "Bytes of blobs and blocks written.",
		}),
		read: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_blob_read_bytes_total",
			Help: "Bytes of blobs read.",
		}),
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_blob_swept_total",
			Help: "Files removed that belonged to no blob, left behind by a process that was killed.",
		}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_blob_staged_expired_total",
			Help: "Blobs whose blocks were dropped because nobody committed them in time.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.written, m.read, m.swept, m.expired, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dunlin_blob_staged_bytes",
			Help: "Bytes of blocks that wait to be committed.",
		}, staged))
	}
	return m
}
