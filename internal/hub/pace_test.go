package hub

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/things/ingest"
	"dunlin/internal/things/presence"
	"dunlin/internal/trust/quota"
)

// peer is a door's side of a connection.
type peer struct {
	mu      sync.Mutex
	durable int
	ready   int
	kicked  error
}

func (p *peer) Durable(n int, _ error) { p.mu.Lock(); p.durable += n; p.mu.Unlock() }
func (p *peer) Ready()                 { p.mu.Lock(); p.ready++; p.mu.Unlock() }
func (p *peer) Kick(reason error)      { p.mu.Lock(); p.kicked = reason; p.mu.Unlock() }
func (p *peer) Deliver(*iot.Inbound) bool {
	return true
}

func (p *peer) state() (durable, ready int, kicked error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.durable, p.ready, p.kicked
}

// connected makes a device on a hub with limits; nil has none.
func connected(t testing.TB, l *quota.Limiter, conn Conn) *device {
	t.Helper()
	log := memlog.New(memlog.Config{Partitions: 1})
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return connectedTo(log, l, conn)
}

func connectedTo(log eventlog.Log, l *quota.Limiter, conn Conn) *device {
	reg := prometheus.NewRegistry()
	desk := &Desk{quota: l, logger: slog.New(slog.DiscardHandler)}
	desk.presence = presence.New(presence.Deps{Logger: desk.logger, Registerer: reg})
	desk.ingest = ingest.New(ingest.Deps{Log: log, Registerer: reg})
	s := &device{desk: desk, conn: conn}
	origin := iot.Origin{ID: iot.ID{Device: "d"}}
	if l == nil {
		s.source = desk.ingest.Source(origin, conn)
	} else {
		s.pace = &pace{limits: l, sender: l.Sender(origin.ID), conn: conn}
		s.source = desk.ingest.Source(origin, s.pace)
	}
	desk.presence.Enter(&s.entry, origin.ID, 1, s, time.Time{}, time.Now())
	return s
}

func perDevice(t testing.TB, messages int64) *quota.Limiter {
	t.Helper()
	l, err := quota.Open(t.Context(), quota.Deps{
		Config: quota.Config{DeviceMessages: messages}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func batchOf(n int) []iot.Message {
	list := make([]iot.Message, n)
	for i := range list {
		list[i].Body = []byte("x")
	}
	return list
}

// TestSlowedDown holds a device that is too fast to its rate by not reading it.
func TestSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door := &peer{}
		s := connected(t, perDevice(t, 10), door)
		start, sent := time.Now(), 0
		for sent < 100 {
			_, before, _ := door.state()
			ok := s.Send(time.Now().UnixNano(), batchOf(5))
			sent += 5
			for !ok { // as a door waits
				time.Sleep(time.Millisecond)
				if _, ready, _ := door.state(); ready > before {
					break
				}
			}
		}
		// Ten at once, ninety at ten a second.
		if d := time.Since(start); d < 8900*time.Millisecond || d > 9200*time.Millisecond {
			t.Errorf("100 messages at 10 a second took %v", d)
		}
		synctest.Wait()
		if durable, _, kicked := door.state(); durable != 100 || kicked != nil {
			t.Errorf("%d durable, closed with %v", durable, kicked)
		}
		s.pace.close()
	})
}

// TestTooFast closes a connection whose messages would wait too long, and takes
// nothing more of it.
func TestTooFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door := &peer{}
		s := connected(t, perDevice(t, 10), door)
		s.Send(time.Now().UnixNano(), batchOf(200)) // twenty seconds' worth
		if _, _, kicked := door.state(); kicked != nil {
			t.Fatalf("closed at once: %v", kicked)
		}
		if !s.Send(time.Now().UnixNano(), batchOf(1)) {
			t.Error("told to wait, and closed")
		}
		time.Sleep(time.Hour)
		s.Send(time.Now().UnixNano(), batchOf(3)) // what the door still had
		synctest.Wait()
		durable, _, kicked := door.state()
		if iot.CodeOf(kicked) != iot.DeviceThrottled || durable != 200 {
			t.Errorf("closed with %v, %d durable", kicked, durable)
		}
		s.pace.close()
	})
}

// TestReadyOnce tells the door to go on when both the log and the limits let
// it, in whatever order they do.
func TestReadyOnce(t *testing.T) {
	const byLog, byLimits, early = "log", "limits", "early"
	for _, order := range [][]string{{byLog}, {byLimits}, {byLog, byLimits}, {byLimits, byLog}, {early}, {early, byLimits}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				door := &peer{}
				p := &pace{conn: door}
				for range 3 {
					_, before, _ := door.state()
					wait, full := time.Duration(0), slices.Contains(order, byLog) || slices.Contains(order, early)
					if slices.Contains(order, byLimits) {
						wait = time.Second
					}
					if order[0] == early {
						p.Ready() // before the answer of the log was seen
					}
					if held := !p.sent(!full, wait); held != (len(order) > 1 || order[0] != early) {
						t.Fatalf("held: %v", held)
					}
					for _, who := range order {
						switch who {
						case byLog:
							p.Ready()
						case byLimits:
							time.Sleep(time.Second)
							synctest.Wait()
						}
						if who != early && who != order[len(order)-1] {
							if _, ready, _ := door.state(); ready != before {
								t.Fatalf("%s alone let the door go on", who)
							}
						}
					}
					want := before + 1
					if len(order) == 1 && order[0] == early {
						want = before // it was never held
					}
					if _, ready, _ := door.state(); ready != want {
						t.Fatalf("told to go on %d times, want %d", ready-before, want-before)
					}
				}
				p.close()
			})
		})
	}
}

// TestLineKeepsOrder runs requests in their order, however long each waits.
func TestLineKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l line
		var mu sync.Mutex
		var have []int
		start := time.Now()
		for i, wait := range []int{0, 30, 10, 0, 50, 50, 0} {
			l.add(time.Duration(wait)*time.Millisecond, func() {
				mu.Lock()
				have = append(have, i)
				mu.Unlock()
			})
		}
		mu.Lock()
		if !slices.Equal(have, []int{0}) {
			t.Errorf("at once: %v", have)
		}
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(have, []int{0, 1, 2, 3, 4, 5, 6}) {
			t.Errorf("in the end, after %v: %v", time.Since(start), have)
		}
		l.add(0, func() { have = append(have, 7) })
		l.add(time.Hour, func() { t.Error("ran after the end") })
		l.close()
		l.add(0, func() { t.Error("ran after the end") })
		time.Sleep(2 * time.Hour)
		if len(have) != 8 {
			t.Errorf("the line does not go on: %v", have)
		}
	})
}

// TestAskRefuses answers requests of devices that come too fast, in order.
func TestAskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := quota.Open(context.WithoutCancel(t.Context()), quota.Deps{
			Config: quota.Config{Tier: quota.F1, Units: 1}, DB: tables{}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		p := &pace{limits: l, conn: &peer{}}
		var mu sync.Mutex
		var served, refused, last int
		for i := range 2000 {
			p.ask(quota.TwinUpdates, func() {
				mu.Lock()
				defer mu.Unlock()
				if served++; i < last {
					t.Errorf("request %d was answered after %d", i, last)
				}
				last = i
			}, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				refused++
				if iot.CodeOf(err) != iot.Throttled {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		// 50 at once, and ten seconds' worth that waited.
		if served < 545 || served > 555 || served+refused != 2000 {
			t.Errorf("%d served, %d refused", served, refused)
		}
		p.close()
	})
}

// tables is a store that has none and takes everything: what is tested here
// stores nothing.
type tables struct{ state.DB }

func (tables) Migrate(context.Context, string, fs.FS) error { return nil }

func (tables) Get(context.Context, []any, string, ...any) error { return sql.ErrNoRows }

// nowhere is a log that takes everything and keeps nothing, so that what is
// measured is the way to it.
type nowhere struct{ eventlog.Log }

func (nowhere) Partitions() int { return 1 }

func (nowhere) Producer(int, eventlog.Waiter) eventlog.Producer { return nowhere{} }

func (nowhere) Append(int64, [][]byte) bool { return true }

// TestSendAllocates holds limits to cost no allocation. It compares, as pools
// lose things when races are looked for.
func TestSendAllocates(t *testing.T) {
	per := func(l *quota.Limiter) float64 {
		s, msgs, now := connectedTo(nowhere{}, l, &peer{}), batchOf(4), time.Now().UnixNano()
		return testing.AllocsPerRun(1000, func() { s.Send(now, msgs) })
	}
	if off, on := per(nil), per(perDevice(t, 1_000_000_000)); on > off {
		t.Errorf("%v allocations with limits, %v without", on, off)
	}
}

// BenchmarkSend shows what limits cost a message: source is the way without
// the desk, off and on are the desk without and with limits.
func BenchmarkSend(b *testing.B) {
	b.Run("source", func(b *testing.B) {
		s, msgs, now := connectedTo(nowhere{}, nil, &peer{}), batchOf(1), time.Now().UnixNano()
		b.ReportAllocs()
		for b.Loop() {
			s.source.Send(now, msgs)
		}
	})
	for _, bb := range []struct {
		name   string
		limits *quota.Limiter
	}{{"off", nil}, {"on", perDevice(b, 1_000_000_000)}} {
		b.Run(bb.name, func(b *testing.B) {
			s, msgs, now := connectedTo(nowhere{}, bb.limits, &peer{}), batchOf(1), time.Now().UnixNano()
			b.ReportAllocs()
			for b.Loop() {
				s.Send(now, msgs)
			}
		})
	}
}
