package robust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// messages sends cloud-to-device messages over REST, which their devices
// acknowledge over MQTT, or complete, reject and abandon over HTTPS. The
// senders of the latter want feedback.
type messages struct {
	tally
	n        int
	https    bool
	list     []*inbox
	feedback map[string]string // status by message id
}

// inbox is a device and what is known of its messages, which are numbered.
type inbox struct {
	*peer
	rest     *harness.REST
	accepted map[int]bool // by the hub
	sent     int
	cutOff   int

	received  map[int]int // times
	highest   int         // number that was received first last
	settled   map[int]iotOutcome
	doubtful  map[int]bool // settled without an answer, or without one to be had
	abandoned map[int]int
}

// iotOutcome is what a device did with a message.
type iotOutcome string

const (
	completed iotOutcome = "Success"
	rejected  iotOutcome = "Rejected"
)

func (s *messages) prepare(w *world) error {
	s.feedback = map[string]string{}
	kind := "mqtt"
	if s.https {
		kind = "https"
	}
	for i := range s.n {
		d, err := w.device(fmt.Sprintf("message-%s-%d", kind, i))
		if err != nil {
			return err
		}
		s.list = append(s.list, &inbox{
			peer: d, rest: w.DeviceREST(d.id, d.key), accepted: map[int]bool{},
			received: map[int]int{}, settled: map[int]iotOutcome{}, doubtful: map[int]bool{}, abandoned: map[int]int{},
		})
	}
	return nil
}

func (o *inbox) messageID(n int) string { return o.id + "/" + strconv.Itoa(n) }

func (s *messages) run(ctx context.Context, w *world) error {
	parts := 2 * len(s.list)
	if s.https {
		parts++
	}
	return together(parts, func(i int) error {
		switch {
		case i == 2*len(s.list):
			return s.hear(ctx, w)
		case i%2 == 0:
			return s.list[i/2].send(ctx, w, s.https)
		case s.https:
			return s.list[i/2].poll(ctx)
		}
		return s.list[i/2].take(ctx, w, func() bool { return false })
	}, func() {
		s.acknowledged, s.cutOff = 0, 0
		for _, o := range s.list {
			s.acknowledged += len(o.accepted) + len(o.settled)
			s.cutOff += o.cutOff
		}
	})
}

// send sends one message after the other.
func (o *inbox) send(ctx context.Context, w *world, full bool) error {
	header := []string{"iothub-to", "/devices/" + o.id + "/messages/devicebound"}
	if full {
		header = append(header, "iothub-ack", "full")
	}
	for ctx.Err() == nil {
		n := o.sent + 1
		a, err := w.call(ctx, http.MethodPost, "/messages/devicebound", []byte(strconv.Itoa(n)), []int{204, 403},
			append(header, "iothub-messageid", o.messageID(n))...)
		if errors.Is(err, errCut) {
			o.sent = n
			o.cutOff++
			return nil
		}
		if err != nil {
			return err
		}
		if a.Status == http.StatusForbidden { // the queue is full; the device is to have a chance
			if code := a.Header.Get("iothub-errorcode"); code != "DeviceMaximumQueueDepthExceeded" {
				return fmt.Errorf("%s: %s", o.id, a)
			}
			time.Sleep(5 * time.Millisecond)
			continue
		}
		o.sent = n
		o.accepted[n] = true
	}
	return nil
}

// got takes a message that the device received.
func (o *inbox) got(body []byte) (n int, err error) {
	if n, err = strconv.Atoi(string(body)); err != nil || n < 1 || n > o.sent+1 {
		return n, fmt.Errorf("%s received %q, %d were sent: %w", o.id, body, o.sent, err)
	}
	o.received[n]++
	if o.received[n] > 1 {
		return n, nil
	}
	if n < o.highest {
		return n, fmt.Errorf("%s received message %d for the first time after %d", o.id, n, o.highest)
	}
	o.highest = n
	return n, nil
}

// mqttWindow is how many messages the hub has on their way to one device: as
// many PUBACKs can be lost with the server.
const mqttWindow = 10

// take receives over MQTT and acknowledges, until the server is gone or done.
func (o *inbox) take(ctx context.Context, w *world, done func() bool) error {
	err := o.connect(ctx, w, "devices/"+o.id+"/messages/devicebound/#")
	if errors.Is(err, errCut) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.conn.Close()
	again, here := 0, map[int]bool{}
	for !done() {
		p, err := o.conn.Receive(time.Second)
		if err != nil {
			return nil
		}
		if p.Type != device.Publish {
			continue
		}
		_, payload, id := topicOf(p)
		n, err := o.got(payload)
		if err != nil {
			return err
		}
		if here[n] {
			return fmt.Errorf("%s received message %d twice on one connection", o.id, n)
		}
		here[n] = true
		if o.settled[n] != "" {
			// Its PUBACK was on its way when the server was killed.
			if again++; again > mqttWindow {
				return fmt.Errorf("%s received more than %d messages again that it had acknowledged, such as %d", o.id, mqttWindow, n)
			}
		}
		if rand.IntN(20) == 0 {
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		}
		if err := o.conn.Send(device.Packet{Type: device.Puback, Body: []byte{byte(id >> 8), byte(id)}}); err != nil {
			return nil
		}
		o.settled[n] = completed
	}
	return nil
}

// poll receives over HTTPS, one message at a time.
func (o *inbox) poll(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := o.pollOne(ctx, rand.IntN(4) == 0)
		if errors.Is(err, errCut) {
			o.cutOff++
			return nil
		}
		if err != nil {
			return err
		}
		if !more {
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}

// pollOne receives and settles one message; false when there was none.
func (o *inbox) pollOne(ctx context.Context, abandon bool) (bool, error) {
	path := "/devices/" + o.id + "/messages/devicebound"
	a, err := answered(ctx, o.rest, http.MethodGet, path+version, nil, []int{200, 204})
	if err != nil || a.Status == http.StatusNoContent {
		return false, err
	}
	n, err := o.got(a.Body)
	if err != nil {
		return false, err
	}
	if was := o.settled[n]; was != "" && !o.doubtful[n] {
		return false, fmt.Errorf("%s received message %d again, which was settled (%s) with 204", o.id, n, was)
	}
	token := path + "/" + strings.Trim(a.Header.Get("ETag"), `"`)
	if abandon && o.abandoned[n] < 3 {
		o.abandoned[n]++
		_, err := answered(ctx, o.rest, http.MethodPost, token+"/abandon"+version, nil, []int{204})
		return true, err
	}
	outcome, query := completed, ""
	if n%5 == 0 {
		outcome, query = rejected, "&reject"
	}
	o.settled[n] = outcome
	o.doubtful[n] = true
	if _, err := answered(ctx, o.rest, http.MethodDelete, token+version+query, nil, []int{204}); err != nil {
		return true, err
	}
	delete(o.doubtful, n)
	if n%7 == 0 { // once is enough
		_, err = answered(ctx, o.rest, http.MethodDelete, token+version+query, nil, []int{412})
	}
	return true, err
}

// hear receives feedback.
func (s *messages) hear(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		more, err := s.hearOne(ctx, w)
		if errors.Is(err, errCut) {
			return nil
		}
		if err != nil {
			return err
		}
		if !more {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func (s *messages) hearOne(ctx context.Context, w *world) (more bool, err error) {
	a, err := w.call(ctx, http.MethodGet, "/messages/servicebound/feedback", nil, []int{200, 204})
	if err != nil || a.Status == http.StatusNoContent {
		return false, err
	}
	var records []struct {
		OriginalMessageID string `json:"originalMessageId"`
		StatusCode        string `json:"statusCode"`
	}
	if err := json.Unmarshal(a.Body, &records); err != nil {
		return false, err
	}
	for _, r := range records {
		if was := s.feedback[r.OriginalMessageID]; was != "" && was != r.StatusCode {
			return false, fmt.Errorf("feedback on %s is %s, it was %s before", r.OriginalMessageID, r.StatusCode, was)
		}
		s.feedback[r.OriginalMessageID] = r.StatusCode
	}
	_, err = w.call(ctx, http.MethodDelete, "/messages/servicebound/feedback/"+strings.Trim(a.Header.Get("ETag"), `"`), nil, []int{204})
	return true, err
}

// check looks at the depths of the queues: what was accepted and was never
// received must be there, and no more than what is not known to be settled.
func (s *messages) check(ctx context.Context, w *world) error {
	for _, o := range s.list {
		depth, err := o.depth(ctx, w)
		if err != nil {
			return err
		}
		least := 0
		for n := range o.accepted {
			if o.received[n] == 0 {
				least++
			}
		}
		if depth < least {
			return fmt.Errorf("%s: %d messages wait, %d were accepted and not received", o.id, depth, least)
		}
	}
	return nil
}

func (o *inbox) depth(ctx context.Context, w *world) (int, error) {
	a, err := w.call(ctx, http.MethodGet, "/devices/"+o.id, nil, []int{200})
	var doc struct {
		Count int `json:"cloudToDeviceMessageCount"`
	}
	if err == nil {
		err = a.Read(&doc)
	}
	return doc.Count, err
}

// finish receives all that waits: every message that was accepted has then
// been received, and feedback says of each what became of it.
func (s *messages) finish(ctx context.Context, w *world) error {
	for _, o := range s.list {
		if s.https {
			for more := true; more; {
				var err error
				if more, err = o.pollOne(ctx, false); err != nil {
					return err
				}
			}
		} else if err := o.take(ctx, w, func() bool { return false }); err != nil { // until nothing has come for a second
			return err
		}
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			depth, err := o.depth(ctx, w)
			if err != nil {
				return err
			}
			if depth == 0 {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("%s: %d messages wait still", o.id, depth)
			}
		}
		for n := range o.accepted {
			if o.received[n] == 0 {
				return fmt.Errorf("%s: message %d was accepted and is lost", o.id, n)
			}
		}
	}
	if !s.https {
		return nil
	}
	for end := time.Now().Add(20 * time.Second); ; {
		missing := ""
		for _, o := range s.list {
			for n, outcome := range o.settled {
				switch have := s.feedback[o.messageID(n)]; {
				case have == "":
					missing = o.messageID(n)
				case have != string(outcome):
					return fmt.Errorf("feedback on %s is %s, the device did %s", o.messageID(n), have, outcome)
				}
			}
		}
		if missing == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no feedback on %s", missing)
		}
		more, err := s.hearOne(ctx, w)
		if err != nil {
			return err
		}
		if !more {
			time.Sleep(50 * time.Millisecond)
		}
	}
}
