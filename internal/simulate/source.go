package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
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
	bag     *Generator
	scratch []byte
}

func (h *heading) append(dst []byte, seq int64, now time.Time) []byte {
	h.scratch = h.bag.Append(h.scratch[:0], seq, now)
	return escapeBag(append(dst, h.topic...), h.scratch)
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

// The rendered bag uses control characters for its own structure, so that
// values that a template made can hold any text.
const (
	bagValue = '\x01' // between name and value
	bagNext  = '\x02' // between pairs
)

// bagTemplate compiles the properties of every message, by name; the "$" of
// system properties sorts first. Messages of a recording get the number of
// their row as message id.
func bagTemplate(c Config) (*Template, error) {
	props := maps.Clone(c.Properties)
	if props == nil {
		props = map[string]string{}
	}
	if c.ContentType != "" {
		if _, ok := props["$.ct"]; !ok {
			props["$.ct"] = c.ContentType
		}
		if _, ok := props["$.ce"]; !ok && strings.HasPrefix(c.ContentType, jsonType) {
			props["$.ce"] = "utf-8"
		}
	}
	if _, ok := props["$.mid"]; !ok && c.Replay != "" {
		props["$.mid"] = "{{seq}}"
	}
	names := slices.Sorted(maps.Keys(props))
	var text strings.Builder
	for i, name := range names {
		if name == "" || strings.ContainsAny(name+props[name], "\x00\x01\x02") || strings.Contains(name, "{{") {
			return nil, fmt.Errorf("property %q: a name must not be empty or hold {{ }} or control characters", name)
		}
		if i > 0 {
			text.WriteByte(bagNext)
		}
		text.WriteString(name)
		text.WriteByte(bagValue)
		text.WriteString(props[name])
	}
	t, err := ParseTemplate(text.String())
	if err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	return t, nil
}

// escapeBag appends a rendered bag with its names and values percent-encoded.
func escapeBag(dst, rendered []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, b := range rendered {
		switch {
		case b == bagValue:
			dst = append(dst, '=')
		case b == bagNext:
			dst = append(dst, '&')
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '.', b == '_', b == '~':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', hex[b>>4], hex[b&15])
		}
	}
	return dst
}

// sources makes the message source of every device of the run.
func sources(c Config, rec *Recording, devices []identity) ([]source, error) {
	bag, err := bagTemplate(c)
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
		h := heading{topic: devices[i].topic(), bag: bag.Generator(id, ^seed)}
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
