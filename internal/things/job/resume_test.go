package job_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
)

// crashing is a store whose process is killed after a number of writes: from
// then on nothing is written any more.
type crashing struct {
	state.DB
	mu   sync.Mutex
	left int
	gone chan struct{}
}

func (c *crashing) Write(ctx context.Context, fn func(tx state.Tx) error) error {
	c.mu.Lock()
	if c.left == 0 {
		c.mu.Unlock()
		<-c.gone
		return state.ErrClosed
	}
	c.left--
	if c.left == 0 {
		defer close(c.gone)
	}
	c.mu.Unlock()
	return c.DB.Write(ctx, fn)
}

// TestKilled kills a job after each of its first writes, and lets another run
// bring it to its end: every device has one outcome, and was changed or called
// at least once; twice only when its outcome was not stored.
func TestKilled(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		for kind, spec := range map[string]func(id, condition string) job.Spec{"twins": update, "methods": method} {
			for _, writes := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9} {
				f := newFleet(1100)
				for _, id := range f.ids {
					f.connect(id, true)
				}
				id := kind + string(rune('a'+writes))
				c := &crashing{DB: db, left: writes + 1, gone: make(chan struct{})}
				s := open(t, db, f, func(d *job.Deps) { d.DB = c })
				s.schedule(spec(id, "*"))
				ctx, kill := context.WithCancel(context.Background())
				var dead sync.WaitGroup
				dead.Go(func() {
					if err := s.Run(ctx); err != nil {
						t.Error(err)
					}
				})
				select {
				case <-c.gone:
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: fewer than %d writes", kind, writes)
				}
				kill()
				dead.Wait()
				replace(t, db)
				before, err := s.Job(t.Context(), id)
				if err != nil || before.Status.Ended() {
					t.Fatalf("killed after %d writes: %+v %v", writes, before, err)
				}
				stored := map[iot.ID]bool{}
				for _, d := range s.query("SELECT * FROM devices.jobs WHERE status = 'completed' AND jobId = '"+id+"'", 1000) {
					stored[iot.ID{Device: d.Device}] = true
				}

				s = open(t, db, f, nil).run()
				j := s.ended(id, job.Completed)
				s.stop()
				if j.Total != 1100 || j.Succeeded != 1100 || len(stored) != int(before.Succeeded) {
					t.Errorf("%s killed after %d writes, with %d of %d outcomes: %+v", kind, writes, len(stored), before.Succeeded, j)
				}
				times := f.changed()
				if kind == "methods" {
					times = f.times(f.calls)
				}
				if times[0] > 0 || times[1]+times[2] != 1100 || times[2] > 1100-len(stored) {
					t.Errorf("%s killed after %d writes: devices by times: %v, %d were stored", kind, writes, times, len(stored))
				}
				for id := range stored {
					if n := len(f.changes[id]) + f.calls[id]; n != 1 {
						t.Errorf("%s has an outcome, and was done %d times", id, n)
					}
				}
			}
		}
	})
}

// TestKilledWhileEnding: a job that was cancelled, and has devices left when
// the process dies, is brought to its end by the next one.
func TestKilledWhileEnding(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(1200)
		c := &crashing{DB: db, left: 1 << 30, gone: make(chan struct{})}
		s := open(t, db, f, func(d *job.Deps) { d.DB = c })
		s.schedule(method("m", "*"))
		ctx, kill := context.WithCancel(context.Background())
		var dead sync.WaitGroup
		dead.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		s.await("m", func(j job.Job) bool { return j.Total == 1200 })
		c.mu.Lock()
		c.left = 2 // the cancellation, and a page of records
		c.mu.Unlock()
		if _, err := s.Cancel(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		<-c.gone
		kill()
		dead.Wait()
		replace(t, db)
		if j, err := s.Job(t.Context(), "m"); err != nil || j.Status != job.Cancelled || j.Canceled != 500 {
			t.Fatalf("%+v %v", j, err)
		}
		s = open(t, db, f, nil).run()
		if j := s.ended("m", job.Cancelled); j.Canceled != 1200 {
			t.Errorf("%+v", j)
		}
		if got := f.times(f.calls); !maps.Equal(got, map[int]int{0: 1200}) {
			t.Errorf("devices by calls: %v", got)
		}
	})
}

// TestResumeOffline: a job that waits for devices goes on doing so after a
// restart, and notices what was deleted meanwhile.
func TestResumeOffline(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(5)
		s := open(t, db, f, nil).run()
		s.schedule(method("m", "*"))
		s.await("m", func(j job.Job) bool { return j.Total == 5 })
		s.stop()
		f.remove(f.ids[1])
		f.connect(f.ids[2], true)
		s = open(t, db, f, nil).run()
		s.await("m", func(j job.Job) bool { return j.Succeeded == 1 && j.FailedCount == 1 })
		for _, n := range []int{0, 3, 4} {
			f.connect(f.ids[n], true)
			s.Wake(f.ids[n])
		}
		if j := s.ended("m", job.Completed); j.Succeeded != 4 || j.FailedCount != 1 {
			t.Errorf("%+v", j)
		}
	})
}
