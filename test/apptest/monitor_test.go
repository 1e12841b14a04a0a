package apptest

import (
	"bufio"
	"context"
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// monitor is a running dunlin monitor.
type monitor struct {
	t   *testing.T
	out chan string // its lines

	mu  sync.Mutex
	err strings.Builder
}

func watch(t *testing.T, s *harness.Server, args ...string) *monitor {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, harness.Binary(t), append([]string{"monitor", "--data", s.Dir}, args...)...)
	m := &monitor{t: t, out: make(chan string, 10000)}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = m
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			m.out <- in.Text()
		}
		close(m.out)
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		_ = cmd.Wait() // it was killed
	})
	return m
}

func (m *monitor) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err.Write(p)
}

func (m *monitor) told() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err.String()
}

// awaits waits until the monitor has told something on the error stream.
func (m *monitor) awaits(text string) {
	m.t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(m.told(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("the monitor has not said %q but %q", text, m.told())
		}
	}
}

// next waits for a line that has the text, and gives it without its time.
func (m *monitor) next(text string) string {
	m.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-m.out:
			if !ok {
				m.t.Fatalf("the monitor has ended: %s", m.told())
			}
			if strings.Contains(line, text) {
				return clock.ReplaceAllString(line, "")
			}
		case <-limit:
			m.t.Fatalf("no line with %q", text)
		}
	}
}

var clock = regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d\d\d  `)

// TestMonitor shows everything that happens in columns, filtered, and goes on
// where it was when the server is started again.
func TestMonitor(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true})
	text := watch(t, s)
	lines := watch(t, s, "--json", "--device", "pump-*", "--source", "telemetry,twin")
	loud := watch(t, s, "--property", "level=h*")
	text.awaits("Ctrl+C stops")
	s.Device("first")
	for { // nothing is shown from before a monitor was there
		s.CLI("twin", "update", "first", "--set", "tags.seen=yes")
		select {
		case <-text.out:
		case <-time.After(500 * time.Millisecond):
			continue
		}
		break
	}
	key := s.Device("pump-1")
	if got, want := text.next("pump-1"), "lifecycle     pump-1        created"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	connect := func() *device.Conn {
		t.Helper()
		c, err := device.Dial(t.Context(), s.PlainAddr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Hello(device.HelloFor("localhost", "pump-1", key)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	send := func(c *device.Conn, bag, body string) {
		t.Helper()
		if err := c.Publish(device.EventsTopic("pump-1")+bag, []byte(body), 7); err != nil {
			t.Fatal(err)
		}
	}
	c := connect()
	send(c, "level=low&%24.ct=application%2Fjson&%24.ce=utf-8", `{"rpm":1}`)
	send(c, "level=high&%24.mid=m1", "plain")
	if got, want := text.next("telemetry"), `telemetry     pump-1        level=low  {"rpm":1}`; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	if got, want := text.next("telemetry"), `telemetry     pump-1        #m1  level=high  plain`; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	if got, want := loud.next("pump-1"), `telemetry     pump-1        #m1  level=high  plain`; got != want {
		t.Errorf("with --property: line %q, want %q", got, want)
	}
	s.CLI("twin", "update", "pump-1", "--set", "desired.speed=3", "--set", "tags.site=north")
	if got, want := text.next("  twin "), `twin          pump-1        tags {"site":"north"}  desired v2 {"speed":3}`; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	s.CLI("device", "delete", "first")
	if got, want := text.next("deleted"), "lifecycle     first         deleted"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}

	var seen []string
	note := func() {
		t.Helper()
		line := lines.next("")
		var e harness.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		seen = append(seen, e.DeviceID+" "+string(e.Payload()))
	}
	for range 3 {
		note()
	}
	// Two ways to end; while nobody watches nothing is missed.
	for _, end := range []func(){s.Kill, func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}} {
		end()
		c.Close()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		c = connect()
		send(c, "", "after")
		note()
		text.next("after")
	}
	c.Close()
	text.awaits("trying again")
	text.awaits("Connected again.")
	for i, want := range []string{`pump-1 {"rpm":1}`, "pump-1 plain", "", "pump-1 after", "pump-1 after"} {
		if want == "" {
			if !strings.HasPrefix(seen[i], `pump-1 {"version":3,"tags":{"site":"north"},"properties":{"desired":{"speed":3,"$metadata":{`) {
				t.Errorf("event %d is %s", i, seen[i])
			}
		} else if seen[i] != want {
			t.Errorf("event %d is %s, want %s", i, seen[i], want)
		}
	}

	// Events of the past, and an end.
	r := harness.Run(t, "monitor", "--data", s.Dir, "--from", "earliest", "--count", "1", "--source", "lifecycle", "--device", "pump*")
	if want := "lifecycle     pump-1        created\n"; r.Code != 0 || clock.ReplaceAllString(r.Stdout, "") != want {
		t.Errorf("exit code %d, printed %q, want %q", r.Code, r.Stdout, want)
	}
	if r := harness.Run(t, "monitor", "--data", s.Dir, "--source", "weather"); r.Code == 0 || !strings.Contains(r.Stderr, "digital-twin or all") {
		t.Errorf("a source that does not exist: exit code %d, %s", r.Code, r.Stderr)
	}
	if r := harness.Run(t, "monitor", "--data", t.TempDir()); r.Code == 0 {
		t.Error("a monitor without an instance ended well")
	}

	// tail shows telemetry unless asked for more.
	for _, e := range s.Tail() {
		if e.SystemProperties["iothub-message-source"] != "Telemetry" {
			t.Errorf("tail shows %v", e)
		}
	}
	if n := len(s.Tail("--device", "pump-1")); n != 4 {
		t.Errorf("tail shows %d messages of 4", n)
	}
	for source, want := range map[string]string{"twin": "twinChangeEvents", "lifecycle": "deviceLifecycleEvents"} {
		list := s.Tail("--source", source, "--device", "pump-1")
		if len(list) != 1 || list[0].SystemProperties["iothub-message-source"] != want || list[0].Properties["deviceId"] != "pump-1" {
			t.Errorf("tail --source %s shows %v", source, list)
		}
	}
}
