// Package clock decides what time it is in a stream: which timestamp an event
// has, whether it comes too early, too late or out of order, and up to when the
// stream is complete. It follows sections 6.2 and 6.3 of the language.
package clock

import (
	"math"

	"dunlin/internal/insights/stream/value"
)

// Policy says what becomes of events that are not in time. All spans are in
// ticks.
type Policy struct {
	Early      int64 // how far an event may be ahead of its arrival; negative: any
	Late       int64 // how far behind; negative: any
	OutOfOrder int64 // how long to wait for events that are not in order
	Drop       bool  // late and disordered events are dropped, not adjusted
}

// Default is the policy of a job that says nothing: late by 5 s, no disorder,
// adjusted.
func Default() Policy { return Policy{Early: 5 * value.Minute, Late: 5 * value.Second} }

// Verdict is what became of an event.
type Verdict uint8

// The verdicts. An event that was adjusted or dropped for being late is not
// looked at for being out of order.
const (
	InTime Verdict = iota
	DroppedEarly
	DroppedLate
	DroppedDisordered
	AdjustedLate
	AdjustedDisordered
	AdjustedBoth
)

// Dropped reports whether the event is gone.
func (v Verdict) Dropped() bool {
	return v == DroppedEarly || v == DroppedLate || v == DroppedDisordered
}

// Clock is the clock of one partition of a source, or of one of its
// substreams.
type Clock struct {
	policy      Policy
	application bool  // TIMESTAMP BY
	highest     int64 // timestamp accepted so far
	watermark   int64
}

// New starts a clock; application says that timestamps are those of the events
// and not of their arrival, for which there are no policies.
func New(p Policy, application bool) *Clock {
	return &Clock{policy: p, application: application, highest: math.MinInt64, watermark: math.MinInt64}
}

// Event takes an event with application time at, that arrived at arrival, and
// gives the timestamp that it gets. It may move the watermark.
func (c *Clock) Event(at, arrival int64) (ticks int64, v Verdict) {
	if !c.application {
		c.accept(arrival, 0)
		return c.watermark, InTime // arrival never goes back
	}
	p := &c.policy
	if p.Early >= 0 && at > arrival && at-arrival > p.Early {
		return 0, DroppedEarly
	}
	if p.Late >= 0 && arrival > at && arrival-at > p.Late {
		if p.Drop {
			return 0, DroppedLate
		}
		at, v = arrival-p.Late, AdjustedLate
	}
	if at < c.watermark {
		switch {
		case p.Drop:
			return 0, DroppedDisordered
		case v == AdjustedLate:
			v = AdjustedBoth
		default:
			v = AdjustedDisordered
		}
		at = c.watermark
	}
	c.accept(at, p.OutOfOrder)
	return at, v
}

func (c *Clock) accept(at, wait int64) {
	c.highest = max(c.highest, at)
	c.watermark = max(c.watermark, c.highest-wait)
}

// Quiet says that nothing has arrived up to a time: the stream goes on without
// events.
func (c *Clock) Quiet(arrival int64) {
	if c.application {
		if c.policy.Late < 0 {
			return // an event of any age may still come
		}
		arrival -= c.policy.Late
	}
	c.watermark = max(c.watermark, arrival)
}

// Watermark is the time up to which the stream is complete; before the first
// event it is math.MinInt64.
func (c *Clock) Watermark() int64 { return c.watermark }
