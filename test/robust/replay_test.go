package robust

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"dunlin/test/harness"
)

// TestReplay sends a whole recording as one device and kills the server in the
// middle. The sender goes on by itself, and the log has every row, in order,
// as it was recorded.
func TestReplay(t *testing.T) {
	t.Parallel()
	f, err := os.Open(harness.MachineTemperature())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want = want[1:]
	if len(want) != 22695 {
		t.Fatalf("the recording has %d rows", len(want))
	}

	s := harness.Start(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), "simulate", "--data", s.Dir,
		"--replay", harness.MachineTemperature(), "--time-column", "timestamp", "--value-columns", "value",
		"--speedup", "500000", "--device", "machine")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	time.Sleep(5 * time.Second) // of about 14
	s.Kill()
	select {
	case err := <-done:
		t.Fatalf("the sender ended before the kill: %v\n%s", err, out.String())
	case <-time.After(500 * time.Millisecond):
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	before := len(s.Tail("--device", "machine"))
	if err := <-done; err != nil {
		t.Fatalf("dunlin simulate: %v\n%s", err, out.String())
	}
	t.Logf("dunlin simulate:\n%s", out.String())
	events := s.Tail("--device", "machine")
	if before == 0 || before == len(events) {
		t.Errorf("%d events after the kill, %d at the end: the kill was not in the middle", before, len(events))
	}
	next, base := 0, 0 // rows are numbered from the first one's message id
	for i, e := range events {
		if i > 0 && e.Sequence() <= events[i-1].Sequence() {
			t.Fatalf("sequence number %d follows %d", e.Sequence(), events[i-1].Sequence())
		}
		id, _ := e.SystemProperties["message-id"].(string) // Atoi tells
		n, err := strconv.Atoi(id)
		if err != nil {
			t.Fatalf("event %d: message-id %q", i, id)
		}
		if i == 0 {
			base = n
		}
		n -= base
		if n > next {
			t.Fatalf("row %d follows row %d: out of order or missing", n, next-1)
		}
		if n < next {
			continue // sent again because its acknowledgement was lost
		}
		var body struct {
			Timestamp string  `json:"timestamp"`
			Value     float64 `json:"value"`
		}
		if err := json.Unmarshal(e.Body, &body); err != nil {
			t.Fatalf("row %d: body %q: %v", n, e.Body, err)
		}
		value, err := strconv.ParseFloat(want[n][1], 64)
		if err != nil {
			t.Fatal(err)
		}
		recorded, err := time.Parse(time.DateTime, want[n][0])
		if err != nil {
			t.Fatal(err)
		}
		sent, err := time.Parse(time.RFC3339, body.Timestamp)
		if err != nil {
			sent, err = time.Parse(time.DateTime, body.Timestamp)
		}
		if err != nil || !sent.Equal(recorded) || body.Value != value {
			t.Fatalf("row %d: %s, want %v", n, e.Body, want[n])
		}
		if e.SystemProperties["content-type"] != "application/json" || e.SystemProperties["content-encoding"] != "utf-8" {
			t.Fatalf("row %d: system properties %v", n, e.SystemProperties)
		}
		next++
	}
	if next != len(want) {
		t.Errorf("the log has %d rows of %d", next, len(want))
	}
	t.Logf("%d rows, %d events", next, len(events))
}
