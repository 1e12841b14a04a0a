package quota

import (
	"context"
	"sync"
	"time"

	"dunlin/internal/iot"
)

// census bounds how many devices are registered. It remembers a number and
// counts again when that is old, or before it refuses somebody.
type census struct {
	most int

	mu      sync.Mutex
	known   int
	counted time.Time
}

// recount is when a number is old: other nodes register devices too.
const recount = time.Minute

// Admit answers whether n more devices may be registered; count counts those
// that are. What is admitted counts as registered until the next count. Errors
// carry QuotaExceeded, or are those of count.
func (l *Limiter) Admit(ctx context.Context, n int, count func(ctx context.Context) (int, error)) error {
	if l == nil || l.census == nil || n == 0 {
		return nil
	}
	c := l.census
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known+n > c.most || c.counted.IsZero() || time.Since(c.counted) > recount {
		var err error
		if c.known, err = count(ctx); err != nil {
			return err
		}
		c.counted = time.Now()
	}
	if c.known+n > c.most {
		l.metrics.tooMany.Inc()
		return iot.Errorf(iot.QuotaExceeded, "the hub has %d devices, at most %d are allowed: delete some, or change the setting %s", c.known, c.most, l.censusSetting())
	}
	c.known += n
	return nil
}

func (l *Limiter) censusSetting() string {
	if l.config.Devices > 0 {
		return "hub.devices"
	}
	return "hub.tier (now " + string(l.config.Tier) + ")"
}
