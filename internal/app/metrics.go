package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dunlin/internal/door/front"
)

// newRegistry makes the private registry that all rooms register with.
func newRegistry(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_build_info", Help: "1, labelled with the version that runs.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// listenMetrics opens the metrics address, or a free port of the same host
// when the port is taken: metrics are not worth refusing a start.
func listenMetrics(ctx context.Context, addr string, listen listenFunc) (l net.Listener, warning string, err error) {
	l, err = listen(ctx, "tcp", addr)
	if err == nil {
		return l, "", nil
	}
	host, _, serr := net.SplitHostPort(addr)
	if serr != nil {
		return nil, "", bindError("metrics-addr", addr, err)
	}
	taken := bindError("metrics-addr", addr, err)
	l, err = listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, "", taken
	}
	return l, "metrics are on " + l.Addr().String() + ": " + taken.Error(), nil
}

// metricsServer serves the registry, and profiles to this machine only.
func metricsServer(reg *prometheus.Registry, addr net.Addr, ready func(context.Context) error) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("ok\n")) //nolint:errcheck // the caller has gone
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ready\n")) //nolint:errcheck // the caller has gone
	})
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
}

func serveHTTP(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// frontCollector shows the counters of a front.
type frontCollector struct {
	front *front.Server
	descs [9]*prometheus.Desc
}

func newFrontCollector(name string, f *front.Server) *frontCollector {
	desc := func(metric, help string) *prometheus.Desc {
		return prometheus.NewDesc("dunlin_front_"+metric, help, nil, prometheus.Labels{"listener": name})
	}
	return &frontCollector{front: f, descs: [9]*prometheus.Desc{
		desc("connections", "Open connections."),
		desc("connections_half_open", "Open connections without a complete first packet."),
		desc("connections_accepted_total", "Connections accepted."),
		desc("connections_closed_total", "Connections ended."),
		desc("connections_rejected_total", "Connections refused because of the limit on them."),
		desc("received_bytes_total", "Bytes received."),
		desc("sent_bytes_total", "Bytes sent."),
		desc("handshakes_total", "TLS handshakes completed."),
		desc("handshakes_failed_total", "TLS handshakes failed."),
	}}
}

// Describe implements prometheus.Collector.
func (c *frontCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *frontCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.front.Stats()
	const gauges = 2 // of descs are gauges, the others count
	for i, v := range [9]int64{
		s.Open, s.HalfOpen, s.Accepted, s.Closed, s.Rejected, s.BytesIn, s.BytesOut, s.Handshakes, s.HandshakeFailures,
	} {
		kind := prometheus.CounterValue
		if i < gauges {
			kind = prometheus.GaugeValue
		}
		ch <- prometheus.MustNewConstMetric(c.descs[i], kind, float64(v))
	}
}
