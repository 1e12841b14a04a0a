package simulate

import (
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// Summary is the account of a run. Its JSON form is what `dunlin simulate
// --json` prints.
type Summary struct {
	Devices    int     `json:"devices"`
	Failed     int     `json:"failed"`     // devices that were refused or could not connect in time
	Sent       int64   `json:"sent"`       // messages, each counted once
	Acked      int64   `json:"acked"`      // of these, acknowledged by the hub; always 0 with QoS 0
	Unacked    int64   `json:"unacked"`    // QoS 1 messages given up at the end of the run
	Resent     int64   `json:"resent"`     // transmissions beyond the first
	Reconnects int64   `json:"reconnects"` // connections regained after a loss
	Renewals   int64   `json:"renewals"`   // connections changed for a new token
	Bytes      int64   `json:"bytes"`      // bodies of the messages in Sent
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"rate"`     // acknowledged (QoS 0: sent) messages per second
	AckP50MS   float64 `json:"ackP50Ms"` // from the latest transmission to its PUBACK
	AckP99MS   float64 `json:"ackP99Ms"`
	AckMaxMS   float64 `json:"ackMaxMs"`
	LastError  string  `json:"lastError,omitempty"` // why the last device failed
}

// WriteTable prints the summary for people.
func (s Summary) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("Devices", "%d", s.Devices)
	if s.Failed > 0 {
		row("Failed devices", "%d (%s)", s.Failed, s.LastError)
	}
	row("Sent", "%d", s.Sent)
	row("Acknowledged", "%d", s.Acked)
	if s.Unacked > 0 {
		row("Not acknowledged", "%d", s.Unacked)
	}
	row("Sent again", "%d", s.Resent)
	row("Reconnects", "%d", s.Reconnects)
	row("Time", "%.1f s", s.Seconds)
	row("Messages per second", "%.1f", s.Rate)
	if s.Acked > 0 {
		row("PUBACK after", "p50 %.1f ms, p99 %.1f ms, longest %.1f ms", s.AckP50MS, s.AckP99MS, s.AckMaxMS)
	}
	return t.Flush()
}

// counters are shared by all devices of a run.
type counters struct {
	sent, acked, unacked, resent, reconnects, renewals, bytes atomic.Int64
	connected, failed                                         atomic.Int64
	latency                                                   histogram
	lastError                                                 atomic.Pointer[error]
}

// histogram counts durations in buckets of 1/16 of a power of two
// microseconds: an error of at most 6 %. Any goroutine may add.
type histogram struct {
	buckets [16 * 48]atomic.Int64
	longest atomic.Int64 // microseconds
}

func bucketOf(us int64) int {
	if us < 16 {
		return int(max(us, 0))
	}
	shift := bits.Len64(uint64(us)) - 5
	return min(16*(shift+1)+int(us>>shift)-16, 16*48-1)
}

// bucketTop is the largest value that falls into a bucket.
func bucketTop(i int) int64 {
	if i < 16 {
		return int64(i)
	}
	shift := i/16 - 1
	return (int64(i%16+16)+1)<<shift - 1
}

func (h *histogram) add(d time.Duration) {
	us := d.Microseconds()
	h.buckets[bucketOf(us)].Add(1)
	for {
		old := h.longest.Load()
		if us <= old || h.longest.CompareAndSwap(old, us) {
			return
		}
	}
}

// quantile gives the value below which the part q of all values lies.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank := int64(q * float64(total))
	for i := range h.buckets {
		if rank -= h.buckets[i].Load(); rank < 0 {
			return time.Duration(min(bucketTop(i), h.longest.Load())) * time.Microsecond
		}
	}
	return time.Duration(h.longest.Load()) * time.Microsecond
}
