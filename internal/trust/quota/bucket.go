package quota

import (
	"sync/atomic"
	"time"
)

// bucket lets an amount through in a period, at once or spread over it. It is
// one number: when what was let through will have been paid for (the generic
// cell rate algorithm), so that taking is one compare-and-swap.
type bucket struct {
	amount int64
	period int64 // nanoseconds
	paid   atomic.Int64
}

func newBucket(amount int64, period time.Duration) bucket {
	return bucket{amount: amount, period: int64(period)}
}

// take takes n at the time now and answers how long to wait before using them,
// all in nanoseconds. Whoever comes when others wait longer than backlog gets
// nothing: then wait is when to come again.
func (b *bucket) take(now, n, backlog int64) (wait int64, ok bool) {
	for {
		paid := b.paid.Load()
		from := max(paid, now-b.period)
		if late := from - now - backlog; late > 0 {
			return late, false
		}
		to := from + b.cost(n)
		if b.paid.CompareAndSwap(paid, to) {
			return max(0, to-now), true
		}
	}
}

// cost is the time that n are worth; large numbers must not overflow.
func (b *bucket) cost(n int64) int64 {
	const most = 1 << 27 // times a minute fits
	n = min(n, most)
	return n * b.period / b.amount
}
