package eventlog

import (
	"context"
	"time"
)

// Settle waits until everything that was appended before is settled.
func Settle(ctx context.Context, l Log) error {
	w := &settled{done: make(chan error, 1)}
	l.Producer(0, w).Append(time.Now().UnixNano(), nil)
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type settled struct{ done chan error }

// Durable implements Waiter.
func (w *settled) Durable(_ int, err error) { w.done <- err }

// Ready implements Waiter.
func (*settled) Ready() {}
