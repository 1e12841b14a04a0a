package clock_test

import (
	"testing"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/value"
)

func at(t *testing.T, s string) int64 {
	t.Helper()
	ticks, ok := value.ParseTime("2024-01-01T" + s + ":00Z")
	if !ok {
		t.Fatal(s)
	}
	return ticks
}

// TestWorkedExample is the example of section 6.3.
func TestWorkedExample(t *testing.T) {
	p := clock.Policy{Early: 5 * value.Minute, Late: 5 * value.Minute, OutOfOrder: 2 * value.Minute}
	c := clock.New(p, true)
	for _, e := range []struct {
		event, arrival string
		want, mark     string // timestamp, watermark after it
		verdict        clock.Verdict
	}{
		{"12:07", "12:07", "12:07", "12:05", clock.InTime},
		{"12:08", "12:08", "12:08", "12:06", clock.InTime},
		{"12:17", "12:11", "", "12:06", clock.DroppedEarly},
		{"12:08", "12:13", "12:08", "12:06", clock.InTime},
		{"12:19", "12:16", "12:19", "12:17", clock.InTime},
		{"12:12", "12:17", "12:17", "12:17", clock.AdjustedDisordered},
		{"12:17", "12:18", "12:17", "12:17", clock.InTime},
		{"12:20", "12:19", "12:20", "12:18", clock.InTime},
		{"12:16", "12:21", "12:18", "12:18", clock.AdjustedDisordered},
		{"12:23", "12:22", "12:23", "12:21", clock.InTime},
		{"12:22", "12:24", "12:22", "12:21", clock.InTime},
		{"12:21", "12:27", "12:22", "12:21", clock.AdjustedLate},
	} {
		ticks, v := c.Event(at(t, e.event), at(t, e.arrival))
		if v != e.verdict || !v.Dropped() && ticks != at(t, e.want) || c.Watermark() != at(t, e.mark) {
			t.Errorf("%s at %s: %s, verdict %d, watermark %s", e.event, e.arrival, value.AppendTime(nil, ticks), v, value.AppendTime(nil, c.Watermark()))
		}
	}
}

func TestDropAndQuiet(t *testing.T) {
	c := clock.New(clock.Policy{Early: -1, Late: value.Minute, Drop: true}, true)
	if _, v := c.Event(at(t, "12:00"), at(t, "12:02")); v != clock.DroppedLate {
		t.Errorf("late by two minutes: %d", v)
	}
	if ticks, v := c.Event(at(t, "12:30"), at(t, "12:02")); v != clock.InTime || ticks != at(t, "12:30") {
		t.Errorf("early by any time: %d", v)
	}
	if _, v := c.Event(at(t, "12:29"), at(t, "12:29")); v != clock.DroppedDisordered {
		t.Errorf("out of order: %d", v)
	}
	c.Quiet(at(t, "12:40"))
	if c.Watermark() != at(t, "12:39") {
		t.Errorf("quiet until 12:40: %s", value.AppendTime(nil, c.Watermark()))
	}
	arrival := clock.New(clock.Policy{Late: value.Minute}, false)
	if ticks, v := arrival.Event(0, at(t, "12:00")); v != clock.InTime || ticks != at(t, "12:00") {
		t.Errorf("arrival time: %d", v)
	}
	arrival.Quiet(at(t, "12:05"))
	if arrival.Watermark() != at(t, "12:05") {
		t.Errorf("quiet without application time: %s", value.AppendTime(nil, arrival.Watermark()))
	}
}
