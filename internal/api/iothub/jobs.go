package iothub

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/job"
)

// jobIn is the body of PUT /jobs/v2/{job}.
type jobIn struct {
	JobID      *string         `json:"jobId"`
	Type       string          `json:"type"`
	Condition  *string         `json:"queryCondition"`
	Start      *string         `json:"startTime"`
	MaxSeconds *int64          `json:"maxExecutionTimeInSeconds"`
	UpdateTwin json.RawMessage `json:"updateTwin"`
	Method     json.RawMessage `json:"cloudToDeviceMethod"`
}

// jobOut is a scheduled job as this surface writes it.
type jobOut struct {
	JobID      string          `json:"jobId"`
	Type       string          `json:"type"`
	Status     string          `json:"status"`
	Condition  string          `json:"queryCondition"`
	Created    string          `json:"createdTime"`
	Start      string          `json:"startTime"`
	End        string          `json:"endTime,omitempty"`
	MaxSeconds int64           `json:"maxExecutionTimeInSeconds"`
	Method     json.RawMessage `json:"cloudToDeviceMethod,omitempty"`
	UpdateTwin json.RawMessage `json:"updateTwin,omitempty"`
	Failure    string          `json:"failureReason,omitempty"`
	Message    string          `json:"statusMessage,omitempty"`
	Statistics *jobStatistics  `json:"deviceJobStatistics,omitempty"`
}

type jobStatistics struct {
	Devices   int64 `json:"deviceCount"`
	Failed    int64 `json:"failedCount"`
	Succeeded int64 `json:"succeededCount"`
	Running   int64 `json:"runningCount"`
	Pending   int64 `json:"pendingCount"`
}

func dateText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return timeText(t)
}

// outOfJob gives a job in the form of its kind: imports and exports can be
// listed along with scheduled ones.
func outOfJob(j *job.Job) (any, error) {
	if !j.Kind.Scheduled() {
		return outOfTransfer(j)
	}
	out := jobOut{
		JobID: j.ID, Type: j.Kind.String(), Status: j.Status.String(), Condition: j.Condition,
		Created: timeText(j.Created), Start: timeText(j.Start), End: dateText(j.Ended), MaxSeconds: int64(j.MaxTime / time.Second),
		Failure: j.Failure, Message: j.Message,
	}
	if j.Kind == job.DeviceMethod {
		out.Method = j.Content
	} else {
		out.UpdateTwin = j.Content
	}
	if !j.Begun.IsZero() {
		out.Statistics = &jobStatistics{
			Devices: j.Total, Failed: j.FailedCount, Succeeded: j.Succeeded, Running: j.Running,
			Pending: max(0, j.Total-j.FailedCount-j.Succeeded-j.Canceled-j.Running),
		}
	}
	return out, nil
}

func (c *call) replyJob(j *job.Job, err error) error {
	if err != nil {
		return err
	}
	out, err := outOfJob(j)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, out)
}

// putJob answers PUT /jobs/v2/{job}.
func putJob(c *call) error {
	var in jobIn
	if err := c.decode(maxBody, &in); err != nil {
		return err
	}
	if err := same("jobId", c.job, in.JobID); err != nil {
		return err
	}
	j, err := c.hub.ScheduleJob(c.r.Context(), job.Spec{
		ID: c.job, Type: in.Type, Condition: in.Condition, Start: in.Start, MaxSeconds: in.MaxSeconds, UpdateTwin: in.UpdateTwin, Method: in.Method,
	})
	return c.replyJob(&j, err)
}

// getJob answers GET /jobs/v2/{job}.
func getJob(c *call) error {
	j, err := c.hub.ScheduledJob(c.r.Context(), c.job)
	return c.replyJob(&j, err)
}

// cancelJob answers POST /jobs/v2/{job}/cancel.
func cancelJob(c *call) error {
	j, err := c.hub.CancelJob(c.r.Context(), c.job)
	return c.replyJob(&j, err)
}

// listJobs answers GET /jobs/v2/query: a page of jobs, the newest first.
func listJobs(c *call) error {
	var f job.Filter
	if s := c.query.Get("jobType"); s != "" {
		k, err := job.ParseKind(s)
		if err != nil {
			return err
		}
		f.Kind = &k
	}
	if s := c.query.Get("jobStatus"); s != "" {
		status, err := job.ParseStatus(s)
		if err != nil {
			return err
		}
		f.Status = &status
	}
	size, err := c.pageSize(job.DefaultPage, job.MaxPage)
	if err != nil {
		return err
	}
	list, next, err := c.hub.ScheduledJobs(c.r.Context(), f, c.r.Header.Get("x-ms-continuation"), size)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("x-ms-item-type", "JobResponse")
	if next != "" {
		h.Set("x-ms-continuation", next)
	}
	out := make([]any, len(list))
	for i := range list {
		if out[i], err = outOfJob(&list[i]); err != nil {
			return err
		}
	}
	return c.reply(http.StatusOK, out)
}

// pageSize reads how many items a caller wants in a page.
func (c *call) pageSize(ordinary, most int) (int, error) {
	s := c.r.Header.Get("x-ms-max-item-count")
	if s == "" {
		return ordinary, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, iot.Errorf(iot.ArgumentInvalid, "x-ms-max-item-count '%.20s' is not valid: 1 to %d", s, most)
	}
	return min(n, most), nil
}
