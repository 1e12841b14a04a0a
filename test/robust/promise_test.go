package robust

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/state/statetest"
	"dunlin/test/harness"
)

// writer is one kind of write, and what was promised of those that were made.
// The server is killed in the middle of them, again and again. Writers run
// side by side, each with devices of its own.
type writer interface {
	// prepare makes what is written to.
	prepare(w *world) error
	// run writes, one write after the other, until ctx ends or an answer stays
	// out, and notes what was answered. An error is a broken promise.
	run(ctx context.Context, w *world) error
	// check compares what the server has after a kill with what was noted.
	check(ctx context.Context, w *world) error
	// counts tells how many writes were acknowledged, and how many had no
	// answer when the server was killed.
	counts() (acknowledged, cut int)
}

// finisher is a writer that has something to say when nothing is killed any
// more.
type finisher interface {
	finish(ctx context.Context, w *world) error
}

// world is what writers have of the server, which is the same one all along.
type world struct {
	*harness.Server
	t     testing.TB
	owner *harness.REST
}

// version is what REST calls say.
const version = "?api-version=2021-04-12"

// call sends a request of the hub's owner and wants one of the statuses. The
// error tells that there was no answer when it is errCut, else what is wrong.
func (w *world) call(ctx context.Context, method, path string, body any, want []int, header ...string) (harness.Answer, error) {
	return answered(ctx, w.owner, method, path+version, body, want, header...)
}

// errCut says that a request had no answer, because the server was killed.
var errCut = errors.New("no answer")

func answered(ctx context.Context, c *harness.REST, method, path string, body any, want []int, header ...string) (harness.Answer, error) {
	a, err := c.Do(context.WithoutCancel(ctx), method, path, body, header...)
	if err != nil {
		return a, fmt.Errorf("%w: %w", errCut, err)
	}
	if slices.Contains(want, a.Status) {
		return a, nil
	}
	return a, fmt.Errorf("%s %s: %s, want %d", method, path, a, want)
}

// promiseKills is how many kills each store gets; DUNLIN_KILLS sets another
// number.
const promiseKills = 8

// keepPromises kills a server while all writers write, checks after each
// start, and once more at the end, when nothing is under way.
func keepPromises(t *testing.T, args []string, writers func() map[string]writer) {
	n := promiseKills
	if v, err := strconv.Atoi(os.Getenv("DUNLIN_KILLS")); err == nil {
		n = v
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := harness.Start(t, harness.Options{Plain: true, Args: args})
	w := &world{Server: s, t: t, owner: s.REST("iothubowner")}
	list := writers()
	each := func(what string, do func(wr writer) error) {
		t.Helper()
		var wait sync.WaitGroup
		for name, wr := range list {
			wait.Go(func() {
				if err := do(wr); err != nil {
					t.Errorf("%s: %s: %v", name, what, err)
				}
			})
		}
		wait.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	each("prepare", func(wr writer) error { return wr.prepare(w) })
	var slowest, checking time.Duration
	idle := func() (name string) { // a writer that has not been cut off in its work
		for name, wr := range list {
			if acknowledged, cut := wr.counts(); acknowledged == 0 || cut == 0 {
				return name
			}
		}
		return ""
	}
	kills := 0
	for ; kills < n || idle() != "" && kills < 5*n; kills++ { // more on a machine that is busy
		life, end := context.WithCancel(ctx)
		time.AfterFunc(time.Duration(30+random.IntN(300))*time.Millisecond, func() {
			s.Kill()
			end()
		})
		each("write", func(wr writer) error { return wr.run(life, w) })
		<-life.Done()
		began := time.Now()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
		began = time.Now()
		each("after a kill", func(wr writer) error { return wr.check(ctx, w) })
		checking += time.Since(began)
	}
	each("at the end", func(wr writer) error {
		if f, ok := wr.(finisher); ok {
			return f.finish(ctx, w)
		}
		return nil
	})
	for name, wr := range list {
		acknowledged, cut := wr.counts()
		t.Logf("%-20s %6d writes acknowledged, %4d cut off by a kill", name, acknowledged, cut)
	}
	if name := idle(); name != "" {
		t.Errorf("%s wrote nothing, or was never cut off: the test did not do what it says", name)
	}
	t.Logf("%d kills; slowest start %s; %s of checks", kills, slowest.Round(time.Millisecond), checking.Round(time.Millisecond))
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// TestPromises holds every kind of write to what its answer promised, with
// kills at random moments, on both stores.
func TestPromises(t *testing.T) {
	writers := func() map[string]writer {
		return map[string]writer{
			"identity":      &identities{n: 12},
			"module":        &identities{n: 12, module: true},
			"bulk":          &bulks{},
			"import":        &imports{},
			"twin":          &twins{n: 8},
			"reported":      &reports{n: 4},
			"desired":       &desires{n: 4},
			"message-mqtt":  &messages{n: 4},
			"message-https": &messages{n: 4, https: true},
			"method":        &methods{n: 2},
			"events":        witness{},
		}
	}
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			keepPromises(t, store.args(t), writers)
		})
	}
}

// stores are what a hub can keep its state in.
var stores = []struct {
	name string
	args func(t *testing.T) []string
}{
	{"sqlite", func(*testing.T) []string { return nil }},
	{"postgres", func(t *testing.T) []string { return []string{"--database", statetest.PostgresURL(t)} }},
}

// together runs do(0) to do(n-1) side by side, and then after.
func together(n int, do func(i int) error, after func()) error {
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { errs[i] = do(i) })
	}
	wait.Wait()
	after()
	return errors.Join(errs...)
}

// cell is a value that one writer changes, one change after the other, and
// what is known of it: what was acknowledged last, and what was sent after
// that without an answer.
type cell struct {
	known string
	sent  *string
}

// cut notes a value whose write had no answer.
func (c *cell) cut(v string) { c.sent = &v }

// see compares what the server has, which is known from now on. sure tells
// that it is what was acknowledged last and nothing was sent after that.
func (c *cell) see(what, v string) (sure bool, err error) {
	if v != c.known && (c.sent == nil || v != *c.sent) {
		if c.sent == nil {
			return false, fmt.Errorf("%s is %q, acknowledged was %q", what, v, c.known)
		}
		return false, fmt.Errorf("%s is %q, acknowledged was %q and then %q sent", what, v, c.known, *c.sent)
	}
	sure = c.sent == nil
	c.known, c.sent = v, nil
	return sure, nil
}

// tally counts writes.
type tally struct{ acknowledged, cutOff int }

func (t *tally) counts() (int, int) { return t.acknowledged, t.cutOff }

// note counts a write by its error and gives the one that breaks a promise.
// stop tells that there is no server any more.
func (t *tally) note(err error) (stop bool, broken error) {
	switch {
	case err == nil:
		t.acknowledged++
		return false, nil
	case errors.Is(err, errCut):
		t.cutOff++
		return true, nil
	}
	return true, err
}
