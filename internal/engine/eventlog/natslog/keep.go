package natslog

import (
	"context"
	"log/slog"
	"time"
)

// lookEvery is how often the store is asked how large it is.
const lookEvery = 5 * time.Second

// keep removes what is too old, and looks after the figures and the mark.
func (l *Log) keep() {
	ctx := l.ctx
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	every := lookEvery
	if l.cfg.MaxAge > 0 {
		every = min(every, l.cfg.MaxAge/4)
	}
	var looked, expired time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.saveMark(false)
		if time.Since(looked) < every {
			continue
		}
		looked = time.Now()
		info, err := l.streamInfo(ctx)
		if err != nil {
			continue
		}
		l.m.logBytes.Set(float64(info.State.Bytes))
		l.m.firstCommit.Set(float64(info.State.FirstSeq))
		l.m.lastCommit.Set(float64(info.State.LastSeq))
		if l.cfg.MaxAge > 0 && time.Since(expired) >= min(l.cfg.MaxAge/4, time.Minute) {
			expired = time.Now()
			if err := l.expire(ctx, expired.Add(-l.cfg.MaxAge).UnixNano(), info.State.FirstSeq); err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("old records not removed", slog.String("log", l.cfg.Name), slog.Any("error", err))
			}
		}
	}
}

// expire removes the commits that were closed before cut, but never the
// newest one, which holds the counters.
func (l *Log) expire(ctx context.Context, cut int64, first uint64) error {
	last, _ := l.tail.state(0)
	if first == 0 || first >= last {
		return nil
	}
	keep, err := l.search(ctx, first, last, func(c *commitView) bool { return c.time >= cut })
	if err != nil || keep <= first {
		return err
	}
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return err
	}
	return s.Purge(ctx, purgeBefore(min(keep, last)))
}
