package robust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"dunlin/test/device"
)

// methods calls direct methods. Nothing of a call outlives the server, but an
// answer is that of the device to this very call, which it has seen once.
type methods struct {
	tally
	n    int
	list []*callee
}

type callee struct {
	*peer
	next, acked int
	seen        map[int]int // times that the device was called
}

func (s *methods) prepare(w *world) error {
	for i := range s.n {
		d, err := w.device(fmt.Sprintf("method-%d", i))
		if err != nil {
			return err
		}
		s.list = append(s.list, &callee{peer: d, seen: map[int]int{}})
	}
	return nil
}

func (s *methods) run(ctx context.Context, w *world) error {
	return together(2*len(s.list), func(i int) error {
		if o := s.list[i/2]; i%2 == 1 {
			return o.call(ctx, w)
		}
		return s.list[i/2].serve(ctx, w)
	}, func() {
		s.acknowledged, s.cutOff = 0, 0
		for _, o := range s.list {
			s.acknowledged += o.acked
			s.cutOff += o.next - o.acked
		}
	})
}

func (o *callee) call(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		o.next++
		body := map[string]any{"methodName": "echo", "payload": map[string]any{"n": o.next}, "connectTimeoutInSeconds": 20}
		a, err := w.call(ctx, http.MethodPost, "/twins/"+o.id+"/methods", body, []int{200})
		if errors.Is(err, errCut) {
			return nil
		}
		var answer struct {
			Status  int
			Payload struct{ N int }
		}
		if err == nil {
			err = a.Read(&answer)
		}
		if err != nil || answer.Status != 200+o.next%7 || answer.Payload.N != o.next {
			return fmt.Errorf("%s: call %d was answered with %s: %w", o.id, o.next, a, err)
		}
		o.acked++
	}
	return nil
}

func (o *callee) serve(ctx context.Context, w *world) error {
	err := o.connect(ctx, w, "$iothub/methods/POST/#")
	if errors.Is(err, errCut) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.conn.Close()
	for {
		p, err := o.await(device.Publish, nil)
		if err != nil {
			return nil
		}
		topic, payload, _ := topicOf(p)
		rid, ok := strings.CutPrefix(topic, "$iothub/methods/POST/echo/?")
		var call struct{ N int }
		if err := json.Unmarshal(payload, &call); err != nil || !ok {
			return fmt.Errorf("%s: %s %s: %w", o.id, topic, payload, err)
		}
		if o.seen[call.N]++; o.seen[call.N] > 1 {
			return fmt.Errorf("%s was called twice with call %d", o.id, call.N)
		}
		if err := o.conn.Send(device.Message(fmt.Sprintf("$iothub/methods/res/%d/?%s", 200+call.N%7, rid), payload, 0, 0)); err != nil {
			return nil
		}
	}
}

// check wants a call that has an answer to have been seen by its device.
func (s *methods) check(context.Context, *world) error {
	for _, o := range s.list {
		if len(o.seen) < o.acked {
			return fmt.Errorf("%s saw %d calls, %d were answered", o.id, len(o.seen), o.acked)
		}
	}
	return nil
}
