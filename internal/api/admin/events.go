package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// eventQuery is the query of GET /api/events.
type eventQuery struct {
	from      eventlog.From
	follow    bool
	after     map[int]eventlog.Offset // where partitions go on, instead of from
	partition int                     // -1 for all
	count     int64                   // 0 for no limit
	filter    eventFilter
}

func parseEventQuery(r *http.Request, partitions int) (eventQuery, error) {
	v := r.URL.Query()
	q := eventQuery{partition: -1, from: eventlog.From{Kind: eventlog.Latest}}
	bad := func(name, remedy string) error {
		return iot.Errorf(iot.ArgumentInvalid, "%s=%s: %s", name, v.Get(name), remedy)
	}
	var err error
	if q.filter, err = parseEventFilter(v); err != nil {
		return q, err
	}
	if s := v.Get("partition"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n >= partitions {
			return q, bad("partition", "a number from 0 to "+strconv.Itoa(partitions-1))
		}
		q.partition = n
	}
	switch s := v.Get("from"); s {
	case "", "latest":
	case "earliest":
		q.from.Kind = eventlog.Earliest
	default:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
			if q.partition < 0 && partitions > 1 {
				return q, bad("from", "an offset belongs to one partition: say which with partition")
			}
			q.from = eventlog.From{Kind: eventlog.AtOffset, Value: n}
		} else if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			q.from = eventlog.From{Kind: eventlog.AtTime, Value: t.UnixNano()}
		} else {
			return q, bad("from", "earliest, latest, a time such as 2026-01-31T12:00:00Z, or an offset")
		}
	}
	if s := v.Get("count"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return q, bad("count", "a number")
		}
		q.count = n
	}
	if s := v.Get("follow"); s != "" {
		follow, err := strconv.ParseBool(s)
		if err != nil {
			return q, bad("follow", "true or false")
		}
		q.follow = follow
	}
	if s := v.Get("after"); s != "" {
		if q.after, err = parsePositions(s, partitions); err != nil {
			return q, bad("after", "the last offset that was seen of each partition, such as 0:123,2:45")
		}
	}
	if !q.follow && q.from.Kind == eventlog.Latest {
		return q, iot.Errorf(iot.ArgumentInvalid, "from=latest without follow would show nothing: say follow=true or another from")
	}
	return q, nil
}

// parsePositions reads PARTITION:OFFSET,...
func parsePositions(s string, partitions int) (map[int]eventlog.Offset, error) {
	after := map[int]eventlog.Offset{}
	for one := range strings.SplitSeq(s, ",") {
		partition, offset, _ := strings.Cut(one, ":")
		p, err := strconv.Atoi(partition)
		if err != nil || p < 0 || p >= partitions {
			return nil, strconv.ErrRange
		}
		n, err := strconv.ParseInt(offset, 10, 64)
		if err != nil || n < 0 {
			return nil, strconv.ErrRange
		}
		after[p] = eventlog.Offset(n)
	}
	return after, nil
}

// start is where a partition is read from.
func (q *eventQuery) start(partition int) eventlog.From {
	if at, ok := q.after[partition]; ok {
		return eventlog.From{Kind: eventlog.AfterOffset, Value: int64(at)}
	}
	return q.from
}

// events streams the log as lines of JSON. Partitions are read side by side
// and each keeps its order; between them lines come as they are read.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	q, err := parseEventQuery(r, s.deps.Log.Partitions())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	var owned sync.WaitGroup
	defer owned.Wait()
	defer cancel()
	owned.Go(func() {
		select {
		case <-s.deps.Done:
			cancel()
		case <-ctx.Done():
		}
	})
	rc := http.NewResponseController(w)
	// A stream lasts; the limits of the server are for short calls. Writers
	// that know no deadlines have none to lift.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if rc.Flush() != nil {
		return
	}

	out := newLines(q.count)
	defer context.AfterFunc(ctx, out.end)()
	var partitions sync.WaitGroup
	for p := range s.deps.Log.Partitions() {
		if q.partition < 0 || q.partition == p {
			partitions.Go(func() { s.readPartition(ctx, p, q, out) })
		}
	}
	owned.Go(func() {
		partitions.Wait()
		out.end()
	})
	var b []byte
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		var ok bool
		if b, ok = out.take(b); !ok {
			return
		}
		if _, err := w.Write(b); err != nil || rc.Flush() != nil {
			return
		}
		if len(b) < muchAtOnce {
			continue
		}
		pause.Reset(gatherFor)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// A write costs the same whatever it holds, here and at the reader. When a
// write held muchAtOnce bytes there is more to come: to let it gather for a
// while halves the cost of a busy stream, and a quiet one is not delayed.
const (
	muchAtOnce = 16 << 10
	gatherFor  = 3 * time.Millisecond
)

// readPartition turns the records of one partition into lines. Damage becomes
// a line of its own, and reading goes on behind it.
func (s *server) readPartition(ctx context.Context, partition int, q eventQuery, out *lines) {
	var (
		event record.Event
		line  []byte
		text  = newLineWriter(partition)
	)
	for rec, err := range s.deps.Log.Read(ctx, partition, eventlog.ReadOptions{From: q.start(partition), Follow: q.follow}) {
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.deps.Logger.Error("event log not readable", slog.Int("partition", partition), slog.Any("error", err))
			line = appendErrorLine(line[:0], partition, rec.Offset, err)
			if !out.add(line, false) {
				return
			}
			continue
		}
		if !q.filter.begins(rec.Data) {
			continue
		}
		if err := record.Decode(rec.Data, &event); err != nil {
			line = appendErrorLine(line[:0], partition, rec.Offset, err)
			if !out.add(line, false) {
				return
			}
			continue
		}
		if !q.filter.wants(&event) {
			continue
		}
		line = text.append(line[:0], &rec, &event)
		if !out.add(line, true) {
			return
		}
	}
}

// maxGathered bounds what waits for a slow caller, in bytes.
const maxGathered = 1 << 20

// lines gathers what several readers produce for one writer.
type lines struct {
	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	limited bool
	left    int64 // lines that may still be added, when limited
	ended   bool  // nothing more is added
}

func newLines(limit int64) *lines {
	l := &lines{limited: limit > 0, left: limit}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// add copies one line; false means that no more are wanted. Lines that are
// not counted do not use up the limit.
func (l *lines) add(line []byte, counted bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.buf) >= maxGathered && !l.ended {
		l.changed.Wait()
	}
	if l.ended {
		return false
	}
	l.buf = append(l.buf, line...)
	if counted && l.limited {
		if l.left--; l.left == 0 {
			l.ended = true
		}
	}
	l.changed.Broadcast()
	return !l.ended
}

// take waits for lines and gives all of them; false when there will be none.
// spare is an earlier answer that is no longer needed.
func (l *lines) take(spare []byte) ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.buf) == 0 && !l.ended {
		l.changed.Wait()
	}
	b := l.buf
	l.buf = spare[:0]
	l.changed.Broadcast()
	return b, len(b) > 0
}

// end says that nothing more is wanted, or that there is nothing more.
func (l *lines) end() {
	l.mu.Lock()
	l.ended = true
	l.changed.Broadcast()
	l.mu.Unlock()
}
