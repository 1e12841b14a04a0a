package iothub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/state"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
	"dunlin/internal/wire/blobsas"
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
func runJobs(t *testing.T, db state.DB, tools hub.Tools, connected func(iot.ID) bool, transfer *job.Transfer) *job.Room {
	t.Helper()
	d := tools.ForJobs()
	d.Transfer = transfer
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

type transferred struct {
	JobID    string    `json:"jobId"`
	Type     string    `json:"type"`
	Status   string    `json:"status"`
	Progress int       `json:"progress"`
	Start    time.Time `json:"startTimeUtc"`
	End      time.Time `json:"endTimeUtc"`
	Output   string    `json:"outputBlobContainerUri"`
	Failure  string    `json:"failureReason"`
	Message  string    `json:"statusMessage"`
	Exclude  bool      `json:"excludeKeysInExport"`
}

// address gives a container with a signature of those permissions.
func (s *site) address(container string, p blobsas.Permission) string {
	s.t.Helper()
	if err := s.files.Blobs.MakeContainer(s.t.Context(), container); err != nil {
		s.t.Fatal(err)
	}
	return s.files.Grants.URI(container, "") + "?" + s.files.Grants.Sign(blobsas.Spec{Container: container, Permissions: p, Expiry: time.Now().Add(time.Hour)})
}

func (s *site) putBlob(container, name, text string) {
	s.t.Helper()
	if _, err := s.files.Blobs.Put(s.t.Context(), blob.Ref{Container: container, Name: name}, strings.NewReader(text), blob.WriteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) blob(container, name string) string {
	s.t.Helper()
	_, body, err := s.files.Blobs.Open(s.t.Context(), blob.Ref{Container: container, Name: name}, 0, -1)
	if err != nil {
		s.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// transfer does an import or export and gives what became of it.
func (s *site) transfer(body map[string]any) (j transferred) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send("POST", "/jobs/create", string(b)).ok(200, &j)
	if j.JobID == "" || j.Type != body["type"] || strings.Contains(j.Output, "sig=") {
		s.t.Errorf("at first %+v", j)
	}
	for end := time.Now().Add(10 * time.Second); j.End.IsZero(); time.Sleep(2 * time.Millisecond) {
		s.send("GET", "/jobs/"+j.JobID, "").ok(200, &j)
		if time.Now().After(end) {
			s.t.Fatalf("still %+v", j)
		}
	}
	return j
}

func TestTransfers(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		const in, out = "imports", "exports"
		read, write := s.address(in, blobsas.Read), s.address(out, blobsas.Write)
		s.putBlob(in, "devices.txt", "\xef\xbb\xbf"+strings.Join([]string{
			`{"id":"d1","importMode":"create","status":"disabled","statusReason":"new","tags":{"site":"north"},"properties":{"desired":{"x":1.50,"$version":7},"reported":{"ignored":1}}}` + "\r",
			``,
			`{"id":"d1","moduleId":"m1","managedBy":"me","tags":{"of":"module"}}`,
			`{"id":"d2","status":"enabled","authentication":{"symmetricKey":{"primaryKey":"cHJpbWFyeXByaW1hcnlwcmltYXJ5","secondaryKey":"c2Vjb25kYXJ5c2Vjb25kYXJ5c2Vj"}}}`,
			`{"id":"d3","capabilities":{"iotEdge":true}}`,
			`{"id":"d1","importMode":"create"}`,
			`{"id":"d1","importMode":"updateTwin","tags":{"floor":2}}`,
			`{"id":"none","importMode":"update","status":"disabled"}`,
			`{"id":"bad id"}`,
			`not JSON`,
			`{"id":"d2","importMode":"strange"}`,
			`{"id":"d4","tags":{"a.b":1}}`,
			`{"id":"d5"}`,
			`{"id":"d5","importMode":"delete"}`,
		}, "\n"))
		j := s.transfer(map[string]any{"type": "import", "inputBlobContainerUri": read, "outputBlobContainerUri": write})
		if j.Status != "completed" || j.Progress != 100 || j.Failure != "" {
			t.Errorf("import: %+v", j)
		}
		var refused []string
		for line := range strings.Lines(s.blob(out, "importErrors.log")) {
			var e struct {
				Line                                        int
				DeviceID, ErrorCode, ErrorStatus, Operation string
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.ErrorStatus == "" {
				t.Fatal(line, err)
			}
			refused = append(refused, fmt.Sprintf("%d %s %s", e.Line, e.DeviceID, e.ErrorCode))
		}
		slices.Sort(refused)
		want := []string{"10 d2 ArgumentInvalid", "11 d4 ArgumentInvalid", "5 d1 DeviceAlreadyExists", "7 none DeviceNotFound", "8 bad id ArgumentInvalid", "9  DeserializationError"}
		if !slices.Equal(refused, want) {
			t.Errorf("refused %q, want %q", refused, want)
		}
		var d device
		s.send("GET", "/devices/d1", "").ok(200, &d)
		if d.Status != "disabled" || *d.StatusReason != "new" {
			t.Errorf("%+v", d)
		}
		if a := s.send("GET", "/twins/d1", ""); !strings.Contains(a.body, `"tags":{"site":"north","floor":2}`) || !strings.Contains(a.body, `"x":1.50`) || strings.Contains(a.body, "ignored") {
			t.Errorf("%s", a.body)
		}
		s.send("GET", "/devices/d5", "").refused("deleted", 404, "DeviceNotFound")

		// What is exported can be imported, with keys and twins.
		j = s.transfer(map[string]any{"type": "export", "outputBlobContainerUri": write, "excludeKeysInExport": false, "outputBlobName": "all/it.txt"})
		text := s.blob(out, "all/it.txt")
		if j.Status != "completed" || j.Progress != 100 || strings.Count(text, "\n") != 6 || !strings.Contains(j.Message, "3 devices") {
			t.Fatalf("export: %+v: %s", j, text)
		}
		first, rest, _ := strings.Cut(text, "\n")
		second, _, _ := strings.Cut(rest, "\n")
		for _, part := range []string{`{"id":"d1","eTag":"`, `"status":"disabled","statusReason":"new"`, `"symmetricKey":{"primaryKey":"`, `"twinETag":"AAAAAAAAAAM="`, `"tags":{"site":"north","floor":2}`, `"desired":{"x":1.50,"$metadata":`} {
			if !strings.Contains(first, part) {
				t.Errorf("%s is not in %s", part, first)
			}
		}
		if !strings.HasPrefix(second, `{"id":"d1","moduleId":"m1",`) || !strings.Contains(second, `"tags":{"of":"module"}`) || !strings.Contains(text, "cHJpbWFyeXByaW1hcnlwcmltYXJ5") {
			t.Errorf("%s", text)
		}
		for _, id := range []string{"d1", "d2", "d3"} {
			s.send("DELETE", "/devices/"+id, "").ok(204, nil)
		}
		j = s.transfer(map[string]any{"type": "import", "inputBlobContainerUri": s.address(out, blobsas.Read), "inputBlobName": "all/it.txt", "outputBlobContainerUri": write})
		if j.Status != "completed" || strings.TrimSpace(s.blob(out, "importErrors.log")) != "" && !strings.Contains(s.blob(out, "importErrors.log"), "$edge") {
			t.Errorf("%+v %s", j, s.blob(out, "importErrors.log"))
		}
		s.transfer(map[string]any{"type": "export", "outputBlobContainerUri": write, "excludeKeysInExport": true})
		again := s.blob(out, "devices.txt")
		if strings.Count(again, "\n") != 6 || strings.Contains(again, "cHJpbWFyeXByaW1hcnlwcmltYXJ5") || !strings.Contains(again, `"symmetricKey":{"primaryKey":null,"secondaryKey":null}`) || !strings.Contains(again, `"x":1.50`) {
			t.Errorf("%s", again)
		}
		s.send("GET", "/devices/d2", "").ok(200, &d)
		if *d.Authentication.SymmetricKey.PrimaryKey != "cHJpbWFyeXByaW1hcnlwcmltYXJ5" {
			t.Errorf("%+v", d)
		}

		// Configurations go along when it is asked for.
		s.send("PUT", "/configurations/c1", `{"content":`+content+`,"priority":3}`).ok(201, nil)
		s.transfer(map[string]any{"type": "export", "outputBlobContainerUri": write, "includeConfigurations": true, "configurationsBlobName": "conf.txt"})
		s.send("DELETE", "/configurations/c1", "").ok(204, nil)
		s.transfer(map[string]any{"type": "import", "inputBlobContainerUri": s.address(out, blobsas.Read), "outputBlobContainerUri": write, "includeConfigurations": true, "configurationsBlobName": "conf.txt"})
		if a := s.send("GET", "/configurations/c1", ""); a.status != 200 || !strings.Contains(a.body, content) {
			t.Errorf("%d %s: %s", a.status, a.body, s.blob(out, "conf.txt"))
		}

		var list []transferred
		s.send("GET", "/jobs", "").ok(200, &list)
		if len(list) != 6 || list[0].Type != "import" || list[5].Type != "import" {
			t.Errorf("%+v", list)
		}
		s.send("DELETE", "/jobs/"+list[0].JobID, "").refused("ended", 400, "InvalidOperation")
		s.send("GET", "/jobs/none", "").refused("unknown", 404, "JobNotFound")
		j = s.transfer(map[string]any{"type": "import", "inputBlobContainerUri": read, "inputBlobName": "none", "outputBlobContainerUri": write})
		if j.Status != "failed" || !strings.Contains(j.Failure, "InvalidStorageEndpointOrBlob") {
			t.Errorf("%+v", j)
		}
		for _, c := range []struct{ body, code string }{
			{`{}`, "ArgumentInvalid"},
			{`{"type":"move"}`, "ArgumentInvalid"},
			{`{"type":"export"}`, "ArgumentNull"},
			{`{"type":"import","outputBlobContainerUri":"` + write + `"}`, "ArgumentNull"},
			{`{"type":"import","outputBlobContainerUri":"` + write + `","inputBlobContainerUri":"` + write + `"}`, "ArgumentInvalid"},
			{`{"type":"export","outputBlobContainerUri":"` + read + `"}`, "ArgumentInvalid"},
			{`{"type":"export","outputBlobContainerUri":"` + write + `x"}`, "ArgumentInvalid"},
			{`{"type":"export","outputBlobContainerUri":"https://elsewhere/c?sig=x"}`, "ArgumentInvalid"},
			{`{"type":"export","outputBlobContainerUri":"file:///etc"}`, "ArgumentInvalid"},
			{`{"type":"export","outputBlobContainerUri":"` + write + `","storageAuthenticationType":"none"}`, "ArgumentInvalid"},
			{`{"type":"export","outputBlobContainerUri":"` + write + `","outputBlobName":"` + strings.Repeat("a", 2000) + `"}`, "ArgumentInvalid"},
		} {
			if a := s.send("POST", "/jobs/create", c.body); a.header.Get("iothub-errorcode") != c.code {
				t.Errorf("%s: %d %s", c.body, a.status, a.body)
			}
		}
	})
}
