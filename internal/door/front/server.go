package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Server needs.
type Config struct {
	// TLS is the one configuration of all connections; nil means plain TCP.
	TLS *tls.Config
	// Open makes the sessions of accepted connections.
	Open   Opener
	Limits Limits
	// Loops is the number of loop goroutines on Linux. 0 means one on up to
	// two processors, else half as many as processors.
	Loops int
	// Plain forces a goroutine per connection where the loop would be used.
	Plain bool
	// Grace is how long sessions may still write after the context of Serve
	// has ended and before what is left is closed. 0 means 5 s.
	Grace time.Duration
	// Failed is told of connections that ended before they had a Session:
	// err is a *HandshakeError. Any goroutine calls it, the loop among them:
	// it must not block. It may be nil.
	Failed func(remote netip.AddrPort, err error)
	// Logger gets what concerns the server as a whole, never one connection.
	// nil means silence.
	Logger *slog.Logger
}

const defaultGrace = 5 * time.Second

// keepAlive probes find peers that vanished although their sessions set no
// limit.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4}

// Stats are the counters of a Server since its start.
type Stats struct {
	Open, HalfOpen              int64 // now; half-open ones are among the open
	Accepted, Closed            int64
	BytesIn, BytesOut           int64 // on the socket, TLS overhead included; on a net.Conn of ServeConn its payload
	Handshakes                  int64 // TLS handshakes completed
	HandshakeFailures, Rejected int64 // failed ones; connections above Limits.MaxConns
}

// A Server owns one listener and the connections that it accepted or was
// given. It ends in three steps, each of which includes those before it:
//
//	Drain  accepts and reads nothing any more; sessions may still write
//	Close  ends every connection with ErrShutdown, flushing what is pending
//	       for up to two seconds, and waits for all goroutines
//
// Serve takes both steps by itself when its context ends. A caller that
// knows when its sessions have nothing left to write calls Drain, waits for
// that, and then Close.
type Server struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	addr   net.Addr

	loops engine   // nil where goroutines serve the listener
	conns netFront // connections with a goroutine of their own

	half  halfOpen
	bufs  buffers
	storm storm
	crew  crew          // runs Conn.Go of the loops
	slots chan struct{} // TLS handshakes that compute at the moment

	phase   atomic.Int32
	empty   chan struct{} // signalled when the last connection ends while draining
	closing chan struct{} // closed by Close

	mu      sync.Mutex
	served  bool
	done    bool // no new goroutines
	wg      sync.WaitGroup
	drainMu sync.Mutex

	open, accepted, closed, rejected atomic.Int64
	bytesIn, bytesOut                atomic.Int64
	handshakes, handshakeFailures    atomic.Int64
	lastAcceptLog                    atomic.Int64 // unix seconds
}

// Phases of a Server.
const (
	running int32 = iota
	draining
	closing
)

// engine is a set of loops that serves one listener.
type engine interface {
	start()   // starts the goroutines, by Server.spawn
	drain()   // returns when no Receive runs and none will
	close()   // ends every connection; the goroutines end after the last one
	discard() // gives the descriptors back instead of start
}

// Listen opens addr ("host:port", as net.Listen "tcp") and raises the
// process's soft limit of open files to the hard one. Nothing is accepted
// before Serve; Close must be called if Serve is not. An empty addr makes a
// Server for ServeConn alone. ctx bounds the resolution of the name.
func Listen(ctx context.Context, addr string, cfg Config) (*Server, error) {
	s := &Server{
		cfg: cfg, limits: cfg.Limits.withDefaults(), log: cfg.Logger,
		empty: make(chan struct{}, 1), closing: make(chan struct{}), crew: newCrew(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Grace <= 0 {
		s.cfg.Grace = defaultGrace
	}
	if s.cfg.Loops <= 0 {
		s.cfg.Loops = max(1, runtime.GOMAXPROCS(0)/2)
	}
	s.half.limit = s.limits.MaxHalfOpen
	s.slots = make(chan struct{}, s.limits.Handshakes)
	s.conns.init(s)
	if addr == "" {
		return s, nil
	}
	if cfg.Open == nil {
		return nil, errors.New("front: Config.Open is missing")
	}
	if err := raiseOpenFiles(); err != nil {
		s.log.Warn("cannot raise the limit of open files", slog.Any("error", err))
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("front: %w", err)
	}
	s.addr = ln.Addr()
	if !cfg.Plain {
		s.loops, err = newLoops(s, ln)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("front: %w", err), ln.Close())
		}
	}
	if s.loops == nil {
		s.conns.listener = ln
	}
	return s, nil
}

// Addr is the address that the listener is bound to; nil without one.
func (s *Server) Addr() net.Addr { return s.addr }

// Serve runs until ctx ends or Close is called. When ctx ends it drains,
// gives the sessions until they have all ended, Close is called or
// Config.Grace is over, and closes the rest. It returns when every goroutine
// has ended, and can be called once.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	if s.served || s.done {
		s.mu.Unlock()
		return errors.New("front: Serve called twice or after Close")
	}
	s.served = true
	s.mu.Unlock()
	if s.loops != nil {
		s.loops.start()
	}
	s.conns.start()

	select {
	case <-s.closing:
	case <-ctx.Done():
		s.drain()
		grace := time.NewTimer(s.cfg.Grace)
		defer grace.Stop()
		for s.open.Load() > 0 {
			select {
			case <-s.empty:
				continue
			case <-grace.C:
			case <-s.closing:
			}
			break
		}
	}
	s.Close()
	return nil
}

// Drain stops accepting and reading. When it returns, no Receive runs and
// none will be called; connections that have no session yet are closed.
// Writes, Close and Conn.Go work as before.
func (s *Server) Drain() { s.drain() }

func (s *Server) drain() {
	s.drainMu.Lock()
	defer s.drainMu.Unlock()
	if !s.phase.CompareAndSwap(running, draining) {
		return
	}
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	if s.loops != nil && served {
		s.loops.drain()
	}
	s.conns.drain()
}

// Close drains, ends every connection with ErrShutdown and waits for every
// goroutine, the functions given to Conn.Go among them. Peers get up to two
// seconds to take what is pending. It must not be called by a session.
func (s *Server) Close() {
	s.drain()
	s.mu.Lock()
	first := s.phase.Swap(closing) != closing
	served := s.served
	if first {
		close(s.closing)
		if !served {
			s.done = true
		}
	}
	s.mu.Unlock()
	if first {
		if s.loops != nil && served {
			s.loops.close()
		} else if s.loops != nil {
			s.loops.discard()
		}
		s.conns.close()
	}
	s.wg.Wait()
}

// Stats reads the counters; it is cheap.
func (s *Server) Stats() Stats {
	return Stats{
		Open: s.open.Load(), HalfOpen: int64(s.half.count()),
		Accepted: s.accepted.Load(), Closed: s.closed.Load(), Rejected: s.rejected.Load(),
		BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		Handshakes: s.handshakes.Load(), HandshakeFailures: s.handshakeFailures.Load(),
	}
}

// spawn runs fn in a goroutine that Close waits for. It reports false, and
// does not run fn, when the server has ended.
func (s *Server) spawn(fn func()) bool {
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		return false
	}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		fn()
	}()
	return true
}

// admit counts a new connection; false means that there are too many.
func (s *Server) admit() bool {
	s.accepted.Add(1)
	if n := s.open.Add(1); s.limits.MaxConns > 0 && n > int64(s.limits.MaxConns) {
		s.rejected.Add(1)
		s.release()
		return false
	}
	return true
}

// release counts the end of a connection that admit counted.
func (s *Server) release() {
	s.closed.Add(1)
	if s.open.Add(-1) == 0 && s.phase.Load() != running {
		select {
		case s.empty <- struct{}{}:
		default:
		}
	}
}

// failed reports a connection without a session.
func (s *Server) failed(remote netip.AddrPort, err error, seen early) {
	if err == nil {
		err = net.ErrClosed
	}
	e := explain(err, seen)
	if s.cfg.TLS != nil && e.Kind != KindFull {
		s.handshakeFailures.Add(1)
	}
	if s.cfg.Failed != nil {
		s.cfg.Failed(remote, e)
	}
}

// acceptFailed logs that accepting fails, at most once a minute.
func (s *Server) acceptFailed(err error) {
	now := time.Now().Unix()
	if last := s.lastAcceptLog.Load(); now-last >= 60 && s.lastAcceptLog.CompareAndSwap(last, now) {
		s.log.Error("cannot accept connections, trying again every second", slog.Any("error", err),
			slog.Int64("open_connections", s.open.Load()))
	}
}

// tick is called once a second by the one goroutine that keeps time.
func (s *Server) tick() {
	if s.storm.tick() {
		s.spawn(s.storm.release)
	}
}
