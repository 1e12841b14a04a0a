package front

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type alarm struct {
	deadline
	w     *wheel
	fired []int32
	again int32 // set again so many seconds later
}

func (a *alarm) expire(now int32) {
	a.fired = append(a.fired, now)
	if a.again > 0 {
		a.w.set(&a.deadline, now+a.again)
	}
}

// Every deadline comes in its second, near or far, moved, removed or set by
// the one before.
func TestWheel(t *testing.T) {
	w := &wheel{now: 1_000}
	rng := rand.New(rand.NewPCG(1, 2))
	alarms := make([]*alarm, 500)
	want := make([]int32, len(alarms))
	for i := range alarms {
		a := &alarm{w: w}
		a.init(a)
		alarms[i] = a
		for range 1 + i%3 {
			want[i] = 1_000 + rng.Int32N(3*wheelSlots) - 5
			w.set(&a.deadline, want[i])
		}
		want[i] = max(want[i], 1_001)
		if i%10 == 0 {
			w.remove(&a.deadline)
			w.remove(&a.deadline)
			want[i] = 0
		}
	}
	for now := w.now; now < 1_000+4*wheelSlots; now += 1 + rng.Int32N(3) {
		w.advance(now)
	}
	for i, a := range alarms {
		switch {
		case want[i] == 0 && len(a.fired) > 0:
			t.Fatalf("alarm %d was removed and fired at %v", i, a.fired)
		case want[i] != 0 && !slices.Equal(a.fired, []int32{want[i]}):
			t.Fatalf("alarm %d set to %d fired at %v", i, want[i], a.fired)
		}
	}
	for _, every := range []int32{1, wheelSlots - 1, wheelSlots, wheelSlots + 1} {
		a := &alarm{w: w, again: every}
		a.init(a)
		begin := w.now
		w.set(&a.deadline, begin+every)
		w.advance(begin + 3*every)
		if !slices.Equal(a.fired, []int32{begin + every, begin + 2*every, begin + 3*every}) {
			t.Errorf("every %d s fired at %v from %d", every, a.fired, begin)
		}
		w.remove(&a.deadline)
	}
}

func TestBuffers(t *testing.T) {
	b := &buffers{}
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 100_000, 1 << 20, 1<<20 + 1} {
		p := b.get(n)
		if len(p) != 0 || cap(p) < n {
			t.Fatalf("get(%d): length %d, capacity %d", n, len(p), cap(p))
		}
		b.put(p)
		if n <= 1<<20 {
			q := b.get(n)
			if &p[:1][0] != &q[:1][0] {
				t.Errorf("get(%d) does not reuse", n)
			}
			if r := b.get(n); &r[:1][0] == &q[:1][0] {
				t.Errorf("get(%d) lends twice", n)
			}
		}
	}
	b.put(nil)
	b.put(make([]byte, 1000)[3:])
	if p := b.get(600); cap(p) < 600 {
		t.Errorf("lent a slice of other origin: capacity %d", cap(p))
	}
	for range 5_000 {
		b.put(make([]byte, 512))
	}
	if n := len(b.free[0]) * 512; n > bufKeep {
		t.Errorf("%d bytes kept", n)
	}
	p := b.grow(append(b.get(10), "some"...), make([]byte, 2_000))
	if len(p) != 2_004 || string(p[:4]) != "some" {
		t.Errorf("grow: %d bytes, %q", len(p), p[:4])
	}
}

func TestStorm(t *testing.T) {
	m := &storm{}
	for range stormSize - 1 {
		m.note()
	}
	for range 10 {
		if m.tick() {
			t.Fatal("releases after too few handshakes")
		}
	}
	m.note()
	got := []bool{m.tick(), m.tick(), m.tick(), m.tick(), m.tick()}
	if !slices.Equal(got, []bool{false, false, true, false, false}) {
		t.Errorf("releases at %v", got)
	}
	m.release()
}

type victim struct {
	halfLink
	reason error
}

func (v *victim) abort(reason error) { v.reason = reason }

func TestHalfOpenList(t *testing.T) {
	h := &halfOpen{limit: 3}
	v := make([]*victim, 6)
	for i := range v {
		v[i] = &victim{}
	}
	for _, i := range []int{0, 1, 2} {
		h.add(&v[i].halfLink, v[i])
	}
	if !h.remove(&v[1].halfLink) || h.remove(&v[1].halfLink) {
		t.Error("remove")
	}
	for _, i := range []int{3, 4, 5} {
		h.add(&v[i].halfLink, v[i])
	}
	for i, want := range []error{ErrHalfOpen, nil, ErrHalfOpen, nil, nil, nil} {
		if !errors.Is(v[i].reason, want) {
			t.Errorf("%d: %v, want %v", i, v[i].reason, want)
		}
	}
	if h.count() != 3 {
		t.Errorf("%d in the list", h.count())
	}
	for _, i := range []int{4, 3, 5} {
		h.remove(&v[i].halfLink)
	}
	if h.first != nil || h.last != nil || h.count() != 0 {
		t.Error("the list is not empty")
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int32{
		-1: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 1<<63 - 1: 1 << 30,
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %d, want %d", d, got, want)
		}
	}
}
