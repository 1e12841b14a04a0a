package robust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/test/device"
)

// TestJobsOverKills kills the server in the middle of jobs: every job that was
// accepted comes to its end, with one outcome of each of its devices, and has
// done to them what it is for.
func TestJobsOverKills(t *testing.T) {
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			keepPromises(t, store.args(t), func() map[string]writer {
				return map[string]writer{
					"twin-job":   &jobs{name: "twinned", n: 600},
					"method-job": &jobs{name: "called", n: 20, method: true},
				}
			})
		})
	}
}

// jobs schedules jobs of one kind, each after the end of the one before.
type jobs struct {
	tally
	name   string // of its devices, with a number behind
	n      int
	method bool

	next  int // number of the job that was scheduled last
	cut   bool
	kills int // since that was first sent
	list  []*called
}

// called is a device that a method job calls.
type called struct {
	*peer
	mu   sync.Mutex
	seen map[int]int // times that it was called, by number of the job
}

func (s *jobs) prepare(w *world) error {
	bulk := make([]map[string]any, 0, 100)
	for i := range s.n {
		id := fmt.Sprintf("%s-%d", s.name, i)
		if s.method {
			d, err := w.device(id)
			if err != nil {
				return err
			}
			s.list = append(s.list, &called{peer: d, seen: map[int]int{}})
			continue
		}
		bulk = append(bulk, map[string]any{"id": id, "importMode": "create"})
		if len(bulk) == cap(bulk) || i == s.n-1 {
			if _, err := w.call(w.t.Context(), http.MethodPost, "/devices", bulk, []int{200}); err != nil {
				return err
			}
			bulk = bulk[:0]
		}
	}
	return nil
}

func (s *jobs) run(ctx context.Context, w *world) error {
	return s.attended(ctx, w, func(ctx context.Context) error {
		for ctx.Err() == nil {
			s.next++
			s.cut, s.kills = true, 0
			err := s.schedule(ctx, w)
			if err == nil {
				s.cut = false
				err = s.end(ctx, w)
			}
			if stop, err := s.note(err); stop {
				return err
			}
		}
		return nil
	})
}

func (s *jobs) id() string { return fmt.Sprintf("%s-%d", s.name, s.next) }

func (s *jobs) schedule(ctx context.Context, w *world) error {
	body := map[string]any{"type": "scheduleUpdateTwin", "updateTwin": map[string]any{"etag": "*", "tags": map[string]any{"job": s.next}}}
	if s.method {
		body = map[string]any{"type": "scheduleDeviceMethod", "cloudToDeviceMethod": map[string]any{"methodName": "do", "payload": map[string]any{"n": s.next}}}
	}
	body["jobId"], body["queryCondition"] = s.id(), "STARTS_WITH(deviceId, '"+s.name+"-')"
	_, err := w.call(ctx, http.MethodPut, "/jobs/v2/"+s.id(), body, []int{200})
	return err
}

// end waits for the end of the job and looks at what came of it.
func (s *jobs) end(ctx context.Context, w *world) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		a, err := w.call(ctx, http.MethodGet, "/jobs/v2/"+s.id(), nil, []int{200})
		if err != nil {
			return err
		}
		var job struct {
			Status     string `json:"status"`
			Statistics struct {
				Devices   int `json:"deviceCount"`
				Failed    int `json:"failedCount"`
				Succeeded int `json:"succeededCount"`
				Running   int `json:"runningCount"`
				Pending   int `json:"pendingCount"`
			} `json:"deviceJobStatistics"`
		}
		if err := a.Read(&job); err != nil {
			return err
		}
		switch n := &job.Statistics; {
		case job.Status == "completed" && n.Devices == s.n && n.Succeeded == s.n && n.Failed+n.Running+n.Pending == 0:
			return s.outcomes(ctx, w)
		case job.Status == "completed" || job.Status == "failed" || job.Status == "cancelled":
			return fmt.Errorf("%s, want %d devices that succeeded: %s", s.id(), s.n, a)
		case time.Now().After(end):
			return fmt.Errorf("%s has not ended within a minute: %s", s.id(), a)
		}
	}
}

// outcomes wants one of each device, and its effect.
func (s *jobs) outcomes(ctx context.Context, w *world) error {
	a, err := w.call(ctx, http.MethodPost, "/devices/query", map[string]any{"query": "SELECT * FROM devices.jobs WHERE jobId = '" + s.id() + "'"}, []int{200}, "x-ms-max-item-count", "1000")
	if err != nil {
		return err
	}
	var records []struct {
		Device  string `json:"deviceId"`
		Status  string `json:"status"`
		Outcome struct {
			Response struct {
				Status  int
				Payload struct{ N int }
			} `json:"deviceMethodResponse"`
		} `json:"outcome"`
	}
	if err := a.Read(&records); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range records {
		if known[r.Device] || r.Status != "completed" || s.method && (r.Outcome.Response.Status != 200 || r.Outcome.Response.Payload.N != s.next) {
			return fmt.Errorf("%s: an outcome, want one of each device: %+v", s.id(), r)
		}
		known[r.Device] = true
	}
	if len(known) != s.n {
		return fmt.Errorf("%s: %d outcomes, want %d", s.id(), len(known), s.n)
	}
	if s.method {
		return s.calls()
	}
	a, err = w.call(ctx, http.MethodPost, "/devices/query", map[string]any{"query": fmt.Sprintf("SELECT COUNT() AS n FROM devices WHERE tags.job = %d", s.next)}, []int{200})
	if err != nil {
		return err
	}
	var counts []struct{ N int }
	if err := a.Read(&counts); err != nil {
		return err
	}
	if len(counts) != 1 || counts[0].N != s.n {
		return fmt.Errorf("%s has ended, and this many of %d twins are changed: %s", s.id(), s.n, a)
	}
	return nil
}

// calls wants every device to have been called, and once more for each kill at
// the most: what was under way is called again.
func (s *jobs) calls() error {
	for _, o := range s.list {
		o.mu.Lock()
		n := o.seen[s.next]
		o.mu.Unlock()
		if n < 1 || n > 1+s.kills {
			return fmt.Errorf("%s was called %d times by %s, over %d kills", o.id, n, s.id(), s.kills)
		}
	}
	return nil
}

// check wants the job that was under way to come to its end. One that was not
// answered may not be there.
func (s *jobs) check(ctx context.Context, w *world) error {
	if s.next == 0 {
		return nil
	}
	s.kills++
	if s.cut {
		a, err := w.call(ctx, http.MethodGet, "/jobs/v2/"+s.id(), nil, []int{200, 404})
		if err != nil || a.Status == http.StatusNotFound {
			return err
		}
	}
	err := s.attended(ctx, w, func(ctx context.Context) error { return s.end(ctx, w) })
	if err == nil {
		s.acknowledged++
	}
	return err
}

// attended does something while the devices are there to be called.
func (s *jobs) attended(ctx context.Context, w *world, do func(ctx context.Context) error) error {
	within, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	errs := make([]error, len(s.list))
	for i, o := range s.list {
		wait.Go(func() { errs[i] = o.serve(within, w) })
	}
	err := do(ctx)
	cancel()
	wait.Wait()
	return errors.Join(append(errs, err)...)
}

// serve answers calls until ctx ends, or the server does.
func (o *called) serve(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		err := o.connect(ctx, w, "$iothub/methods/POST/#")
		if errors.Is(err, errCut) {
			return nil
		}
		if err != nil {
			return err
		}
		closing := context.AfterFunc(ctx, func() { _ = o.conn.Close() })
		err = o.answer()
		if closing() {
			err = errors.Join(err, o.conn.Close())
		}
		if err != nil && !errors.Is(err, errCut) && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// answer answers calls until the connection ends, which is errCut.
func (o *called) answer() error {
	for {
		p, err := o.await(device.Publish, nil)
		if err != nil {
			return err
		}
		topic, payload, _ := topicOf(p)
		rid, ok := strings.CutPrefix(topic, "$iothub/methods/POST/do/?")
		var call struct{ N int }
		if err := json.Unmarshal(payload, &call); err != nil || !ok {
			return fmt.Errorf("%s: %s %s: %w", o.id, topic, payload, err)
		}
		o.mu.Lock()
		o.seen[call.N]++
		o.mu.Unlock()
		if err := o.conn.Send(device.Message("$iothub/methods/res/200/?"+rid, payload, 0, 0)); err != nil {
			return fmt.Errorf("%w: %w", errCut, err)
		}
	}
}
