package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Deps is what the door needs. A surface that is nil is not offered.
type Deps struct {
	TLS    *tls.Config  // shared by all listeners; HTTP adds its own protocols to a copy
	IoTHub http.Handler // REST of the hub, everything not named below
	Admin  http.Handler // everything under /api/
	// Blobs answers the requests that IsBlob picks out, whatever their path.
	Blobs  http.Handler
	IsBlob func(*http.Request) bool
	// MQTT takes over a WebSocket connection as a byte stream. It may return
	// before the connection has ended; whoever it gave it to closes it.
	MQTT func(net.Conn)
	// Failed, when set, is told of connections that ended within their TLS
	// handshake; err is a *front.HandshakeError.
	Failed func(remote netip.AddrPort, err error)
	// Ready answers nil while the instance can do its work.
	Ready      func(context.Context) error
	Version    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// The limits on callers.
const (
	headerTimeout = 10 * time.Second // TLS handshake and header, each
	bodyTimeout   = 30 * time.Second // for the next piece of a body
	idleTimeout   = 2 * time.Minute  // SDKs keep connections for a minute and more
	maxHeader     = 64 << 10
)

// Server is the door.
type Server struct {
	deps     Deps
	http     *http.Server
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	upgrades *prometheus.CounterVec
	sockets  sync.WaitGroup // WebSocket handlers
}

// New makes the door; Serve opens it.
func New(d Deps) *Server {
	s := &Server{
		deps: d,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_http_requests_total",
			Help: "HTTP requests answered, by surface and status.",
		}, []string{"surface", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dunlin_http_request_seconds",
			Help:    "Time from a request's header to the end of its answer, streams and WebSockets excepted.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}, []string{"surface"}),
		upgrades: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_websocket_upgrades_total",
			Help: "WebSocket upgrades asked for, by outcome.",
		}, []string{"outcome"}),
	}
	d.Registerer.MustRegister(s.requests, s.seconds, s.upgrades)
	config := d.TLS.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	s.http = &http.Server{
		Handler:   http.HandlerFunc(s.serve),
		TLSConfig: config,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if c, ok := c.(*spelled); ok {
				return context.WithValue(ctx, spelledKey{}, c)
			}
			return ctx
		},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Failed handshakes and the like: anyone can cause them.
		ErrorLog: slog.NewLogLogger(d.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// spelledKey finds the connection of a request.
type spelledKey struct{}

// Serve answers requests on l until Shutdown. Connections shake hands in a
// goroutine each, not in the accept loop.
func (s *Server) Serve(l net.Listener) error {
	secured := secure(l, s.http.TLSConfig, s.deps.Failed)
	defer secured.Close() //nolint:errcheck // Shutdown has closed it; this waits for handshakes
	if err := s.http.Serve(secured); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops accepting and waits, as long as ctx allows, for requests to
// end; then it cuts those that are left. WebSocket connections belong to the
// device protocols, which must have closed them before.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	done := make(chan struct{})
	go func() {
		s.sockets.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
	return err
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	surface, h := s.route(r)
	conn, _ := r.Context().Value(spelledKey{}).(*spelled)
	if surface == "" { // WebSocket: counted by itself
		if conn != nil {
			conn.next(false)
		}
		h(w, r)
		return
	}
	spell(conn, r.Header)
	if conn != nil {
		defer conn.next(true)
	}
	start := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	if r.ContentLength != 0 {
		r.Body = &body{ReadCloser: r.Body, rc: http.NewResponseController(w)}
	}
	s.answer(rec, r, h)
	s.requests.WithLabelValues(surface, strconv.Itoa(rec.status)).Inc()
	if !rec.flushed {
		s.seconds.WithLabelValues(surface).Observe(time.Since(start).Seconds())
	}
}

// answer ends a request that panics with 500, and tells of it: what net/http
// writes of it would be lost among the noise that strangers make.
func (s *Server) answer(w *recorder, r *http.Request, h http.HandlerFunc) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			panic(v)
		}
		s.deps.Logger.Error("a request panicked", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
		if w.wrote {
			panic(http.ErrAbortHandler) // the caller must not take a part for the whole
		}
		http.Error(w, "the server has made a mistake; its log tells more", http.StatusInternalServerError)
	}()
	h(w, r)
}

// route finds who answers a request.
func (s *Server) route(r *http.Request) (surface string, h http.HandlerFunc) {
	path := r.URL.Path
	switch {
	case s.deps.Blobs != nil && s.deps.IsBlob(r):
		return "blob", s.deps.Blobs.ServeHTTP
	// An SDK that was given host:port asks for "/:port/$iothub/websocket", so
	// any path with that end will do.
	case strings.HasSuffix(path, "/$iothub/websocket"), strings.HasSuffix(path, "/$servicebus/websocket"):
		return "", s.websocket
	case path == "/healthz":
		return "health", s.health
	case path == "/readyz":
		return "health", s.ready
	case path == "/":
		return "root", s.root
	case strings.HasPrefix(path, "/api/") && s.deps.Admin != nil:
		return "admin", s.deps.Admin.ServeHTTP
	case s.deps.IoTHub != nil:
		return "iothub", s.deps.IoTHub.ServeHTTP
	}
	return "none", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this process does not serve applications: it was started without the role api", http.StatusNotFound)
	}
}

// body gives up on a caller that does not go on sending. A limit on the whole
// request (http.Server.ReadTimeout) would also end long answers, whose context
// ends with it.
type body struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	// Where there are no deadlines (tests), there is nothing to limit.
	_ = b.rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := b.ReadCloser.Read(p)
	_ = b.rc.SetReadDeadline(time.Time{})
	return n, err
}

// recorder notes what became of a request.
type recorder struct {
	http.ResponseWriter
	status  int
	wrote   bool
	flushed bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote && status >= http.StatusOK {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(b)
}

// FlushError marks the answer as a stream.
func (r *recorder) FlushError() error {
	r.flushed = true
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
