package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/blob/dir"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
)

const box = "box"

// goods stands for the rooms that are imported into: ids and how often a line
// made or was refused one.
type goods struct {
	mu    sync.Mutex
	store *dir.Store
	made  map[string]int
	seen  []int64 // numbers of lines, in the order in which they came
	hook  func(lines []job.Line) error
}

func newGoods(t *testing.T) *goods {
	t.Helper()
	store, err := dir.Open(t.Context(), dir.Config{Path: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.MakeContainer(t.Context(), box); err != nil {
		t.Fatal(err)
	}
	return &goods{store: store, made: map[string]int{}}
}

func (g *goods) transfer() *job.Transfer {
	return &job.Transfer{
		Blobs: g.store,
		Container: func(uri string, _ bool) (string, bool, bool, error) {
			return strings.TrimPrefix(uri, "https://"), true, true, nil
		},
		Count: func(context.Context) (int64, error) { return 2500, nil },
		Export: func(_ context.Context, after string, n int, _ bool, dst []byte) (job.Exported, error) {
			from := 0
			if after != "" {
				if _, err := fmt.Sscanf(after, "d%d", &from); err != nil {
					return job.Exported{}, err
				}
			}
			to := min(from+n, 2500)
			for i := from; i < to; i++ {
				dst = fmt.Appendf(dst, "{\"id\":\"d%d\"}\n", i+1)
			}
			return job.Exported{Lines: dst, Devices: to - from, Last: fmt.Sprintf("d%d", to), More: to < 2500}, nil
		},
		// A line "x..." is refused, "+..." makes something once.
		Import: func(_ context.Context, lines []job.Line) (refused []job.Refused, err error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, l := range lines {
				text := string(l.Text)
				g.seen = append(g.seen, l.Number)
				switch {
				case text[0] == 'x':
					refused = append(refused, job.Refused{Line: l.Number, ID: iot.ID{Device: text}, Operation: "create", Err: iot.Errorf(iot.ArgumentInvalid, "no %s", text)})
				case g.made[text] > 0 && !l.Again:
					refused = append(refused, job.Refused{Line: l.Number, ID: iot.ID{Device: text}, Err: iot.Errorf(iot.DeviceAlreadyExists, "twice")})
				case g.made[text] == 0:
					g.made[text]++
				}
			}
			if g.hook != nil {
				err = g.hook(lines)
			}
			return refused, err
		},
	}
}

func (g *goods) put(t *testing.T, name, text string) {
	t.Helper()
	if _, err := g.store.Put(t.Context(), blob.Ref{Container: box, Name: name}, strings.NewReader(text), blob.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (g *goods) get(t *testing.T, name string) string {
	t.Helper()
	_, body, err := g.store.Open(t.Context(), blob.Ref{Container: box, Name: name}, 0, -1)
	if err != nil {
		t.Fatal(name, err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// meets says what imports meet from now on.
func (g *goods) meets(hook func([]job.Line) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = hook
}

func with(g *goods) func(*job.Deps) { return func(d *job.Deps) { d.Transfer = g.transfer() } }

func (s *site) startTransfer(kind string) string {
	s.t.Helper()
	j, err := s.StartTransfer(s.t.Context(), job.TransferSpec{Type: kind, Input: "https://box", Output: "https://box"})
	if err != nil {
		s.t.Fatal(err)
	}
	return j.ID
}

func (s *site) transferred(id string, want job.Status) job.Job {
	s.t.Helper()
	j := s.await(id, func(j job.Job) bool { return j.Status.Ended() })
	if j.Status != want {
		s.t.Fatalf("%s is %s, want %s: %s", id, j.Status, want, j.Failure)
	}
	return j
}

// lines makes a file: every hundredth line is refused.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		if i%100 == 99 {
			fmt.Fprintf(&b, "x%d\n", i)
		} else {
			fmt.Fprintf(&b, "+%d\n", i)
		}
	}
	return b.String()
}

// TestKilledImport kills an import after each of its writes: the next run goes
// on, every line is done once, and every refusal is told once.
func TestKilledImport(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		const all = 4500
		for _, writes := range []int{1, 2, 3, 4, 5, 6, 7} {
			g := newGoods(t)
			g.put(t, "devices.txt", lines(all))
			c := &crashing{DB: db, left: writes + 1, gone: make(chan struct{})}
			s := open(t, db, newFleet(0), func(d *job.Deps) { d.DB, d.Transfer = c, g.transfer() })
			id := s.startTransfer("import")
			ctx, kill := context.WithCancel(context.Background())
			var dead sync.WaitGroup
			dead.Go(func() {
				if err := s.Run(ctx); err != nil {
					t.Error(err)
				}
			})
			select {
			case <-c.gone:
			case <-time.After(10 * time.Second):
				t.Fatalf("fewer than %d writes", writes)
			}
			kill()
			dead.Wait()
			replace(t, db)
			s = open(t, db, newFleet(0), with(g)).run()
			j := s.transferred(id, job.Completed)
			s.stop()
			if j.Total != all || j.FailedCount != all/100 || j.Succeeded != all-all/100 || j.Progress != 100 {
				t.Errorf("killed after %d writes: %+v", writes, j)
			}
			g.mu.Lock()
			if len(g.made) != all-all/100 || len(g.seen) > all+1000 {
				t.Errorf("killed after %d writes: %d made, %d lines seen", writes, len(g.made), len(g.seen))
			}
			g.mu.Unlock()
			var told []int
			for line := range strings.Lines(g.get(t, "importErrors.log")) {
				var e struct {
					Line      int
					ErrorCode string
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil || e.ErrorCode != "ArgumentInvalid" {
					t.Fatal(line, err)
				}
				told = append(told, e.Line)
			}
			slices.Sort(told)
			if len(slices.Compact(told)) != all/100 || len(told) != all/100 {
				t.Errorf("killed after %d writes: refusals %v", writes, told)
			}
			var left int
			if err := db.Get(t.Context(), []any{&left}, "SELECT count(*) FROM job_line"); err != nil || left != 0 {
				t.Errorf("%d lines are left in the store, %v", left, err)
			}
		}
	})
}

func TestExport(t *testing.T) {
	g := newGoods(t)
	s := open(t, statetest.SQLite(t), newFleet(0), with(g)).run()
	id := s.startTransfer("export")
	if j := s.transferred(id, job.Completed); j.Total != 2500 || j.Progress != 100 {
		t.Errorf("%+v", j)
	}
	text := g.get(t, "devices.txt")
	if strings.Count(text, "\n") != 2500 || !strings.HasPrefix(text, "{\"id\":\"d1\"}\n") || !strings.HasSuffix(text, "{\"id\":\"d2500\"}\n") {
		t.Errorf("%d lines", strings.Count(text, "\n"))
	}
	// That one is of another kind, and cannot be had as the other.
	if _, err := s.GetTransfer(t.Context(), id); err != nil {
		t.Error(err)
	}
	s.schedule(update("u", "*"))
	if _, err := s.GetTransfer(t.Context(), "u"); iot.CodeOf(err) != iot.JobNotFound {
		t.Errorf("a scheduled job among transfers: %v", err)
	}
}

func TestOneTransferAtATime(t *testing.T) {
	g := newGoods(t)
	g.put(t, "devices.txt", lines(3000))
	reached, goOn := make(chan struct{}, 3), make(chan struct{})
	g.meets(func([]job.Line) error {
		reached <- struct{}{}
		<-goOn
		return nil
	})
	s := open(t, statetest.SQLite(t), newFleet(0), with(g)).run()
	id := s.startTransfer("import")
	<-reached
	if _, err := s.StartTransfer(t.Context(), job.TransferSpec{Type: "export", Output: "https://box"}); iot.CodeOf(err) != iot.JobQuotaExceeded || !strings.Contains(err.Error(), id) {
		t.Errorf("two at a time: %v", err)
	}
	if err := s.CancelTransfer(t.Context(), id); err != nil {
		t.Error(err)
	}
	close(goOn)
	if j := s.transferred(id, job.Cancelled); j.Total > 2000 {
		t.Errorf("%+v", j)
	}
	s.await(id, func(job.Job) bool {
		_, err := s.StartTransfer(t.Context(), job.TransferSpec{Type: "export", Output: "https://box"})
		return err == nil
	})
}

func TestBadImports(t *testing.T) {
	g := newGoods(t)
	s := open(t, statetest.SQLite(t), newFleet(0), with(g)).run()
	if j := s.transferred(s.startTransfer("import"), job.Failed); !strings.Contains(j.Failure, "InvalidStorageEndpointOrBlob") {
		t.Errorf("no blob: %+v", j)
	}
	long := strings.Repeat("y", 3<<20)
	g.put(t, "devices.txt", "+1\r\n\n  \n"+long+"\n+2\n"+long)
	if j := s.transferred(s.startTransfer("import"), job.Completed); j.Total != 4 || j.FailedCount != 2 || len(g.made) != 2 {
		t.Errorf("long lines: %+v, %v", j, g.made)
	}
	if text := g.get(t, "importErrors.log"); strings.Count(text, "MessageTooLarge") != 2 || !strings.Contains(text, `"line":2`) {
		t.Errorf("%s", text)
	}
	g.put(t, "devices.txt", "")
	if j := s.transferred(s.startTransfer("import"), job.Completed); j.Total != 0 {
		t.Errorf("an empty file: %+v", j)
	}
	// What cannot be done at the moment is tried again, and then was done before.
	g.put(t, "devices.txt", "+3\n+4")
	tries := 0
	g.meets(func([]job.Line) error {
		if tries++; tries < 2 {
			return iot.Errorf(iot.ServiceUnavailable, "later")
		}
		return nil
	})
	if j := s.transferred(s.startTransfer("import"), job.Completed); j.Total != 2 || j.FailedCount != 0 || tries != 2 {
		t.Errorf("after %d tries: %+v", tries, j)
	}
	g.meets(func([]job.Line) error { return errors.New("broken") })
	if j := s.transferred(s.startTransfer("import"), job.Failed); strings.Contains(j.Failure, "broken") || j.Failure == "" {
		t.Errorf("%+v", j)
	}
}

// TestChangedImport: an import that was interrupted does not go on with
// another file.
func TestChangedImport(t *testing.T) {
	db := statetest.SQLite(t)
	g := newGoods(t)
	g.put(t, "devices.txt", lines(3000))
	reached := make(chan struct{}, 3)
	g.meets(func([]job.Line) error {
		reached <- struct{}{}
		return iot.Errorf(iot.ServerBusy, "not now")
	})
	s := open(t, db, newFleet(0), with(g)).run()
	id := s.startTransfer("import")
	<-reached
	s.stop()
	g.meets(nil)
	g.put(t, "devices.txt", lines(10))
	s = open(t, db, newFleet(0), with(g)).run()
	if j := s.transferred(id, job.Failed); !strings.Contains(j.Failure, "was changed after 0 of its bytes") {
		t.Errorf("%+v", j)
	}
}
