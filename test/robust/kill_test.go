package robust

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"dunlin/test/harness"
)

// kills and devices of TestKill; DUNLIN_KILLS sets another number of kills.
const (
	kills   = 50
	devices = 20
)

// TestKill ends the server by SIGKILL at random moments while devices send.
// Nothing that was acknowledged may be missing, each device's order is kept,
// and what a reader has once seen at a sequence number stays there.
func TestKill(t *testing.T) {
	n := kills
	if v, err := strconv.Atoi(os.Getenv("DUNLIN_KILLS")); err == nil {
		n = v
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := harness.Start(t, harness.Options{Plain: true})
	var senders []*sender
	for i := range devices {
		senders = append(senders, newSender(t, s, fmt.Sprintf("kill-%d", i), i%2 == 0))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, d := range senders {
		running.Go(func() {
			if err := d.run(ctx, stop); err != nil {
				t.Error(err)
			}
		})
	}
	h := &history{seen: map[position]string{}}
	slowest := time.Duration(0)
	for range n {
		wait := follow(t, s, h)
		time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
		s.Kill()
		wait()
		start := time.Now()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(start))
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	running.Wait()
	events := s.Tail("--source", "all")
	t.Logf("%d kills; slowest start %s; %d records seen by live readers", n, slowest.Round(time.Millisecond), len(h.seen))
	checkLog(t, events, senders)
	for _, e := range events {
		h.add(t, e)
	}
	if len(h.seen) != len(events) {
		t.Errorf("live readers saw %d records that are not in the log", len(h.seen)-len(events))
	}
	for _, d := range senders {
		if _, acked, reconnects := d.counts(); reconnects < n/2 || acked == 0 {
			t.Errorf("%s: %d reconnects, %d acknowledged: the test did not do what it says", d.id, reconnects, acked)
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// follow starts a live reader and gives a function that waits for its end,
// which the server's end brings.
func follow(t *testing.T, s *harness.Server, h *history) (wait func()) {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), "tail", "--json", "--source", "all", "--from", "latest", "--data", s.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var e harness.Event
			if json.Unmarshal(sc.Bytes(), &e) != nil {
				continue // cut off by the kill
			}
			h.add(t, e)
		}
	}()
	return func() {
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("tail did not end with the server")
			cmd.Process.Kill()
			<-done
		}
		cmd.Wait() // it ends with an error, as the server went away
	}
}
