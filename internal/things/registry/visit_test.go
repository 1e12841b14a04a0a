package registry_test

import (
	"fmt"
	"testing"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// TestSaveVisits: a visit moves the last activity forward, and nothing else.
func TestSaveVisits(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx := t.Context()
		start := time.Now().Truncate(time.Microsecond)
		at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
		d := create(t, r, "d")
		m, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: "d", Module: "m"}}, registry.Match{}, at(0))
		if err != nil {
			t.Fatal(err)
		}
		save := func(list ...registry.Visit) {
			t.Helper()
			if err := r.SaveVisits(ctx, list); err != nil {
				t.Fatal(err)
			}
		}
		want := func(what string, connected bool, since, last time.Time) {
			t.Helper()
			d, err := r.Device(ctx, "d")
			if err != nil {
				t.Fatal(err)
			}
			m, err := r.Module(ctx, m.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range []registry.Activity{d.Activity, m.Activity} {
				if a.Connected != connected || !a.Since.Equal(since) || !a.Last.Equal(last) {
					t.Errorf("%s: %+v, want %v %v %v", what, a, connected, since, last)
				}
			}
		}
		both := func(seconds int) (list []registry.Visit) {
			return []registry.Visit{{ID: iot.ID{Device: "d"}, Generation: d.Generation, Last: at(seconds)}, {ID: m.ID, Generation: m.Generation, Last: at(seconds)}}
		}
		save(both(1)...)
		want("the first", false, time.Time{}, at(1))
		for _, id := range []registry.Visit{{ID: iot.ID{Device: "d"}, Generation: d.Generation}, {ID: m.ID, Generation: m.Generation}} {
			if err := r.SaveActivity(ctx, []registry.Seen{{ID: id.ID, Generation: id.Generation, Activity: registry.Activity{Connected: true, Since: at(2), Last: at(5)}}}); err != nil {
				t.Fatal(err)
			}
		}
		save(both(3)...)
		want("an old one", true, at(2), at(5))
		save(both(6)...)
		want("a new one", true, at(2), at(6))
		// Those of identities that are not there, or not these any more.
		save(registry.Visit{ID: iot.ID{Device: "nobody"}, Generation: 1, Last: at(7)}, registry.Visit{ID: iot.ID{Device: "d"}, Generation: d.Generation + 1, Last: at(7)},
			registry.Visit{ID: m.ID, Generation: m.Generation + 1, Last: at(7)}, registry.Visit{ID: iot.ID{Device: "d", Module: "no"}, Generation: 1, Last: at(7)})
		want("of strangers", true, at(2), at(6))
		if _, err := r.DeleteDevice(ctx, "d", registry.Match{}); err != nil {
			t.Fatal(err)
		}
		save(both(8)...)
		again := create(t, r, "d")
		if again.Connected || !again.Last.IsZero() {
			t.Errorf("made anew: %+v", again.Activity)
		}
		save(registry.Visit{ID: iot.ID{Device: "d"}, Generation: again.Generation, Last: at(9)})
		if have, err := r.Device(ctx, "d"); err != nil || have.Connected || !have.Since.IsZero() || !have.Last.Equal(at(9)) {
			t.Errorf("%+v, %v", have.Activity, err)
		}
		// Many at once.
		var many []registry.Visit
		for i := range 150 {
			id := fmt.Sprintf("many%d", i)
			many = append(many, registry.Visit{ID: iot.ID{Device: id}, Generation: create(t, r, id).Generation, Last: at(i)})
		}
		save(many...)
		for i, v := range many {
			if have, err := r.Device(ctx, v.ID.Device); err != nil || !have.Last.Equal(at(i)) {
				t.Errorf("%s: %+v, %v", v.ID, have.Activity, err)
			}
		}
	})
}
