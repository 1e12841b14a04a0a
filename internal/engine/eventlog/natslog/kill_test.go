package natslog

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog"
)

const (
	killDir   = "DUNLIN_TEST_KILL_DIR"
	killRound = "DUNLIN_TEST_KILL_ROUND"

	killProducers = 20
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

// victim appends until it is killed, and prints what became durable: a line
// for each call of Durable.
func victim(dir string) {
	var round uint32
	fmt.Sscan(os.Getenv(killRound), &round)
	start := time.Now()
	l, err := Open(context.Background(), Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	fmt.Println("open", time.Since(start).Milliseconds())
	var wg sync.WaitGroup
	for id := range uint32(killProducers) {
		w := &printer{id: id, signal: make(chan struct{}, 1)}
		w.free.Store(12)
		p := l.Producer(int(id)%l.Partitions(), w)
		wg.Go(func() {
			for n := uint32(0); ; {
				var recs [][]byte
				for k := w.free.Swap(0); k > 0; k-- {
					b := make([]byte, 12, 150)
					binary.BigEndian.PutUint32(b, round)
					binary.BigEndian.PutUint32(b[4:], id)
					binary.BigEndian.PutUint32(b[8:], n)
					recs = append(recs, b[:12+rand.IntN(138)])
					n++
				}
				if len(recs) == 0 {
					<-w.signal
					continue
				}
				p.Append(time.Now().UnixNano(), recs)
			}
		})
	}
	wg.Wait()
}

type printer struct {
	credits
	id     uint32
	signal chan struct{}
}

func (p *printer) Durable(n int, err error) {
	if err != nil {
		os.Stdout.WriteString("failed " + err.Error() + "\n")
		return
	}
	// One write: a kill cannot split it in a way that counts too much.
	fmt.Fprintf(os.Stdout, "ack %d %d\n", p.id, n)
	p.free.Add(int64(n))
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

func (p *printer) Ready() {}

// TestKill kills a process that appends, again and again, with SIGKILL. Every
// record that it had reported durable has to be in the log, in order, once.
func TestKill(t *testing.T) {
	const rounds = 6
	dir := t.TempDir()
	acked := make([][killProducers]int, rounds)
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprintf("%s=%d", killRound, round))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		opened := make(chan struct{})
		go func() {
			<-opened
			time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
			cmd.Process.Kill()
		}()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var id, n int
			text := lines.Text()
			switch {
			case strings.HasPrefix(text, "open"):
				t.Logf("round %d: %s ms", round, text)
				close(opened)
			case strings.HasPrefix(text, "failed"):
				t.Errorf("round %d: %s", round, text)
				cmd.Process.Kill()
			default:
				if k, _ := fmt.Sscanf(text, "ack %d %d", &id, &n); k == 2 {
					acked[round][id] += n
				}
			}
		}
		cmd.Wait()
		if stderr.Len() > 0 {
			t.Errorf("round %d: the log complained: %s", round, stderr.String())
		}
	}

	l := open(t, Config{Dir: dir})
	defer l.Close()
	stored := make([][killProducers]int, rounds)
	total, offset := 0, eventlog.Offset(0)
	for p := range l.Partitions() {
		next, last := int64(0), int64(0)
		offset = 0
		for r, err := range l.Read(t.Context(), p, eventlog.ReadOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Sequence != next || r.Offset <= offset || r.Time < last {
				t.Fatalf("partition %d: record %d at %d, time %d after record %d at %d, time %d", p, r.Sequence, r.Offset, r.Time, next-1, offset, last)
			}
			next, offset, last = next+1, r.Offset, r.Time
			round, id, n := binary.BigEndian.Uint32(r.Data), binary.BigEndian.Uint32(r.Data[4:]), binary.BigEndian.Uint32(r.Data[8:])
			if int(n) != stored[round][id] {
				t.Fatalf("round %d producer %d: record %d follows %d", round, id, n, stored[round][id]-1)
			}
			stored[round][id]++
			total++
		}
	}
	sum := 0
	for round := range rounds {
		for id, n := range acked[round] {
			sum += n
			if stored[round][id] < n {
				t.Errorf("round %d producer %d: %d records acknowledged, %d stored", round, id, n, stored[round][id])
			}
		}
	}
	if sum < rounds*killProducers {
		t.Fatalf("only %d records were acknowledged: the test shows nothing", sum)
	}
	t.Logf("%d records acknowledged, %d stored", sum, total)
}
