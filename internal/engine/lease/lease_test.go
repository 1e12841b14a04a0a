package lease

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/internal/iot"
)

// queue is a queue in memory.
type queue struct {
	desk *Desk
	rows []int64
}

func (q *queue) take(t *testing.T, most int) (iot.LockToken, []int64) {
	t.Helper()
	var list []int64
	token, taken, err := q.desk.Take(t.Context(), time.Minute, most, func(n int) ([]int64, error) {
		list = slices.Clone(q.rows[:min(n, len(q.rows))])
		return list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var rows []int64
	for _, i := range taken {
		rows = append(rows, list[i])
	}
	return token, rows
}

func (q *queue) complete(token iot.LockToken) error {
	return q.desk.Settle(token, func(rows []int64) error {
		q.rows = slices.DeleteFunc(q.rows, func(n int64) bool { return slices.Contains(rows, n) })
		return nil
	})
}

func TestDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{desk: NewDesk(), rows: []int64{1, 2, 3, 4, 5}}
		want := func(got []int64, want ...int64) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("got %d, want %d", got, want)
			}
		}
		one, rows := q.take(t, 2)
		want(rows, 1, 2)
		two, rows := q.take(t, 2)
		want(rows, 3, 4)
		_, rows = q.take(t, 2)
		want(rows, 5)
		if _, rows = q.take(t, 2); rows != nil {
			t.Errorf("got %d, and all are out", rows)
		}
		if err := q.complete(one); err != nil {
			t.Fatal(err)
		}
		if err := q.complete(one); !errors.Is(err, ErrLost) {
			t.Errorf("settled twice: %v", err)
		}
		if err := q.complete(iot.LockToken{}); !errors.Is(err, ErrLost) {
			t.Errorf("an unknown token: %v", err)
		}
		broken := errors.New("the store is gone")
		if err := q.desk.Settle(two, func([]int64) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("a write that fails: %v", err)
		}
		// Given back: nothing was written, and they come again.
		if err := q.desk.Settle(two, func([]int64) error { return nil }); err != nil {
			t.Errorf("the lock did not stay: %v", err)
		}
		two, rows = q.take(t, 2)
		want(rows, 3, 4)
		time.Sleep(time.Minute)
		if err := q.complete(two); !errors.Is(err, ErrLost) {
			t.Errorf("settled too late: %v", err)
		}
		two, rows = q.take(t, 9)
		want(rows, 3, 4, 5)
		if err := q.desk.Settle(two, func([]int64) error {
			if err := q.complete(two); !errors.Is(err, ErrLost) {
				t.Errorf("settled while it is being settled: %v", err)
			}
			time.Sleep(2 * time.Minute)
			if _, rows := q.take(t, 9); rows != nil {
				t.Errorf("got %d while they are being settled", rows)
			}
			return broken
		}); !errors.Is(err, broken) {
			t.Error(err)
		}
		_, rows = q.take(t, 9)
		want(rows, 3, 4, 5)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		<-q.desk.turn
		if _, _, err := q.desk.Take(ctx, time.Minute, 1, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a receiver that has gone: %v", err)
		}
	})
}
