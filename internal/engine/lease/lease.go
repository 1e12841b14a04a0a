// Package lease knows which rows of a durable queue are out with a receiver,
// and for how long: what queues have in common whose messages are received
// under a lock and then completed, abandoned or left to come again. It holds no
// messages; a queue reads and writes its own rows. Locks live in memory: after
// a restart everything that was not settled is there again.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"dunlin/internal/iot"
)

// ErrLost says that a token is not known, or that its time is over.
var ErrLost = errors.New("lease: the lock is lost")

// Desk is where the rows of one queue are handed out. All methods may be
// called by any goroutine.
type Desk struct {
	turn chan struct{} // holds a token while nobody reads

	mu   sync.Mutex
	out  map[iot.LockToken]*held
	rows map[int64]bool // that are out
}

type held struct {
	rows     []int64
	until    time.Time
	settling bool
}

// NewDesk makes a desk at which nothing is out.
func NewDesk() *Desk {
	d := &Desk{turn: make(chan struct{}, 1), out: map[iot.LockToken]*held{}, rows: map[int64]bool{}}
	d.turn <- struct{}{}
	return d
}

// Take hands out up to most rows under one lock. read gives the numbers of the
// first n rows of the queue; Take answers which of them, by index, are taken,
// and none when all are out. They are hidden for the time of the lock.
func (d *Desk) Take(ctx context.Context, lock time.Duration, most int, read func(n int) ([]int64, error)) (token iot.LockToken, taken []int, err error) {
	select {
	case <-d.turn:
	case <-ctx.Done():
		return token, nil, ctx.Err()
	}
	defer func() { d.turn <- struct{}{} }()
	list, err := read(most + d.outside(time.Now()))
	if err != nil {
		return token, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := &held{until: time.Now().Add(lock)}
	for i, row := range list {
		if !d.rows[row] && len(taken) < most {
			d.rows[row] = true
			taken = append(taken, i)
			k.rows = append(k.rows, row)
		}
	}
	if taken == nil {
		return token, nil, nil
	}
	rand.Read(token[:])
	d.out[token] = k
	return token, taken, nil
}

// outside counts the rows that are out, and lets go of those whose lock has
// ended.
func (d *Desk) outside(now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	for token, k := range d.out {
		if !k.settling && !now.Before(k.until) {
			d.drop(token, k)
		}
	}
	return len(d.rows)
}

func (d *Desk) drop(token iot.LockToken, k *held) {
	delete(d.out, token)
	for _, row := range k.rows {
		delete(d.rows, row)
	}
}

// Settle calls write with the rows under a lock and then ends it. When write
// fails the lock stays, if it still has time. ErrLost without a lock.
func (d *Desk) Settle(token iot.LockToken, write func(rows []int64) error) error {
	d.mu.Lock()
	k := d.out[token]
	if k == nil || k.settling || !time.Now().Before(k.until) {
		d.mu.Unlock()
		return ErrLost
	}
	k.settling = true
	d.mu.Unlock()
	err := write(k.rows)
	d.mu.Lock()
	defer d.mu.Unlock()
	if k.settling = false; err == nil || !time.Now().Before(k.until) {
		d.drop(token, k)
	}
	return err
}
