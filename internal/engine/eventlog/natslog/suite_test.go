package natslog

import (
	"log/slog"
	"testing"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/eventlogtest"
)

// testLogger writes to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLogger(t)
	}
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

func TestSuite(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlogtest.Engine {
		dir := t.TempDir()
		return eventlogtest.Engine{
			Open: func(t *testing.T) eventlog.Log { return open(t, Config{Dir: dir}) },
			Stall: func(_ *testing.T, l eventlog.Log) func() {
				l.(*Log).setReserve(1 << 62)
				return func() { l.(*Log).setReserve(1) }
			},
		}
	})
}

// setReserve changes what has to stay free, which is how tests make a disk
// full.
func (l *Log) setReserve(n int64) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.cfg.Reserve = n
	l.checkSpace()
}
