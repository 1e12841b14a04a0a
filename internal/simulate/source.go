package simulate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/bag"
)

// source makes the messages of one device, in order. It belongs to the
// device's sending goroutine.
type source interface {
	// due tells when the next message is to be sent, counted from the start of
	// the run; ok is false when there is none left.
	due() (at time.Duration, ok bool)
	// next appends the topic and the body of the next message.
	next(topic, body []byte, now time.Time) (newTopic, newBody []byte)
}

// heading makes the topic of each message: that of the device, then the
// property bag.
type heading struct {
	topic   string
	msg     iot.Message  // names fixed, values views of scratch
	values  []*Generator // of msg.System, then of msg.Properties
	scratch []byte
}

func (h *heading) append(dst []byte, seq int64, now time.Time) []byte {
	h.scratch = h.scratch[:0]
	for i, g := range h.values {
		start := len(h.scratch)
		h.scratch = g.Append(h.scratch, seq, now)
		value := h.scratch[start:]
		if n := len(h.msg.System); i < n {
			h.msg.System[i].Value = value
		} else {
			h.msg.Properties[i-n].Value = value
		}
	}
	return bag.Append(append(dst, h.topic...), &h.msg)
}

// generated is the source of a device with a template.
type generated struct {
	heading  heading
	body     *Generator
	start    time.Duration // offset of the first message, so that a fleet does not send in step
	interval time.Duration // 0: no pace
	seq      int64         // messages made so far
	count    int64         // 0: no end
}

func (g *generated) due() (time.Duration, bool) {
	if g.count > 0 && g.seq >= g.count {
		return 0, false
	}
	return g.start + time.Duration(g.seq)*g.interval, true
}

func (g *generated) next(topic, body []byte, now time.Time) (newTopic, newBody []byte) {
	g.seq++
	return g.heading.append(topic, g.seq, now), g.body.Append(body, g.seq, now)
}

// replayed is the source of a device with recorded rows.
type replayed struct {
	heading  heading
	rows     []row
	speedup  float64       // 0: rows are interval apart
	interval time.Duration // 0: no pace
	sent     int
	count    int64 // 0: all rows
}

func (r *replayed) due() (time.Duration, bool) {
	if r.sent >= len(r.rows) || (r.count > 0 && int64(r.sent) >= r.count) {
		return 0, false
	}
	if r.speedup > 0 {
		return time.Duration(float64(r.rows[r.sent].at) / r.speedup), true
	}
	return time.Duration(r.sent) * r.interval, true
}

func (r *replayed) next(topic, body []byte, now time.Time) (newTopic, newBody []byte) {
	row := &r.rows[r.sent]
	r.sent++
	return r.heading.append(topic, int64(row.number), now), append(body, row.body...)
}

// property is one property of every message of a run.
type property struct {
	name  string
	value *Template
}

// properties compiles the properties of every message, system properties
// first, then by name. Messages of a recording get the number of their row as
// message id.
func properties(c Config) ([]property, error) {
	texts := maps.Clone(c.Properties)
	if texts == nil {
		texts = map[string]string{}
	}
	preset := func(key iot.SystemKey, value string) {
		if _, ok := texts[key.Bag()]; !ok {
			texts[key.Bag()] = value
		}
	}
	if c.ContentType != "" {
		preset(iot.ContentType, c.ContentType)
		if strings.HasPrefix(c.ContentType, jsonType) {
			preset(iot.ContentEncoding, "utf-8")
		}
	}
	if c.Replay != "" {
		preset(iot.MessageID, "{{seq}}")
	}
	var out []property
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if name == "" {
			return nil, errors.New("properties: a name is empty")
		}
		t, err := ParseTemplate(texts[name])
		if err != nil {
			return nil, fmt.Errorf("properties: %s: %w", name, err)
		}
		out = append(out, property{name, t})
	}
	slices.SortStableFunc(out, func(a, b property) int {
		return cmp.Compare(rank(a.name), rank(b.name))
	})
	return out, nil
}

func rank(name string) int {
	if iot.BagKey([]byte(name)) != 0 {
		return 0
	}
	return 1
}

func newHeading(topic string, props []property, device string, seed uint64) heading {
	h := heading{topic: topic}
	for _, p := range props {
		h.values = append(h.values, p.value.Generator(device, seed))
		if key := iot.BagKey([]byte(p.name)); key != 0 {
			h.msg.System = append(h.msg.System, iot.SystemProperty{Key: key})
		} else {
			h.msg.Properties = append(h.msg.Properties, iot.Property{Name: []byte(p.name)})
		}
		seed++
	}
	return h
}

// sources makes the message source of every device of the run.
func sources(c Config, rec *Recording, devices []identity) ([]source, error) {
	props, err := properties(c)
	if err != nil {
		return nil, err
	}
	interval := func() time.Duration {
		switch {
		case c.TotalRate > 0:
			return time.Duration(float64(time.Second) * float64(len(devices)) / c.TotalRate)
		case c.Rate > 0:
			return time.Duration(float64(time.Second) / c.Rate)
		}
		return 0
	}()
	var body *Template
	if rec == nil {
		if body, err = ParseTemplate(c.Template); err != nil {
			return nil, err
		}
	}
	out := make([]source, len(devices))
	for i := range devices {
		id, seed := devices[i].id.Device, c.Seed+uint64(i)*0x9e3779b97f4a7c15
		h := newHeading(devices[i].topic(), props, id, ^seed)
		if rec != nil {
			rows := rec.rows[rec.devices[0]] // without a device column every device sends the whole file
			if c.DeviceColumn != "" {
				rows = rec.rows[id]
			}
			out[i] = &replayed{heading: h, rows: rows, speedup: c.Speedup, interval: interval, count: c.Count}
			continue
		}
		out[i] = &generated{
			heading: h, body: body.Generator(id, seed),
			start:    interval / time.Duration(len(devices)) * time.Duration(i),
			interval: interval, count: c.Count,
		}
	}
	return out, nil
}
