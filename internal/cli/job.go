package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type jobCmd struct {
	TwinUpdate jobTwinUpdateCmd `cmd:"" help:"Change the twins of many devices, now or later."`
	Method     jobMethodCmd     `cmd:"" help:"Call a method of many devices; those that are away are called when they connect."`
	List       jobListCmd       `cmd:"" help:"List jobs, the newest first."`
	Show       jobShowCmd       `cmd:"" help:"Show a job and how far it is."`
	Cancel     jobCancelCmd     `cmd:"" help:"End a job before it is done."`
	Results    jobResultsCmd    `cmd:"" help:"Show what came of each device of a job."`
	Import     jobImportCmd     `cmd:"" help:"Create, change and delete devices and modules as a file says."`
	Export     jobExportCmd     `cmd:"" help:"Write all devices and modules, with their twins, to a file."`
}

// jobPath is where the hub keeps a scheduled job.
func jobPath(id string) string { return "/jobs/v2/" + url.PathEscape(id) }

// job is a job of any kind as far as it is shown to people.
type job struct {
	ID         string          `json:"jobId"`
	Type       string          `json:"type"`
	Status     string          `json:"status"`
	Condition  string          `json:"queryCondition"`
	Created    string          `json:"createdTime"`
	Start      string          `json:"startTime"`
	End        string          `json:"endTime"`
	MaxSeconds int64           `json:"maxExecutionTimeInSeconds"`
	Method     json.RawMessage `json:"cloudToDeviceMethod"`
	UpdateTwin json.RawMessage `json:"updateTwin"`
	Failure    string          `json:"failureReason"`
	Message    string          `json:"statusMessage"`
	Numbers    *struct {
		Devices   int64 `json:"deviceCount"`
		Failed    int64 `json:"failedCount"`
		Succeeded int64 `json:"succeededCount"`
		Running   int64 `json:"runningCount"`
		Pending   int64 `json:"pendingCount"`
	} `json:"deviceJobStatistics"`

	// of imports and exports
	Progress int    `json:"progress"`
	StartUTC string `json:"startTimeUtc"`
	EndUTC   string `json:"endTimeUtc"`
}

func (j *job) ended() bool {
	return j.Status == "completed" || j.Status == "failed" || j.Status == "cancelled"
}

// numbers says how far a job is, in one line.
func (j *job) numbers() string {
	if j.StartUTC != "" {
		return strconv.Itoa(j.Progress) + "%"
	}
	n := j.Numbers
	if n == nil {
		return ""
	}
	parts := []string{fmt.Sprintf("%d of %d done", n.Succeeded+n.Failed, n.Devices)}
	for _, p := range []struct {
		n    int64
		what string
	}{{n.Failed, "failed"}, {n.Running, "under way"}, {n.Pending, "waiting"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

func readJob(raw json.RawMessage) (job, error) {
	var j job
	if err := json.Unmarshal(raw, &j); err != nil {
		return j, fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	return j, nil
}

// jobError says what to do about a refusal.
func jobError(err error, id string) error {
	switch {
	case hasCode(err, "JobNotFound"):
		return fmt.Errorf("%w; dunlin job list shows those that there are", err)
	case hasCode(err, "JobAlreadyExists"):
		return fmt.Errorf("%w; see it with dunlin job show %s", err, id)
	case hasCode(err, "ThrottlingMaxActiveJobCountExceeded"), hasCode(err, "JobQuotaExceeded"):
		return fmt.Errorf("%w; dunlin job list shows them", err)
	case hasCode(err, "ArgumentInvalid") && strings.Contains(err.Error(), "queryCondition"):
		return fmt.Errorf("%w; try the condition first with dunlin query", err)
	}
	return err
}

// fetchJob reads a job of any kind: only one surface knows it.
func (c *client) fetchJob(s *session, id string) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.hub(s.ctx, http.MethodGet, jobPath(id), nil, nil, &raw)
	return raw, jobError(err, id)
}

type jobListCmd struct {
	Type   string `name:"type" enum:",twin-update,method,import,export" default:"" placeholder:"TYPE" help:"Only those: twin-update, method, import or export."`
	Status string `name:"status" enum:",queued,scheduled,running,enqueued,completed,failed,cancelled" default:"" placeholder:"STATUS" help:"Only those: queued, scheduled, running, completed, failed or cancelled."`
	Top    int    `name:"top" default:"50" placeholder:"N" help:"End after so many (${default}); 0 is no end."`
}

// jobTypes are the names of types that the hub uses.
var jobTypes = map[string]string{"twin-update": "scheduleUpdateTwin", "method": "scheduleDeviceMethod", "import": "import", "export": "export"}

// Run lists jobs.
func (c *jobListCmd) Run(s *session) error {
	if c.Top < 0 {
		return usagef("--top: a number of jobs, not %d", c.Top)
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	types := []string{c.Type}
	if c.Type == "" {
		types = []string{"", "import", "export"} // without a type only scheduled ones are listed
	}
	all := []json.RawMessage{}
	more := false
	for _, t := range types {
		list, cut, err := c.list(s, cl, t)
		if err != nil {
			return err
		}
		all, more = append(all, list...), more || cut
	}
	if s.JSON {
		return s.printJSON(all)
	}
	if len(all) == 0 {
		s.printf("There are no such jobs.\n")
		return nil
	}
	now := time.Now()
	var rows [][]string
	for _, raw := range all {
		j, err := readJob(raw)
		if err != nil {
			return err
		}
		start := j.Start
		if start == "" {
			start = j.StartUTC
		}
		rows = append(rows, []string{j.ID, typeName(j.Type), j.Status, ago(parseTime(start), now), j.numbers(), shorten(printable(j.Condition))})
	}
	if err := table(s.out, []string{"JOB", "TYPE", "STATUS", "START", "DEVICES", "CONDITION"}, rows); err != nil {
		return err
	}
	if more {
		s.notef("There are more: --top N, or --top 0 for all.\n")
	}
	return nil
}

func (c *jobListCmd) list(s *session, cl *client, kind string) (all []json.RawMessage, more bool, err error) {
	q := url.Values{}
	if kind != "" {
		q.Set("jobType", jobTypes[kind])
	}
	if c.Status != "" {
		q.Set("jobStatus", c.Status)
	}
	next := ""
	for {
		size := pageSize
		if c.Top > 0 {
			size = min(size, c.Top-len(all))
		}
		header := map[string]string{"X-Ms-Max-Item-Count": strconv.Itoa(size)}
		if next != "" {
			header["X-Ms-Continuation"] = next
		}
		resp, err := cl.openHub(s.ctx, http.MethodGet, "/jobs/v2/query?"+q.Encode(), header, nil)
		if err != nil {
			return nil, false, err
		}
		var page []json.RawMessage
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			return nil, false, fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		all = append(all, page...)
		if next = resp.Header.Get("x-ms-continuation"); next == "" || c.Top > 0 && len(all) >= c.Top {
			return all, next != "", nil
		}
	}
}

func typeName(t string) string {
	for name, theirs := range jobTypes {
		if theirs == t {
			return name
		}
	}
	return t
}

type jobShowCmd struct {
	ID   string `arg:"" help:"Id of the job."`
	Wait bool   `name:"wait" help:"Wait until it has ended."`
}

// Run shows a job.
func (c *jobShowCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	if c.Wait {
		return s.awaitJob(cl, c.ID)
	}
	raw, err := cl.fetchJob(s, c.ID)
	if err != nil {
		return err
	}
	return s.printJob(raw)
}

func (s *session) printJob(raw json.RawMessage) error {
	if s.JSON {
		return s.printJSON(raw)
	}
	j, err := readJob(raw)
	if err != nil {
		return err
	}
	now := time.Now()
	when := func(texts ...string) string {
		for _, text := range texts {
			if text != "" {
				return ago(parseTime(text), now)
			}
		}
		return ""
	}
	limit := ""
	if j.MaxSeconds > 0 {
		limit = (time.Duration(j.MaxSeconds) * time.Second).String()
	}
	return pairs(s.out, [][2]string{
		{"job", j.ID},
		{"type", typeName(j.Type)},
		{"status", j.Status},
		{"condition", printable(j.Condition)},
		{"change", printable(string(j.UpdateTwin))},
		{"call", printable(string(j.Method))},
		{"start", when(j.Start, j.StartUTC)},
		{"end", when(j.End, j.EndUTC)},
		{"at most", limit},
		{"devices", j.numbers()},
		{"message", printable(j.Message)},
		{"failure", printable(j.Failure)},
	})
}

type jobCancelCmd struct {
	ID string `arg:"" help:"Id of the job."`
}

// Run cancels a job.
func (c *jobCancelCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodPost, jobPath(c.ID)+"/cancel", nil, nil, &raw); err != nil {
		return jobError(err, c.ID)
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	j, err := readJob(raw)
	if err != nil {
		return err
	}
	s.printf("%s is %s. What it has done stays done: dunlin job results %s\n", c.ID, j.Status, c.ID)
	return nil
}

type jobResultsCmd struct {
	ID     string `arg:"" help:"Id of the job."`
	Status string `name:"status" enum:",pending,running,completed,failed,canceled" default:"" placeholder:"STATUS" help:"Only devices that are so: pending, running, completed, failed or canceled."`
	Top    int    `name:"top" default:"100" placeholder:"N" help:"End after so many (${default}); 0 is no end."`
}

// result is what came of one device.
type result struct {
	Device  string `json:"deviceId"`
	Module  string `json:"moduleId"`
	Status  string `json:"status"`
	End     string `json:"endTimeUtc"`
	Outcome struct {
		Response *struct {
			Status  int             `json:"status"`
			Payload json.RawMessage `json:"payload"`
		} `json:"deviceMethodResponse"`
	} `json:"outcome"`
	Error *struct{ Code, Description string } `json:"error"`
}

// Run shows the results of a job.
func (c *jobResultsCmd) Run(s *session) error {
	if c.Top < 0 {
		return usagef("--top: a number of devices, not %d", c.Top)
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	raw, err := cl.fetchJob(s, c.ID)
	if err != nil {
		return err
	}
	if j, err := readJob(raw); err != nil {
		return err
	} else if j.StartUTC != "" {
		return fmt.Errorf("%s is an %s: what an import refuses stands in importErrors.log of its container", c.ID, j.Type)
	}
	query := "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '" + c.ID + "'"
	if c.Status != "" {
		query += " AND devices.jobs.status = '" + c.Status + "'"
	}
	all := []json.RawMessage{}
	next := ""
	for {
		size := pageSize
		if c.Top > 0 {
			size = min(size, c.Top-len(all))
		}
		header := map[string]string{"X-Ms-Max-Item-Count": strconv.Itoa(size)}
		if next != "" {
			header["X-Ms-Continuation"] = next
		}
		var page []json.RawMessage
		h, err := cl.query(s, query, header, &page)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if next = h.Get("x-ms-continuation"); next == "" || c.Top > 0 && len(all) >= c.Top {
			break
		}
	}
	if s.JSON {
		return s.printJSON(all)
	}
	if len(all) == 0 {
		s.printf("There are no such devices in %s.\n", c.ID)
		return nil
	}
	var rows [][]string
	for _, raw := range all {
		var r result
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		outcome := ""
		switch {
		case r.Outcome.Response != nil:
			outcome = shorten(printable(fmt.Sprintf("%d %s", r.Outcome.Response.Status, r.Outcome.Response.Payload)))
		case r.Error != nil:
			outcome = shorten(printable(r.Error.Description))
		}
		rows = append(rows, []string{strings.TrimSuffix(r.Device+"/"+r.Module, "/"), r.Status, outcome})
	}
	if err := table(s.out, []string{"DEVICE", "STATUS", "OUTCOME"}, rows); err != nil {
		return err
	}
	if next != "" {
		s.notef("There are more: --top N, or --top 0 for all.\n")
	}
	return nil
}
