package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

const generation = 638_000_000_000_000_001

// inbox is a connected device that takes messages.
type inbox struct {
	mu   sync.Mutex
	list []*iot.Inbound
}

func (b *inbox) take(in *iot.Inbound) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, in)
}

// next gives the n messages that came since, and fails when there are others.
func (b *inbox) next(t *testing.T, want ...string) []*iot.Inbound {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		b.mu.Lock()
		if len(b.list) >= len(want) || time.Now().After(deadline) {
			break
		}
		b.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	var got []string
	for _, in := range list {
		s := string(in.Message.Body)
		if in.Redelivered {
			s += "+"
		}
		got = append(got, s)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("device has %v, want %v", got, want)
	}
	return list
}

func text(body string, properties ...string) *iot.Message {
	m := &iot.Message{Body: []byte(body)}
	for i := 0; i+1 < len(properties); i += 2 {
		switch properties[i] {
		case "$mid":
			m.System = append(m.System, iot.SystemProperty{Key: iot.MessageID, Value: []byte(properties[i+1])})
		case "$exp":
			m.System = append(m.System, iot.SystemProperty{Key: iot.Expiry, Value: []byte(properties[i+1])})
		default:
			m.Properties = append(m.Properties, iot.Property{Name: []byte(properties[i]), Value: []byte(properties[i+1])})
		}
	}
	return m
}

func send(t testing.TB, r *Room, id iot.ID, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := r.Enqueue(t.Context(), id, generation, text(body)); err != nil {
			t.Fatal(err)
		}
	}
}

func settle(r *Room, id iot.ID, token iot.LockToken, o iot.Outcome) error {
	done := make(chan error, 1)
	r.Settle(id, token, o, func(err error) { done <- err })
	return <-done
}

func mustSettle(t *testing.T, r *Room, id iot.ID, o iot.Outcome, list ...*iot.Inbound) {
	t.Helper()
	for _, in := range list {
		if err := settle(r, id, in.Token, o); err != nil {
			t.Fatal(err)
		}
	}
}

func receive(t *testing.T, r *Room, id iot.ID, want string) *iot.Inbound {
	t.Helper()
	in, err := r.Receive(t.Context(), id, generation, 0)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case in == nil && want != "":
		t.Fatalf("nothing waits, want %s", want)
	case in != nil && string(in.Message.Body) != want:
		t.Fatalf("received %s, want %q", in.Message.Body, want)
	}
	return in
}

func depthIs(t *testing.T, r *Room, id iot.ID, want int) {
	t.Helper()
	n, err := r.Depth(t.Context(), id)
	if err != nil || n != want {
		t.Fatalf("depth %d, want %d, %v", n, want, err)
	}
}

// dropped waits for Drop, which is not waited for.
func dropped(t *testing.T, r *Room, id iot.ID, want int) {
	t.Helper()
	if err := r.write(&change{run: func(context.Context, *work) error { return nil }}); err != nil {
		t.Fatal(err)
	}
	depthIs(t, r, id, want)
}

// quiet checks that nothing is left in memory of queues that are done with.
func (r *Room) quiet(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, l := range r.lanes {
		t.Errorf("left over: %s %+v", id, l)
	}
}

func TestQueueToConnection(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, f := newRoom(t, db, StrictLimits())
		var b inbox
		send(t, r, dev1, "1", "2", "3")
		f.set(dev1, b.take)
		b.next(t) // not asked for yet
		r.Pump(dev1, 7, generation)
		first := b.next(t, "1", "2", "3")
		send(t, r, dev1, "4")
		first = append(first, b.next(t, "4")...)
		for i, in := range first {
			if in.Kind != iot.KindMessage || in.Sequence != int64(i+1) || in.DeliveryCount != 0 || time.Since(in.Enqueued) > time.Minute {
				t.Errorf("%+v", in)
			}
			if p := in.Message.System[0]; p.Key != iot.To || string(p.Value) != "/devices/dev1/messages/devicebound" {
				t.Errorf("%v %s", p.Key, p.Value)
			}
		}
		mustSettle(t, r, dev1, iot.Complete, first[2], first[0])
		wantCode(t, settle(r, dev1, first[0].Token, iot.Complete), iot.MessageLockLost)
		wantCode(t, settle(r, iot.ID{Device: "dev2"}, first[1].Token, iot.Complete), iot.MessageLockLost)
		depthIs(t, r, dev1, 2)

		// The connection ends; the next one is sent the rest again.
		r.Release(dev1, 7)
		wantCode(t, settle(r, dev1, first[1].Token, iot.Complete), iot.MessageLockLost)
		send(t, r, dev1, "5")
		b.next(t)
		r.Pump(dev1, 8, generation)
		rest := b.next(t, "2+", "4+", "5")
		// The old connection is late to say that it wants, and that it has ended.
		r.Pump(dev1, 7, generation)
		r.Release(dev1, 7)
		mustSettle(t, r, dev1, iot.Reject, rest[0])
		mustSettle(t, r, dev1, iot.Complete, rest[1:]...)
		depthIs(t, r, dev1, 0)
		send(t, r, dev1, "6")
		mustSettle(t, r, dev1, iot.Complete, b.next(t, "6")...)
		r.Release(dev1, 8)
		r.quiet(t)
	})
}

// TestQueueTakeover lets a connection take over while messages are out.
func TestQueueTakeover(t *testing.T) {
	r, f := newRoom(t, statetest.SQLite(t), StrictLimits())
	var old, next inbox
	f.set(dev1, old.take)
	r.Pump(dev1, 1, generation)
	send(t, r, dev1, "1", "2")
	was := old.next(t, "1", "2")
	mustSettle(t, r, dev1, iot.Complete, was[0])
	f.set(dev1, next.take)
	r.Pump(dev1, 2, generation)
	got := next.next(t, "2+")
	wantCode(t, settle(r, dev1, was[1].Token, iot.Complete), iot.MessageLockLost)
	r.Release(dev1, 1)
	mustSettle(t, r, dev1, iot.Complete, got...)
	r.Release(dev1, 2)
	r.quiet(t)
}

// TestQueueNumbersOutOfOrder has the connection with the lower number stay.
func TestQueueNumbersOutOfOrder(t *testing.T) {
	r, f := newRoom(t, statetest.SQLite(t), StrictLimits())
	var b inbox
	f.set(dev1, b.take)
	send(t, r, dev1, "1")
	r.Pump(dev1, 2, generation)
	b.next(t, "1")
	r.Pump(dev1, 1, generation)
	r.Release(dev1, 2)
	mustSettle(t, r, dev1, iot.Complete, b.next(t, "1+")...)
	send(t, r, dev1, "2")
	mustSettle(t, r, dev1, iot.Complete, b.next(t, "2")...)
	r.Release(dev1, 1)
	r.quiet(t)
}

// TestQueueWindow shows that a connection holds a few messages at a time, and
// that all come in order.
func TestQueueWindow(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, f := newRoom(t, db, StrictLimits())
		for i := range 45 {
			send(t, r, dev1, fmt.Sprint(i))
		}
		var mu sync.Mutex
		var got []int64
		held, most := 0, 0
		done := make(chan struct{})
		f.set(dev1, func(in *iot.Inbound) {
			mu.Lock()
			held++
			most = max(most, held)
			got = append(got, in.Sequence)
			mu.Unlock()
			go r.Settle(dev1, in.Token, iot.Complete, func(err error) {
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				held--
				if len(got) == 45 && held == 0 {
					close(done)
				}
			})
		})
		r.Pump(dev1, 1, generation)
		<-done
		for i, seq := range got {
			if seq != int64(i+1) {
				t.Fatalf("out of order: %v", got)
			}
		}
		if most > window {
			t.Errorf("%d held at once", most)
		}
		depthIs(t, r, dev1, 0)
	})
}

// TestQueueNotSubscribed has a connection that does not take messages.
func TestQueueNotSubscribed(t *testing.T) {
	r, f := newRoom(t, statetest.SQLite(t), StrictLimits())
	send(t, r, dev1, "1")
	r.Pump(dev1, 1, generation) // but Deliver finds nobody
	deadline := time.Now().Add(10 * time.Second)
	for r.wants(dev1) {
		if time.Now().After(deadline) {
			t.Fatal("still tried")
		}
		time.Sleep(time.Millisecond)
	}
	var b inbox
	f.set(dev1, b.take)
	r.Pump(dev1, 1, generation)
	mustSettle(t, r, dev1, iot.Complete, b.next(t, "1")...)
}

func (r *Room) wants(id iot.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[id]
	return l != nil && l.want
}

func TestQueueOverHTTP(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, _ := newRoom(t, db, StrictLimits())
		receive(t, r, dev1, "")
		send(t, r, dev1, "1", "2")
		send(t, r, iot.ID{Device: "dev1", Module: "m"}, "m")
		one := receive(t, r, dev1, "1")
		two := receive(t, r, dev1, "2")
		receive(t, r, dev1, "")
		mustSettle(t, r, dev1, iot.Complete, two)
		mustSettle(t, r, dev1, iot.Abandon, one)
		if one = receive(t, r, dev1, "1"); one.DeliveryCount != 1 || one.Sequence != 1 {
			t.Errorf("%+v", one)
		}
		mustSettle(t, r, dev1, iot.Release, one)
		if one = receive(t, r, dev1, "1"); one.DeliveryCount != 1 {
			t.Errorf("%+v", one)
		}
		mustSettle(t, r, dev1, iot.Reject, one)
		receive(t, r, dev1, "")
		receive(t, r, iot.ID{Device: "dev1", Module: "m"}, "m")
		if in, err := r.Receive(t.Context(), dev1, generation+1, 0); in != nil || err != nil {
			t.Errorf("%v, %v", in, err)
		}
	})
}

// TestQueueOfEarlierGeneration shows that a device that was made again does
// not see messages that were for the one before, even when they come late.
func TestQueueOfEarlierGeneration(t *testing.T) {
	r, f := newRoom(t, statetest.SQLite(t), StrictLimits())
	var b inbox
	f.set(dev1, b.take)
	send(t, r, dev1, "old")
	r.Pump(dev1, 1, generation+1)
	send(t, r, dev1, "late")
	if err := r.Enqueue(t.Context(), dev1, generation+1, text("new")); err != nil {
		t.Fatal(err)
	}
	b.next(t, "new")
	r.Drop(dev1, generation)
	dropped(t, r, dev1, 1)
	r.Drop(dev1, generation+1)
	dropped(t, r, dev1, 0)
	r.quiet(t)
}

// Whoever takes messages can be sent some without asking the registry; who was
// deleted cannot.
func TestReceiver(t *testing.T) {
	r, f := newRoom(t, statetest.SQLite(t), StrictLimits())
	var b inbox
	f.set(dev1, b.take)
	is := func(want uint64) {
		t.Helper()
		if got, ok := r.Receiver(dev1); got != want || ok != (want != 0) {
			t.Fatalf("receiver of generation %d, %t, want %d", got, ok, want)
		}
	}
	is(0)
	r.Pump(dev1, 1, generation)
	is(generation)
	r.Release(dev1, 1)
	is(0)
	r.Pump(dev1, 2, generation)
	r.Drop(dev1, generation)
	is(0)
	r.Pump(dev1, 3, generation+1)
	is(generation + 1)
}

func TestQueueLimits(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, _ := newRoom(t, db, StrictLimits())
		for i := range 50 {
			send(t, r, dev1, fmt.Sprint(i))
		}
		err := r.Enqueue(t.Context(), dev1, generation, text("51"))
		if wantCode(t, err, iot.QueueDepthExceeded); !strings.Contains(err.Error(), "50") {
			t.Error(err)
		}
		send(t, r, iot.ID{Device: "dev2"}, "x")
		mustSettle(t, r, dev1, iot.Complete, receive(t, r, dev1, "0"))
		send(t, r, dev1, "50")
		wantCode(t, r.Enqueue(t.Context(), dev1, generation, text("51")), iot.QueueDepthExceeded)
		if depths, err := r.Depths(t.Context(), "dev1", "dev2"); err != nil || depths[dev1] != 50 || depths[iot.ID{Device: "dev2"}] != 1 {
			t.Errorf("%v, %v", depths, err)
		}
		if n, err := r.Purge(t.Context(), dev1); n != 50 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		send(t, r, dev1, "again")
		now := time.Now()
		for _, c := range []struct {
			name string
			m    *iot.Message
			code iot.Code
			word string
		}{
			{"too large", text(strings.Repeat("x", 64<<10+1)), iot.MessageTooLarge, "65536"},
			{"too large with properties", text(strings.Repeat("x", 64<<10-2), "abc", ""), iot.MessageTooLarge, "65537"},
			{"expired", text("x", "$exp", now.Add(-time.Second).UTC().Format(time.RFC3339)), iot.InvalidMessageExpiry, "expired"},
			{"no time", text("x", "$exp", "tomorrow"), iot.InvalidMessageExpiry, "tomorrow"},
			{"odd ack", text("x", "iothub-ack", "maybe"), iot.ArgumentInvalid, "maybe"},
			{"long id", text("x", "$mid", strings.Repeat("x", 129)), iot.ArgumentInvalid, "128"},
			{"odd id", text("x", "$mid", "a\x00"), iot.ArgumentInvalid, "ASCII"},
		} {
			if err := r.Enqueue(t.Context(), dev1, generation, c.m); iot.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		full := text(strings.Repeat("x", 64<<10-4), "abc", "d", "$exp", fmt.Sprint(now.Add(time.Minute).UnixMilli()))
		full.Body = full.Body[:len(full.Body)-len(full.System[0].Value)]
		if err := r.Enqueue(t.Context(), dev1, generation, full); err != nil {
			t.Error(err)
		}
	})
}

// TestQueueTime goes through everything that time does to messages.
func TestQueueTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newRoom(t, statetest.SQLite(t), StrictLimits())
		start := time.Now()
		// A lock ends after a minute; the delivery does not count.
		send(t, r, dev1, "1")
		one := receive(t, r, dev1, "1")
		time.Sleep(time.Minute - time.Millisecond)
		receive(t, r, dev1, "")
		time.Sleep(time.Millisecond)
		wantCode(t, settle(r, dev1, one.Token, iot.Complete), iot.MessageLockLost)
		synctest.Wait()
		if one = receive(t, r, dev1, "1"); one.DeliveryCount != 0 {
			t.Errorf("%+v", one)
		}
		// What a connection holds is not taken back by time, and does not expire.
		mustSettle(t, r, dev1, iot.Release, one)
		var b inbox
		f.set(dev1, b.take)
		r.Pump(dev1, 1, generation)
		synctest.Wait()
		held := b.next(t, "1")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		depthIs(t, r, dev1, 1)
		mustSettle(t, r, dev1, iot.Complete, held...)
		// But it does expire when the connection ends.
		send(t, r, dev1, "2")
		b.next(t, "2")
		time.Sleep(2 * time.Hour)
		r.Release(dev1, 1)
		synctest.Wait()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		depthIs(t, r, dev1, 0)
		r.quiet(t)
		// The usual time to live, one of its own, and the longest.
		f.set(dev1, nil)
		send(t, r, dev1, "hour")
		now := time.Now().UTC()
		for body, life := range map[string]time.Duration{"minute": time.Minute, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour} {
			if err := r.Enqueue(t.Context(), dev1, generation, text(body, "$exp", now.Add(life).Format("2006-01-02T15:04:05.999Z"))); err != nil {
				t.Fatal(err)
			}
		}
		for after, want := range []struct {
			wait  time.Duration
			depth int
		}{{time.Minute - 1, 4}, {1, 3}, {time.Hour - time.Minute - 1, 3}, {1, 2}, {23*time.Hour - 1, 2}, {1, 1}, {24*time.Hour - 1, 1}, {1, 0}} {
			time.Sleep(want.wait)
			synctest.Wait()
			if n, err := r.Depth(t.Context(), dev1); err != nil || n != want.depth {
				t.Errorf("step %d: %d left, want %d, %v", after, n, want.depth, err)
			}
		}
		t.Logf("%v went by", time.Since(start))
	})
}

// TestQueueSurvives opens the room again on the same store.
func TestQueueSurvives(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, f := newRoom(t, db, StrictLimits())
		var b inbox
		f.set(dev1, b.take)
		r.Pump(dev1, 1, generation)
		send(t, r, dev1, "1", "2", "3")
		list := b.next(t, "1", "2", "3")
		mustSettle(t, r, dev1, iot.Complete, list[1])
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.Enqueue(t.Context(), dev1, generation, text("x")), iot.ServiceUnavailable)
		wantCode(t, settle(r, dev1, list[0].Token, iot.Complete), iot.ServiceUnavailable)

		r, f = newRoom(t, db, StrictLimits())
		f.set(dev1, b.take)
		r.Pump(dev1, 1, generation)
		b.next(t, "1", "3")
		send(t, r, dev1, "4")
		if in := b.next(t, "4")[0]; in.Sequence != 4 {
			t.Errorf("sequence %d", in.Sequence)
		}
	})
}

func feedback(t *testing.T, r *Room, want ...string) *Feedback {
	t.Helper()
	f, err := r.ReceiveFeedback(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if f != nil {
		for _, one := range f.Records {
			got = append(got, one.ID.String()+" "+one.MessageID+" "+one.Status)
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Fatalf("feedback %v, want %v", got, want)
	}
	return f
}

func TestFeedback(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, _ := newRoom(t, db, StrictLimits())
		feedback(t, r)
		for _, m := range []string{"none", "positive", "negative", "full", "Full"} {
			for _, o := range []iot.Outcome{iot.Complete, iot.Reject} {
				id := fmt.Sprint(m, "-", outcomeName(o))
				if err := r.Enqueue(t.Context(), dev1, generation, text("x", "$mid", id, "iothub-ack", m)); err != nil {
					t.Fatal(err)
				}
				mustSettle(t, r, dev1, o, receive(t, r, dev1, "x"))
			}
		}
		want := []string{
			"dev1 positive-complete Success", "dev1 negative-reject Rejected", "dev1 full-complete Success", "dev1 full-reject Rejected",
			"dev1 Full-complete Success", "dev1 Full-reject Rejected",
		}
		f := feedback(t, r, want...)
		var body []map[string]string
		if b, err := f.Body(); err != nil || json.Unmarshal(b, &body) != nil || len(body) != len(want) ||
			body[0]["originalMessageId"] != "positive-complete" || body[0]["statusCode"] != "Success" || body[0]["deviceId"] != "dev1" ||
			body[0]["deviceGenerationId"] != fmt.Sprint(generation) || !strings.HasSuffix(body[0]["enqueuedTimeUtc"], "Z") {
			t.Errorf("%s, %v", b, err)
		}
		feedback(t, r) // out
		if err := r.SettleFeedback(t.Context(), f.Token, iot.Abandon); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.SettleFeedback(t.Context(), f.Token, iot.Complete), iot.MessageLockLost)
		f = feedback(t, r, want...)
		if f.DeliveryCount != 1 {
			t.Error(f.DeliveryCount)
		}
		if err := r.SettleFeedback(t.Context(), f.Token, iot.Complete); err != nil {
			t.Fatal(err)
		}
		feedback(t, r)

		// Purged, and given up after the last delivery.
		for _, id := range []string{"a", "b", "c"} {
			if err := r.Enqueue(t.Context(), dev1, generation, text(id, "$mid", id, "iothub-ack", "negative")); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			mustSettle(t, r, dev1, iot.Abandon, receive(t, r, dev1, "a"))
		}
		out := receive(t, r, dev1, "b")
		if n, err := r.Purge(t.Context(), dev1); n != 1 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		mustSettle(t, r, dev1, iot.Reject, out)
		feedback(t, r, "dev1 a DeliveryCountExceeded", "dev1 c Purged", "dev1 b Rejected")
		if err := r.Enqueue(t.Context(), dev1, generation, text("x", "iothub-ack", "full")); err != nil {
			t.Fatal(err)
		}
		mustSettle(t, r, dev1, iot.Complete, receive(t, r, dev1, "x"))
		r.Drop(dev1, generation)
		dropped(t, r, dev1, 0)
		feedback(t, r)
		r.quiet(t)

		// Without a message id, one is made.
		if err := r.Enqueue(t.Context(), dev1, generation, text("x", "iothub-ack", "full")); err != nil {
			t.Fatal(err)
		}
		in := receive(t, r, dev1, "x")
		mustSettle(t, r, dev1, iot.Complete, in)
		feedback(t, r, "dev1 "+string(in.Message.System[1].Value)+" Success")
	})
}

func TestFeedbackTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRoom(t, statetest.SQLite(t), StrictLimits())
		if err := r.Enqueue(t.Context(), dev1, generation, text("x", "$mid", "m", "iothub-ack", "full", "$exp", fmt.Sprint(time.Now().Add(time.Second).UnixMilli()))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		f := feedback(t, r, "dev1 m Expired")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantCode(t, r.SettleFeedback(t.Context(), f.Token, iot.Complete), iot.MessageLockLost)
		f = feedback(t, r, "dev1 m Expired")
		if f.DeliveryCount != 0 {
			t.Error("the end of a lock was counted")
		}
		for range 9 {
			if err := r.SettleFeedback(t.Context(), f.Token, iot.Abandon); err != nil {
				t.Fatal(err)
			}
			f = feedback(t, r, "dev1 m Expired")
		}
		if err := r.SettleFeedback(t.Context(), f.Token, iot.Abandon); err != nil {
			t.Fatal(err)
		}
		feedback(t, r)
		// More than one batch, and the end of their time.
		for i := range 70 {
			if err := r.Enqueue(t.Context(), iot.ID{Device: fmt.Sprint("d", i)}, generation, text("x", "iothub-ack", "full")); err != nil {
				t.Fatal(err)
			}
			id := iot.ID{Device: fmt.Sprint("d", i)}
			mustSettle(t, r, id, iot.Complete, receive(t, r, id, "x"))
		}
		one, err := r.ReceiveFeedback(t.Context())
		if err != nil || len(one.Records) != 64 {
			t.Fatal(one, err)
		}
		two, err := r.ReceiveFeedback(t.Context())
		if err != nil || len(two.Records) != 6 {
			t.Fatal(two, err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		feedback(t, r)
		var n int
		if err := r.db.Get(t.Context(), []any{&n}, "SELECT count(*) FROM c2d_feedback"); err != nil || n != 0 {
			t.Error(n, err)
		}
	})
}

// TestQueueDamage alters a message on the disk: it is dropped and told of, and
// does not hold up others.
func TestQueueDamage(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, f := newRoom(t, db, StrictLimits())
		for i := range 12 {
			if err := r.Enqueue(t.Context(), dev1, generation, text(fmt.Sprint(i), "$mid", fmt.Sprint("m", i), "iothub-ack", "negative")); err != nil {
				t.Fatal(err)
			}
		}
		err := db.Write(t.Context(), func(tx state.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE c2d_message SET content = ? WHERE seq <= 11", []byte("damaged"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var b inbox
		f.set(dev1, b.take)
		r.Pump(dev1, 1, generation)
		mustSettle(t, r, dev1, iot.Complete, b.next(t, "11")...)
		depthIs(t, r, dev1, 0)
		if f, err := r.ReceiveFeedback(t.Context()); err != nil || len(f.Records) != 11 || f.Records[0].Status != "Rejected" {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

// TestQueueStoreFailure shows what becomes of calls when the store is gone.
func TestQueueStoreFailure(t *testing.T) {
	db := statetest.SQLite(t)
	r, f := newRoom(t, db, StrictLimits())
	send(t, r, dev1, "1", "2")
	one := receive(t, r, dev1, "1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Enqueue(t.Context(), dev1, generation, text("x")), iot.ServiceUnavailable)
	for range 2 { // the lock is not lost by that
		wantCode(t, settle(r, dev1, one.Token, iot.Complete), iot.ServiceUnavailable)
	}
	_, err := r.Receive(t.Context(), dev1, generation, 0)
	wantCode(t, err, iot.ServiceUnavailable)
	_, err = r.Purge(t.Context(), dev1)
	wantCode(t, err, iot.ServiceUnavailable)
	_, err = r.ReceiveFeedback(t.Context())
	wantCode(t, err, iot.ServiceUnavailable)
	_, err = r.Depth(t.Context(), dev1)
	wantCode(t, err, iot.ServiceUnavailable)
	var b inbox
	f.set(dev1, b.take)
	r.Pump(dev1, 1, generation) // is tried again and again
	b.next(t)
}
