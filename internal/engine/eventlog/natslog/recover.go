package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// jump is what sequence numbers skip after the end of the log was damaged, so
// that none is given out twice.
const jump = 1 << 20

// margin is what the numbers of commits skip likewise: more commits than
// can have followed the last mark.
const margin = 1024

// mark is what a file beside the store remembers about the end of the log.
// It is written about once in a second and when the log is closed, so that a
// store that comes back shorter than it was is noticed.
type mark struct {
	Commit uint64  `json:"commit"`
	Next   []int64 `json:"next"`
	Clean  bool    `json:"clean"` // written by Close: nothing followed
}

func (l *Log) markFile() string { return filepath.Join(l.cfg.Dir, l.cfg.Name+".mark.json") }

// saveMark writes the mark if there is news. Only the keeper calls it, and
// Close after it.
func (l *Log) saveMark(clean bool) {
	if l.emb == nil {
		return
	}
	var m mark
	l.tail.mu.Lock()
	m.Commit = l.tail.durable
	for _, h := range l.tail.heads {
		m.Next = append(m.Next, h.next)
	}
	l.tail.mu.Unlock()
	m.Clean = clean
	if m.Commit == l.marked && !clean {
		return
	}
	b, err := json.Marshal(m)
	if err == nil {
		tmp := l.markFile() + ".tmp"
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, l.markFile())
		}
	}
	if err != nil {
		l.cfg.Logger.Debug("mark of the event log not written", slog.String("log", l.cfg.Name), slog.Any("error", err))
		return
	}
	l.marked = m.Commit
}

func (l *Log) loadMark() (mark, bool) {
	var m mark
	if l.emb == nil {
		return m, false
	}
	b, err := os.ReadFile(l.markFile())
	if err != nil || json.Unmarshal(b, &m) != nil || len(m.Next) != l.cfg.Partitions {
		return mark{}, false
	}
	return m, true
}

// recover restores the counters from the newest commit. When the end of the
// stream is damaged it goes on with numbers that were never given out.
func (l *Log) recover(ctx context.Context, info *jetstream.StreamInfo) error {
	last := info.State.LastSeq
	heads := l.a.heads
	found := uint64(0)
	for seq := last; seq >= max(1, info.State.FirstSeq) && seq > 0; seq-- {
		b, err := l.load(ctx, seq)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("eventlog: newest commit of stream %s: %w", l.stream, err)
		}
		c, err := parseCommit(b)
		if err != nil {
			l.cfg.Logger.Error("damaged commit at the end of the event log", slog.String("log", l.cfg.Name), slog.Uint64("commit", seq), slog.Any("error", err))
			continue
		}
		if c.partitions != l.cfg.Partitions {
			return fmt.Errorf("eventlog: commit %d of stream %s has %d partitions instead of %d", seq, l.stream, c.partitions, l.cfg.Partitions)
		}
		for p := range heads {
			heads[p] = c.head(p)
		}
		found = seq
		break
	}
	m, marked := l.loadMark()
	lost := l.tailLost || found < last || marked && m.Commit > found
	l.a.nextSeq = last + 1
	l.tail = newTail(&l.pool, l.cfg.TailBytes, last, heads)
	if !lost {
		return nil
	}
	for p := range heads {
		next := heads[p].next
		if marked {
			next = max(next, m.Next[p])
		}
		heads[p].next = (next/jump + 2) * jump
	}
	target := last + 1
	if marked && m.Commit > last {
		target = m.Commit + 1
		if !m.Clean {
			target += margin
		}
	}
	l.cfg.Logger.Error("the end of the event log is damaged: acknowledged records are missing and sequence numbers go on after a gap; restore the data directory from a backup if these records are needed",
		slog.String("log", l.cfg.Name), slog.String("stream", l.stream), slog.String("dir", l.cfg.Dir),
		slog.Uint64("last_commit_read", found), slog.Uint64("last_commit_known", max(last, m.Commit)))
	return l.fill(ctx, last, target, heads)
}

// fill stores empty commits after last up to target, so that offsets go on
// rising and the heads are on disk.
func (l *Log) fill(ctx context.Context, last, target uint64, heads []head) error {
	for seq := last + 1; seq <= target; seq++ {
		b := appendCommit(nil, l.a.writer, time.Now().UnixNano(), "after damage", heads, nil)
		if _, err := l.js.Publish(ctx, l.subject, b, jetstream.WithExpectLastSequence(seq-1)); err != nil {
			return fmt.Errorf("eventlog: go on after damage: %w", err)
		}
	}
	l.a.nextSeq = target + 1
	l.tail = newTail(&l.pool, l.cfg.TailBytes, target, heads)
	return nil
}
