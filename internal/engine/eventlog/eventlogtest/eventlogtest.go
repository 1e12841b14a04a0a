// Package eventlogtest is the suite that every engine of the event log has to
// pass.
package eventlogtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog"
)

// Engine opens one log, with four partitions, again and again: what was
// durable is there each time. The suite closes what it opens, and has one
// open at a time.
type Engine struct {
	Open func(t *testing.T) eventlog.Log
	// Stall keeps the open log from making anything durable until resume is
	// called. nil leaves the tests of back-pressure out: an engine that does
	// so must have its own.
	Stall func(t *testing.T, l eventlog.Log) (resume func())
}

const (
	partitions = 4
	patience   = 20 * time.Second
)

// Run runs the suite. fresh makes an empty log.
func Run(t *testing.T, fresh func(t *testing.T) Engine) {
	tests := []struct {
		name string
		run  func(t *testing.T, e Engine)
	}{
		{"Empty", testEmpty},
		{"RoundTrip", testRoundTrip},
		{"Starts", testStarts},
		{"Reopen", testReopen},
		{"Times", testTimes},
		{"Follow", testFollow},
		{"FollowLatest", testFollowLatest},
		{"FollowAhead", testFollowAhead},
		{"ReaderStops", testReaderStops},
		{"Producers", testProducers},
		{"Random", testRandom},
		{"LargeRecords", testLargeRecords},
		{"AppendCopies", testAppendCopies},
		{"BackPressure", testBackPressure},
		{"Settle", testSettle},
		{"CloseSettles", testCloseSettles},
		{"Closed", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, fresh(t)) })
	}
}

// Waiter counts what a producer hears. It is a test's own eventlog.Waiter.
type Waiter struct {
	mu      sync.Mutex
	cond    *sync.Cond
	settled int
	failed  int
	calls   int
	ready   int
	err     error
}

// NewWaiter makes a waiter.
func NewWaiter() *Waiter {
	w := &Waiter{}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// Durable implements eventlog.Waiter.
func (w *Waiter) Durable(n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	w.settled += n
	if err != nil {
		w.failed += n
		w.err = err
	}
	w.cond.Broadcast()
}

// Ready implements eventlog.Waiter.
func (w *Waiter) Ready() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready++
	w.cond.Broadcast()
}

// Settled gives how many records have been settled, and how many of them
// failed.
func (w *Waiter) Settled() (settled, failed int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settled, w.failed, w.err
}

// Wait waits until n records are settled and reports failed ones.
func (w *Waiter) Wait(t *testing.T, n int) {
	t.Helper()
	w.waitFor(t, fmt.Sprintf("%d settled records", n), func() bool { return w.settled >= n })
	if _, failed, err := w.Settled(); failed != 0 {
		t.Fatalf("%d records failed: %v", failed, err)
	}
}

func (w *Waiter) waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		w.mu.Lock()
		late = true
		w.mu.Unlock()
		w.cond.Broadcast()
	})
	defer timer.Stop()
	w.mu.Lock()
	for !ok() && !late {
		w.cond.Wait()
	}
	good, settled := ok(), w.settled
	w.mu.Unlock()
	if !good {
		t.Fatalf("no %s within %v; settled: %d", what, patience, settled)
	}
}

func closeLog(t *testing.T, l eventlog.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// payload is data that names its place and can be checked.
func payload(partition, n, size int) []byte {
	b := fmt.Appendf(nil, "%d/%d/", partition, n)
	r := rand.New(rand.NewPCG(uint64(partition), uint64(n)))
	for len(b) < size {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// fill appends n records to a partition, counted from first, one at a time
// or a few at once, and waits until they are durable. Times rise by a
// thousand.
func fill(t *testing.T, l eventlog.Log, partition, first, n int) {
	t.Helper()
	w := NewWaiter()
	p := l.Producer(partition, w)
	for i := first; i < first+n; {
		var recs [][]byte
		for len(recs) < 1+i%3 && i < first+n {
			recs = append(recs, payload(partition, i, 0))
			i++
		}
		p.Append(int64(i-len(recs)+1)*1000, recs)
		if i%64 == 0 {
			w.Wait(t, i-first)
		}
	}
	w.Wait(t, n)
}

func read(t *testing.T, l eventlog.Log, partition int, from eventlog.From) []eventlog.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var recs []eventlog.Record
	for r, err := range l.Read(ctx, partition, eventlog.ReadOptions{From: from}) {
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		r.Data = bytes.Clone(r.Data)
		recs = append(recs, r)
	}
	return recs
}

// check looks at what must hold for any stretch of a partition.
func check(t *testing.T, recs []eventlog.Record, first int64) {
	t.Helper()
	for i, r := range recs {
		if r.Sequence != first+int64(i) {
			t.Fatalf("record %d has sequence number %d, want %d", i, r.Sequence, first+int64(i))
		}
		if r.Offset <= 0 || i > 0 && r.Offset <= recs[i-1].Offset {
			t.Fatalf("offsets do not rise: record %d has %d after %d", i, r.Offset, recs[max(0, i-1)].Offset)
		}
		if i > 0 && r.Time < recs[i-1].Time {
			t.Fatalf("times fall: record %d has %d after %d", i, r.Time, recs[i-1].Time)
		}
	}
}

func testEmpty(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	if l.Partitions() != partitions {
		t.Fatalf("Partitions() = %d", l.Partitions())
	}
	for p := range partitions {
		i, err := l.Info(t.Context(), p)
		if err != nil || i != (eventlog.Info{}) {
			t.Fatalf("Info of an empty partition: %+v, %v", i, err)
		}
		for _, k := range []eventlog.StartKind{eventlog.Earliest, eventlog.Latest, eventlog.AtSequence, eventlog.AtOffset, eventlog.AfterOffset, eventlog.AtTime} {
			if recs := read(t, l, p, eventlog.From{Kind: k}); len(recs) != 0 {
				t.Fatalf("start %d: %d records in an empty partition", k, len(recs))
			}
		}
	}
	if _, err := l.Info(t.Context(), partitions); err == nil {
		t.Fatal("Info of a partition that is not there gives no error")
	}
	for _, err := range l.Read(t.Context(), -1, eventlog.ReadOptions{}) {
		if err == nil {
			t.Fatal("Read of a partition that is not there gives no error")
		}
	}
}

func testRoundTrip(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	for p := range partitions {
		fill(t, l, p, 0, 50+p)
	}
	for p := range partitions {
		recs := read(t, l, p, eventlog.From{})
		if len(recs) != 50+p {
			t.Fatalf("partition %d: %d records, want %d", p, len(recs), 50+p)
		}
		check(t, recs, 0)
		for i, r := range recs {
			if !bytes.Equal(r.Data, payload(p, i, 0)) {
				t.Fatalf("partition %d record %d: %q", p, i, r.Data)
			}
		}
		info, err := l.Info(t.Context(), p)
		last := recs[len(recs)-1]
		want := eventlog.Info{First: 0, Next: int64(50 + p), LastOffset: last.Offset, LastTime: last.Time}
		if err != nil || info != want {
			t.Fatalf("partition %d: Info %+v, %v; want %+v", p, info, err, want)
		}
	}
}

func testStarts(t *testing.T, e Engine) {
	l := e.Open(t)
	fill(t, l, 0, 0, 40)
	fill(t, l, 1, 0, 40)
	starts(t, l, 40)
	closeLog(t, l)
	l = e.Open(t)
	starts(t, l, 40)
	fill(t, l, 1, 40, 60)
	starts(t, l, 100)
	closeLog(t, l)
	l = e.Open(t)
	starts(t, l, 100)
	closeLog(t, l)
}

// starts tries every starting point in partition 1, whose records have
// numbers 0..n-1.
func starts(t *testing.T, l eventlog.Log, n int) {
	t.Helper()
	all := read(t, l, 1, eventlog.From{})
	if len(all) != n {
		t.Fatalf("%d records, want %d", len(all), n)
	}
	check(t, all, 0)
	firstAt := func(ok func(r eventlog.Record) bool) int {
		for i, r := range all {
			if ok(r) {
				return i
			}
		}
		return n
	}
	try := func(kind eventlog.StartKind, v int64, want int) {
		t.Helper()
		recs := read(t, l, 1, eventlog.From{Kind: kind, Value: v})
		if len(recs) != n-want {
			t.Fatalf("start %d at %d: %d records, want %d", kind, v, len(recs), n-want)
		}
		if len(recs) > 0 && recs[0].Sequence != int64(want) {
			t.Fatalf("start %d at %d: first is %d, want %d", kind, v, recs[0].Sequence, want)
		}
		check(t, recs, int64(want))
	}
	for i, r := range all {
		try(eventlog.AtSequence, r.Sequence, i)
		try(eventlog.AtOffset, int64(r.Offset), i)
		try(eventlog.AfterOffset, int64(r.Offset), i+1)
		try(eventlog.AtTime, r.Time, firstAt(func(o eventlog.Record) bool { return o.Time >= r.Time }))
		try(eventlog.AtTime, r.Time+1, firstAt(func(o eventlog.Record) bool { return o.Time >= r.Time+1 }))
	}
	for _, k := range []eventlog.StartKind{eventlog.AtSequence, eventlog.AtOffset, eventlog.AfterOffset, eventlog.AtTime} {
		try(k, 0, 0)
		try(k, -5, 0)
		try(k, 1<<62, n)
	}
	try(eventlog.Latest, 0, n)
	for range l.Read(t.Context(), 1, eventlog.ReadOptions{From: eventlog.From{Kind: 99}}) {
		return
	}
	t.Fatal("an unknown starting point gives no error")
}

func testReopen(t *testing.T, e Engine) {
	const rounds, each = 4, 25
	var last [partitions]eventlog.Record
	for round := range rounds {
		l := e.Open(t)
		for p := range partitions {
			// Not every partition gets records each time.
			if p == round%partitions {
				continue
			}
			before, err := l.Info(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, p, int(before.Next), each)
			recs := read(t, l, p, eventlog.From{})
			check(t, recs, 0)
			if len(recs) != int(before.Next)+each {
				t.Fatalf("round %d partition %d: %d records, want %d", round, p, len(recs), int(before.Next)+each)
			}
			for i, r := range recs {
				if !bytes.Equal(r.Data, payload(p, i, 0)) {
					t.Fatalf("round %d partition %d record %d: %q", round, p, i, r.Data)
				}
			}
			newest := recs[len(recs)-1]
			if newest.Offset <= last[p].Offset {
				t.Fatalf("offsets fell over a reopen: %d after %d", newest.Offset, last[p].Offset)
			}
			last[p] = newest
		}
		for p := range partitions {
			i, err := l.Info(t.Context(), p)
			if err != nil || i.LastOffset != last[p].Offset || i.LastTime != last[p].Time {
				t.Fatalf("round %d partition %d: Info %+v, %v; last record %d at %d", round, p, i, err, last[p].Offset, last[p].Time)
			}
		}
		closeLog(t, l)
	}
}

func testTimes(t *testing.T, e Engine) {
	l := e.Open(t)
	w := NewWaiter()
	p := l.Producer(2, w)
	for i, now := range []int64{5000, 3000, 5000, 9000, 1, 12000} {
		p.Append(now, [][]byte{{byte(i)}, {byte(i)}})
		w.Wait(t, 2*i+2)
	}
	want := []int64{5000, 5000, 5000, 9000, 9000, 12000}
	for i, r := range read(t, l, 2, eventlog.From{}) {
		if r.Time != want[i/2] {
			t.Fatalf("record %d has time %d, want %d", i, r.Time, want[i/2])
		}
	}
	closeLog(t, l)
	l = e.Open(t)
	defer closeLog(t, l)
	w = NewWaiter()
	l.Producer(2, w).Append(7, [][]byte{{1}})
	w.Wait(t, 1)
	recs := read(t, l, 2, eventlog.From{})
	check(t, recs, 0)
	if got := recs[len(recs)-1].Time; got != 12000 {
		t.Fatalf("after a reopen the clock fell to %d", got)
	}
}

// follow reads a partition in the background and hands records over.
func follow(t *testing.T, l eventlog.Log, partition int, from eventlog.From) (<-chan eventlog.Record, func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan eventlog.Record, 100000)
	end := make(chan error, 1)
	seq := l.Read(ctx, partition, eventlog.ReadOptions{From: from, Follow: true})
	go func() {
		var last error
		for r, err := range seq {
			if err != nil {
				last = err
				continue
			}
			r.Data = bytes.Clone(r.Data)
			out <- r
		}
		end <- last
	}()
	stop := func() error {
		cancel()
		select {
		case err := <-end:
			return err
		case <-time.After(patience):
			t.Error("a reader goes on after its context has ended")
			return nil
		}
	}
	return out, stop
}

func take(t *testing.T, c <-chan eventlog.Record, n int) []eventlog.Record {
	t.Helper()
	var recs []eventlog.Record
	late := time.After(patience)
	for len(recs) < n {
		select {
		case r := <-c:
			recs = append(recs, r)
		case <-late:
			t.Fatalf("%d records within %v, want %d", len(recs), patience, n)
		}
	}
	return recs
}

func testFollow(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	fill(t, l, 1, 0, 10)
	c, stop := follow(t, l, 1, eventlog.From{})
	recs := take(t, c, 10)
	fill(t, l, 0, 0, 10) // must not disturb
	for i := range 20 {
		fill(t, l, 1, 10+i, 1)
		recs = append(recs, take(t, c, 1)...)
	}
	check(t, recs, 0)
	for i, r := range recs {
		if !bytes.Equal(r.Data, payload(1, i, 0)) {
			t.Fatalf("record %d: %q", i, r.Data)
		}
	}
	if err := stop(); err != nil {
		t.Fatalf("the end of the context is no error, got %v", err)
	}
}

func testFollowLatest(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	fill(t, l, 3, 0, 5)
	c, stop := follow(t, l, 3, eventlog.From{Kind: eventlog.Latest})
	fill(t, l, 3, 5, 5)
	check(t, take(t, c, 5), 5)
	stop()
	if len(c) != 0 {
		t.Fatalf("%d records too many", len(c))
	}
}

func testFollowAhead(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	fill(t, l, 3, 0, 5)
	c, stop := follow(t, l, 3, eventlog.From{Kind: eventlog.AtSequence, Value: 8})
	d, stopD := follow(t, l, 3, eventlog.From{Kind: eventlog.AtTime, Value: 8500})
	fill(t, l, 3, 5, 5)
	check(t, take(t, c, 2), 8)
	if recs := take(t, d, 1); recs[0].Time < 8500 {
		t.Fatalf("a record from before the start: %+v", recs[0])
	}
	stop()
	stopD()
}

func testReaderStops(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	fill(t, l, 0, 0, 30)
	n := 0
	for range l.Read(t.Context(), 0, eventlog.ReadOptions{Follow: true}) {
		if n++; n == 7 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got error
	for _, err := range l.Read(ctx, 0, eventlog.ReadOptions{}) {
		got = err
	}
	if !errors.Is(got, context.Canceled) {
		t.Fatalf("a reader that was cut short says %v", got)
	}
	if recs := read(t, l, 0, eventlog.From{}); len(recs) != 30 {
		t.Fatalf("%d records", len(recs))
	}
}

func testProducers(t *testing.T, e Engine) {
	const producers, each = 40, 200
	l := e.Open(t)
	defer closeLog(t, l)
	var followers [partitions]<-chan eventlog.Record
	var stops [partitions]func() error
	for p := range partitions {
		followers[p], stops[p] = follow(t, l, p, eventlog.From{})
	}
	var wg sync.WaitGroup
	waiters := make([]*Waiter, producers)
	for id := range producers {
		w := NewWaiter()
		waiters[id] = w
		wg.Go(func() {
			p := l.Producer(id%partitions, w)
			var b [8]byte
			for i := 0; i < each; {
				var recs [][]byte
				for range 1 + rand.IntN(4) {
					if i < each {
						binary.BigEndian.PutUint32(b[:], uint32(id))
						binary.BigEndian.PutUint32(b[4:], uint32(i))
						recs = append(recs, bytes.Clone(b[:]))
						i++
					}
				}
				p.Append(time.Now().UnixNano(), recs)
				if rand.IntN(5) == 0 {
					w.waitFor(t, "progress", func() bool { return w.settled > i-50 })
				}
			}
		})
	}
	wg.Wait()
	for _, w := range waiters {
		w.Wait(t, each)
	}
	for p := range partitions {
		stored := read(t, l, p, eventlog.From{})
		live := take(t, followers[p], len(stored))
		stops[p]()
		check(t, stored, 0)
		if len(stored) != producers/partitions*each {
			t.Fatalf("partition %d: %d records, want %d", p, len(stored), producers/partitions*each)
		}
		next := make(map[uint32]uint32)
		for i, r := range stored {
			if live[i].Offset != r.Offset || live[i].Sequence != r.Sequence || live[i].Time != r.Time || !bytes.Equal(live[i].Data, r.Data) {
				t.Fatalf("partition %d record %d: a live reader saw %+v, the log holds %+v", p, i, live[i], r)
			}
			id, n := binary.BigEndian.Uint32(r.Data), binary.BigEndian.Uint32(r.Data[4:])
			if n != next[id] {
				t.Fatalf("producer %d: record %d follows %d", id, n, next[id])
			}
			next[id]++
		}
	}
	for id, w := range waiters {
		if settled, _, _ := w.Settled(); settled != each {
			t.Fatalf("producer %d: %d records settled, want %d", id, settled, each)
		}
	}
}

// testRandom compares the log with slices through random appends, reopens
// and reads.
func testRandom(t *testing.T, e Engine) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	var model [partitions][][]byte
	l := e.Open(t)
	for range 150 {
		p := r.IntN(partitions)
		switch r.IntN(20) {
		case 0:
			closeLog(t, l)
			l = e.Open(t)
		case 1, 2, 3:
			from := r.IntN(len(model[p]) + 1)
			recs := read(t, l, p, eventlog.From{Kind: eventlog.AtSequence, Value: int64(from)})
			check(t, recs, int64(from))
			if len(recs) != len(model[p])-from {
				t.Fatalf("partition %d from %d: %d records, want %d", p, from, len(recs), len(model[p])-from)
			}
			for i, rec := range recs {
				if !bytes.Equal(rec.Data, model[p][from+i]) {
					t.Fatalf("partition %d record %d differs", p, from+i)
				}
			}
		default:
			w := NewWaiter()
			var recs [][]byte
			for range 1 + r.IntN(5) {
				recs = append(recs, payload(p, len(model[p])+len(recs), r.IntN(300)))
			}
			l.Producer(p, w).Append(time.Now().UnixNano(), recs)
			model[p] = append(model[p], recs...)
			if r.IntN(3) == 0 {
				w.Wait(t, len(recs))
			}
			w.Wait(t, len(recs))
		}
	}
	closeLog(t, l)
}

func testLargeRecords(t *testing.T, e Engine) {
	l := e.Open(t)
	w := NewWaiter()
	p := l.Producer(0, w)
	sizes := []int{0, 1, 256 << 10, 100, 300 << 10, 255 << 10, 0}
	var recs [][]byte
	for i, n := range sizes {
		recs = append(recs, payload(0, i, n))
	}
	recs[0], recs[6] = nil, []byte{}
	p.Append(1, recs)
	w.Wait(t, len(recs))
	closeLog(t, l)
	l = e.Open(t)
	defer closeLog(t, l)
	got := read(t, l, 0, eventlog.From{})
	check(t, got, 0)
	if len(got) != len(recs) {
		t.Fatalf("%d records, want %d", len(got), len(recs))
	}
	for i := range got {
		if !bytes.Equal(got[i].Data, recs[i]) {
			t.Fatalf("record %d of %d bytes differs", i, len(recs[i]))
		}
	}
}

func testAppendCopies(t *testing.T, e Engine) {
	l := e.Open(t)
	defer closeLog(t, l)
	w := NewWaiter()
	p := l.Producer(0, w)
	b := []byte("before")
	recs := [][]byte{b}
	p.Append(1, recs)
	copy(b, "after!")
	recs[0] = nil
	w.Wait(t, 1)
	if got := read(t, l, 0, eventlog.From{}); string(got[0].Data) != "before" {
		t.Fatalf("the log kept the caller's slice: %q", got[0].Data)
	}
}

func testBackPressure(t *testing.T, e Engine) {
	if e.Stall == nil {
		return
	}
	l := e.Open(t)
	resume := e.Stall(t, l)
	w := NewWaiter()
	p := l.Producer(0, w)
	rec := payload(0, 0, 64<<10)
	n := 0
	for p.Append(1, [][]byte{rec}) {
		if n++; n > 4000 {
			t.Fatal("a stalled log takes everything")
		}
	}
	n++
	if settled, _, _ := w.Settled(); settled != 0 {
		t.Fatalf("%d records durable in a stalled log", settled)
	}
	resume()
	w.waitFor(t, "Ready", func() bool { return w.ready > 0 })
	w.Wait(t, n)
	if !p.Append(2, [][]byte{rec}) {
		t.Fatal("Append answers false after Ready")
	}
	w.Wait(t, n+1)
	if got := read(t, l, 0, eventlog.From{}); len(got) != n+1 {
		t.Fatalf("%d records, want %d", len(got), n+1)
	}
	if w.ready != 1 {
		t.Fatalf("Ready was called %d times for one false", w.ready)
	}
	closeLog(t, l)
}

func testCloseSettles(t *testing.T, e Engine) {
	l := e.Open(t)
	w := NewWaiter()
	for i := range 300 {
		l.Producer(i%partitions, w).Append(1, [][]byte{payload(i%partitions, i/partitions, 0)})
	}
	closeLog(t, l)
	settled, failed, err := w.Settled()
	if settled != 300 || failed != 0 {
		t.Fatalf("after Close %d of 300 settled, %d failed: %v", settled, failed, err)
	}
	l = e.Open(t)
	defer closeLog(t, l)
	for p := range partitions {
		if recs := read(t, l, p, eventlog.From{}); len(recs) != 75 {
			t.Fatalf("partition %d: %d records, want 75", p, len(recs))
		}
	}
}

func testClosed(t *testing.T, e Engine) {
	l := e.Open(t)
	w := NewWaiter()
	p := l.Producer(0, w)
	_, stop := follow(t, l, 0, eventlog.From{})
	p.Append(1, [][]byte{{1}})
	closeLog(t, l)
	closeLog(t, l)
	p.Append(1, [][]byte{{2}, {3}})
	w.waitFor(t, "answer of a closed log", func() bool { return w.settled == 3 })
	if _, failed, err := w.Settled(); failed != 2 || !errors.Is(err, eventlog.ErrClosed) {
		t.Fatalf("%d failed with %v, want 2 with ErrClosed", failed, err)
	}
	if _, err := l.Info(t.Context(), 0); !errors.Is(err, eventlog.ErrClosed) {
		t.Fatalf("Info of a closed log: %v", err)
	}
	if err := stop(); err != nil && !errors.Is(err, eventlog.ErrClosed) {
		t.Fatalf("a follower of a closed log ended with %v", err)
	}
}
