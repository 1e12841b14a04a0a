package natslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"dunlin/internal/engine/eventlog"
)

const (
	tickEvery    = 250 * time.Millisecond
	drainLimit   = 10 * time.Second // how long Close waits for a store that does not answer
	expectedLast = "Nats-Expected-Last-Sequence"

	// Error codes of JetStream.
	codeWrongLastSequence = 10071
	codeTooLarge          = 10054
)

// send publishes b and gives up one hold on it. When publishing fails the
// committer sends it again.
func (l *Log) send(b *batch) {
	defer l.a.pool.release(b)
	l.sendMu.Lock()
	defer l.sendMu.Unlock()
	l.msg.Data = b.payload
	l.msg.Reply = l.replyPrefix + strconv.FormatUint(b.seq, 10)
	l.msg.Header[expectedLast][0] = strconv.FormatUint(b.seq-1, 10)
	if err := l.nc.PublishMsg(l.msg); err != nil {
		l.cfg.Logger.Debug("commit not sent", slog.Uint64("commit", b.seq), slog.Any("error", err))
		l.a.mu.Lock()
		if l.a.inflight == b {
			b.sentAt = 0
		}
		l.a.mu.Unlock()
	}
}

// commit is the committer, the goroutine that hears from the store and
// calls the waiters.
func (l *Log) commit() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	closing := l.ctx.Done()
	var deadline <-chan time.Time
	for {
		select {
		case m := <-l.acks:
			l.onAck(m)
		case <-l.kick:
			l.deliverSettled()
		case <-tick.C:
			l.onTick()
		case <-closing:
			closing = nil
			t := time.NewTimer(drainLimit)
			defer t.Stop()
			deadline = t.C
			l.advance()
		case <-deadline:
			l.fail(fmt.Errorf("%w before the store answered", eventlog.ErrClosed))
		}
		if closing == nil && l.drained() {
			return
		}
	}
}

// drained tells whether nothing is held, and then refuses everything new.
func (l *Log) drained() bool {
	a := &l.a
	a.mu.Lock()
	idle := a.inflight == nil && len(a.queue) == 0 && len(a.refs) == 0
	if idle && a.stop == nil {
		a.stop = eventlog.ErrClosed
	}
	if idle {
		l.ended = true
	}
	a.mu.Unlock()
	if idle {
		l.deliverSettled()
		l.wakeProducers()
	}
	return idle
}

// advance sends the next batch if none is in flight.
func (l *Log) advance() {
	l.a.mu.Lock()
	b := l.following()
	l.a.mu.Unlock()
	if b != nil {
		l.send(b)
	}
}

// pubAck is the answer of JetStream to a publish.
type pubAck struct {
	Seq   uint64 `json:"seq"`
	Error *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// ackSeq reads the number out of a plain positive answer without decoding
// all of it; 0 means that this is something else.
func ackSeq(b []byte) uint64 {
	if bytes.Contains(b, []byte(`"error"`)) {
		return 0
	}
	_, after, ok := bytes.Cut(b, []byte(`"seq":`))
	if !ok {
		return 0
	}
	var n uint64
	for len(after) > 0 && after[0] == ' ' {
		after = after[1:]
	}
	for _, c := range after {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// onAck handles an answer of the store.
func (l *Log) onAck(m *nats.Msg) {
	a := &l.a
	about, err := strconv.ParseUint(m.Subject[min(len(l.replyPrefix), len(m.Subject)):], 10, 64)
	a.mu.Lock()
	b := a.inflight
	a.mu.Unlock()
	if err != nil || b == nil || about != b.seq {
		return // a second answer, to a commit that was sent twice
	}
	if seq := ackSeq(m.Data); seq != 0 {
		if seq != b.seq {
			l.fail(fmt.Errorf("eventlog: commit %d was stored as %d: something else writes to stream %s", b.seq, seq, l.stream))
			return
		}
		l.durable(b)
		return
	}
	if s := m.Header.Get("Status"); s != "" {
		l.again(b, "no answer from the store: status "+s)
		return
	}
	var ack pubAck
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Error == nil {
		l.again(b, fmt.Sprintf("unreadable answer of the store: %.100q", m.Data))
		return
	}
	switch ack.Error.ErrCode {
	case codeWrongLastSequence:
		l.verify(b)
	case codeTooLarge:
		l.fail(fmt.Errorf("eventlog: the store refuses a commit of %d bytes: %s; raise the largest message size of stream %s", len(b.payload), ack.Error.Description, l.stream))
	default:
		l.again(b, ack.Error.Description)
	}
}

// again notes that b has to be sent again at the next tick.
func (l *Log) again(b *batch, why string) {
	l.a.mu.Lock()
	b.sentAt = 0
	l.a.mu.Unlock()
	l.warn("the store did not take a commit, trying again", slog.Uint64("commit", b.seq), slog.String("reason", why))
}

// durable is called when b, the batch in flight, is on disk.
func (l *Log) durable(b *batch) {
	a := &l.a
	now := a.clock()
	a.mu.Lock()
	a.inflight = nil
	a.held -= b.size
	sent := b.sentAt
	next := l.following()
	a.mu.Unlock()
	if next != nil {
		l.send(next)
	}
	b.hold()
	l.tail.add(b) // takes the hold that came with the batch
	for i := range b.refs {
		r := &b.refs[i]
		r.p.w.Durable(r.n, r.err)
	}
	l.m.commitRecords.Observe(float64(b.records))
	l.m.commitBytes.Observe(float64(len(b.payload)))
	if sent != 0 {
		l.m.commitSeconds.Observe(float64(now-sent) / 1e9)
	}
	l.m.ackSeconds.Observe(float64(now-b.firstAt) / 1e9)
	l.m.records.Add(float64(b.records))
	l.m.bytes.Add(float64(len(b.payload)))
	a.pool.release(b)
	l.deliverSettled()
	l.wakeProducers()
}

// wakeProducers calls Ready where there is room again.
func (l *Log) wakeProducers() {
	a := &l.a
	a.mu.Lock()
	if a.overage && a.clock()-a.oldest() < int64(l.cfg.MaxHeldAge)/2 {
		a.overage = false
	}
	if len(a.blocked) == 0 {
		a.mu.Unlock()
		return
	}
	l.readyBuf = a.ready(l.readyBuf[:0])
	a.mu.Unlock()
	for _, p := range l.readyBuf {
		p.w.Ready()
	}
	clear(l.readyBuf)
}

// settleLater has the committer settle a batch that is not in the log. The
// lock is held.
func (l *Log) settleLater(b *batch) {
	l.settled = append(l.settled, b)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// refuse settles n records of p with err. The lock is held.
func (l *Log) refuse(p *producer, n int, err error) {
	l.m.failed.Add(float64(n))
	if l.ended {
		// The committer is gone. Calls still come one at a time.
		l.late++
		go func() { // Close waits for it
			l.lateMu.Lock()
			p.w.Durable(n, err)
			l.lateMu.Unlock()
			l.a.mu.Lock()
			defer l.a.mu.Unlock()
			l.late--
			l.lateDone.Broadcast()
		}()
		return
	}
	b := l.a.pool.get()
	b.refs = append(b.refs, ref{p, n, err})
	l.settleLater(b)
}

// deliverSettled settles what is not in the log.
func (l *Log) deliverSettled() {
	for {
		l.a.mu.Lock()
		settled := l.settled
		l.settled = nil
		l.a.mu.Unlock()
		if len(settled) == 0 {
			return
		}
		for _, b := range settled {
			for _, r := range b.refs {
				r.p.w.Durable(r.n, r.err)
			}
			l.a.pool.release(b)
		}
	}
}

// fail ends the log: everything held is settled with err, and everything
// that comes is refused.
func (l *Log) fail(err error) {
	a := &l.a
	a.mu.Lock()
	if a.stop == nil {
		a.stop = err
	}
	a.close()
	lost := a.queue
	if a.inflight != nil {
		lost = append([]*batch{a.inflight}, lost...)
	}
	a.inflight, a.queue = nil, nil
	a.held, a.overage = 0, false
	for _, b := range lost {
		for i := range b.refs {
			if b.refs[i].err == nil {
				b.refs[i].err = err
				l.m.failed.Add(float64(b.refs[i].n))
			}
		}
	}
	// Batches may already wait to be settled; the order stays.
	l.settled = append(l.settled, lost...)
	a.mu.Unlock()
	if !errors.Is(err, eventlog.ErrClosed) {
		l.cfg.Logger.Error("the event log stops taking records", slog.String("log", l.cfg.Name), slog.Any("error", err))
	}
	l.deliverSettled()
	l.wakeProducers()
}

// onTick looks after what does not come by itself: free space, records that
// are held too long, commits without an answer.
func (l *Log) onTick() {
	a := &l.a
	a.mu.Lock()
	l.checkSpace()
	now := a.clock()
	if oldest := a.oldest(); !a.overage && oldest < now-int64(l.cfg.MaxHeldAge) {
		a.overage = true
		l.m.stalls.WithLabelValues(stallAge).Inc()
	}
	b := a.inflight
	due := b != nil && !a.full && (b.sentAt == 0 || now-b.sentAt > int64(l.cfg.AckWait))
	var next *batch
	if b == nil {
		next = l.following()
	}
	a.mu.Unlock()
	if next != nil {
		l.send(next)
	}
	if due {
		l.retry(b)
	}
	l.wakeProducers()
}

// retry sends b again. The store takes it once only, whatever happens, since
// it names the commit before it. An embedded server that stopped storing is
// started anew first.
func (l *Log) retry(b *batch) {
	l.m.retries.Inc()
	if l.emb != nil && (!l.emb.enabled() || b.tries%3 == 0) {
		l.warn("the embedded store has stopped, starting it again", slog.Uint64("commit", b.seq))
		l.emb.stop()
		if err := l.emb.start(); err != nil {
			l.warn("the embedded store does not start", slog.Any("error", err))
			return
		}
		if !l.reconnected(5 * time.Second) {
			return
		}
		l.verify(b)
		return
	}
	l.resend(b)
}

func (l *Log) resend(b *batch) {
	l.a.mu.Lock()
	b.hold()
	b.sentAt = l.a.clock()
	b.tries++
	l.a.mu.Unlock()
	l.send(b)
}

// reconnected waits until the commit connection is up again, while the log is
// being closed as well.
func (l *Log) reconnected(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), d)
	defer cancel()
	return l.nc.FlushWithContext(ctx) == nil
}

// verify finds out whether b, whose answer is lost or says that the number
// is taken, is in the store. Close waits for the answer.
func (l *Log) verify(b *batch) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), 5*time.Second)
	defer cancel()
	info, err := l.streamInfo(ctx)
	if err != nil {
		l.again(b, err.Error())
		return
	}
	switch last := info.State.LastSeq; {
	case last == b.seq-1:
		l.resend(b)
	case last < b.seq-1:
		l.fail(fmt.Errorf("eventlog: stream %s ends at commit %d although commit %d was durable: the store lost data; restore it or start again to go on after the gap", l.stream, last, b.seq-1))
	default:
		got, err := l.load(ctx, b.seq)
		switch {
		case err == nil && bytes.Equal(got, b.payload):
			if err := l.emb.fsync(l.stream); err != nil {
				l.again(b, err.Error())
				return
			}
			l.durable(b)
		case err == nil || errors.Is(err, errNotFound):
			l.fail(fmt.Errorf("eventlog: another writer has taken over stream %s%s; this one stops", l.stream, writerOf(got)))
		default:
			l.again(b, err.Error())
		}
	}
}

// writerOf describes who wrote an encoded commit.
func writerOf(b []byte) string {
	c, err := parseCommit(b)
	switch {
	case err != nil:
		return ""
	case len(c.note) > 0:
		return fmt.Sprintf(" (writer %x, %s)", c.writer, c.note)
	}
	return fmt.Sprintf(" (writer %x)", c.writer)
}

// checkSpace looks at the free space of the disk and says whether there is
// enough to go on. The lock is held.
func (l *Log) checkSpace() bool {
	a := &l.a
	a.unchecked = 0
	if l.emb == nil {
		return true
	}
	free, total, err := diskSpace(l.cfg.Dir)
	if err != nil {
		return !a.full
	}
	l.m.diskFree.Set(float64(free))
	reserve := l.cfg.Reserve
	if reserve == 0 {
		reserve = min(64<<20, total/20)
	}
	switch {
	case free < reserve && !a.full:
		a.full = true
		l.m.stalls.WithLabelValues(stallDisk).Inc()
		l.cfg.Logger.Error("disk of the event log is full: devices have to wait, nothing acknowledged is lost; free some space or lower the retention",
			slog.String("log", l.cfg.Name), slog.String("dir", l.cfg.Dir), slog.Int64("free_bytes", free), slog.Int64("reserve_bytes", reserve))
	case free >= reserve && a.full:
		a.full = false
		l.cfg.Logger.Info("disk of the event log has room again",
			slog.String("log", l.cfg.Name), slog.String("dir", l.cfg.Dir), slog.Int64("free_bytes", free))
	}
	return !a.full
}

// warn logs at most once in ten seconds for each message, which is a constant.
// Only the committer calls it.
func (l *Log) warn(msg string, attrs ...slog.Attr) {
	now := l.a.clock()
	level := slog.LevelDebug
	if at, ok := l.warned[msg]; !ok || now-at >= int64(10*time.Second) {
		l.warned[msg] = now
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("log", l.cfg.Name))
	}
	l.cfg.Logger.LogAttrs(l.ctx, level, msg, attrs...) //nolint:sloglint // the callers pass constants
}
