package iothub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
)

type scheduled struct {
	JobID      string          `json:"jobId"`
	Type       string          `json:"type"`
	Status     string          `json:"status"`
	Condition  string          `json:"queryCondition"`
	Created    time.Time       `json:"createdTime"`
	Start      time.Time       `json:"startTime"`
	End        *time.Time      `json:"endTime"`
	MaxSeconds int             `json:"maxExecutionTimeInSeconds"`
	Method     json.RawMessage `json:"cloudToDeviceMethod"`
	UpdateTwin json.RawMessage `json:"updateTwin"`
	Failure    string          `json:"failureReason"`
	Numbers    map[string]int  `json:"deviceJobStatistics"`
}

func (s *site) job(id string) (j scheduled) {
	s.t.Helper()
	s.send("GET", "/jobs/v2/"+id, "").ok(200, &j)
	return j
}

func (s *site) awaitJob(id, status string) scheduled {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		j := s.job(id)
		if j.Status == status {
			return j
		}
		if time.Now().After(end) {
			s.t.Fatalf("still %+v", j)
		}
	}
}

func TestJobs(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for i := range 5 {
			s.send("PUT", fmt.Sprintf("/devices/d%d", i), "{}").ok(200, nil)
		}
		s.send("PUT", "/devices/d0/modules/m", "{}").ok(201, nil)
		s.send("PATCH", "/twins/d3", `{"tags":{"site":"north"}}`).ok(200, nil)

		var j scheduled
		content := `{"etag":"*","tags":{"a":1.50},"properties":{"desired":{"x":{"y":2}}}}`
		s.send("PUT", "/jobs/v2/j-1", `{"jobId":"j-1","type":"scheduleUpdateTwin","updateTwin":`+content+
			`,"queryCondition":"deviceId IN ['d1','d2','none']","startTime":"2020-01-01T00:00:00Z","maxExecutionTimeInSeconds":60}`).ok(200, &j)
		if j.JobID != "j-1" || j.Status != "queued" || j.Type != "scheduleUpdateTwin" || j.MaxSeconds != 60 || string(j.UpdateTwin) != content || j.Method != nil || j.End != nil {
			t.Errorf("at first %+v", j)
		}
		j = s.awaitJob("j-1", "completed")
		if j.End == nil || fmt.Sprint(j.Numbers) != "map[deviceCount:2 failedCount:0 pendingCount:0 runningCount:0 succeededCount:2]" {
			t.Errorf("%+v", j)
		}
		for _, d := range []string{"d1", "d2"} {
			a := s.send("GET", "/twins/"+d, "")
			if !strings.Contains(a.body, `"a":1.50`) || !strings.Contains(a.body, `"x":{"y":2}`) {
				t.Errorf("%s: %s", d, a.body)
			}
		}
		s.send("PUT", "/jobs/v2/j-2", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"m":true}},"queryCondition":"FROM devices.modules WHERE moduleId = 'm'"}`).ok(200, nil)
		s.awaitJob("j-2", "completed")
		if a := s.send("GET", "/twins/d0/modules/m", ""); !strings.Contains(a.body, `"m":true`) {
			t.Errorf("%s", a.body)
		}

		// A method, of a device that is there and of one that comes later.
		answer := func(in *iot.Inbound) {
			go s.commands.Reply(iot.ID{Device: "d" + string(in.Payload[1])}, []byte(in.Request), 207, []byte(`{"done":true}`))
		}
		for _, n := range []int{3, 4} {
			s.send("PUT", fmt.Sprintf("/jobs/v2/call%d", n), fmt.Sprintf(`{"type":"scheduleDeviceMethod","queryCondition":"deviceId = 'd%d'",
				"cloudToDeviceMethod":{"methodName":"reboot","payload":[%d],"responseTimeoutInSeconds":10}}`, n, n)).ok(200, nil)
		}
		s.awaitJob("call3", "running")
		for _, n := range []int{3, 4} {
			id := iot.ID{Device: fmt.Sprint("d", n)}
			s.conns.connect(id, answer)
			s.jobs.Wake(id)
			s.awaitJob(fmt.Sprint("call", n), "completed")
		}
		a := s.send("POST", "/devices/query", `{"query":"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'call3'"}`)
		a.ok(200, nil)
		if !strings.Contains(a.body, `"outcome":{"deviceMethodResponse":{"status":207,"payload":{"done":true}}}`) || a.header.Get("x-ms-item-type") != "DeviceJob" {
			t.Errorf("%v %s", a.header, a.body)
		}

		// Pages of results and of jobs.
		var seen []string
		token := ""
		for {
			var list []struct{ DeviceID, JobID string }
			a := s.send("POST", "/devices/query", `{"query":"SELECT * FROM devices.jobs"}`, "x-ms-max-item-count", "2", "x-ms-continuation", token)
			a.ok(200, &list)
			for _, d := range list {
				seen = append(seen, d.JobID+"/"+d.DeviceID)
			}
			if token = a.header.Get("x-ms-continuation"); token == "" {
				break
			}
		}
		if got := strings.Join(seen, " "); got != "j-1/d1 j-1/d2 j-2/d0 call3/d3 call4/d4" {
			t.Errorf("records: %s", got)
		}
		later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		s.send("PUT", "/jobs/v2/later", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"m":true}},"queryCondition":"*","startTime":"`+later+`"}`).ok(200, nil)
		s.awaitJob("later", "scheduled")
		a = s.send("GET", "/jobs/v2/query?"+version+"&jobType=scheduleDeviceMethod&jobStatus=Completed", "", "x-ms-max-item-count", "1")
		var page []scheduled
		a.ok(200, &page)
		next := a.header.Get("x-ms-continuation")
		if len(page) != 1 || page[0].JobID != "call4" || next == "" {
			t.Fatalf("%s %q", a.body, next)
		}
		a = s.send("GET", "/jobs/v2/query?"+version+"&jobType=scheduleDeviceMethod&jobStatus=completed", "", "x-ms-continuation", next)
		page = nil
		a.ok(200, &page)
		if _, more := a.header["X-Ms-Continuation"]; len(page) != 1 || page[0].JobID != "call3" || more {
			t.Errorf("%s %v", a.body, a.header)
		}
		// A body may be absent, as SDKs send it.
		s.send("POST", "/jobs/v2/later/cancel", "").ok(200, &j)
		if j.Status != "cancelled" {
			t.Errorf("%+v", j)
		}

		for _, c := range []struct{ method, path, body, code string }{
			{"GET", "/jobs/v2/none", "", "JobNotFound"},
			{"POST", "/jobs/v2/none/cancel", "", "JobNotFound"},
			{"POST", "/jobs/v2/j-1/cancel", "", "InvalidOperation"},
			{"PUT", "/jobs/v2/j-1", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"m":true}},"queryCondition":"*"}`, "JobAlreadyExists"},
			{"PUT", "/jobs/v2/x", `{"jobId":"y","type":"scheduleUpdateTwin","updateTwin":{"tags":{"m":true}},"queryCondition":"*"}`, "ArgumentInvalid"},
			{"PUT", "/jobs/v2/x", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"m.n":true}},"queryCondition":"*"}`, "ArgumentInvalid"},
			{"PUT", "/jobs/v2/x", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"m":true}},"queryCondition":"tags.a ="}`, "ArgumentInvalid"},
			{"PUT", "/jobs/v2/x", `{"type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"a/b"},"queryCondition":"*"}`, "ArgumentInvalid"},
			{"PUT", "/jobs/v2/x", `{"type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"a","responseTimeoutInSeconds":9999},"queryCondition":"*"}`, "ArgumentInvalid"},
			{"PUT", "/jobs/v2/x", `{"type":3}`, "ArgumentInvalid"},
			{"PUT", "/jobs/v2/x", `{`, "DeserializationError"},
			{"PUT", "/jobs/v2/x", ``, "ArgumentNull"},
			{"GET", "/jobs/v2/query?" + version + "&jobType=nonsense", "", "ArgumentInvalid"},
			{"GET", "/jobs/v2/query?" + version + "&jobStatus=nonsense", "", "ArgumentInvalid"},
			{"DELETE", "/jobs/v2/j-1", "", "GenericMethodNotAllowed"},
		} {
			if a := s.send(c.method, c.path, c.body); a.header.Get("iothub-errorcode") != c.code {
				t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, a.status, a.body)
			}
		}
	})
}

// runJobs gives a room of jobs that works until the test ends.
func runJobs(t *testing.T, db state.DB, tools hub.Tools, connected func(iot.ID) bool) *job.Room {
	t.Helper()
	d := tools.ForJobs()
	d.DB, d.Connected, d.Logger, d.Registerer = db, connected, slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	r, err := job.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}
