package eventlogtest

import (
	"errors"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog"
)

// testSettle: what was appended before Settle is settled when it returns,
// whoever appended it and wherever.
func testSettle(t *testing.T, e Engine) {
	l := e.Open(t)
	if err := eventlog.Settle(t.Context(), l); err != nil {
		t.Errorf("of an empty log: %v", err)
	}
	w := NewWaiter()
	total := 0
	for round := range 50 {
		for p := range partitions {
			recs := make([][]byte, 1+(round*7+p)%23)
			for i := range recs {
				recs[i] = make([]byte, 1000)
			}
			total += len(recs)
			l.Producer(p, w).Append(time.Now().UnixNano(), recs)
		}
		if round%3 > 0 {
			continue // some meet in a commit
		}
		if err := eventlog.Settle(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if n, failed, err := w.Settled(); n != total || failed != 0 {
			t.Fatalf("%d of %d records are settled, %d failed: %v", n, total, failed, err)
		}
	}
	closeLog(t, l)
	if err := eventlog.Settle(t.Context(), l); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("of a closed log: %v", err)
	}
}
