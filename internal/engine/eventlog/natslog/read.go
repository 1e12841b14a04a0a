package natslog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"time"

	"dunlin/internal/engine/eventlog"
)

// reader is one iteration over a partition.
type reader struct {
	l         *Log
	partition int
	yield     func(eventlog.Record, error) bool

	pos      uint64 // next commit to look at
	minIndex int    // in commit pos only
	minSeq   int64
	minTime  int64

	want   int64                 // sequence number expected next, -1 when not known
	offset eventlog.Offset       // of the last record met
	bad    *eventlog.DamageError // met and not yet known to concern this partition
	wake   chan struct{}

	failures int // of the store, one after the other
}

// giveUpAfter is how many failures of the store in a row end a reader.
const giveUpAfter = 40

// Read implements eventlog.Log.
func (l *Log) Read(ctx context.Context, partition int, o eventlog.ReadOptions) iter.Seq2[eventlog.Record, error] {
	if partition < 0 || partition >= l.cfg.Partitions {
		return failed(fmt.Errorf("eventlog: no partition %d: there are %d", partition, l.cfg.Partitions))
	}
	durable, h := l.tail.state(partition)
	return func(yield func(eventlog.Record, error) bool) {
		r := &reader{l: l, partition: partition, yield: yield, want: -1, wake: make(chan struct{}, 1)}
		if err := r.seek(ctx, o.From, durable, h); err != nil {
			yield(eventlog.Record{}, err)
			return
		}
		r.run(ctx, o.Follow, durable, h)
	}
}

func failed(err error) iter.Seq2[eventlog.Record, error] {
	return func(yield func(eventlog.Record, error) bool) { yield(eventlog.Record{}, err) }
}

// seek finds the commit to start with.
func (r *reader) seek(ctx context.Context, from eventlog.From, durable uint64, h head) error {
	v := from.Value
	switch from.Kind {
	case eventlog.Earliest:
		r.pos = 1
	case eventlog.Latest:
		r.pos = durable + 1
	case eventlog.AtOffset, eventlog.AfterOffset:
		if from.Kind == eventlog.AfterOffset && v < math.MaxInt64 {
			v++
		}
		v = max(v, 1<<indexBits)
		r.pos, r.minIndex = uint64(v>>indexBits), int(v&(maxRecords-1))
	case eventlog.AtSequence:
		r.minSeq = v
		if v >= h.next {
			r.pos = durable + 1
			return nil
		}
		return r.find(ctx, durable, func(c *commitView) bool { return c.head(r.partition).next > v })
	case eventlog.AtTime:
		r.minTime = v
		if v > h.lastTime {
			r.pos = durable + 1
			return nil
		}
		return r.find(ctx, durable, func(c *commitView) bool { return c.head(r.partition).lastTime >= v })
	default:
		return fmt.Errorf("eventlog: no such starting point: %d", from.Kind)
	}
	return nil
}

// find places the reader at the first commit for which ok holds.
func (r *reader) find(ctx context.Context, durable uint64, ok func(*commitView) bool) error {
	if b := r.l.tail.oldest(); b != nil {
		seq, older := b.seq, ok(&b.view)
		r.l.pool.release(b)
		if !older {
			r.pos = seq + 1 // in memory; what is too old is passed over
			return nil
		}
		durable = min(durable, seq)
	}
	info, err := r.l.streamInfo(ctx)
	if err != nil {
		return err
	}
	r.pos, err = r.l.search(ctx, max(1, info.State.FirstSeq), durable, ok)
	return err
}

// run yields records until the end or until somebody stops it. Without
// follow it ends after commit end, which left the partition at last.
func (r *reader) run(ctx context.Context, follow bool, end uint64, last head) {
	for {
		if err := ctx.Err(); err != nil {
			if !follow {
				r.yield(eventlog.Record{}, err)
			}
			return
		}
		if follow {
			end, last = r.l.tail.state(r.partition)
		}
		if r.pos > end || r.pos > uint64(last.lastOffset>>indexBits) {
			// No more records of this partition up to the end.
			if !r.gap(last.next) || !follow {
				return
			}
			if r.goTo(max(r.pos, end+1)); !r.sleep(ctx) {
				return
			}
			continue
		}
		b, oldest := r.l.tail.get(r.pos)
		var ok bool
		if b != nil {
			ok = r.commit(b.seq, &b.view)
			r.l.pool.release(b)
		} else {
			ok = r.old(ctx, min(end, oldest-1))
		}
		if !ok {
			return
		}
	}
}

func (r *reader) goTo(pos uint64) {
	if pos != r.pos {
		r.pos, r.minIndex = pos, 0
	}
}

// sleep waits for a commit at or after the position.
func (r *reader) sleep(ctx context.Context) bool {
	if r.l.tail.isClosed() {
		r.yield(eventlog.Record{}, eventlog.ErrClosed)
		return false
	}
	if !r.l.tail.wait(r.partition, r.pos, r.wake) {
		return true
	}
	select {
	case <-ctx.Done():
		r.l.tail.forget(r.wake)
		return false
	case <-r.wake:
		return true
	}
}

// old reads commits from the store, up to and including limit.
func (r *reader) old(ctx context.Context, limit uint64) bool {
	got, err := r.l.fetch(ctx, r.pos, nil, fetchBatch)
	if r.l.tail.isClosed() {
		r.yield(eventlog.Record{}, eventlog.ErrClosed)
		return false
	}
	if len(got) == 0 {
		if ctx.Err() != nil {
			return true // run ends it
		}
		if err != nil && !errors.Is(err, errNotFound) {
			return r.retryOrGiveUp(ctx, err)
		}
		return r.missing(ctx)
	}
	r.failures = 0
	for _, f := range got {
		if f.seq > limit {
			r.goTo(limit + 1)
			return true
		}
		if f.seq > r.pos {
			if !r.jumped(ctx, f.seq) {
				return false
			}
			if r.pos != f.seq {
				return true // the store has to be asked again
			}
		}
		c, err := r.l.parse(f)
		if err != nil {
			r.damaged(f.seq, err.Error())
			r.goTo(f.seq + 1)
			continue
		}
		if !r.commit(f.seq, &c) {
			return false
		}
	}
	return true
}

// retryOrGiveUp is for a store that does not answer: while the embedded
// server starts again or a cluster elects a leader, readers wait.
func (r *reader) retryOrGiveUp(ctx context.Context, err error) bool {
	if r.failures++; r.failures > giveUpAfter {
		r.yield(eventlog.Record{}, fmt.Errorf("eventlog: %w", err))
		return false
	}
	t := time.NewTimer(250 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.l.ctx.Done():
	case <-t.C:
	}
	return true
}

// jumped is called when the store went on with commit seq instead of pos:
// either retention removed what is between or it is lost.
func (r *reader) jumped(ctx context.Context, seq uint64) bool {
	info, err := r.l.streamInfo(ctx)
	if err != nil {
		return r.retryOrGiveUp(ctx, err)
	}
	if info.State.FirstSeq >= seq {
		r.want, r.bad = -1, nil
	} else {
		first := max(r.pos, info.State.FirstSeq)
		detail := fmt.Sprintf("commits %d to %d are missing", first, seq-1)
		if first == seq-1 {
			detail = fmt.Sprintf("commit %d is missing", first)
		}
		r.damaged(first, detail)
	}
	r.goTo(seq)
	return true
}

// missing is called when the store cannot give commit pos.
func (r *reader) missing(ctx context.Context) bool {
	info, err := r.l.streamInfo(ctx)
	if err != nil {
		return r.retryOrGiveUp(ctx, err)
	}
	if info.State.FirstSeq > r.pos {
		r.want, r.bad = -1, nil
		r.goTo(info.State.FirstSeq)
		return true
	}
	b, err := r.l.load(ctx, r.pos)
	if err == nil {
		c, err := r.l.parse(fetched{r.pos, b})
		if err == nil {
			return r.commit(r.pos, &c)
		}
		r.damaged(r.pos, err.Error())
	} else if errors.Is(err, errNotFound) {
		r.damaged(r.pos, fmt.Sprintf("commit %d cannot be read", r.pos))
	} else {
		return r.retryOrGiveUp(ctx, err)
	}
	r.goTo(r.pos + 1)
	return true
}

// damaged remembers damage until the next commit shows whether it took
// records of this partition away.
func (r *reader) damaged(seq uint64, detail string) {
	if r.bad != nil {
		return
	}
	r.bad = &eventlog.DamageError{
		File:   r.l.blockOf(seq),
		Detail: detail,
		Remedy: r.l.remedy(),
	}
}

// gap reports records that are missing before sequence number next.
func (r *reader) gap(next int64) bool {
	bad := r.bad
	r.bad = nil
	known := r.want >= 0
	if known && next <= r.want || !known && bad == nil {
		return true
	}
	if next <= r.minSeq {
		return true
	}
	if bad == nil {
		bad = &eventlog.DamageError{
			File:   r.l.blockOf(r.pos),
			Detail: fmt.Sprintf("records are missing before commit %d", r.pos),
			Remedy: r.l.remedy(),
		}
	}
	if known {
		if next-r.want < jump {
			bad.Detail += fmt.Sprintf(" (sequence numbers %d to %d of partition %d)", r.want, next-1, r.partition)
		} else {
			bad.Detail += fmt.Sprintf(" (partition %d from sequence number %d on, where the log ended then; it goes on with %d)", r.partition, r.want, next)
		}
	}
	bad.From = r.offset
	r.want = next
	r.l.m.damaged.Inc()
	return r.yield(eventlog.Record{}, bad)
}

// commit yields the records of one commit.
func (r *reader) commit(seq uint64, c *commitView) bool {
	minIndex := 0
	if seq == r.pos {
		minIndex = r.minIndex
	}
	s, ok := c.section(r.partition)
	if !ok {
		if r.bad != nil || r.want >= 0 {
			if !r.gap(c.head(r.partition).next) {
				return false
			}
		}
		r.goTo(seq + 1)
		return true
	}
	if !r.gap(s.first) {
		return false
	}
	t, b := s.time, s.data
	for i := range s.count {
		delta, data, rest, ok := nextRecord(b)
		if !ok {
			r.damaged(seq, fmt.Sprintf("record %d of commit %d cannot be read", i, seq))
			break
		}
		b = rest
		t += delta
		n := s.first + int64(i)
		if i < minIndex || n < r.minSeq || t < r.minTime || n < r.want {
			continue
		}
		r.want = n + 1
		r.offset = eventlog.Offset(int64(seq)<<indexBits | int64(i))
		if !r.yield(eventlog.Record{Offset: r.offset, Sequence: n, Time: t, Data: data}, nil) {
			return false
		}
	}
	r.want = max(r.want, s.first+int64(s.count))
	r.goTo(seq + 1)
	return true
}

// remedy says what can be done about damage.
func (l *Log) remedy() string {
	if l.emb == nil {
		return "restore the stream " + l.stream + " from a backup if these records are needed; all others stay readable"
	}
	return "restore the data directory from a backup if these records are needed; all others stay readable, and damaged originals are kept in " + damagedDir(l.cfg.Dir)
}

// blockOf names the file that commit seq is in, or the directory.
func (l *Log) blockOf(seq uint64) string {
	if l.emb == nil {
		return ""
	}
	dir := filepath.Join(storeDir(l.cfg.Dir, l.stream), "msgs")
	name := dir
	for _, f := range blockFiles(dir) {
		first, ok := firstOfBlock(f)
		if ok && first > seq {
			break
		}
		name = f
	}
	return name
}
