package robust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dunlin/test/device"
)

// twinDoc is what is read of a twin.
type twinDoc struct {
	ETag       string         `json:"etag"`
	Version    int64          `json:"version"`
	Tags       map[string]any `json:"tags"`
	Properties struct {
		Desired  map[string]any `json:"desired"`
		Reported map[string]any `json:"reported"`
	} `json:"properties"`
}

func versionOf(section map[string]any) int64 {
	v, _ := section["$version"].(float64)
	return int64(v)
}

// bare is a section without what the hub puts into it.
func bare(section map[string]any) map[string]any {
	out := maps.Clone(section)
	delete(out, "$version")
	delete(out, "$metadata")
	return out
}

func (w *world) twin(ctx context.Context, id string) (doc twinDoc, err error) {
	a, err := w.call(ctx, http.MethodGet, "/twins/"+id, nil, []int{200})
	if err == nil {
		err = a.Read(&doc)
	}
	return doc, err
}

// twins patches and replaces tags and desired properties over REST.
type twins struct {
	tally
	n    int
	list []*twinState
	next int
}

type twinState struct {
	cell // tags, desired properties and versions in one text
	id   string
	doc  twinDoc // as it was known last
}

func (d *twinDoc) text() string {
	b, err := json.Marshal([]any{d.Version, d.Tags, d.Properties.Desired["$version"], bare(d.Properties.Desired)})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s *twins) prepare(w *world) error {
	for i := range s.n {
		o := &twinState{id: fmt.Sprintf("twin-%d", i)}
		if _, err := w.call(w.t.Context(), http.MethodPut, "/devices/"+o.id, map[string]any{"deviceId": o.id}, []int{200}); err != nil {
			return err
		}
		doc, err := w.twin(w.t.Context(), o.id)
		if err != nil {
			return err
		}
		if doc.Tags == nil {
			doc.Tags = map[string]any{}
		}
		o.doc, o.known = doc, doc.text()
		s.list = append(s.list, o)
	}
	return nil
}

// after is the twin that a change makes of d.
func (d *twinDoc) after(replace bool, tags, desired map[string]any) twinDoc {
	next := *d
	merged := func(before, change map[string]any) map[string]any {
		if change == nil {
			return before
		}
		out := map[string]any{}
		if !replace {
			maps.Copy(out, before)
		}
		maps.Copy(out, change)
		maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
		return out
	}
	next.Version++
	next.Tags = merged(d.Tags, tags)
	if desired != nil {
		next.Properties.Desired = merged(bare(d.Properties.Desired), desired)
		next.Properties.Desired["$version"] = float64(versionOf(d.Properties.Desired) + 1)
	}
	return next
}

func (s *twins) run(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		o := s.list[rand.IntN(len(s.list))]
		s.next++
		replace := rand.IntN(4) == 0
		var tags, desired map[string]any
		body := map[string]any{}
		change := func() map[string]any {
			m := map[string]any{"n": strconv.Itoa(s.next), "p" + strconv.Itoa(s.next%4): strconv.Itoa(s.next)}
			if !replace && rand.IntN(2) == 0 {
				m["p"+strconv.Itoa(rand.IntN(4))] = nil
			}
			return m
		}
		kind := rand.IntN(3)
		if kind != 1 {
			tags = change()
			body["tags"] = tags
		}
		if kind != 0 {
			desired = change()
			body["properties"] = map[string]any{"desired": desired}
		}
		method := http.MethodPatch
		if replace {
			method = http.MethodPut
		}
		next := o.doc.after(replace, tags, desired)
		a, err := w.call(ctx, method, "/twins/"+o.id, body, []int{200}, "If-Match", strconv.Quote(o.doc.ETag))
		if stop, broken := s.note(err); stop {
			o.cut(next.text())
			return broken
		}
		var doc twinDoc
		if err := a.Read(&doc); err != nil {
			return err
		}
		if got := doc.text(); got != next.text() {
			return fmt.Errorf("%s: %s of %v made %s of %s", o.id, method, body, got, o.known)
		}
		if doc.ETag == o.doc.ETag {
			return fmt.Errorf("%s: the etag %s stayed with a change", o.id, doc.ETag)
		}
		o.doc, o.known = doc, doc.text()
	}
	return nil
}

func (s *twins) check(ctx context.Context, w *world) error {
	for _, o := range s.list {
		doc, err := w.twin(ctx, o.id)
		if err != nil {
			return err
		}
		if doc.Tags == nil {
			doc.Tags = map[string]any{}
		}
		sure, err := o.see(o.id, doc.text())
		if err != nil {
			return err
		}
		if done := doc.ETag != o.doc.ETag; sure && done {
			return fmt.Errorf("%s: etag %s, acknowledged was %s", o.id, doc.ETag, o.doc.ETag)
		} else if done {
			// The write that had no answer was done.
			body := map[string]any{"tags": map[string]any{"never": true}}
			if _, err := w.call(ctx, http.MethodPatch, "/twins/"+o.id, body, []int{412}, "If-Match", strconv.Quote(o.doc.ETag)); err != nil {
				return fmt.Errorf("with a stale etag: %w", err)
			}
		} else if doc.Version != o.doc.Version {
			return fmt.Errorf("%s: version %d and not %d with the same etag", o.id, doc.Version, o.doc.Version)
		}
		o.doc = doc
	}
	return nil
}

// peer is a device of a writer that uses MQTT.
type peer struct {
	id, key string
	conn    *device.Conn
}

func (w *world) device(id string) (*peer, error) {
	a, err := w.call(w.t.Context(), http.MethodPut, "/devices/"+id, map[string]any{"deviceId": id}, []int{200})
	if err != nil {
		return nil, err
	}
	var doc identityDoc
	if err := a.Read(&doc); err != nil {
		return nil, err
	}
	return &peer{id: id, key: doc.Authentication.SymmetricKey.PrimaryKey}, nil
}

// connect opens a connection with subscriptions. That a kill is in the way is errCut.
func (d *peer) connect(ctx context.Context, w *world, filters ...string) error {
	c, err := device.Dial(context.WithoutCancel(ctx), w.PlainAddr(), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	d.conn = c
	if err := c.Hello(device.HelloFor(w.Info.HostName, d.id, d.key)); err != nil {
		if _, refused := errors.AsType[*device.RefusedError](err); refused {
			return errors.Join(err, c.Close())
		}
		return fmt.Errorf("%w: %w", errCut, errors.Join(err, c.Close()))
	}
	for i, f := range filters {
		qos := byte(1)
		if f[0] == '$' {
			qos = 0
		}
		if err := c.Send(device.Filter(uint16(i+1), f, qos)); err != nil {
			return fmt.Errorf("%w: %w", errCut, errors.Join(err, c.Close()))
		}
		if _, err := d.await(device.Suback, nil); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return nil
}

// await gives the next packet of a type; others go to also, or are dropped.
func (d *peer) await(kind byte, also func(p device.Packet) error) (device.Packet, error) {
	for {
		p, err := d.conn.Receive(20 * time.Second)
		if err != nil {
			return p, fmt.Errorf("%w: %w", errCut, err)
		}
		if p.Type == kind {
			return p, nil
		}
		if also != nil {
			if err := also(p); err != nil {
				return p, err
			}
		}
	}
}

// topicOf takes a PUBLISH apart; id is 0 with QoS 0.
func topicOf(p device.Packet) (topic string, payload []byte, id uint16) {
	n := 2 + int(p.Body[0])<<8 + int(p.Body[1])
	topic, payload = string(p.Body[2:n]), p.Body[n:]
	if p.Flags&6 != 0 {
		id, payload = uint16(payload[0])<<8|uint16(payload[1]), payload[2:]
	}
	return topic, payload, id
}

// reports has devices report properties over MQTT, several on their way at
// once. Change n sets n, and one of eight others.
type reports struct {
	tally
	n    int
	list []*reporter
}

type reporter struct {
	*peer
	acked, sent int // changes
}

const reportWindow = 16

func (s *reports) prepare(w *world) error {
	for i := range s.n {
		d, err := w.device(fmt.Sprintf("reported-%d", i))
		if err != nil {
			return err
		}
		s.list = append(s.list, &reporter{peer: d})
	}
	return nil
}

func (s *reports) run(ctx context.Context, w *world) error {
	return together(len(s.list), func(i int) error { return s.list[i].run(ctx, w) }, func() {
		s.acknowledged = 0
		for _, o := range s.list {
			s.acknowledged += o.acked
			s.cutOff += o.sent - o.acked
		}
	})
}

func (o *reporter) run(ctx context.Context, w *world) error {
	err := o.connect(ctx, w, "$iothub/twin/res/#")
	if errors.Is(err, errCut) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.conn.Close()
	for {
		for ; o.sent < o.acked+reportWindow && ctx.Err() == nil; o.sent++ {
			n := o.sent + 1
			topic := "$iothub/twin/PATCH/properties/reported/?$rid=" + strconv.Itoa(n)
			if err := o.conn.Send(device.Message(topic, fmt.Appendf(nil, `{"n":%d,"p%d":%d}`, n, n%8, n), 0, 0)); err != nil {
				return nil
			}
		}
		p, err := o.await(device.Publish, nil)
		if errors.Is(err, errCut) {
			return nil
		}
		topic, payload, _ := topicOf(p)
		want := fmt.Sprintf("$iothub/twin/res/204/?$rid=%d&$version=%d", o.acked+1, o.acked+2)
		if err != nil || topic != want {
			return fmt.Errorf("%s: %s %s, want %s: %w", o.id, topic, payload, want, err)
		}
		o.acked++
	}
}

func (s *reports) check(ctx context.Context, w *world) error {
	for _, o := range s.list {
		doc, err := w.twin(ctx, o.id)
		if err != nil {
			return err
		}
		r := doc.Properties.Reported
		f, _ := r["n"].(float64)
		n := int(f)
		if n < o.acked || n > o.sent {
			return fmt.Errorf("%s reported %d, %d changes were acknowledged and %d sent", o.id, n, o.acked, o.sent)
		}
		if v := versionOf(r); v != int64(n+1) {
			return fmt.Errorf("%s: version %d after %d changes", o.id, v, n)
		}
		for p := range 8 {
			last := n - (n-p+8)%8 // the last change that set p
			have, _ := r["p"+strconv.Itoa(p)].(float64)
			if last > 0 && int(have) != last {
				return fmt.Errorf("%s: p%d is %v after change %d, want %d", o.id, p, have, n, last)
			}
		}
		o.acked, o.sent = n, n
	}
	return nil
}

// desires changes desired properties over REST while the devices listen. A
// device reads its twin when it connects, and is then told of each change.
type desires struct {
	tally
	n    int
	list []*listener
}

type listener struct {
	*peer
	acked, sent int   // changes by the application
	version     int64 // newest that the device has seen
	base        int64 // that of the twin which it read on this connection
	told        int   // notifications
}

func (s *desires) prepare(w *world) error {
	for i := range s.n {
		d, err := w.device(fmt.Sprintf("desired-%d", i))
		if err != nil {
			return err
		}
		s.list = append(s.list, &listener{peer: d, version: 1})
	}
	return nil
}

func (s *desires) run(ctx context.Context, w *world) error {
	return together(2*len(s.list), func(i int) error {
		o := s.list[i/2]
		if i%2 == 0 {
			return o.listen(ctx, w)
		}
		for ctx.Err() == nil {
			o.sent = o.acked + 1
			body := map[string]any{"properties": map[string]any{"desired": map[string]any{"n": o.sent}}}
			a, err := w.call(ctx, http.MethodPatch, "/twins/"+o.id, body, []int{200})
			if errors.Is(err, errCut) {
				return nil
			}
			var doc twinDoc
			if err == nil {
				err = a.Read(&doc)
			}
			if v := versionOf(doc.Properties.Desired); err != nil || v != int64(o.sent+1) {
				return fmt.Errorf("%s: version %d after %d changes: %w", o.id, v, o.sent, err)
			}
			o.acked = o.sent
		}
		return nil
	}, func() {
		s.acknowledged = 0
		for _, o := range s.list {
			s.acknowledged += min(o.acked, o.told) // both sides have to do something
			s.cutOff += o.sent - o.acked
		}
	})
}

// see takes a state of the desired properties: change n has version n+1.
func (o *listener) see(how string, payload []byte, next bool) error {
	var d struct {
		N       int   `json:"n"`
		Version int64 `json:"$version"`
	}
	if err := json.Unmarshal(payload, &d); err != nil {
		return fmt.Errorf("%s: %s: %w in %s", o.id, how, err, payload)
	}
	switch {
	case int64(d.N+1) != d.Version:
		return fmt.Errorf("%s: %s: change %d with version %d", o.id, how, d.N, d.Version)
	case next && d.Version != o.version+1:
		return fmt.Errorf("%s: %s: version %d after %d", o.id, how, d.Version, o.version)
	case d.Version < o.version:
		return fmt.Errorf("%s: %s: version %d, it was told of %d before", o.id, how, d.Version, o.version)
	}
	o.version = d.Version
	return nil
}

func (o *listener) listen(ctx context.Context, w *world) error {
	err := o.connect(ctx, w, "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
	if errors.Is(err, errCut) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.conn.Close()
	if err := o.conn.Send(device.Message("$iothub/twin/GET/?$rid=1", nil, 0, 0)); err != nil {
		return nil
	}
	// Changes may come before the answer to the request, and are in it then or
	// are older.
	read := false
	var early [][]byte
	for {
		p, err := o.await(device.Publish, nil)
		if err != nil {
			return nil
		}
		topic, payload, _ := topicOf(p)
		switch {
		case strings.HasPrefix(topic, "$iothub/twin/res/200/"):
			var doc struct {
				Desired json.RawMessage `json:"desired"`
			}
			if err := json.Unmarshal(payload, &doc); err != nil {
				return err
			}
			if err := o.see("the twin that it reads", doc.Desired, false); err != nil {
				return err
			}
			read, o.base = true, o.version
			for _, payload := range early {
				if err := o.notice(payload); err != nil {
					return err
				}
			}
			early = nil
		case strings.HasPrefix(topic, "$iothub/twin/PATCH/properties/desired/"):
			if !read {
				early = append(early, payload)
			} else if err := o.notice(payload); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: %s: %s", o.id, topic, payload)
		}
	}
}

// notice takes a notification: the next change, or one that the twin which was
// read at the beginning had in it.
func (o *listener) notice(payload []byte) error {
	var d struct {
		Version int64 `json:"$version"`
	}
	if err := json.Unmarshal(payload, &d); err != nil {
		return err
	}
	o.told++
	if d.Version <= o.base {
		return nil
	}
	return o.see("a notification", payload, true)
}

func (s *desires) check(ctx context.Context, w *world) error {
	for _, o := range s.list {
		doc, err := w.twin(ctx, o.id)
		if err != nil {
			return err
		}
		f, _ := doc.Properties.Desired["n"].(float64)
		n := int(f)
		switch v := versionOf(doc.Properties.Desired); {
		case n < o.acked || n > o.sent:
			return fmt.Errorf("%s desires %d, %d changes were acknowledged and %d sent", o.id, n, o.acked, o.sent)
		case v != int64(n+1):
			return fmt.Errorf("%s: version %d after %d changes", o.id, v, n)
		case v < o.version:
			return fmt.Errorf("%s was told of version %d, the twin has %d", o.id, o.version, v)
		}
		o.acked, o.sent = n, n
	}
	return nil
}
