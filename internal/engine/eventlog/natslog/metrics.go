package natslog

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of one log.
type metrics struct {
	commitRecords prometheus.Histogram
	commitBytes   prometheus.Histogram
	commitSeconds prometheus.Histogram
	ackSeconds    prometheus.Histogram
	records       prometheus.Counter
	bytes         prometheus.Counter
	retries       prometheus.Counter
	failed        prometheus.Counter
	damaged       prometheus.Counter
	stalls        *prometheus.CounterVec
	logBytes      prometheus.Gauge
	firstCommit   prometheus.Gauge
	lastCommit    prometheus.Gauge
	diskFree      prometheus.Gauge

	reg prometheus.Registerer
	all []prometheus.Collector
}

// The reasons of a stall.
const (
	stallBytes = "held_bytes"
	stallAge   = "held_age"
	stallDisk  = "disk_full"
)

func newMetrics(reg prometheus.Registerer, name string, held func() float64) (*metrics, error) {
	labels := prometheus.Labels{"log": name}
	hist := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets, ConstLabels: labels})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	seconds := prometheus.ExponentialBuckets(0.0001, 2, 18)
	m := &metrics{
		commitRecords: hist("dunlin_log_commit_records", "Records in a commit.", prometheus.ExponentialBuckets(1, 4, 9)),
		commitBytes:   hist("dunlin_log_commit_bytes", "Bytes of a commit.", prometheus.ExponentialBuckets(256, 4, 9)),
		commitSeconds: hist("dunlin_log_commit_seconds", "Time from sending a commit to the store until it is durable.", seconds),
		ackSeconds:    hist("dunlin_log_ack_seconds", "Time from appending the oldest record of a commit until it is durable.", seconds),
		records:       counter("dunlin_log_records_total", "Records made durable."),
		bytes:         counter("dunlin_log_bytes_total", "Bytes of commits made durable."),
		retries:       counter("dunlin_log_retries_total", "Commits sent again since the store did not answer."),
		failed:        counter("dunlin_log_failed_records_total", "Records that were refused or could not be made durable."),
		damaged:       counter("dunlin_log_damage_total", "Damaged places met by readers."),
		logBytes:      gauge("dunlin_log_size_bytes", "Size of the stored log."),
		firstCommit:   gauge("dunlin_log_first_commit", "Number of the oldest commit kept."),
		lastCommit:    gauge("dunlin_log_last_commit", "Number of the newest commit."),
		diskFree:      gauge("dunlin_log_disk_free_bytes", "Free space on the disk of the embedded store."),
		stalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_log_stalls_total", Help: "Times that producers were told to wait, by reason.", ConstLabels: labels,
		}, []string{"reason"}),
		reg: reg,
	}
	for _, r := range []string{stallBytes, stallAge, stallDisk} {
		m.stalls.WithLabelValues(r)
	}
	m.all = []prometheus.Collector{
		m.commitRecords, m.commitBytes, m.commitSeconds, m.ackSeconds, m.records, m.bytes, m.retries, m.failed,
		m.damaged, m.stalls, m.logBytes, m.firstCommit, m.lastCommit, m.diskFree,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dunlin_log_held_bytes", Help: "Bytes appended and not yet durable.", ConstLabels: labels,
		}, held),
	}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.close()
			return nil, errors.Join(errors.New("eventlog: metrics"), err)
		}
	}
	return m, nil
}

func (m *metrics) close() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
