package harness

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs the binary with arguments, for at most two minutes.
func Run(t testing.TB, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Env = cleanEnv()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		t.Fatalf("dunlin %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// CLI runs a command against this server's data directory; it must succeed.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	r := Run(s.t, append(args, "--data", s.Dir)...)
	if r.Code != 0 {
		s.t.Fatalf("dunlin %s: exit code %d: %s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r.Stdout
}

// Device creates a device and gives its primary key, base64 as it stands.
func (s *Server) Device(id string) string {
	s.t.Helper()
	s.CLI("device", "create", id)
	return Field(s.ConnectionString(id), "SharedAccessKey")
}

// ConnectionString gives the connection string of a device.
func (s *Server) ConnectionString(id string) string {
	s.t.Helper()
	return strings.TrimSpace(s.CLI("device", "connection-string", id))
}

// Policy gives the connection string of a shared access policy.
func (s *Server) Policy(name string) string {
	s.t.Helper()
	cs := s.Info.Hub.ConnectionStrings[name]
	if cs == "" {
		s.t.Fatalf("info names no connection string for the policy %s", name)
	}
	return cs
}

// Field gives one field of a connection string.
func Field(cs, name string) string {
	for part := range strings.SplitSeq(cs, ";") {
		if v, ok := strings.CutPrefix(part, name+"="); ok {
			return v
		}
	}
	return ""
}

// Event is a line of `dunlin tail --json`.
type Event struct {
	Partition        int               `json:"partition"`
	Offset           string            `json:"offset"`
	SequenceNumber   string            `json:"sequenceNumber"`
	EnqueuedTime     string            `json:"enqueuedTime"`
	DeviceID         string            `json:"deviceId"`
	ModuleID         string            `json:"moduleId"`
	SystemProperties map[string]any    `json:"systemProperties"`
	Properties       map[string]string `json:"properties"`
	Body             json.RawMessage   `json:"body"`
	BodyBase64       string            `json:"bodyBase64"`
	Error            string            `json:"error"` // set in the line that stands for damaged records
}

// Sequence is the sequence number as a number.
func (e Event) Sequence() int64 {
	n, err := strconv.ParseInt(e.SequenceNumber, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Payload gives the body's bytes: JSON as it was sent, else what bodyBase64 holds.
func (e Event) Payload() []byte {
	if e.BodyBase64 != "" {
		b, err := base64.StdEncoding.DecodeString(e.BodyBase64)
		if err == nil {
			return b
		}
	}
	return e.Body
}

// Tail reads the whole log as `dunlin tail --json --no-follow --from earliest`
// shows it, with further arguments such as --device.
func (s *Server) Tail(args ...string) []Event {
	s.t.Helper()
	events, err := s.TailErr(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return events
}

// TailErr is Tail for logs that may be damaged: it gives what was readable
// and the error that the command ended with.
func (s *Server) TailErr(args ...string) ([]Event, error) {
	s.t.Helper()
	args = append([]string{"tail", "--json", "--no-follow", "--from", "earliest", "--data", s.Dir}, args...)
	r := Run(s.t, args...)
	var events []Event
	var damage []string
	dec := json.NewDecoder(strings.NewReader(r.Stdout))
	for dec.More() {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return events, fmt.Errorf("tail --json: %w", err)
		}
		if e.Error != "" {
			damage = append(damage, e.Error)
			continue
		}
		events = append(events, e)
	}
	if len(damage) > 0 && r.Code == 0 {
		return events, fmt.Errorf("tail: exit code 0, but: %s", strings.Join(damage, "; "))
	}
	if r.Code != 0 {
		return events, fmt.Errorf("tail: exit code %d: %s %s", r.Code, r.Stderr, strings.Join(damage, "; "))
	}
	return events, nil
}
