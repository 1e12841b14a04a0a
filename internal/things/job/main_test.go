package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/job"
	"dunlin/internal/wire/record"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

// fleet stands for the other rooms: devices that are there or not, and what
// was done to them.
type fleet struct {
	mu      sync.Mutex
	ids     []iot.ID // in order
	exists  map[iot.ID]uint64
	online  map[iot.ID]bool
	changes map[iot.ID][]string
	calls   map[iot.ID]int

	change func(t job.Target) error // what a change meets, nil is nothing
	answer func(t job.Target) (int, []byte, error)
}

func newFleet(n int) *fleet {
	f := &fleet{exists: map[iot.ID]uint64{}, online: map[iot.ID]bool{}, changes: map[iot.ID][]string{}, calls: map[iot.ID]int{}}
	for i := range n {
		f.add(iot.ID{Device: fmt.Sprintf("d%06d", i)})
	}
	return f
}

func (f *fleet) add(id iot.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, id)
	f.exists[id] = uint64(len(f.ids))
}

func (f *fleet) remove(id iot.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.exists, id)
}

func (f *fleet) connect(id iot.ID, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.online[id] = on
}

// find knows "*", a list of device ids, and modules by their id.
func (f *fleet) find(ctx context.Context, t *twinql.Target, after iot.ID, n int) (found []job.Target, last iot.ID, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last = after
	for _, id := range f.ids {
		if id.Device < after.Device || (id.Device == after.Device && id.Module <= after.Module) || id.IsModule() != (t.From == twinql.Modules) {
			continue
		}
		if len(found) == n {
			return found, last, true, ctx.Err()
		}
		last = id
		if f.exists[id] != 0 && (t.Where == nil || twinql.Eval(t.Where, document(id)).IsTrue()) {
			found = append(found, job.Target{ID: id, Generation: f.exists[id]})
		}
	}
	return found, last, false, ctx.Err()
}

type document iot.ID

func (d document) Lookup(p *twinql.Path) twinql.Value {
	switch p.Steps[0].Name {
	case "deviceId":
		return twinql.TextValue(d.Device)
	case "moduleId":
		return twinql.TextValue(d.Module)
	}
	return twinql.Value{}
}

func (f *fleet) there(_ context.Context, t job.Target) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exists[t.ID] != t.Generation {
		return iot.Errorf(iot.DeviceNotFound, "The requested device %s was not found.", t.ID)
	}
	return nil
}

func (f *fleet) patch(ctx context.Context, t job.Target, c job.Change) error {
	if err := f.there(ctx, t); err != nil {
		return err
	}
	f.mu.Lock()
	change := f.change
	f.mu.Unlock()
	if change != nil {
		if err := change(t); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes[t.ID] = append(f.changes[t.ID], string(c.Body))
	return nil
}

func (f *fleet) call(ctx context.Context, t job.Target, c job.Call) (int, []byte, error) {
	if err := f.there(ctx, t); err != nil {
		return 0, nil, err
	}
	f.mu.Lock()
	online, answer := f.online[t.ID], f.answer
	if online {
		f.calls[t.ID]++
	}
	f.mu.Unlock()
	if !online {
		return 0, nil, iot.Errorf(iot.DeviceNotOnline, "Timed out waiting for device to connect.")
	}
	if answer != nil {
		return answer(t)
	}
	return 200, fmt.Appendf(nil, `{"did":%q}`, c.Method), ctx.Err()
}

func (f *fleet) connected(id iot.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.online[id]
}

// changed counts how often each device was changed: devices by number of times.
func (f *fleet) times(m map[iot.ID]int) map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := map[int]int{}
	for _, id := range f.ids {
		n[m[id]]++
	}
	return n
}

func (f *fleet) changed() map[int]int {
	n := map[iot.ID]int{}
	f.mu.Lock()
	for id, list := range f.changes {
		n[id] = len(list)
	}
	f.mu.Unlock()
	return f.times(n)
}

// site is a room at work.
type site struct {
	*job.Room
	t     testing.TB
	db    state.DB
	fleet *fleet
	log   *memlog.Log
	box   *outbox.Box
	stop  func()
}

// open gives a room whose jobs are not worked on before run.
func open(t testing.TB, db state.DB, f *fleet, change func(*job.Deps)) *site {
	t.Helper()
	log := memlog.New(memlog.Config{Partitions: 2})
	quiet := slog.New(slog.DiscardHandler)
	box, err := outbox.Open(t.Context(), outbox.Deps{DB: db, Log: log, Hub: "hub", Logger: quiet, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	d := job.Deps{
		DB: db, Outbox: box, Find: f.find, Exists: f.there, Change: f.patch, Call: f.call, Connected: f.connected,
		CheckChange: func(c job.Change) error {
			if strings.Contains(string(c.Body), "bad") {
				return iot.Errorf(iot.ArgumentInvalid, "bad change")
			}
			return nil
		},
		CheckCall: func(c job.Call) error {
			if strings.Contains(c.Method, " ") {
				return iot.Errorf(iot.ArgumentInvalid, "bad method")
			}
			return nil
		},
		Logger: quiet, Registerer: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&d)
	}
	r, err := job.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return &site{Room: r, t: t, db: db, fleet: f, log: log, box: box}
}

// run works on jobs until the test ends or stop is called.
func (s *site) run() *site {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		wait.Wait()
	})
	s.t.Cleanup(s.stop)
	return s
}

func (s *site) schedule(spec job.Spec) job.Job {
	s.t.Helper()
	j, err := s.Schedule(s.t.Context(), spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return j
}

// await waits until a job is as ok says.
func (s *site) await(id string, ok func(j job.Job) bool) job.Job {
	s.t.Helper()
	var j job.Job
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		var err error
		if j, err = s.Job(s.t.Context(), id); err != nil {
			s.t.Fatal(err)
		}
		if ok(j) {
			return j
		}
	}
	s.t.Fatalf("still %+v", j)
	return j
}

func (s *site) ended(id string, want job.Status) job.Job {
	s.t.Helper()
	j := s.await(id, func(j job.Job) bool { return j.Status.Ended() && j.Total == j.Succeeded+j.FailedCount+j.Canceled })
	if j.Status != want {
		s.t.Fatalf("%s is %s, want %s: %s", id, j.Status, want, j.Failure)
	}
	return j
}

// device is the record of a device as applications read it.
type device struct {
	Device  string          `json:"deviceId"`
	Module  string          `json:"moduleId"`
	Job     string          `json:"jobId"`
	Type    string          `json:"jobType"`
	Status  string          `json:"status"`
	Start   string          `json:"startTimeUtc"`
	End     string          `json:"endTimeUtc"`
	Created string          `json:"createdDateTimeUtc"`
	Updated string          `json:"lastUpdatedDateTimeUtc"`
	Outcome json.RawMessage `json:"outcome"`
	Error   struct{ Code, Description string }
}

// query reads all pages of a query over devices.jobs.
func (s *site) query(text string, size int) (all []device) {
	s.t.Helper()
	token := ""
	for range 10_000 {
		p, err := s.Query(s.t.Context(), text, token, size)
		if err != nil {
			s.t.Fatal(text, err)
		}
		var list []device
		if err := json.Unmarshal(p.Items, &list); err != nil || len(list) > size {
			s.t.Fatalf("%v: %d of %d: %s", err, len(list), size, p.Items)
		}
		all = append(all, list...)
		if token = p.Continuation; token == "" {
			return all
		}
	}
	s.t.Fatal("no end")
	return nil
}

func update(id, condition string) job.Spec {
	return job.Spec{ID: id, Type: "scheduleUpdateTwin", Condition: &condition, UpdateTwin: json.RawMessage(`{"etag":"*","tags":{"a":1}}`)}
}

func method(id, condition string) job.Spec {
	return job.Spec{ID: id, Type: "scheduleDeviceMethod", Condition: &condition, Method: json.RawMessage(`{"methodName":"reboot","payload":{"x":[1]}}`)}
}

// events gives what the log was told of each device: what happened, in order.
func (s *site) events() map[string][]string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.box.Run(ctx) }()
	for left := -1; left != 0; time.Sleep(time.Millisecond) {
		if err := s.db.Get(s.t.Context(), []any{&left}, "SELECT count(*) FROM outbox"); err != nil {
			s.t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		s.t.Error(err)
	}
	all := map[string][]string{}
	for p := range s.log.Partitions() {
		for r, err := range s.log.Read(s.t.Context(), p, eventlog.ReadOptions{}) {
			if err != nil {
				s.t.Fatal(err)
			}
			var e record.Event
			if err := record.Decode(r.Data, &e); err != nil {
				s.t.Fatal(err)
			}
			if e.Origin.Source != iot.SourceJobLifecycle || e.Origin.Generation == 0 {
				s.t.Errorf("an event of %+v", e.Origin)
			}
			var d device
			if err := json.Unmarshal(e.Body, &d); err != nil || d.Device != e.Origin.ID.Device || d.Module != e.Origin.ID.Module {
				s.t.Errorf("%v: %s", err, e.Body)
			}
			for _, p := range e.Properties {
				if string(p.Name) == "opType" {
					all[e.Origin.ID.String()] = append(all[e.Origin.ID.String()], string(p.Value)+"/"+d.Status)
				}
			}
		}
	}
	return all
}
