package twin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
)

// TestTwoNodes has two rooms on one database change the same twins at once:
// no change is lost, versions rise by one, and each node reads what is stored.
func TestTwoNodes(t *testing.T) {
	db := statetest.Postgres(t)
	nodes := []*site{open(t, db, twin.StrictLimits()), open(t, db, twin.StrictLimits())}
	const twins, changes = 3, 30
	var wait sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for n, s := range nodes {
		for d := range twins {
			wait.Go(func() {
				k := key(fmt.Sprint("d", d))
				for i := range changes {
					v, err := s.report(k, fmt.Sprintf(`{"n%d":%d}`, n, i), 0)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if id := fmt.Sprint(d, " ", v); seen[id] {
						t.Errorf("version %s was answered twice", id)
					} else {
						seen[id] = true
					}
					mu.Unlock()
				}
			})
		}
	}
	wait.Wait()
	for _, s := range nodes {
		for d := range twins {
			doc := s.get(key(fmt.Sprint("d", d)))
			if doc.ReportedVersion() != 2*changes+1 || !strings.Contains(doc.Reported(), `"n0":29`) || !strings.Contains(doc.Reported(), `"n1":29`) {
				t.Errorf("version %d of %s", doc.ReportedVersion(), doc.Reported())
			}
		}
	}
}

// TestReadsWhileWriting reads twins that are being changed: what is read is
// always what some change has left, and never goes back.
func TestReadsWhileWriting(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		done := make(chan struct{})
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				last := int64(0)
				for {
					d, err := s.Get(t.Context(), k)
					if err != nil || d.Version() < last || d.Version() != d.ReportedVersion()+1 {
						t.Errorf("version %d, reported %d, after %d: %v", d.Version(), d.ReportedVersion(), last, err)
						return
					}
					last = d.Version()
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for range 50 {
			if _, err := s.report(k, `{"x":1}`, 0); err != nil {
				t.Error(err)
			}
		}
		close(done)
		wait.Wait()
	})
}

// TestETagsUnderConcurrency lets many callers change a twin that they have
// read: of those that read the same version exactly one may win.
func TestETagsUnderConcurrency(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		const callers, rounds = 8, 5
		for round := range rounds {
			etag := s.get(k).ETag()
			var wins atomic.Int32
			var wait sync.WaitGroup
			for c := range callers {
				wait.Go(func() {
					_, err := s.Patch(t.Context(), k, fmt.Appendf(nil, `{"tags":{"winner":"%d-%d"}}`, round, c), &etag)
					switch iot.CodeOf(err) {
					case 0:
						wins.Add(1)
					case iot.PreconditionFailed:
					default:
						t.Error(err)
					}
				})
			}
			wait.Wait()
			if wins.Load() != 1 {
				t.Fatalf("%d callers changed the same version", wins.Load())
			}
		}
		if d := s.get(k); d.Version() != rounds+2 {
			t.Errorf("version %d", d.Version())
		}
	})
}

// TestReportRefusals shows the rules for what devices send: always 400004 with
// the place and the limit, and nothing changes.
func TestReportRefusals(t *testing.T) {
	s := open(t, statetest.SQLite(t), twin.StrictLimits())
	k := key("d")
	big := strings.Repeat("x", 4000)
	var full strings.Builder
	for i := range 9 {
		fmt.Fprintf(&full, `,"k%d":"%s"`, i, big)
	}
	for what, c := range map[string]struct{ patch, word string }{
		"empty":          {"", "ends early"},
		"no object":      {"5", "object"},
		"null":           {"null", "object"},
		"array":          {"[]", "object"},
		"cut":            {`{"a":{"b":tru`, "reported.a.b"},
		"more behind":    {`{}{}`, "offset 2"},
		"dollar":         {`{"a":{"$b":1}}`, "key"},
		"double":         {`{"a":1,"a":2}`, "twice"},
		"double of many": {`{"a":1` + strings.Join(numbered(`,"k%d":1`, 40), "") + `,"k3":2}`, "twice"},
		"deep":           {strings.Repeat(`{"a":`, 12) + "1" + strings.Repeat("}", 12), "10 objects"},
		"integer":        {`{"a":9007199254740993}`, "4503599627370495"},
		"too large":      {`{"a":1` + full.String() + `}`, "DeviceTwin too large: reported would have 36027 bytes, at most 32768 are allowed (strict limits, hub.profile open has larger ones)"},
		"much too large": {`{"a":"` + strings.Repeat(" ", 200<<10) + `"}`, "bytes"},
	} {
		_, err := s.report(k, c.patch, 0)
		s.refused(what, err, iot.ArgumentInvalid, c.word)
	}
	// One that fits alone may be one too many.
	for i := range 8 {
		if _, err := s.report(k, fmt.Sprintf(`{"k%d":"%s"}`, i, big), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.report(k, `{"k8":"`+big+`"}`, 0)
	s.refused("one too many", err, iot.ArgumentInvalid, "DeviceTwin too large")
	if v, err := s.report(k, `{"k0":null,"k8":"`+big+`"}`, 9); v != 10 || err != nil {
		t.Errorf("one for another: %d, %v", v, err)
	}
	// The open profile takes what the strict one does not.
	o := open(t, statetest.SQLite(t), twin.OpenLimits())
	if _, err := o.report(k, `{"a":9007199254740993`+full.String()+`}`, 0); err != nil {
		t.Error(err)
	}
	_, err = o.report(k, `{"a":"`+strings.Repeat("x", 65<<10)+`"}`, 0)
	o.refused("text", err, iot.ArgumentInvalid, "65536", "open limits")
}

func numbered(format string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return out
}

// TestDamagedRow flips a value on the disk: that twin is not shown, with a
// reason for the log, while others live on, and it can be deleted.
func TestDamagedRow(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := open(t, db, twin.StrictLimits())
		bad, good := key("bad"), key("good")
		s.patch(bad, `{"properties":{"desired":{"valve":"shut"}}}`)
		s.patch(good, `{"properties":{"desired":{"valve":"shut"}}}`)
		err := db.Write(t.Context(), func(tx state.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE twin SET desired = ? WHERE device = ?", `{"valve":"open"}`, "bad")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s = open(t, db, twin.StrictLimits()) // one that has not read them yet
		var wait sync.WaitGroup
		wait.Add(2)
		for _, k := range []twin.Key{bad, good} {
			s.Report(k, []byte(`{"x":1}`), 0, func(_ int64, err error) {
				if (k == good) != (err == nil) {
					t.Errorf("%s: %v", k.ID, err)
				}
				wait.Done()
			})
		}
		wait.Wait()
		_, err = s.Get(t.Context(), bad)
		if !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), "the twin of bad") {
			t.Errorf("error %v", err)
		}
		s.want("the other", s.get(good).Desired(), `{"valve":"shut"}`)
		s.Drop(bad)
		if _, err := s.report(twin.Key{ID: bad.ID, Generation: 2}, `{"x":1}`, 0); err != nil {
			t.Error(err)
		}
		s.want("made again", s.view(twin.Key{ID: bad.ID, Generation: 2}), `{"desired":{"$version":1},"reported":{"x":1,"$version":2}}`)
	})
}

// TestSmallCache has more twins than the room keeps.
func TestSmallCache(t *testing.T) {
	s := &site{tb: t, conns: &connections{sent: map[iot.ID][]*iot.Inbound{}}}
	var err error
	s.Room, err = twin.Open(t.Context(), twin.Deps{
		DB: statetest.SQLite(t), Deliver: s.conns.deliver, Limits: twin.StrictLimits(), Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), CacheBytes: 2000,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for round := range 3 {
		for d := range 20 {
			if v, err := s.report(key(fmt.Sprint("d", d)), fmt.Sprintf(`{"r%d":1}`, round), int64(round+1)); err != nil || v != int64(round+2) {
				t.Fatalf("device %d: %d, %v", d, v, err)
			}
		}
	}
	s.want("the first", s.get(key("d0")).Reported(), `{"r0":1,"r1":1,"r2":1}`)
}

// TestTooManyWaiting shows that changes are refused and not piled up while the
// store does not answer, and that Close answers what waits.
func TestTooManyWaiting(t *testing.T) {
	limits := twin.StrictLimits()
	limits.Waiting = 10
	db := statetest.SQLite(t)
	s := open(t, db, limits)
	if _, err := s.report(key("d"), `{}`, 0); err != nil {
		t.Fatal(err)
	}
	// Hold the only writer of the store.
	held, release := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = db.Write(context.WithoutCancel(t.Context()), func(state.Tx) error {
			close(held)
			<-release
			return nil
		})
	})
	<-held
	var stored, refused atomic.Int32
	answered := make(chan struct{})
	const sent = 100
	for range sent {
		s.Report(key("d"), []byte(`{"x":1}`), 0, func(_ int64, err error) {
			switch {
			case err == nil:
				stored.Add(1)
			case iot.CodeOf(err) == iot.Throttled && strings.Contains(err.Error(), "10 changes"):
				refused.Add(1)
			default:
				t.Error(err)
			}
			if stored.Load()+refused.Load() == sent {
				close(answered)
			}
		})
	}
	close(release)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-answered
	// What a worker took before the rest came may be any number up to all.
	if stored.Load() < 10 || refused.Load() == 0 {
		t.Errorf("%d stored, %d refused", stored.Load(), refused.Load())
	}
	_, err := s.report(key("d"), `{}`, 0)
	s.refused("after Close", err, iot.ServiceUnavailable)
	wait.Wait()
}

// TestStoreFailure shows what callers hear when the store is gone.
func TestStoreFailure(t *testing.T) {
	db := statetest.SQLite(t)
	s := open(t, db, twin.StrictLimits())
	s.patch(key("d"), `{"tags":{"a":1}}`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.report(key("d"), `{}`, 0)
	s.refused("report", err, iot.ServiceUnavailable, "try again")
	_, err = s.Patch(t.Context(), key("d"), []byte(`{"tags":null}`), nil)
	s.refused("patch", err, iot.ServiceUnavailable)
	_, err = s.Get(t.Context(), key("other"))
	s.refused("get", err, iot.ServiceUnavailable)
	if len(s.conns.of(iot.ID{Device: "d"})) != 0 {
		t.Error("a change that was not stored was delivered")
	}
}

// TestModel keeps the model id of the last connection.
func TestModel(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		s.SetModel(k, "dtmi:com:example:Thermostat;1")
		s.SetModel(k, strings.Repeat("x", 300))
		s.view(k) // behind both
		d := s.get(k)
		if d.Model() != "dtmi:com:example:Thermostat;1" || d.Version() != 3 || d.ETag() != "AAAAAAAAAAE=" {
			t.Errorf("model %q, version %d, etag %s", d.Model(), d.Version(), d.ETag())
		}
		s.SetModel(k, d.Model())
		if s.view(k); s.get(k).Version() != 3 {
			t.Error("the same model made a version")
		}
	})
}

// What was put before is seen, though nobody waited for it: an application that
// reads the twin of a device that has just connected finds its model.
func TestGetSeesWhatWasPutBefore(t *testing.T) {
	s := open(t, statetest.SQLite(t), twin.StrictLimits())
	k := key("d")
	for i := range 300 {
		model := fmt.Sprintf("dtmi:com:example:Fan;%d", i+1)
		s.SetModel(k, model)
		if got := s.get(k).Model(); got != model {
			t.Fatalf("read %d: the model is %q, it was set to %q before", i, got, model)
		}
	}
}
