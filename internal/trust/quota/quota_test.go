package quota

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

func open(t testing.TB, db state.DB, c Config) *Limiter {
	t.Helper()
	l, err := Open(t.Context(), Deps{Config: c, DB: db, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// memory is a limiter whose day is not stored, for tests of time: a store has
// goroutines of its own, which a bubble may not wait for.
func memory(t testing.TB, c Config) *Limiter {
	t.Helper()
	l := &Limiter{config: c, name: string(c.Tier), started: begin(), buckets: new([kinds]bucket)}
	for k := range rows {
		l.buckets[k].amount, l.buckets[k].period = rows[k].amount(c.Tier, c.Units), int64(rows[k].period)
	}
	l.day = &day{logger: slog.New(slog.DiscardHandler)}
	l.day.most, l.day.meter = c.Tier.perDay(c.Units)
	l.day.number.Store(dayOf(time.Now()))
	if c.perDevice() {
		l.devices = newDevices(c.DeviceMessages, c.DeviceBytes)
	}
	l.metrics = newMetrics(prometheus.NewRegistry(), l)
	return l
}

func wantCode(t *testing.T, err error, code iot.Code, words ...string) {
	t.Helper()
	if iot.CodeOf(err) != code {
		t.Fatalf("%v, want code %d", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// The documented table: section 15 of the contract that the public service
// publishes as "quotas and throttling".
func TestTable(t *testing.T) {
	for _, tt := range []struct {
		tier  Tier
		units int
		kind  Kind
		want  int64
	}{
		{F1, 1, Registry, 100},
		{S1, 3, Registry, 300},
		{S3, 2, Registry, 10_000},
		{S1, 1, Connections, 100},
		{S1, 9, Connections, 108},
		{S2, 1, Connections, 120},
		{S3, 1, Connections, 6000},
		{B1, 8, Telemetry, 100},
		{S1, 20, Telemetry, 240},
		{S2, 2, Telemetry, 240},
		{B3, 1, Telemetry, 6000},
		{S1, 1, Messages, 100},
		{S3, 1, Messages, 5000},
		{S2, 1, Receives, 1000},
		{S3, 1, Receives, 50_000},
		{B2, 1, Uploads, 100},
		{S3, 1, Uploads, 5000},
		{S1, 1, Methods, 160 / 4},
		{S2, 1, Methods, 480 / 4},
		{S3, 1, Methods, 24 * 1024 / 4},
		{F1, 1, Queries, 20},
		{S3, 1, Queries, 1000},
		{S1, 50, TwinReads, 100},
		{S2, 1, TwinReads, 100},
		{S2, 20, TwinReads, 200},
		{S3, 1, TwinReads, 500},
		{S1, 50, TwinUpdates, 50},
		{S2, 20, TwinUpdates, 100},
		{S3, 2, TwinUpdates, 500},
		{S1, 1, Jobs, 100},
		{S3, 1, Jobs, 5000},
		{S1, 9, JobDevices, 10},
		{S2, 20, JobDevices, 20},
		{S3, 1, JobDevices, 50},
		{S1, 2, Configurations, 40},
		{S3, 2, Configurations, 40},
	} {
		if have := rows[tt.kind].amount(tt.tier, tt.units); have != tt.want {
			t.Errorf("%s with %d units, %s: %d, want %d", tt.tier, tt.units, rows[tt.kind].text, have, tt.want)
		}
	}
	for tier, want := range map[Tier]int64{F1: 8_000, B1: 400_000, S1: 400_000, S2: 6_000_000, B3: 300_000_000} {
		if have, _ := tier.perDay(1); have != want {
			t.Errorf("%s: %d messages a day", tier, have)
		}
	}
	for tier, want := range map[Tier]int{F1: 1, S1: 1, S2: 5, S3: 10} {
		if have := (&Limiter{config: Config{Tier: tier}}).Jobs(); have != want {
			t.Errorf("%s: %d jobs", tier, have)
		}
	}
	for k := range rows {
		if r := &rows[k]; r.label == "" || r.text == "" || r.period == 0 || r.amount(S1, 1) == 0 {
			t.Errorf("kind %d has no row: %+v", k, r)
		}
	}
}

// TestShaping takes at once what the period has, waits for a little more and
// is refused beyond.
func TestShaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: S1, Units: 1})
		start := time.Now()
		take := func() error { return l.Take(t.Context(), Registry, 1) }
		for i := range 100 {
			if err := take(); err != nil {
				t.Fatalf("operation %d: %v", i, err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Fatalf("the first 100 took %v", d)
		}
		for range 10 {
			if err := take(); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 6*time.Second {
			t.Errorf("10 more at 100 a minute took %v", d)
		}
		// Together they would wait longer than anybody should.
		var mu sync.Mutex
		var group sync.WaitGroup
		var refused []error
		for range 20 {
			group.Go(func() {
				if err := take(); err != nil {
					mu.Lock()
					refused = append(refused, err)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if n := len(refused); n < 15 || n > 17 {
			t.Fatalf("%d of 20 refused", n)
		}
		wantCode(t, refused[0], iot.Throttled, "100 registry operations a minute", "S1", "hub.tier", "hub.units")
		var e *iot.Error
		if !errors.As(refused[0], &e) || e.After <= 0 || e.After > time.Second {
			t.Errorf("come again after %v", e.After)
		}
		// Who comes again then is served, and other kinds never waited.
		time.Sleep(e.After)
		if err := take(); err != nil {
			t.Error(err)
		}
		before := time.Now()
		if err := l.Take(t.Context(), TwinReads, 1); err != nil || time.Since(before) != 0 {
			t.Errorf("a read of a twin waited %v: %v", time.Since(before), err)
		}
	})
}

func TestTakeEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: F1, Units: 1})
		if err := l.Take(t.Context(), Queries, 20); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Take(ctx, Queries, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestDebit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: S1, Units: 1})
		l.Debit(Methods, 1_000_000)
		wantCode(t, l.Take(t.Context(), Methods, 1), iot.Throttled, "40 blocks of 4 KiB")
	})
}

func messages(n, size int) []iot.Message {
	msgs := make([]iot.Message, n)
	for i := range msgs {
		msgs[i].Body = make([]byte, size)
	}
	return msgs
}

// TestTelemetryRate holds a fleet to the rate of the hub.
func TestTelemetryRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: S1, Units: 1})
		msgs, start, sent := messages(7, 10), time.Now(), 0
		for time.Since(start) < time.Minute {
			wait, err := l.Telemetry(nil, msgs)
			if err != nil {
				t.Fatal(err)
			}
			sent += len(msgs)
			time.Sleep(wait)
		}
		// What the first second has at once, and then the rate.
		if sent < 6000 || sent > 6200 {
			t.Errorf("%d messages in a minute at 100 a second", sent)
		}
		if used, _ := l.Day(); used != int64(sent) {
			t.Errorf("%d messages of the day, want %d", used, sent)
		}
		// A thousand connections at once: most cannot be slowed down enough.
		refused := 0
		for range 1000 {
			if _, err := l.Telemetry(nil, msgs); err != nil {
				wantCode(t, err, iot.Throttled, "100 device-to-cloud messages a second")
				refused++
			}
		}
		if refused < 800 || refused > 900 {
			t.Errorf("%d of 1000 refused", refused)
		}
	})
}

// TestDeviceRate bounds one device and leaves others alone.
func TestDeviceRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: None, DeviceMessages: 10, DeviceBytes: 1000})
		l.buckets, l.day = nil, nil // no tier
		a, b := l.Sender(iot.ID{Device: "a"}), l.Sender(iot.ID{Device: "b"})
		if a == b || l.Sender(iot.ID{Device: "a"}) != a {
			t.Fatal("senders are not those of their devices")
		}
		for i := range 10 {
			if wait, err := l.Telemetry(a, messages(1, 10)); wait != 0 || err != nil {
				t.Fatalf("message %d: %v, %v", i, wait, err)
			}
		}
		if wait, err := l.Telemetry(a, messages(1, 10)); wait != 100*time.Millisecond || err != nil {
			t.Errorf("the eleventh: %v, %v", wait, err)
		}
		if wait, err := l.Telemetry(b, messages(1, 10)); wait != 0 || err != nil {
			t.Errorf("the other device: %v, %v", wait, err)
		}
		// One large message is let through and paid for afterwards.
		if wait, err := l.Telemetry(b, messages(1, 20_000)); err != nil || wait < 18*time.Second || wait > 20*time.Second {
			t.Errorf("20 kB at 1 kB/s: %v, %v", wait, err)
		}
		_, err := l.Telemetry(b, messages(1, 10))
		wantCode(t, err, iot.DeviceThrottled, "1000 bytes a second", "hub.device")
		time.Sleep(time.Minute)
		if wait, err := l.Telemetry(b, messages(1, 10)); wait != 0 || err != nil {
			t.Errorf("after a minute: %v, %v", wait, err)
		}
	})
}

// TestSendersAreForgotten keeps what strangers can make small.
func TestSendersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{DeviceMessages: 10})
		for i := range 50_000 {
			s := l.Sender(iot.ID{Device: "d", Module: string(rune('a'+i%26)) + time.Duration(i).String()})
			if i%1000 == 0 {
				s.messages.take(l.now(), 100, 1<<40)
				time.Sleep(2 * time.Second)
			}
		}
		if n := len(l.devices.known); n > 2*firstPrune {
			t.Errorf("%d senders are known", n)
		}
	})
}

// TestQuota counts messages in the meters of the tiers.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: F1, Units: 1})
		for size, want := range map[int]int64{0: 1, 1: 1, 512: 1, 513: 2, 4096: 8, 256 << 10: 512} {
			before, _ := l.Day()
			l.Note(size)
			if now, _ := l.Day(); now-before != want {
				t.Errorf("%d bytes count as %d messages, want %d", size, now-before, want)
			}
		}
		used, most := l.Day()
		l.day.note(most - used - 1)
		if err := l.Left(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Telemetry(nil, messages(1, 10)); err != nil {
			t.Fatal(err)
		}
		_, err := l.Telemetry(nil, messages(1, 10))
		wantCode(t, err, iot.QuotaExceeded, "8000 messages of 512 bytes a day", "midnight UTC", "F1", "hub.tier")
		wantCode(t, l.Left(), iot.QuotaExceeded)
		// The bubble begins at midnight UTC.
		var e *iot.Error
		if errors.As(err, &e); e.After != 24*time.Hour {
			t.Errorf("come again after %v", e.After)
		}
	})
	if meter := memory(t, Config{Tier: S1, Units: 1}).day.meter; meter != 4096 {
		t.Errorf("S1 counts %d bytes as one message", meter)
	}
}

// TestMidnight begins anew when the day does.
func TestMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, Config{Tier: F1, Units: 1})
		stored := map[int64]int64{}
		l.day.add = func(_ context.Context, day, n int64) (int64, error) {
			stored[day] += n
			return stored[day], nil
		}
		today := dayOf(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(23 * time.Hour)
		l.day.note(9000)
		time.Sleep(time.Hour - time.Millisecond)
		wantCode(t, l.Left(), iot.QuotaExceeded)
		time.Sleep(2 * time.Millisecond)
		if err := l.Left(); err != nil {
			t.Errorf("after midnight: %v", err)
		}
		if used, _ := l.Day(); used != 0 {
			t.Errorf("%d messages after midnight", used)
		}
		cancel()
		group.Wait()
		if stored[today] != 9000 || len(stored) != 1 {
			t.Errorf("stored: %v", stored)
		}
	})
}

// TestQuotaSurvives a restart, and counts the messages of all nodes.
func TestQuotaSurvives(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := Config{Tier: S1, Units: 1}
		one, two := open(t, db, c), open(t, db, c)
		one.day.note(100)
		two.day.note(11)
		for _, l := range []*Limiter{one, two, one} {
			if err := l.day.store(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if used, _ := two.Day(); used != 111 {
			t.Errorf("the second node has seen %d", used)
		}
		if used, most := open(t, db, c).Day(); used != 111 || most != 400_000 {
			t.Errorf("after a restart: %d of %d", used, most)
		}
		// What is counted until the end is stored in the end.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		one.day.note(9)
		if err := one.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if used, _ := open(t, db, c).Day(); used != 120 {
			t.Errorf("after an orderly end: %d", used)
		}
	})
}

// TestAdmit never lets too many in, and counts again before it refuses.
func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		have, counted := 7, 0
		count := func(context.Context) (int, error) { counted++; return have, nil }
		l := &Limiter{config: Config{Devices: 10}, census: &census{most: 10}}
		l.metrics = newMetrics(prometheus.NewRegistry(), l)
		for range 3 {
			if err := l.Admit(t.Context(), 1, count); err != nil {
				t.Fatal(err)
			}
			have++
		}
		if counted != 1 {
			t.Errorf("counted %d times", counted)
		}
		wantCode(t, l.Admit(t.Context(), 1, count), iot.QuotaExceeded, "10 devices", "at most 10", "hub.devices")
		have = 5 // somebody deletes
		if err := l.Admit(t.Context(), 5, count); err != nil {
			t.Error(err)
		}
		have = 10
		wantCode(t, l.Admit(t.Context(), 1, count), iot.QuotaExceeded)
		have = 0
		time.Sleep(2 * recount)
		broken := errors.New("no store")
		if err := l.Admit(t.Context(), 1, func(context.Context) (int, error) { return 0, broken }); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

func TestBasicTiers(t *testing.T) {
	l := memory(t, Config{Tier: B1, Units: 1})
	for k := range kinds {
		err := l.Take(t.Context(), k, 1)
		switch k {
		case Registry, Connections, Telemetry, Uploads:
			if err != nil {
				t.Errorf("%s: %v", rows[k].text, err)
			}
		default:
			wantCode(t, err, iot.OperationNotAvailable, "basic tier B1", rows[k].text, "hub.tier")
		}
	}
}

// TestNothing shows that nil limits nothing.
func TestNothing(t *testing.T) {
	for _, c := range []Config{{}, {Tier: None, Units: 1}} {
		l := open(t, nil, c)
		if l != nil {
			t.Fatalf("%+v: %+v", c, l)
		}
		for k := range kinds {
			if err := errors.Join(l.Take(t.Context(), k, 1e9), l.TakeLong(t.Context(), k, 1e9), l.Offers(k)); err != nil {
				t.Error(err)
			}
			if wait, err := l.Reserve(k, 1e9); wait != 0 || err != nil {
				t.Error(wait, err)
			}
			l.Debit(k, 1)
		}
		l.Note(1)
		wait, err := l.Telemetry(l.Sender(iot.ID{Device: "d"}), messages(1, 1))
		if err := errors.Join(err, l.Left(), l.Admit(t.Context(), 1, nil), l.TakeTelemetry(t.Context(), nil, nil)); wait != 0 || err != nil {
			t.Error(wait, err)
		}
		if used, most := l.Day(); used != 0 || most != 0 || l.Jobs() != 0 || l.Describe() != "" {
			t.Error("nil says something")
		}
	}
}

// TestNoAllocations holds the path of telemetry to none.
func TestNoAllocations(t *testing.T) {
	l := memory(t, Config{Tier: S3, Units: 10, DeviceMessages: 1e9, DeviceBytes: 1e9})
	s, msgs := l.Sender(iot.ID{Device: "d"}), messages(4, 100)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := l.Telemetry(s, msgs); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTelemetry(b *testing.B) {
	on := memory(b, Config{Tier: S3, Units: 10, DeviceMessages: 1e9, DeviceBytes: 1e9})
	on.day.most = 1 << 60
	on.buckets[Telemetry].amount = 1e12
	for _, bb := range []struct {
		name string
		l    *Limiter
	}{{"off", nil}, {"on", on}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				s, msgs := bb.l.Sender(iot.ID{Device: "d"}), messages(1, 100)
				for pb.Next() {
					if _, err := bb.l.Telemetry(s, msgs); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
