package natslog

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// maxPayload bounds one message, so one commit, on the embedded server.
const maxPayload = 8 << 20

// embedded is a NATS server inside the process, without a listening port. It
// can be restarted under its clients: they connect again through it.
type embedded struct {
	dir  string
	sync bool
	log  *slog.Logger

	mu  sync.Mutex
	srv *server.Server
}

// storeDir is where the stream called name keeps its files.
func storeDir(dir, name string) string {
	return filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", name)
}

func (e *embedded) start() error {
	opts := &server.Options{
		ServerName:             "dunlin",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               e.dir,
		// Retention is the business of the stream, and free space is watched
		// by the log itself.
		JetStreamMaxStore:  1 << 60,
		JetStreamMaxMemory: 64 << 20,
		SyncAlways:         e.sync,
		MaxPayload:         maxPayload,
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	l := &serverLog{log: e.log.With(slog.String("part", "nats-server"))}
	srv.SetLoggerV2(l, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(30*time.Second) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		if msg := l.firstError(); msg != "" {
			return fmt.Errorf("embedded NATS server did not start on %s: %s", e.dir, msg)
		}
		return fmt.Errorf("embedded NATS server did not start on %s", e.dir)
	}
	e.mu.Lock()
	e.srv = srv
	e.mu.Unlock()
	return nil
}

func (e *embedded) stop() {
	e.mu.Lock()
	srv := e.srv
	e.srv = nil
	e.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// enabled tells whether the server still stores: it switches JetStream off by
// itself after a write error.
func (e *embedded) enabled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.srv != nil && e.srv.JetStreamEnabled()
}

// InProcessConn implements nats.InProcessConnProvider.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	srv := e.srv
	e.mu.Unlock()
	if srv == nil {
		return nil, errors.New("embedded NATS server is not running")
	}
	return srv.InProcessConn()
}

// serverLog hands what the server says to slog.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	first string
}

func (l *serverLog) firstError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *serverLog) say(put func(string, ...any), format string, v []any) {
	put(strings.TrimSpace(fmt.Sprintf(format, v...)))
}

func (l *serverLog) fail(format string, v []any) {
	l.mu.Lock()
	if l.first == "" {
		l.first = fmt.Sprintf(format, v...)
	}
	l.mu.Unlock()
	l.say(l.log.Error, format, v)
}

func (l *serverLog) Noticef(format string, v ...any) { l.say(l.log.Debug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.say(l.log.Warn, format, v) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.fail(format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.fail(format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.say(l.log.Debug, format, v) }
func (l *serverLog) Tracef(string, ...any)           {}
