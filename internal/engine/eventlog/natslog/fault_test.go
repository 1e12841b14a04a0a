package natslog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/eventlogtest"
)

// external starts a NATS server with a port of its own.
func external(t *testing.T) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv.ClientURL()
}

func TestSuiteExternal(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlogtest.Engine {
		url := external(t)
		return eventlogtest.Engine{
			Open: func(t *testing.T) eventlog.Log { return open(t, Config{URL: url}) },
		}
	})
}

// traffic appends numbered records until stop is closed and gives how many.
type traffic struct {
	w    *eventlogtest.Waiter
	n    int
	stop chan struct{}
	done chan struct{}
}

func startTraffic(l *Log) *traffic {
	tr := &traffic{w: eventlogtest.NewWaiter(), stop: make(chan struct{}), done: make(chan struct{})}
	p := l.Producer(1, tr.w)
	go func() {
		defer close(tr.done)
		for {
			select {
			case <-tr.stop:
				return
			default:
			}
			p.Append(time.Now().UnixNano(), [][]byte{binary.BigEndian.AppendUint64(nil, uint64(tr.n))})
			tr.n++
			if settled, _, _ := tr.w.Settled(); tr.n-settled > 50 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	return tr
}

// finish stops the traffic and expects every record in the log, once.
func (tr *traffic) finish(t *testing.T, l *Log) {
	t.Helper()
	close(tr.stop)
	<-tr.done
	tr.w.Wait(t, tr.n)
	n := uint64(0)
	for r, err := range l.Read(t.Context(), 1, eventlog.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(r.Data); got != n || r.Sequence != int64(n) {
			t.Fatalf("record %d has sequence number %d and holds %d", n, r.Sequence, got)
		}
		n++
	}
	if n != uint64(tr.n) {
		t.Fatalf("%d records in the log, want %d", n, tr.n)
	}
	t.Logf("%d records", n)
}

// TestStoreStops lets the embedded server switch its storage off, as it does
// after a write error.
func TestStoreStops(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), AckWait: 300 * time.Millisecond})
	defer l.Close()
	tr := startTraffic(l)
	for range 3 {
		time.Sleep(100 * time.Millisecond)
		l.emb.mu.Lock()
		srv := l.emb.srv
		l.emb.mu.Unlock()
		if err := srv.ShutdownJetStream(); err != nil {
			t.Fatal(err)
		}
		before, _, _ := tr.w.Settled()
		for settled := before; settled < before+200; settled, _, _ = tr.w.Settled() {
			time.Sleep(10 * time.Millisecond)
		}
	}
	tr.finish(t, l)
}

// TestAnswerLost keeps the answer to a commit from the log, which sends it
// again: it must not be stored twice.
func TestAnswerLost(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), AckWait: 300 * time.Millisecond})
	defer l.Close()
	tr := startTraffic(l)
	for range 2 {
		time.Sleep(50 * time.Millisecond)
		if err := l.answers.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		var err error
		if l.answers, err = l.nc.ChanSubscribe(l.replyPrefix+"*", l.acks); err != nil {
			t.Fatal(err)
		}
		time.Sleep(700 * time.Millisecond)
	}
	tr.finish(t, l)
}

// TestHeldTooLong expects producers to be told to wait when nothing becomes
// durable for a while, however little they append.
func TestHeldTooLong(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), AckWait: 2 * time.Second, MaxHeldAge: 200 * time.Millisecond})
	defer l.Close()
	if err := l.answers.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	w := eventlogtest.NewWaiter()
	p := l.Producer(0, w)
	n := 0
	for start := time.Now(); p.Append(1, [][]byte{{1}}); n++ {
		if time.Since(start) > 10*time.Second {
			t.Fatal("producers are not told to wait")
		}
		time.Sleep(10 * time.Millisecond)
	}
	var err error
	if l.answers, err = l.nc.ChanSubscribe(l.replyPrefix+"*", l.acks); err != nil {
		t.Fatal(err)
	}
	w.Wait(t, n+1)
	for !p.Append(1, [][]byte{{1}}) {
		time.Sleep(10 * time.Millisecond)
	}
}

// TestSecondWriter opens the same log twice on one server: the first writer
// must stop, and say who took over.
func TestSecondWriter(t *testing.T) {
	url := external(t)
	a := open(t, Config{URL: url})
	defer a.Close()
	fillOne(t, a, 0, 4)
	b := open(t, Config{URL: url})
	defer b.Close()
	fillOne(t, b, 4, 4)
	w := eventlogtest.NewWaiter()
	p := a.Producer(0, w)
	p.Append(1, [][]byte{body(99)})
	for {
		if n, _, _ := w.Settled(); n == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, failed, err := w.Settled()
	if failed != 1 || !strings.Contains(err.Error(), "another writer") || !strings.Contains(err.Error(), "process") {
		t.Fatalf("%d failed: %v", failed, err)
	}
	fillOne(t, b, 8, 2)
	if res := readAll(t, b); len(res.seen) != 10 || res.seen[99] {
		t.Fatalf("%d records, that of the first writer among them: %t", len(res.seen), res.seen[99])
	}
	if err := a.Close(); err == nil {
		t.Fatal("closing the first log gives no error")
	}
}

// TestForeignMessage has something else write to the stream.
func TestForeignMessage(t *testing.T) {
	url := external(t)
	l := open(t, Config{URL: url})
	fillOne(t, l, 0, 4)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("dunlin.log.events", []byte("what is this?"), time.Second); err != nil {
		t.Fatal(err)
	}
	l = open(t, Config{URL: url})
	defer l.Close()
	fillOne(t, l, 4, 4)
	res := readAll(t, l)
	if len(res.seen) != 8 || len(res.damage) == 0 {
		t.Fatalf("%d records, damage: %v", len(res.seen), res.damage)
	}
}

func TestPartitionsAreFixed(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir}).Close()
	_, err := Open(t.Context(), Config{Dir: dir, Partitions: 8})
	if err == nil || !strings.Contains(err.Error(), "created with 4 partitions") {
		t.Fatalf("opened with other partitions: %v", err)
	}
	open(t, Config{Dir: dir}).Close()
}

// TestTooLarge appends a record that fits no commit among others that do.
func TestTooLarge(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	defer l.Close()
	w := eventlogtest.NewWaiter()
	l.Producer(0, w).Append(1, [][]byte{body(0), make([]byte, maxPayload), body(1)})
	l.Producer(0, w).Append(1, [][]byte{make([]byte, maxPayload)})
	for {
		if n, _, _ := w.Settled(); n == 4 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, failed, err := w.Settled(); failed != 2 || !errors.Is(err, eventlog.ErrTooLarge) {
		t.Fatalf("%d failed: %v", failed, err)
	}
	if res := readAll(t, l); len(res.seen) != 2 {
		t.Fatalf("%d records", len(res.seen))
	}
}

// undamaged checks that opening found nothing to mend.
func undamaged(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(damagedDir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("opening a sound log mended something: %v", err)
	}
}

// TestMaxBytes keeps the log small, and its numbers rising.
func TestMaxBytes(t *testing.T) {
	dir := t.TempDir()
	const limit = 1 << 20
	l := open(t, Config{Dir: dir, MaxBytes: limit, TailBytes: 1})
	w := eventlogtest.NewWaiter()
	p := l.Producer(0, w)
	rec := bytes.Repeat([]byte("x"), 10000)
	for i := range 400 {
		p.Append(int64(i), [][]byte{rec})
		w.Wait(t, i+1)
	}
	info, err := l.Info(t.Context(), 0)
	if err != nil || info.Next != 400 || info.First < 250 || info.First > 390 {
		t.Fatalf("Info %+v, %v", info, err)
	}
	n := int64(0)
	for r, err := range l.Read(t.Context(), 0, eventlog.ReadOptions{From: eventlog.From{Kind: eventlog.AtSequence, Value: 3}}) {
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 && r.Sequence != info.First {
			t.Fatalf("first is %d, Info says %d", r.Sequence, info.First)
		}
		n++
	}
	if n != info.Next-info.First {
		t.Fatalf("%d records, want %d", n, info.Next-info.First)
	}
	l.Close()
	l = open(t, Config{Dir: dir, MaxBytes: limit / 2})
	defer l.Close()
	undamaged(t, dir)
	again, err := l.Info(t.Context(), 0)
	if err != nil || again.Next != 400 || again.First <= info.First {
		t.Fatalf("Info with a smaller limit %+v, %v", again, err)
	}
}

// TestMaxAge removes old records, all but the newest commit.
func TestMaxAge(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Config{Dir: dir, MaxAge: 2 * time.Second, TailBytes: 1})
	fillOne(t, l, 0, 50)
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		info, err := l.Info(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Info(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if info.Next != 25 || other.Next != 25 {
			t.Fatalf("numbers changed: %+v, %+v", info, other)
		}
		if info.First == 25 && other.First == 24 {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("old records stay: %+v, %+v", info, other)
		}
	}
	if res := readAll(t, l); len(res.seen) != 1 || len(res.damage) != 0 {
		t.Fatalf("%d records can be read, damage %v", len(res.seen), res.damage)
	}
	l.Close()
	l = open(t, Config{Dir: dir})
	defer l.Close()
	undamaged(t, dir)
	fillOne(t, l, 50, 2)
	if info, err := l.Info(t.Context(), 0); err != nil || info.Next != 26 {
		t.Fatalf("Info %+v, %v", info, err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), Durability: OS})
	defer l.Close()
	l.a.mu.Lock()
	l.a.full = true // nothing is sent, so that what is measured is Append alone
	l.a.mu.Unlock()
	defer l.setReserve(1)
	w := eventlogtest.NewWaiter()
	var producers [8]eventlog.Producer
	for i := range producers {
		producers[i] = l.Producer(i%4, w)
		producers[i].Append(1, [][]byte{make([]byte, 50000)})
	}
	for i := range l.a.shares {
		l.a.shares[i].buf = append(make([]byte, 0, 1<<20), l.a.shares[i].buf...)
	}
	recs := [][]byte{make([]byte, 100), make([]byte, 50)}
	i := 0
	if n := testing.AllocsPerRun(200, func() {
		producers[i%8].Append(1, recs)
		i++
	}); n != 0 {
		t.Fatalf("%v allocations for each Append", n)
	}
}
