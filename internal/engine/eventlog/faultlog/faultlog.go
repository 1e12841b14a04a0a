// Package faultlog wraps an event log and makes its answers late or bad, for
// tests of what stands on a log.
package faultlog

import (
	"sync"
	"time"

	"dunlin/internal/engine/eventlog"
)

// Verdict is what happens to one answer of the log, that is to the records
// that became durable together for one producer.
type Verdict struct {
	Delay time.Duration // how long the answer is held back; answers stay in order
	Err   error         // the records count as failed, although they may be in the log
	Stall bool          // hold this and all later answers back until Resume
}

// Rule judges an answer. number counts the answers of the log from 0.
type Rule func(number, partition, records int) Verdict

// Log is the wrapped log. Reading and Info are passed on.
type Log struct {
	eventlog.Log
	rule Rule
	done sync.WaitGroup
	quit chan struct{} // closed by Close, ends delays
	kick chan struct{} // capacity 1

	mu      sync.Mutex
	queue   []answer
	number  int
	held    int // records whose answer is held back
	stalled bool
	closed  bool
	ended   bool // deliver is gone
	blocked map[*waiter]bool
}

// maxHeld is how many records may wait for their answer before Append
// answers false.
const maxHeld = 10000

type answer struct {
	w     *waiter
	n     int
	err   error
	ready bool
}

// Wrap gives log with faults. Closing it closes log.
func Wrap(log eventlog.Log, rule Rule) *Log {
	l := &Log{
		Log: log, rule: rule,
		quit: make(chan struct{}), kick: make(chan struct{}, 1),
		blocked: make(map[*waiter]bool),
	}
	l.done.Go(l.deliver)
	return l
}

// Resume ends a stall.
func (l *Log) Resume() {
	l.mu.Lock()
	l.stalled = false
	l.mu.Unlock()
	l.poke()
}

func (l *Log) poke() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Producer implements eventlog.Log.
func (l *Log) Producer(partition int, w eventlog.Waiter) eventlog.Producer {
	f := &waiter{l: l, partition: partition, w: w}
	return &producer{l: l, f: f, Producer: l.Log.Producer(partition, f)}
}

type producer struct {
	eventlog.Producer
	l *Log
	f *waiter
}

// Append implements eventlog.Producer.
func (p *producer) Append(now int64, recs [][]byte) bool {
	p.l.mu.Lock()
	p.l.held += len(recs)
	full := p.l.held > maxHeld
	if full {
		p.l.blocked[p.f] = true
	}
	p.l.mu.Unlock()
	return p.Producer.Append(now, recs) && !full
}

// waiter hears from the real log and passes it on through the queue.
type waiter struct {
	l         *Log
	partition int
	w         eventlog.Waiter
}

func (f *waiter) Durable(n int, err error) { f.l.push(answer{w: f, n: n, err: err}) }
func (f *waiter) Ready()                   { f.l.push(answer{w: f, ready: true}) }

func (l *Log) push(a answer) {
	l.mu.Lock()
	if l.ended { // an answer of a closed log
		l.mu.Unlock()
		a.give()
		return
	}
	l.queue = append(l.queue, a)
	l.mu.Unlock()
	l.poke()
}

func (a answer) give() {
	if a.ready {
		a.w.w.Ready()
	} else {
		a.w.w.Durable(a.n, a.err)
	}
}

// deliver calls the waiters, one at a time.
func (l *Log) deliver() {
	judged := false // the first answer in the queue has been judged
	var v Verdict
	for {
		l.mu.Lock()
		if len(l.queue) == 0 && l.closed {
			l.ended = true
			l.mu.Unlock()
			return
		}
		if len(l.queue) == 0 || l.stalled && !l.closed {
			l.mu.Unlock()
			<-l.kick
			continue
		}
		a := l.queue[0]
		number := l.number
		if !a.ready && !judged {
			l.number++
		}
		l.mu.Unlock()
		if !a.ready && !judged {
			judged = true
			if v = l.rule(number, a.w.partition, a.n); v.Stall {
				l.mu.Lock()
				l.stalled = true
				l.mu.Unlock()
				continue
			}
		}
		if !a.ready && v.Delay > 0 {
			t := time.NewTimer(v.Delay)
			select {
			case <-t.C:
			case <-l.quit:
				t.Stop()
			}
		}
		if a.err == nil && !a.ready {
			a.err = v.Err
		}
		l.mu.Lock()
		l.queue = l.queue[1:]
		var ready []*waiter
		if !a.ready {
			judged, v = false, Verdict{}
			if l.held -= a.n; l.held <= maxHeld/2 {
				for w := range l.blocked {
					ready = append(ready, w)
				}
				clear(l.blocked)
			}
		}
		l.mu.Unlock()
		a.give()
		for _, w := range ready {
			w.w.Ready()
		}
	}
}

// Close closes the log; answers that are still held back are given.
func (l *Log) Close() error {
	err := l.Log.Close()
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.quit)
	}
	l.poke()
	l.done.Wait()
	return err
}
