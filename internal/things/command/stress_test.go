package command

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

// TestQueueStress sends to devices that connect anew all the time, take over
// themselves, poll over HTTPS too, and abandon or release some of what they
// get. Each message must be completed, and reported so once only.
func TestQueueStress(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		limits := StrictLimits()
		limits.Depth, limits.MaxDelivery = 1<<30, 1<<30
		r, f := newRoom(t, db, limits)
		const devices, messages = 4, 150
		var (
			mu        sync.Mutex
			completed = map[string]int{}
			all       sync.WaitGroup
			work      sync.WaitGroup
		)
		all.Add(devices * messages)
		stop := make(chan struct{})
		for d := range devices {
			id := iot.ID{Device: fmt.Sprint("d", d)}
			handle := func(in *iot.Inbound) {
				body := string(in.Message.Body)
				mu.Lock()
				if completed[body] > 0 {
					t.Errorf("%s was sent again after it was completed", body)
				}
				mu.Unlock()
				outcome := iot.Complete
				switch n := rand.IntN(20); {
				case n < 2:
					outcome = iot.Abandon
				case n < 3:
					outcome = iot.Release
				case n < 4:
					return // until the connection ends
				}
				r.Settle(id, in.Token, outcome, func(err error) {
					if outcome != iot.Complete || err != nil {
						if err != nil && iot.CodeOf(err) != iot.MessageLockLost {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if completed[body]++; completed[body] == 1 {
						all.Done()
					}
				})
			}
			f.set(id, handle)
			work.Go(func() { // connections
				for conn := uint64(1); ; conn++ {
					r.Pump(id, conn, generation)
					select {
					case <-stop:
						r.Release(id, conn)
						return
					case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
					}
					if rand.IntN(2) == 0 { // else the next one takes over
						r.Release(id, conn)
					}
				}
			})
			work.Go(func() { // HTTPS
				for {
					in, err := r.Receive(t.Context(), id, generation, 10*time.Millisecond)
					if err != nil {
						t.Error(err)
						return
					}
					if in != nil {
						handle(in)
					}
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(rand.IntN(5)) * time.Millisecond):
					}
				}
			})
			work.Go(func() {
				for i := range messages {
					if err := r.Enqueue(t.Context(), id, generation, text(fmt.Sprint(d, "-", i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		close(stop)
		work.Wait()
		for body, n := range completed {
			if n != 1 {
				t.Errorf("%s was completed %d times", body, n)
			}
		}
		for d := range devices {
			depthIs(t, r, iot.ID{Device: fmt.Sprint("d", d)}, 0)
		}
	})
}
