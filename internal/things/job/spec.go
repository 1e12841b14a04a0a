package job

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// Spec is a scheduled job as a caller asks for it; nothing of it is checked.
type Spec struct {
	ID         string
	Type       string
	Condition  *string
	Start      *string         // ISO 8601; nil or empty is now
	MaxSeconds *int64          // nil is DefaultMaxTime
	UpdateTwin json.RawMessage // of a twin update
	Method     json.RawMessage // of a method call
}

// DefaultMaxTime is how long a job may take that does not say.
const DefaultMaxTime = time.Hour

const (
	maxID = 64
	// maxTime bounds what a job may ask for, as its records are kept for so
	// long and not longer.
	maxTime = History
	// lastYear is the last year that a start may be in: nanoseconds end soon
	// after.
	lastYear = 2200
)

// Call is a method call of a job.
type Call struct {
	Method   string
	Payload  []byte        // JSON; nil for none
	Response time.Duration // 0 is the default
}

// Change is what a job does to a twin.
type Change struct {
	Body []byte  // JSON with tags and properties.desired
	ETag *string // nil for any
}

// plan is what a job does, read from what is stored of it.
type plan struct {
	target twinql.Target
	call   Call
	change Change
}

// checkID says what is wrong with the id of a job.
func checkID(id string) error {
	ok := id != "" && len(id) <= maxID
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if !ok {
		return iot.Errorf(iot.ArgumentInvalid, "the job id '%.80s' is not valid: 1 to %d of A-Z a-z 0-9 - _", strings.ToValidUTF8(id, "?"), maxID)
	}
	if strings.EqualFold(id, "query") {
		return iot.Errorf(iot.ArgumentInvalid, "the job id '%s' is not possible: jobs are listed under that name", id)
	}
	return nil
}

// read checks a spec and makes the job of it.
func (r *Room) read(s *Spec, now time.Time) (Job, error) {
	j := Job{ID: s.ID, Status: Queued, Created: now, Start: now, MaxTime: DefaultMaxTime}
	if err := checkID(s.ID); err != nil {
		return j, err
	}
	if s.Type == "" {
		return j, iot.Errorf(iot.ArgumentNull, "the job has no type: scheduleUpdateTwin or scheduleDeviceMethod")
	}
	var err error
	if j.Kind, err = ParseKind(s.Type); err != nil || !j.Kind.Scheduled() {
		return j, iot.Errorf(iot.ArgumentInvalid, "the type '%.40s' is not one of a scheduled job: scheduleUpdateTwin or scheduleDeviceMethod", s.Type)
	}
	if s.Condition == nil || strings.TrimSpace(*s.Condition) == "" {
		return j, iot.Errorf(iot.ArgumentNull, "the job has no queryCondition: a condition such as deviceId IN ['d1','d2'], or * for all devices")
	}
	j.Condition = *s.Condition
	if j.Start, err = readStart(s.Start, now); err != nil {
		return j, err
	}
	if s.MaxSeconds != nil {
		if *s.MaxSeconds < 1 || *s.MaxSeconds > int64(maxTime/time.Second) {
			return j, iot.Errorf(iot.ArgumentInvalid, "maxExecutionTimeInSeconds is %d, it must be from 1 to %d", *s.MaxSeconds, int64(maxTime/time.Second))
		}
		j.MaxTime = time.Duration(*s.MaxSeconds) * time.Second
	}
	part, name := s.UpdateTwin, "updateTwin"
	if j.Kind == DeviceMethod {
		part, name = s.Method, "cloudToDeviceMethod"
	}
	if len(part) == 0 || string(part) == "null" {
		return j, iot.Errorf(iot.ArgumentNull, "a job of the type %s needs the member %s", j.Kind, name)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, part); err != nil {
		return j, iot.Errorf(iot.DeserializationError, "%s is not valid JSON: %w", name, err)
	}
	j.Content = compact.Bytes()
	p, err := j.plan()
	if err != nil {
		return j, err
	}
	if j.Kind == DeviceMethod {
		return j, r.deps.CheckCall(p.call)
	}
	return j, r.deps.CheckChange(p.change)
}

func readStart(text *string, now time.Time) (time.Time, error) {
	if text == nil || *text == "" {
		return now, nil
	}
	for _, form := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		t, err := time.Parse(form, *text)
		if err != nil {
			continue
		}
		if t.Year() > lastYear {
			return t, iot.Errorf(iot.ArgumentInvalid, "startTime '%.40s' is too far away: the last year is %d", *text, lastYear)
		}
		if t.Year() <= 1970 {
			return now, nil // a date that was never set
		}
		return t.UTC(), nil
	}
	return now, iot.Errorf(iot.ArgumentInvalid, "startTime '%.40s' is not a time: write it such as 2026-01-31T08:00:00Z", *text)
}

// plan reads what is stored of a scheduled job.
func (j *Job) plan() (p plan, err error) {
	if p.target, err = twinql.ParseTarget(j.Condition); err != nil {
		return p, &iot.Error{Code: iot.ArgumentInvalid, Message: "queryCondition is not valid " + err.Error(), Err: err}
	}
	if j.Kind == DeviceMethod {
		p.call, err = readCall(j.Content)
	} else {
		p.change, err = readChange(j.Content)
	}
	return p, err
}

func readCall(content []byte) (c Call, err error) {
	var in struct {
		Name     string          `json:"methodName"`
		Payload  json.RawMessage `json:"payload"`
		Response *float64        `json:"responseTimeoutInSeconds"`
		Connect  *float64        `json:"connectTimeoutInSeconds"`
	}
	if err := unmarshal(content, "cloudToDeviceMethod", &in); err != nil {
		return c, err
	}
	c = Call{Method: in.Name, Payload: in.Payload}
	if in.Name == "" {
		return c, iot.Errorf(iot.ArgumentNull, "cloudToDeviceMethod has no methodName")
	}
	if in.Response != nil {
		// 0 stands for the default in calls; here it is what was written.
		c.Response = time.Duration(*in.Response * float64(time.Second))
		if c.Response <= 0 {
			return c, iot.Errorf(iot.ArgumentInvalid, "cloudToDeviceMethod.responseTimeoutInSeconds is %v: leave it out for the default", *in.Response)
		}
	}
	if in.Connect != nil && *in.Connect < 0 {
		return c, iot.Errorf(iot.ArgumentInvalid, "cloudToDeviceMethod.connectTimeoutInSeconds is %v", *in.Connect)
	}
	return c, nil
}

func readChange(content []byte) (c Change, err error) {
	var in struct {
		ETag       *string                    `json:"etag"`
		Tags       json.RawMessage            `json:"tags"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := unmarshal(content, "updateTwin", &in); err != nil {
		return c, err
	}
	if in.ETag != nil && *in.ETag != "" {
		if e := strings.Trim(strings.TrimPrefix(*in.ETag, "W/"), `"`); e != "*" {
			c.ETag = &e
		}
	}
	desired := in.Properties["desired"]
	if in.Tags == nil && desired == nil {
		return c, iot.Errorf(iot.ArgumentNull, "updateTwin has neither tags nor properties.desired")
	}
	b := []byte{'{'}
	if in.Tags != nil {
		b = append(append(b, `"tags":`...), in.Tags...)
	}
	if desired != nil {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, `"properties":{"desired":`...), desired...), '}')
	}
	c.Body = append(b, '}')
	return c, nil
}

func unmarshal(content []byte, name string, v any) error {
	if len(content) == 0 || content[0] != '{' {
		return iot.Errorf(iot.ArgumentInvalid, "%s is not a JSON object", name)
	}
	if err := json.Unmarshal(content, v); err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "%s is not valid: %s", name, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
