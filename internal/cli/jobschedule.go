package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// jobFlags are those of every scheduled job.
type jobFlags struct {
	Where   string        `name:"where" required:"" placeholder:"CONDITION" help:"Which devices: a condition such as \"tags.site = 'north'\" or \"deviceId IN ['d1','d2']\", * for all, or \"FROM devices.modules WHERE moduleId = 'camera'\"."`
	ID      string        `name:"id" placeholder:"ID" help:"Name of the job: 1 to 64 letters, digits, - and _. One is made when left out."`
	Start   string        `name:"start" placeholder:"TIME" help:"When to begin: a time such as 2026-01-31T08:00:00Z, or how long from now such as 30m. Now when left out."`
	MaxTime time.Duration `name:"max-time" default:"1h" placeholder:"TIME" help:"How long it may take from its start, up to 720h (${default})."`
	Wait    bool          `name:"wait" help:"Wait until the job has ended, and show how far it is."`
}

func (f *jobFlags) schedule(s *session, kind, part string, content any) error {
	start := time.Now().UTC()
	if f.Start != "" {
		if d, err := time.ParseDuration(f.Start); err == nil && d >= 0 {
			start = start.Add(d)
		} else if start = parseTime(f.Start); start.IsZero() {
			return usagef("--start %s: write a time such as 2026-01-31T08:00:00Z, or how long from now such as 30m", f.Start)
		}
	}
	if f.MaxTime < time.Second || f.MaxTime%time.Second != 0 {
		return usagef("--max-time is a whole number of seconds")
	}
	id := f.ID
	if id == "" {
		id = time.Now().UTC().Format("job-20060102-150405.000")
		id = strings.ReplaceAll(id, ".", "-")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	err = cl.hub(s.ctx, http.MethodPut, jobPath(id), nil, map[string]any{
		"jobId": id, "type": kind, part: content, "queryCondition": f.Where,
		"startTime": start.Format(time.RFC3339Nano), "maxExecutionTimeInSeconds": int64(f.MaxTime / time.Second),
	}, &raw)
	if err != nil {
		return jobError(err, id)
	}
	if f.Wait {
		return s.awaitJob(cl, id)
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	s.printf("Job %s is scheduled. See how far it is with: dunlin job show %s\n", id, id)
	return nil
}

type jobTwinUpdateCmd struct {
	jobFlags
	Tags    string   `name:"tags" placeholder:"JSON" help:"Tags, an object; they are merged."`
	Desired string   `name:"desired" placeholder:"JSON" help:"Desired properties, an object; they are merged."`
	File    string   `name:"file" placeholder:"FILE" help:"Read the change, as twin show --json prints a twin, from this file; - is standard input."`
	Set     []string `name:"set" sep:"none" placeholder:"PATH=VALUE" help:"Set one value, such as desired.interval=5 or tags.site=north. VALUE is JSON, else text. May be repeated."`
	Remove  []string `name:"remove" sep:"none" placeholder:"PATH" help:"Remove one, such as tags.site. May be repeated."`
}

// Run schedules a change of twins.
func (c *jobTwinUpdateCmd) Run(s *session) error {
	change := twinUpdateCmd{twinBody: twinBody{Tags: c.Tags, Desired: c.Desired, File: c.File}, Set: c.Set, Remove: c.Remove}
	doc, err := change.change(s)
	if err != nil {
		return err
	}
	update := map[string]any{"etag": "*"}
	for _, name := range [...]string{"tags", "properties"} {
		if v, ok := doc[name]; ok {
			update[name] = v
		}
	}
	return c.schedule(s, "scheduleUpdateTwin", "updateTwin", update)
}

type jobMethodCmd struct {
	jobFlags
	Name    string        `arg:"" help:"Name of the method."`
	Payload string        `arg:"" optional:"" help:"What it is called with, JSON; null when left out."`
	File    string        `name:"file" placeholder:"FILE" help:"Read the payload from this file; - is standard input."`
	Timeout time.Duration `name:"timeout" default:"30s" placeholder:"TIME" help:"How long each device may take to answer, 5s to 300s (${default})."`
}

// Run schedules calls of a method.
func (c *jobMethodCmd) Run(s *session) error {
	payload, err := s.methodPayload(c.Payload, c.File)
	if err != nil {
		return err
	}
	if c.Timeout < time.Second || c.Timeout%time.Second != 0 {
		return usagef("--timeout is a whole number of seconds")
	}
	return c.schedule(s, "scheduleDeviceMethod", "cloudToDeviceMethod", map[string]any{
		"methodName": c.Name, "payload": payload, "responseTimeoutInSeconds": int(c.Timeout / time.Second),
	})
}

// How often a job is looked at.
const (
	lookOften  = 100 * time.Millisecond
	lookSeldom = 2 * time.Second
)

// awaitJob shows how far a job is until it has ended, and then the job. That
// it failed is an error.
func (s *session) awaitJob(cl *client, id string) error {
	live := terminal(s.err) && !s.JSON
	last := ""
	t := time.NewTimer(0)
	defer t.Stop()
	for pause := lookOften; ; pause = min(2*pause, lookSeldom) {
		select {
		case <-t.C:
		case <-s.ctx.Done():
			s.notef("\nThe job goes on. See how far it is with: dunlin job show %s; end it with: dunlin job cancel %s\n", id, id)
			return s.ctx.Err()
		}
		raw, err := cl.fetchJob(s, id)
		if err != nil {
			return err
		}
		j, err := readJob(raw)
		if err != nil {
			return err
		}
		line := strings.TrimSuffix(j.Status+": "+j.numbers(), ": ")
		switch {
		case live:
			s.notef("\r\x1b[K%s", line)
		case line != last && !s.JSON:
			s.notef("%s\n", line)
		}
		last = line
		if j.ended() {
			if live {
				s.notef("\r\x1b[K")
			}
			if err := s.printJob(raw); err != nil {
				return err
			}
			return j.verdict()
		}
		t.Reset(pause)
	}
}

// verdict is the error of a job that did not do what it was to do.
func (j *job) verdict() error {
	switch {
	case j.Status == "failed":
		return fmt.Errorf("the job failed: %s", j.Failure)
	case j.Status == "cancelled":
		return fmt.Errorf("the job was cancelled")
	case j.Numbers != nil && j.Numbers.Failed > 0:
		return fmt.Errorf("%s failed: dunlin job results %s --status failed says why", count(int(j.Numbers.Failed), "device", "devices"), j.ID)
	}
	return nil
}
