package robust

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// stored makes a data directory with events of a few devices and gives the
// bodies in it.
func stored(t *testing.T, messages int) (dir string, bodies map[string]bool) {
	t.Helper()
	s := harness.Start(t, harness.Options{})
	bodies = map[string]bool{}
	pad := strings.Repeat("x", 2000)
	for d := range 4 {
		id := fmt.Sprintf("dev-%d", d)
		c := connected(t, s, id, s.Device(id))
		for i := range messages {
			body := fmt.Sprintf(`{"device":%q,"n":%d,"pad":%q}`, id, i, pad)
			if err := c.Publish(device.EventsTopic(id)+jsonBag, []byte(body), uint16(i+1)); err != nil {
				t.Fatal(err)
			}
			bodies[body] = true
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	return s.Dir, bodies
}

// files lists what is stored below a directory, without locks and empty files.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if fi, err := d.Info(); err == nil && fi.Size() > 0 {
			list = append(list, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// damages are what disks and people do to files.
var damages = map[string]func(b []byte) []byte{
	"cut in half":               func(b []byte) []byte { return b[:len(b)/2] },
	"last byte gone":            func(b []byte) []byte { return b[:len(b)-1] },
	"emptied":                   func([]byte) []byte { return nil },
	"bit flipped in the middle": func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b },
	"bit flipped at the start":  func(b []byte) []byte { b[0] ^= 0x01; return b },
	"bit flipped near the end":  func(b []byte) []byte { b[len(b)-len(b)/10-1] ^= 0x80; return b },
	"zeroes in the middle": func(b []byte) []byte {
		for i := len(b) / 3; i < len(b)/2; i++ {
			b[i] = 0
		}
		return b
	},
}

// TestDamagedLog damages each file of the event log in each way. Either the
// start is refused with a message that names the file and a remedy, or the
// server runs: then what is readable is read, nothing is invented, and what is
// missing is reported with the file.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	dir, bodies := stored(t, 50)
	damaged := 0
	for _, file := range files(t, filepath.Join(dir, "log")) {
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		for name, damage := range damages {
			damaged++
			t.Run(rel+"/"+name, func(t *testing.T) {
				t.Parallel()
				copied := copyDir(t, dir)
				spoil(t, filepath.Join(copied, rel), damage)
				checkDamaged(t, copied, filepath.Join(copied, rel), bodies)
			})
		}
	}
	if damaged == 0 {
		t.Fatal("the log has no files")
	}
}

func spoil(t *testing.T, file string, damage func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, damage(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func checkDamaged(t *testing.T, dir, file string, bodies map[string]bool) {
	t.Helper()
	s := harness.New(t, harness.Options{Dir: dir})
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitReady(); err != nil {
		if !s.Exited() {
			t.Fatalf("neither ready nor ended: %v", err)
		}
		checkWords(t, "the refused start", s.Log(), file)
		return
	}
	events, err := s.TailErr()
	seen := map[string]bool{}
	last := map[int]int64{}
	for _, e := range events {
		if !bodies[string(e.Body)] {
			t.Fatalf("an event that nobody sent: %.200q", e.Body)
		}
		if before, ok := last[e.Partition]; ok && e.Sequence() <= before {
			t.Errorf("partition %d: sequence number %d follows %d", e.Partition, e.Sequence(), before)
		}
		last[e.Partition] = e.Sequence()
		seen[string(e.Body)] = true
	}
	switch {
	case len(seen) < len(bodies) && err == nil && !strings.Contains(s.Log(), "damaged"):
		t.Errorf("%d of %d events are gone and nothing says so; log of the server:\n%s", len(bodies)-len(seen), len(bodies), s.Log())
	case len(seen) < len(bodies):
		text := s.Log()
		if err != nil {
			text += err.Error()
		}
		checkWords(t, "the report", text, file)
		t.Logf("%d of %d events readable", len(seen), len(bodies))
	}
	// The log goes on behind the damage.
	key := s.Device("after")
	c := connected(t, s, "after", key)
	alive(t, c, "after", 1)
	after, _ := s.TailErr("--device", "after") // it may report the damage once more
	if len(after) != 1 {
		t.Errorf("a new event behind the damage cannot be read: %d events", len(after))
	}
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// checkWords wants a message that names the file and what to do, not a panic.
// Of a log whose end is gone, the directory is as much as can be known.
func checkWords(t *testing.T, what, text, file string) {
	t.Helper()
	dir, _, inLog := strings.Cut(file, "/jetstream/")
	if !strings.Contains(text, file) && (!inLog || !strings.Contains(text, "dir="+dir)) {
		t.Errorf("%s does not name the file %s:\n%s", what, file, text)
	}
	low := strings.ToLower(text)
	if !strings.Contains(low, "restore") && !strings.Contains(low, "backup") && !strings.Contains(low, "remove") && !strings.Contains(low, "move") {
		t.Errorf("%s names no remedy:\n%s", what, text)
	}
	if strings.Contains(text, "goroutine ") {
		t.Errorf("%s is a panic:\n%s", what, text)
	}
}

// TestDamagedState damages the database of the registry: the start is refused
// with the file and a remedy, or everything in it still works.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	dir, _ := stored(t, 1)
	for _, file := range files(t, filepath.Join(dir, "state")) {
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		for name, damage := range damages {
			t.Run(rel+"/"+name, func(t *testing.T) {
				t.Parallel()
				copied := copyDir(t, dir)
				spoil(t, filepath.Join(copied, rel), damage)
				s := harness.New(t, harness.Options{Dir: copied})
				if err := s.Launch(); err != nil {
					t.Fatal(err)
				}
				if err := s.WaitReady(); err != nil {
					if !s.Exited() {
						t.Fatalf("neither ready nor ended: %v", err)
					}
					checkWords(t, "the refused start", s.Log(), filepath.Join(copied, rel))
					return
				}
				for d := range 4 {
					id := fmt.Sprintf("dev-%d", d)
					r := harness.Run(t, "device", "connection-string", id, "--data", copied)
					if r.Code != 0 {
						checkWords(t, "device connection-string "+id, r.Stderr+s.Log(), filepath.Join(copied, rel))
						return
					}
					c := connected(t, s, id, harness.Field(strings.TrimSpace(r.Stdout), "SharedAccessKey"))
					alive(t, c, id, 1)
				}
			})
		}
	}
}

// TestStart is about what keeps a server from starting, and about its end.
func TestStart(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	t.Run("ready within a second", func(t *testing.T) {
		start := time.Now()
		other := harness.Start(t, harness.Options{})
		d := time.Since(start)
		t.Logf("first start, CA and certificates included: ready after %s", d.Round(time.Millisecond))
		if d > 5*time.Second {
			t.Errorf("ready after %s", d)
		}
		if err := other.Stop(); err != nil {
			t.Errorf("SIGTERM: %v", err)
		}
	})
	t.Run("port in use", func(t *testing.T) {
		refusedStart(t, harness.Options{Args: []string{"--mqtt-addr", s.MQTTAddr()}}, s.MQTTAddr(), "--mqtt-addr")
	})
	t.Run("second instance", func(t *testing.T) {
		refusedStart(t, harness.Options{Dir: s.Dir}, s.Dir, fmt.Sprint(s.PID()))
	})
	t.Run("unknown key in the configuration", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "dunlin.yaml")
		if err := os.WriteFile(file, []byte("log-level: info\n\nmqtt-adr: :8883\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		refusedStart(t, harness.Options{Args: []string{"--config", file}}, "mqtt-adr", "3")
	})
	t.Run("data directory is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		refusedStart(t, harness.Options{Dir: file}, file, "--data")
	})
	c := connected(t, s, "still", s.Device("still"))
	alive(t, c, "still", 1)
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if _, err := c.Ended(closes); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
