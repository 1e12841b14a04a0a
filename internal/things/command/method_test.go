package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// fleet stands for the connections of devices.
type fleet struct {
	mu    sync.Mutex
	takes map[iot.ID]func(in *iot.Inbound) // those that are connected and take what comes
}

func (f *fleet) deliver(id iot.ID, in *iot.Inbound) bool {
	f.mu.Lock()
	take := f.takes[id]
	f.mu.Unlock()
	if take == nil {
		return false
	}
	take(in)
	return true
}

func (f *fleet) connected(id iot.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takes[id] != nil
}

func (f *fleet) set(id iot.ID, take func(in *iot.Inbound)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.takes == nil {
		f.takes = map[iot.ID]func(in *iot.Inbound){}
	}
	f.takes[id] = take
}

func newRoom(tb testing.TB, db state.DB, limits Limits) (*Room, *fleet) {
	tb.Helper()
	f := &fleet{}
	r, err := Open(tb.Context(), Deps{
		DB: db, Deliver: f.deliver, Connected: f.connected, Limits: limits,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r, f
}

var dev1 = iot.ID{Device: "dev1"}

// echo answers every call with its payload and the status 200.
func echo(r *Room, id iot.ID) func(in *iot.Inbound) {
	return func(in *iot.Inbound) { r.Reply(id, []byte(in.Request), 200, in.Payload) }
}

func wantCode(t *testing.T, err error, code iot.Code) {
	t.Helper()
	if iot.CodeOf(err) != code {
		t.Fatalf("error %v, want %s", err, code.Name())
	}
}

// TestEnd ends calls that wait for their answer, and calls that wait for the
// device, at once and with what they are told.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		f.set(dev1, func(*iot.Inbound) {})
		absent := iot.ID{Device: "absent"}
		start := time.Now()
		errs := make(chan error, 2)
		for _, id := range []iot.ID{dev1, absent} {
			go func() {
				_, err := r.Invoke(t.Context(), id, Call{Method: "m", Connect: time.Minute})
				errs <- err
			}()
		}
		synctest.Wait()
		other := iot.ID{Device: "dev1", Module: "m"}
		r.End(other, iot.Errorf(iot.ModuleNotFound, "another one"))
		for _, id := range []iot.ID{dev1, absent} {
			r.End(id, iot.Errorf(iot.DeviceNotFound, "deleted"))
			r.End(id, iot.Errorf(iot.DeviceNotFound, "twice"))
		}
		for range 2 {
			err := <-errs
			if wantCode(t, err, iot.DeviceNotFound); !strings.Contains(err.Error(), "deleted") {
				t.Error(err)
			}
		}
		if waited := time.Since(start); waited != 0 || r.calls.count != 0 || len(r.calls.byID) != 0 || len(r.calls.byRequest) != 0 {
			t.Errorf("after %v; left over: %+v", waited, &r.calls)
		}
	})
}

func TestInvoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		f.set(dev1, echo(r, dev1))
		module := iot.ID{Device: "dev1", Module: "m"}
		f.set(module, func(in *iot.Inbound) {
			if in.Kind != iot.KindMethod || in.Method != "reboot" || strings.Trim(in.Request, "0123456789abcdef") != "" {
				t.Errorf("inbound %+v", in)
			}
			r.Reply(module, []byte(in.Request), -7, []byte(" \n"))
		})
		// A call without payload comes as null: SDKs cannot read an empty one.
		for payload, want := range map[string]string{`{"a":1}`: `{"a":1}`, `null`: `null`, `"text"`: `"text"`, "": "null"} {
			res, err := r.Invoke(t.Context(), dev1, Call{Method: "m", Payload: []byte(payload)})
			if err != nil || res.Status != 200 || string(res.Payload) != want {
				t.Errorf("%q: %+v, %v", payload, res, err)
			}
		}
		if res, err := r.Invoke(t.Context(), module, Call{Method: "reboot"}); err != nil || res.Status != -7 || res.Payload != nil {
			t.Errorf("%+v, %v", res, err)
		}
		if r.calls.count != 0 || len(r.calls.byID) != 0 || len(r.calls.byRequest) != 0 {
			t.Errorf("left over: %+v", &r.calls)
		}
	})
}

// newMethodRoom is for tests that use no store.
func newMethodRoom(tb testing.TB) (*Room, *fleet) {
	tb.Helper()
	f := &fleet{}
	r := &Room{deliver: f.deliver, connected: f.connected, limits: StrictLimits(), closing: make(chan struct{})}
	r.calls.init()
	r.metrics = newMetrics(prometheus.NewRegistry(), func() float64 { return 0 })
	return r, f
}

func TestInvokeTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		start := time.Now()
		took := func(want time.Duration) {
			t.Helper()
			if d := time.Since(start); d != want {
				t.Errorf("took %v, want %v", d, want)
			}
			start = time.Now()
		}
		_, err := r.Invoke(t.Context(), dev1, Call{Method: "m"})
		wantCode(t, err, iot.DeviceNotOnline)
		took(0)
		_, err = r.Invoke(t.Context(), dev1, Call{Method: "m", Connect: 20 * time.Second})
		wantCode(t, err, iot.DeviceNotOnline)
		took(20 * time.Second)

		var request []byte
		f.set(dev1, func(in *iot.Inbound) { request = []byte(in.Request) })
		_, err = r.Invoke(t.Context(), dev1, Call{Method: "m", Response: 7 * time.Second})
		wantCode(t, err, iot.GatewayTimeout)
		took(7 * time.Second)
		if r.Reply(dev1, request, 200, nil) {
			t.Error("a late answer was taken")
		}
		_, err = r.Invoke(t.Context(), dev1, Call{Method: "m"})
		wantCode(t, err, iot.GatewayTimeout)
		took(DefaultResponse)

		// The device connects, subscribes a little later, and answers late: the
		// response timeout counts from then on.
		f.set(dev1, nil)
		go func() {
			time.Sleep(9 * time.Second)
			r.Online(dev1) // of another kind of subscription: still not taken
			time.Sleep(time.Second)
			f.set(dev1, func(in *iot.Inbound) {
				go func() {
					time.Sleep(25 * time.Second)
					echo(r, dev1)(in)
				}()
			})
			r.Online(dev1)
		}()
		if _, err = r.Invoke(t.Context(), dev1, Call{Method: "m", Connect: 11 * time.Second, Response: 26 * time.Second}); err != nil {
			t.Error(err)
		}
		took(35 * time.Second)
	})
}

// TestInvokeCallerGone shows that a caller who leaves frees what the call held.
func TestInvokeCallerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		for _, connected := range []bool{false, true} {
			if connected {
				f.set(dev1, func(*iot.Inbound) {})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := r.Invoke(ctx, dev1, Call{Method: "m", Connect: time.Minute})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		if r.calls.count != 0 || len(r.calls.byID) != 0 || len(r.calls.byRequest) != 0 {
			t.Errorf("left over: %+v", &r.calls)
		}
		f.set(dev1, nil)
		go func() {
			time.Sleep(time.Second)
			close(r.closing)
		}()
		_, err := r.Invoke(t.Context(), dev1, Call{Method: "m", Connect: time.Minute})
		wantCode(t, err, iot.ServiceUnavailable)
	})
}

// TestInvokeDeviceGone ends the connection in the middle of a call: for good,
// for a moment, and by a takeover.
func TestInvokeDeviceGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		start := time.Now()
		f.set(dev1, func(*iot.Inbound) {
			go func() {
				time.Sleep(2 * time.Second)
				f.set(dev1, nil)
				r.Gone(dev1)
				r.Gone(dev1)
			}()
		})
		_, err := r.Invoke(t.Context(), dev1, Call{Method: "m"})
		wantCode(t, err, iot.DeviceConnectionClosed)
		if d := time.Since(start); d != 2*time.Second+returnGrace {
			t.Errorf("answered after %v", d)
		}
		// It comes back in time and answers over the new connection.
		f.set(dev1, func(in *iot.Inbound) {
			go func() {
				f.set(dev1, nil)
				r.Gone(dev1)
				time.Sleep(returnGrace - time.Second)
				f.set(dev1, func(*iot.Inbound) { t.Error("the call was sent twice") })
				r.Online(dev1)
				time.Sleep(10 * time.Second)
				r.Reply(dev1, []byte(in.Request), 200, nil)
			}()
		})
		if _, err := r.Invoke(t.Context(), dev1, Call{Method: "m"}); err != nil {
			t.Error(err)
		}
		// Back again, but it never answers.
		f.set(dev1, func(*iot.Inbound) { r.Gone(dev1) })
		_, err = r.Invoke(t.Context(), dev1, Call{Method: "m"})
		wantCode(t, err, iot.GatewayTimeout)
		// The end of the connection before this one is of no concern.
		f.set(dev1, nil)
		go func() {
			time.Sleep(time.Second)
			r.Gone(dev1)
			time.Sleep(time.Second)
			f.set(dev1, func(in *iot.Inbound) {
				go func() {
					time.Sleep(20 * time.Second)
					echo(r, dev1)(in)
				}()
			})
			r.Online(dev1)
		}()
		if _, err := r.Invoke(t.Context(), dev1, Call{Method: "m", Connect: time.Minute}); err != nil {
			t.Error(err)
		}
	})
}

func TestReplyOfAnotherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		f.set(dev1, func(in *iot.Inbound) {
			for _, id := range []iot.ID{{Device: "dev2"}, {Device: "dev1", Module: "m"}} {
				if r.Reply(id, []byte(in.Request), 200, []byte(`"forged"`)) {
					t.Errorf("the answer of %s was taken", id)
				}
			}
			if !r.Reply(dev1, []byte(in.Request), 200, []byte(`"mine"`)) || r.Reply(dev1, []byte(in.Request), 200, []byte(`"twice"`)) {
				t.Error("not taken exactly once")
			}
		})
		if res, err := r.Invoke(t.Context(), dev1, Call{Method: "m"}); err != nil || string(res.Payload) != `"mine"` {
			t.Errorf("%s, %v", res.Payload, err)
		}
	})
}

func TestInvokeBadAnswers(t *testing.T) {
	r, f := newMethodRoom(t)
	for name, payload := range map[string]string{
		"no JSON": `{"a"`, "two values": `{} {}`, "binary": "\x00\xff", "too large": `"` + strings.Repeat("x", 128<<10) + `"`,
		"deep": strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
	} {
		f.set(dev1, func(in *iot.Inbound) { r.Reply(dev1, []byte(in.Request), 200, []byte(payload)) })
		if _, err := r.Invoke(t.Context(), dev1, Call{Method: "m"}); iot.CodeOf(err) != iot.BadDeviceResponse {
			t.Errorf("%s: %v", name, err)
		}
	}
	limit := `"` + strings.Repeat("x", 128<<10-2) + `"`
	f.set(dev1, echo(r, dev1))
	if res, err := r.Invoke(t.Context(), dev1, Call{Method: "m", Payload: []byte(limit)}); err != nil || string(res.Payload) != limit {
		t.Errorf("%d bytes, %v", len(res.Payload), err)
	}
}

func TestInvokeRefuses(t *testing.T) {
	r, f := newMethodRoom(t)
	f.set(dev1, func(*iot.Inbound) { t.Error("delivered") })
	for _, c := range []struct {
		name string
		call Call
		code iot.Code
		word string
	}{
		{"no name", Call{}, iot.ArgumentInvalid, "missing"},
		{"long name", Call{Method: strings.Repeat("x", 101)}, iot.ArgumentInvalid, "100"},
		{"slash", Call{Method: "a/b"}, iot.ArgumentInvalid, "a/b"},
		{"wildcard", Call{Method: "a+"}, iot.ArgumentInvalid, "ASCII"},
		{"UTF-8", Call{Method: "é"}, iot.ArgumentInvalid, "ASCII"},
		{"zero byte", Call{Method: "a\x00"}, iot.ArgumentInvalid, "ASCII"},
		{"payload", Call{Method: "m", Payload: make([]byte, 128<<10+1)}, iot.MessageTooLarge, "131072"},
		{"short response", Call{Method: "m", Response: 4 * time.Second}, iot.ArgumentInvalid, "from 5 to 300"},
		{"long response", Call{Method: "m", Response: 301 * time.Second}, iot.ArgumentInvalid, "responseTimeoutInSeconds"},
		{"long connect", Call{Method: "m", Connect: 301 * time.Second}, iot.ArgumentInvalid, "from 0 to 300"},
		{"negative connect", Call{Method: "m", Connect: -1}, iot.ArgumentInvalid, "connectTimeoutInSeconds"},
	} {
		if _, err := r.Invoke(t.Context(), dev1, c.call); iot.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestInvokeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newMethodRoom(t)
		r.limits.CallsPerDevice, r.limits.Calls = 3, 5
		dev2 := iot.ID{Device: "dev2"}
		f.set(dev1, func(*iot.Inbound) {})
		f.set(dev2, func(*iot.Inbound) {})
		call := func(id iot.ID) error {
			_, err := r.Invoke(t.Context(), id, Call{Method: "m"})
			return err
		}
		for range 3 {
			go func() { wantCode(t, call(dev1), iot.GatewayTimeout) }()
		}
		synctest.Wait()
		wantCode(t, call(dev1), iot.MethodsInFlightExceeded)
		for range 2 {
			go func() { wantCode(t, call(dev2), iot.GatewayTimeout) }()
		}
		synctest.Wait()
		wantCode(t, call(dev2), iot.Throttled)
		time.Sleep(DefaultResponse)
		synctest.Wait()
		f.set(dev1, echo(r, dev1))
		if err := call(dev1); err != nil {
			t.Error(err)
		}
	})
}

// TestInvokeThousands has thousands of calls under way at once, each with its
// own answer.
func TestInvokeThousands(t *testing.T) {
	r, f := newMethodRoom(t)
	const devices, calls = 100, 5_000
	var mu sync.Mutex
	var held []func()
	var under atomic.Int64
	all := make(chan struct{})
	for i := range devices {
		id := iot.ID{Device: fmt.Sprint("d", i)}
		f.set(id, func(in *iot.Inbound) {
			mu.Lock()
			held = append(held, func() { echo(r, id)(in) })
			mu.Unlock()
			if under.Add(1) == calls {
				close(all)
			}
		})
	}
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			want := fmt.Sprint(i)
			res, err := r.Invoke(t.Context(), iot.ID{Device: fmt.Sprint("d", i%devices)}, Call{Method: "m", Payload: []byte(want)})
			if err != nil || string(res.Payload) != want {
				t.Errorf("%s: %s, %v", want, res.Payload, err)
			}
		})
	}
	<-all
	for _, answer := range slices.Backward(held) {
		answer()
	}
	wg.Wait()
}

func BenchmarkInvoke(b *testing.B) {
	r, f := newMethodRoom(b)
	f.set(dev1, echo(r, dev1))
	payload := []byte(`{"delay":5}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Invoke(b.Context(), dev1, Call{Method: "reboot", Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
}
