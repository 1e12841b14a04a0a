package job_test

import (
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
)

// TestTwoNodes lets two nodes work on one database. One runs the jobs, both
// take orders, and the other goes on when the first ends in the middle.
func TestTwoNodes(t *testing.T) {
	db := statetest.Postgres(t)
	f := newFleet(600)
	a := open(t, db, f, nil).run()
	a.schedule(update("first", "*"))
	a.ended("first", job.Completed) // a runs the jobs
	b := open(t, db, f, nil).run()
	b.schedule(update("second", "*"))
	b.ended("second", job.Completed)
	if n := f.changed(); n[2] != 600 {
		t.Errorf("devices by the number of changes after two jobs: %v", n)
	}

	b.schedule(method("waits", "*")) // nobody is connected
	b.await("waits", func(j job.Job) bool { return j.Status == job.Running && j.Total == 600 })
	if _, err := b.Cancel(t.Context(), "waits"); err != nil {
		t.Fatal(err)
	}
	if j := b.ended("waits", job.Cancelled); j.Canceled != 600 {
		t.Errorf("cancelled on the other node: %+v", j)
	}

	for _, id := range f.ids[:300] {
		f.connect(id, true)
	}
	b.schedule(method("moves", "*"))
	b.await("moves", func(j job.Job) bool { return j.Succeeded == 300 })
	a.stop()
	for _, id := range f.ids[300:] {
		f.connect(id, true)
	}
	if j := b.ended("moves", job.Completed); j.Succeeded != 600 {
		t.Errorf("begun by one node, ended by the other: %+v", j)
	}
	if n := f.times(f.calls); n[1] != 600 {
		t.Errorf("devices by the number of calls: %v", n)
	}
}

// TestReplacedNode stops a node, as a machine that sleeps does, until another
// has taken over its jobs: what it wants to write afterwards is refused, and
// every device has one outcome that is counted once.
func TestReplacedNode(t *testing.T) {
	db := statetest.Postgres(t)
	f := newFleet(1000)
	asleep, wake := make(chan struct{}, 1000), make(chan struct{})
	sleeping := true
	f.change = func(job.Target) error {
		f.mu.Lock()
		s := sleeping
		f.mu.Unlock()
		if s {
			asleep <- struct{}{}
			<-wake
		}
		return nil
	}
	a := open(t, db, f, nil).run()
	a.schedule(update("moves", "*"))
	<-asleep
	replace(t, db)
	f.mu.Lock()
	sleeping = false
	f.mu.Unlock()
	b := open(t, db, f, nil).run()
	b.ended("moves", job.Completed)
	close(wake)
	a.stop()
	if j := b.ended("moves", job.Completed); j.Total != 1000 || j.Succeeded != 1000 {
		t.Errorf("%+v", j)
	}
	stored := map[iot.ID]bool{}
	for _, d := range b.query("SELECT * FROM devices.jobs WHERE status = 'completed' AND jobId = 'moves'", 1000) {
		stored[iot.ID{Device: d.Device}] = true
	}
	if len(stored) != 1000 {
		t.Errorf("%d devices have an outcome", len(stored))
	}
	for id, told := range b.events() {
		if len(told) != 2 {
			t.Errorf("%s: events %v", id, told)
		}
	}
}

// replace gives the lease of the node that leads away, as if another had held
// it since and died: the next one need not wait for its end.
func replace(tb testing.TB, db state.DB) {
	tb.Helper()
	if db.Dialect() != state.PostgreSQL {
		return
	}
	err := db.Write(tb.Context(), func(tx state.Tx) error {
		_, err := tx.Exec(tb.Context(), "UPDATE leader_seat SET holder = 'another', until = '-infinity' WHERE name = 'job'")
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}
