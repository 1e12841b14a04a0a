package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
)

func TestUpdateTwin(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(1234)
		for i := range 3 {
			f.add(iot.ID{Device: fmt.Sprintf("m%d", i), Module: "camera"})
		}
		s := open(t, db, f, nil).run()
		if j := s.schedule(update("all", "*")); j.Status != job.Queued || j.Created.IsZero() || !j.Start.Equal(j.Created) {
			t.Errorf("at first %+v", j)
		}
		j := s.ended("all", job.Completed)
		if j.Total != 1234 || j.Succeeded != 1234 || j.Begun.IsZero() || j.Ended.Before(j.Begun) {
			t.Errorf("%+v", j)
		}
		if got := f.changed(); !maps.Equal(got, map[int]int{1: 1234, 0: 3}) {
			t.Errorf("devices by times that they were changed: %v", got)
		}
		if got := f.changes[f.ids[7]]; !slices.Equal(got, []string{`{"tags":{"a":1}}`}) {
			t.Errorf("the change is %s", got)
		}

		s.schedule(update("modules", "FROM devices.modules WHERE moduleId = 'camera'"))
		if j := s.ended("modules", job.Completed); j.Total != 3 || j.Succeeded != 3 {
			t.Errorf("%+v", j)
		}
		s.schedule(update("two", "deviceId IN ['d000001', 'd001000', 'none']"))
		if j := s.ended("two", job.Completed); j.Total != 2 {
			t.Errorf("%+v", j)
		}
		s.schedule(update("nobody", "deviceId = 'none'"))
		if j := s.ended("nobody", job.Completed); j.Total != 0 {
			t.Errorf("%+v", j)
		}
		events := s.events()
		if got := events["d000001"]; !slices.Equal(got, []string{"scheduled/pending", "completed/completed", "scheduled/pending", "completed/completed"}) {
			t.Errorf("events %v", got)
		}
		if got := events["m1/camera"]; !slices.Equal(got, []string{"scheduled/pending", "completed/completed"}) {
			t.Errorf("events %v", got)
		}
	})
}

func TestRefusedSpecs(t *testing.T) {
	s := open(t, statetest.SQLite(t), newFleet(1), nil)
	change := func(f func(*job.Spec)) job.Spec {
		spec := update("id", "*")
		f(&spec)
		return spec
	}
	call := func(content string) job.Spec {
		spec := method("id", "*")
		spec.Method = json.RawMessage(content)
		return spec
	}
	for _, c := range []struct {
		spec job.Spec
		code iot.Code
		text string
	}{
		{update("", "*"), iot.ArgumentInvalid, "1 to 64 of"},
		{update(strings.Repeat("a", 65), "*"), iot.ArgumentInvalid, "1 to 64 of"},
		{update("a/b", "*"), iot.ArgumentInvalid, "1 to 64 of"},
		{update("ü", "*"), iot.ArgumentInvalid, "1 to 64 of"},
		{update("Query", "*"), iot.ArgumentInvalid, "jobs are listed"},
		{update("id", ""), iot.ArgumentNull, "queryCondition"},
		{change(func(s *job.Spec) { s.Condition = nil }), iot.ArgumentNull, "queryCondition"},
		{update("id", "tags.a ="), iot.ArgumentInvalid, "at character 9"},
		{update("id", "FROM devices.modules WHERE tags.a = 'x"), iot.ArgumentInvalid, "at character 37"},
		{update("id", "FROM devices.jobs"), iot.ArgumentInvalid, "devices.jobs"},
		{change(func(s *job.Spec) { s.Type = "" }), iot.ArgumentNull, "no type"},
		{change(func(s *job.Spec) { s.Type = "export" }), iot.ArgumentInvalid, "scheduleUpdateTwin or"},
		{change(func(s *job.Spec) { s.Type = "x" }), iot.ArgumentInvalid, "'x'"},
		{change(func(s *job.Spec) { s.UpdateTwin = nil }), iot.ArgumentNull, "updateTwin"},
		{change(func(s *job.Spec) { s.UpdateTwin = json.RawMessage("null") }), iot.ArgumentNull, "updateTwin"},
		{change(func(s *job.Spec) { s.UpdateTwin = json.RawMessage("[]") }), iot.ArgumentInvalid, "JSON object"},
		{change(func(s *job.Spec) { s.UpdateTwin = json.RawMessage(`{"etag":"*"}`) }), iot.ArgumentNull, "neither tags nor"},
		{change(func(s *job.Spec) { s.UpdateTwin = json.RawMessage(`{"tags":{"bad":1}}`) }), iot.ArgumentInvalid, "bad change"},
		{change(func(s *job.Spec) { s.UpdateTwin = json.RawMessage(`{"properties":3}`) }), iot.ArgumentInvalid, "updateTwin"},
		{change(func(s *job.Spec) { s.Type = "scheduleDeviceMethod" }), iot.ArgumentNull, "cloudToDeviceMethod"},
		{call(`{}`), iot.ArgumentNull, "methodName"},
		{call(`{"methodName":"a b"}`), iot.ArgumentInvalid, "bad method"},
		{call(`{"methodName":"a","responseTimeoutInSeconds":0}`), iot.ArgumentInvalid, "responseTimeoutInSeconds"},
		{call(`{"methodName":"a","responseTimeoutInSeconds":"x"}`), iot.ArgumentInvalid, "cloudToDeviceMethod"},
		{change(func(s *job.Spec) { s.Start = new("tomorrow") }), iot.ArgumentInvalid, "startTime 'tomorrow'"},
		{change(func(s *job.Spec) { s.Start = new("2026-02-30T00:00:00Z") }), iot.ArgumentInvalid, "startTime"},
		{change(func(s *job.Spec) { s.Start = new("9999-01-01T00:00:00Z") }), iot.ArgumentInvalid, "too far"},
		{change(func(s *job.Spec) { s.MaxSeconds = new(int64(0)) }), iot.ArgumentInvalid, "from 1 to 2592000"},
		{change(func(s *job.Spec) { s.MaxSeconds = new(int64(1 << 62)) }), iot.ArgumentInvalid, "from 1 to 2592000"},
	} {
		_, err := s.Schedule(t.Context(), c.spec)
		if iot.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%+v: %v, want %s with %q", c.spec, err, c.code.Name(), c.text)
		}
	}
	if _, err := s.Job(t.Context(), "id"); iot.CodeOf(err) != iot.JobNotFound {
		t.Errorf("a refused job is there: %v", err)
	}
	s.schedule(update("id", "*"))
	if _, err := s.Schedule(t.Context(), update("id", "*")); iot.CodeOf(err) != iot.JobAlreadyExists {
		t.Errorf("the same id again: %v", err)
	}
	for _, id := range []string{"none", "", "a/b", "\xff"} {
		if _, err := s.Cancel(t.Context(), id); iot.CodeOf(err) != iot.JobNotFound {
			t.Errorf("cancel %q: %v", id, err)
		}
	}
}

func TestStarts(t *testing.T) {
	s := open(t, statetest.SQLite(t), newFleet(3), nil).run()
	spec := update("later", "*")
	start := time.Now().Add(300 * time.Millisecond).UTC()
	spec.Start = new(start.Format(time.RFC3339Nano))
	if j := s.schedule(spec); j.Status != job.Queued {
		t.Errorf("just stored: %s", j.Status)
	}
	s.await("later", func(j job.Job) bool { return j.Status == job.Scheduled })
	if j := s.ended("later", job.Completed); j.Begun.Before(start) || j.Total != 3 {
		t.Errorf("due at %s: %+v", start, j)
	}
	for i, form := range []string{"", "0001-01-01T00:00:00", "2020-01-01T00:00:00", "2020-01-01T00:00:00.0000000+01:00", "2020-01-01"} {
		spec := update(fmt.Sprint("form", i), "deviceId = 'd000000'")
		spec.Start = new(form)
		s.schedule(spec)
		s.ended(spec.ID, job.Completed)
	}
}

func TestOutcomesOfTwins(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(600)
		var busy atomic.Int32
		f.change = func(t job.Target) error {
			switch n := t.Generation; {
			case n%100 == 1:
				return iot.Errorf(iot.PreconditionFailed, "another etag")
			case n == 50:
				return fmt.Errorf("a broken disk")
			case n%7 == 0 && busy.Add(1) < 30: // tried again, and again
				return iot.Errorf(iot.ServerBusy, "later")
			}
			return nil
		}
		s := open(t, db, f, nil).run()
		s.schedule(update("u", "*"))
		j := s.ended("u", job.Completed)
		if j.Succeeded != 593 || j.FailedCount != 7 {
			t.Errorf("%+v", j)
		}
		if got := f.changed(); !maps.Equal(got, map[int]int{1: 593, 0: 7}) {
			t.Errorf("devices by times: %v", got)
		}
		failed := s.query("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'u' AND status = 'failed'", 3)
		if len(failed) != 7 {
			t.Fatalf("%d failed", len(failed))
		}
		for _, d := range failed {
			want := "412001 another etag"
			if d.Device == "d000049" {
				want = "500001 The server could not do this, its log has the reason."
			}
			if got := d.Error.Code + " " + d.Error.Description; got != want || d.End == "" || d.Start == "" || d.Outcome != nil {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestMethods(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(700)
		for i, id := range f.ids {
			f.connect(id, i%2 == 0)
		}
		f.answer = func(t job.Target) (int, []byte, error) {
			switch t.Generation % 10 {
			case 1:
				return 404, nil, nil
			case 3:
				return 0, nil, iot.Errorf(iot.GatewayTimeout, "Timed out waiting for the response from device.")
			}
			return 200, []byte(`{"a":[1,"x"]}`), nil
		}
		s := open(t, db, f, nil).run()
		s.schedule(method("m", "*"))
		s.await("m", func(j job.Job) bool { return j.Succeeded+j.FailedCount == 350 })
		if j, err := s.Job(t.Context(), "m"); err != nil || j.Status != job.Running || j.Running != 0 || j.FailedCount != 70 {
			t.Errorf("%+v %v", j, err)
		}
		if got := f.times(f.calls); !maps.Equal(got, map[int]int{1: 350, 0: 350}) {
			t.Errorf("devices by calls: %v", got)
		}
		// The others come one after the other; one is deleted, one was made anew.
		gone, anew := f.ids[1], f.ids[3]
		f.remove(gone)
		s.Wake(gone)
		f.mu.Lock()
		f.exists[anew] = 9999
		f.mu.Unlock()
		for i, id := range f.ids {
			if i%2 == 1 && id != gone {
				f.connect(id, true)
				s.Wake(id)
				s.Wake(id)
			}
		}
		s.Wake(iot.ID{Device: "not of this job"})
		j := s.ended("m", job.Completed)
		if j.Total != 700 || j.FailedCount != 72 {
			t.Errorf("%+v", j)
		}
		if got := f.times(f.calls); !maps.Equal(got, map[int]int{1: 698, 0: 2}) {
			t.Errorf("devices by calls: %v", got)
		}
		for text, want := range map[string]int{
			"SELECT * FROM devices.jobs WHERE outcome.deviceMethodResponse.status = 200":                          558,
			"SELECT * FROM devices.jobs WHERE outcome.deviceMethodResponse.payload.a[1] = 'x'":                    558,
			"SELECT * FROM devices.jobs WHERE outcome.deviceMethodResponse.status = 404 AND jobId = 'm'":          70,
			"SELECT * FROM devices.jobs WHERE error.code = '504101' AND jobType = 'scheduleDeviceMethod'":         70,
			"SELECT * FROM devices.jobs WHERE error.code = '404001'":                                              2,
			"SELECT * FROM devices.jobs WHERE status = 'failed' AND deviceId IN ['d000001','d000003', 'd000004']": 2,
		} {
			if got := s.query(text, 100); len(got) != want {
				t.Errorf("%s: %d, want %d", text, len(got), want)
			}
		}
		d := s.query("SELECT * FROM devices.jobs WHERE deviceId = 'd000000'", 1)[0]
		if string(d.Outcome) != `{"deviceMethodResponse":{"status":404,"payload":null}}` || d.Status != "completed" || d.Type != "scheduleDeviceMethod" {
			t.Errorf("%+v %s", d, d.Outcome)
		}
		events := s.events()
		if got := events["d000000"]; !slices.Equal(got, []string{"scheduled/pending", "started/running", "completed/completed"}) {
			t.Errorf("events %v", got)
		}
		if got := events[gone.Device]; !slices.Equal(got, []string{"scheduled/pending", "started/running", "failed/failed"}) {
			t.Errorf("events %v", got)
		}
	})
}

// TestNotThereAfterAll: a device that is connected and takes no methods is
// called when it does; the moment it says so may be that of the attempt.
func TestNotThereAfterAll(t *testing.T) {
	f := newFleet(1)
	id := f.ids[0]
	f.connect(id, true)
	var s *site
	attempts := 0
	f.answer = func(job.Target) (int, []byte, error) {
		if attempts++; attempts < 3 {
			s.Wake(id)
			return 0, nil, iot.Errorf(iot.DeviceNotOnline, "has no methods")
		}
		return 200, nil, nil
	}
	s = open(t, statetest.SQLite(t), f, nil)
	s.run()
	s.schedule(method("m", "*"))
	if j := s.ended("m", job.Completed); j.Succeeded != 1 || attempts != 3 {
		t.Errorf("%d attempts, %+v", attempts, j)
	}
}

func TestExpiry(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(20)
		f.connect(f.ids[0], true)
		f.connect(f.ids[1], true)
		release := make(chan struct{})
		defer close(release)
		s := open(t, db, f, func(d *job.Deps) {
			d.Call = func(ctx context.Context, target job.Target, c job.Call) (int, []byte, error) {
				if target.ID == f.ids[1] {
					select {
					case <-release:
					case <-ctx.Done():
						return 0, nil, ctx.Err()
					}
				}
				return f.call(ctx, target, c)
			}
		}).run()
		spec := method("m", "*")
		spec.MaxSeconds = new(int64(1))
		s.schedule(spec)
		j := s.ended("m", job.Completed)
		if took := j.Ended.Sub(j.Begun); took < time.Second || took > 5*time.Second || j.Succeeded != 1 || j.FailedCount != 19 || !strings.Contains(j.Message, "after 1 seconds") {
			t.Errorf("%+v after %s", j, took)
		}
		for text, want := range map[string]int{"404103": 18, "400021": 1} {
			if got := s.query("SELECT * FROM devices.jobs WHERE status = 'failed' AND error.code = '"+text+"'", 50); len(got) != want {
				t.Errorf("%d with %s, want %d", len(got), text, want)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(3000)
		reached, goOn := make(chan struct{}, 1), make(chan struct{})
		f.change = func(t job.Target) error {
			if t.Generation == 1000 {
				reached <- struct{}{}
				<-goOn
			}
			return nil
		}
		s := open(t, db, f, nil).run()
		s.schedule(update("u", "*"))
		<-reached
		if j, err := s.Cancel(t.Context(), "u"); err != nil || j.Status != job.Cancelled || j.Ended.IsZero() {
			t.Errorf("%+v %v", j, err)
		}
		close(goOn)
		j := s.ended("u", job.Cancelled)
		if j.Succeeded < 700 || j.Succeeded > 1600 || j.Canceled != 3000-j.Succeeded {
			t.Errorf("%+v", j)
		}
		if got := f.changed(); got[1] != int(j.Succeeded) || got[0] != int(j.Canceled) {
			t.Errorf("devices by times: %v, %+v", got, j)
		}
		if got := s.query("SELECT * FROM devices.jobs WHERE status = 'canceled'", 999); len(got) != int(j.Canceled) {
			t.Errorf("%d records are canceled, %d devices", len(got), j.Canceled)
		}
		if _, err := s.Cancel(t.Context(), "u"); err != nil {
			t.Errorf("cancelled twice: %v", err)
		}

		// Those that wait: for their time, and for devices.
		spec := update("later", "*")
		spec.Start = new(time.Now().Add(time.Hour).Format(time.RFC3339))
		s.schedule(spec)
		s.schedule(method("offline", "*"))
		s.await("offline", func(j job.Job) bool { return j.Total == 3000 })
		for _, id := range []string{"later", "offline"} {
			if _, err := s.Cancel(t.Context(), id); err != nil {
				t.Error(err)
			}
			s.ended(id, job.Cancelled)
		}
		s.schedule(update("done", "deviceId = 'd000001'"))
		s.ended("done", job.Completed)
		if _, err := s.Cancel(t.Context(), "done"); iot.CodeOf(err) != iot.InvalidOperation {
			t.Errorf("cancel a completed job: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	s := open(t, statetest.SQLite(t), newFleet(2), func(d *job.Deps) { d.Limits = job.Limits{MaxRunning: 1, MaxOpen: 3} }).run()
	s.schedule(method("one", "*")) // nobody is connected
	s.await("one", func(j job.Job) bool { return j.Status == job.Running })
	if _, err := s.Schedule(t.Context(), update("two", "*")); iot.CodeOf(err) != iot.TooManyJobs || !strings.Contains(err.Error(), "1 jobs are running") {
		t.Errorf("two at a time: %v", err)
	}
	soon := update("three", "*")
	soon.Start = new(time.Now().Add(50 * time.Millisecond).UTC().Format(time.RFC3339Nano))
	s.schedule(soon)
	soon.ID = "four"
	s.schedule(soon)
	soon.ID = "five"
	if _, err := s.Schedule(t.Context(), soon); iot.CodeOf(err) != iot.TooManyJobs || !strings.Contains(err.Error(), "3 jobs have not ended") {
		t.Errorf("four open: %v", err)
	}
	time.Sleep(100 * time.Millisecond)
	if j, err := s.Job(t.Context(), "three"); err != nil || j.Status != job.Scheduled {
		t.Errorf("due, and another one is running: %+v %v", j, err)
	}
	if _, err := s.Cancel(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	s.ended("three", job.Completed)
	s.ended("four", job.Completed)
}

func TestLists(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := open(t, db, newFleet(1), nil).run()
		for i := range 25 {
			spec := update(fmt.Sprintf("u%02d", i), "*")
			if i%5 == 0 {
				spec = method(fmt.Sprintf("m%02d", i), "*")
			}
			s.schedule(spec)
			if i%5 != 0 {
				s.ended(spec.ID, job.Completed)
			}
		}
		list := func(f job.Filter, size int) (ids []string) {
			token := ""
			for {
				jobs, next, err := s.List(t.Context(), f, token, size)
				if err != nil || len(jobs) > size {
					t.Fatal(err, len(jobs))
				}
				for _, j := range jobs {
					ids = append(ids, j.ID)
				}
				if token = next; token == "" {
					return ids
				}
			}
		}
		methods, running := job.DeviceMethod, job.Running
		if got := list(job.Filter{}, 4); len(got) != 25 || got[0] != "u24" || got[24] != "m00" {
			t.Errorf("all: %v", got)
		}
		want := []string{"m20", "m15", "m10", "m05", "m00"}
		if got := list(job.Filter{Kind: &methods}, 2); !slices.Equal(got, want) {
			t.Errorf("methods: %v", got)
		}
		s.await("m20", func(j job.Job) bool { return j.Status == job.Running })
		if got := list(job.Filter{Status: &running}, 5); !slices.Equal(got, want) {
			t.Errorf("running: %v", got)
		}
		for _, token := range []string{"x", "AQ", "AgE", strings.Repeat("A", 100)} {
			if _, _, err := s.List(t.Context(), job.Filter{}, token, 10); iot.CodeOf(err) != iot.ArgumentInvalid {
				t.Errorf("token %q: %v", token, err)
			}
		}
	})
}

func TestQueries(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(30)
		f.add(iot.ID{Device: "m", Module: "camera"})
		s := open(t, db, f, nil).run()
		for _, spec := range []job.Spec{update("u", "*"), update("mod", "FROM devices.modules"), method("call", "deviceId = 'd000002'")} {
			s.schedule(spec)
			s.await(spec.ID, func(j job.Job) bool { return j.Status == job.Running || j.Status.Ended() })
		}
		s.ended("u", job.Completed)
		s.ended("mod", job.Completed)
		s.await("call", func(j job.Job) bool { return j.Total == 1 })
		for text, want := range map[string]int{
			"SELECT * FROM devices.jobs":                                                     32,
			"SELECT TOP 7 * FROM devices.jobs":                                               7,
			"SELECT * FROM devices.jobs WHERE jobId = 'u'":                                   30,
			"SELECT * FROM devices.jobs WHERE jobId IN ['u', 'call', 3]":                     31,
			"SELECT * FROM devices.jobs WHERE jobId = 'none'":                                0,
			"SELECT * FROM devices.jobs WHERE jobId = 3":                                     0,
			"SELECT * FROM devices.jobs WHERE deviceId = 'd000002'":                          2,
			"SELECT * FROM devices.jobs WHERE 'd000002' = deviceId AND status = 'pending'":   1,
			"SELECT * FROM devices.jobs WHERE status = 'strange'":                            0,
			"SELECT * FROM devices.jobs WHERE status != 'completed'":                         1,
			"SELECT * FROM devices.jobs WHERE NOT status = 'completed' OR jobId = 'mod'":     2,
			"SELECT * FROM devices.jobs WHERE moduleId = 'camera'":                           1,
			"SELECT * FROM devices.jobs WHERE NOT IS_DEFINED(moduleId)":                      31,
			"SELECT * FROM devices.jobs WHERE NOT IS_DEFINED(endTimeUtc)":                    1,
			"SELECT * FROM devices.jobs WHERE createdDateTimeUtc > '2020-01-01T00:00:00Z'":   32,
			"SELECT * FROM devices.jobs WHERE endTimeUtc < '2020-01-01T00:00:00Z'":           0,
			"SELECT * FROM devices.jobs WHERE IS_OBJECT(outcome)":                            31,
			"SELECT * FROM devices.jobs WHERE STARTS_WITH(deviceId, 'd00000')":               11,
			"SELECT * FROM devices.jobs WHERE devices.jobs.jobType = 'scheduleDeviceMethod'": 1,
		} {
			for _, size := range []int{1, 4, 1000} {
				got := s.query(text, size)
				seen := map[string]bool{}
				for _, d := range got {
					seen[d.Job+" "+d.Device] = true
				}
				if len(got) != want || len(seen) != want {
					t.Errorf("%s by %d: %d records, %d of them different, want %d", text, size, len(got), len(seen), want)
				}
			}
		}
		for text, want := range map[string]string{
			"SELECT * FROM devices":                     "not about devices.jobs",
			"SELECT deviceId FROM devices.jobs":         "cannot be selected",
			"SELECT COUNT() AS n FROM devices.jobs":     "cannot be selected",
			"SELECT * FROM devices.jobs WHERE tags.a=1": "belongs to twins",
			"SELECT * FROM":                             "at character",
		} {
			if _, err := s.Query(t.Context(), text, "", 1); iot.CodeOf(err) != iot.ArgumentInvalid || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
		}
		p, err := s.Query(t.Context(), "SELECT * FROM devices.jobs", "", 1)
		if err != nil || p.Continuation == "" {
			t.Fatal(err)
		}
		for _, token := range []string{"x", p.Continuation[:10], p.Continuation + "AA" + strings.Repeat("A", 2000)} {
			if _, err := s.Query(t.Context(), "SELECT * FROM devices.jobs", token, 1); iot.CodeOf(err) != iot.ArgumentInvalid {
				t.Errorf("token %q: %v", token, err)
			}
		}
		if _, err := s.Query(t.Context(), "SELECT TOP 1 * FROM devices.jobs", p.Continuation, 1); iot.CodeOf(err) != iot.ArgumentInvalid {
			t.Errorf("the token of another query: %v", err)
		}
	})
}
