package quota

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	delayed, refused             [kinds]prometheus.Counter
	deviceDelayed, deviceRefused prometheus.Counter
	overQuota, tooMany           prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, l *Limiter) metrics {
	throttled := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_throttled_total",
		Help: "Operations that had to wait (delayed) or were refused because they were above a rate of the tier, or of one device.",
	}, []string{"operation", "outcome"})
	quota := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_quota_refused_total",
		Help: "Operations refused because the daily messages were used up, or there were as many devices as may be.",
	}, []string{"quota"})
	reg.MustRegister(throttled, quota)
	var m metrics
	for k := range rows {
		m.delayed[k] = throttled.WithLabelValues(rows[k].label, "delayed")
		m.refused[k] = throttled.WithLabelValues(rows[k].label, "refused")
	}
	m.deviceDelayed, m.deviceRefused = throttled.WithLabelValues("device", "delayed"), throttled.WithLabelValues("device", "refused")
	m.overQuota, m.tooMany = quota.WithLabelValues("messages"), quota.WithLabelValues("devices")
	if l.day != nil {
		reg.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dunlin_quota_messages_used", Help: "Messages counted against the daily quota since midnight UTC."},
				func() float64 { return float64(l.day.used()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dunlin_quota_messages_limit", Help: "Messages that the daily quota allows."},
				func() float64 { return float64(l.day.most) }),
		)
	}
	return m
}
