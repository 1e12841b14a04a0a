package twin

import (
	"strconv"

	"dunlin/internal/iot"
)

// A component is an object of a section that carries this marker. It says so
// in desired and reported properties alike, but either may be without it as
// long as nothing was written there.
const (
	markerKey   = "__t"
	markerValue = `"c"`
)

func isComponent(n *node) bool {
	if n == nil || !n.isObject() {
		return false
	}
	i := n.find(markerKey)
	return i >= 0 && n.members[i].val.raw == markerValue
}

// member gives a member of an object, nil when there is none.
func (n *node) member(key string) *node {
	if n == nil {
		return nil
	}
	if i := n.find(key); i >= 0 {
		return &n.members[i].val
	}
	return nil
}

// AppendDigital writes the twin as a digital twin: the values that the device
// reported, by component, and in the metadata of each what was asked for and
// what the device has answered to that.
func (d Doc) AppendDigital(dst []byte) ([]byte, error) {
	desired, err := d.rec.desired.open(d.lim)
	if err != nil {
		return dst, err
	}
	reported, err := d.rec.reported.open(d.lim)
	if err != nil {
		return dst, err
	}
	w := digitalWriter{model: d.rec.model, nested: true}
	dst = appendString(append(dst, `{"$dtId":`...), DigitalID(d.key.ID))
	dst = w.members(dst, &desired, &reported, true)
	return append(dst, '}'), nil
}

// DigitalID names the digital twin of an identity: the id of the device, and
// of its module behind a tilde, which ids cannot hold.
func DigitalID(id iot.ID) string {
	if id.IsModule() {
		return id.Device + "~" + id.Module
	}
	return id.Device
}

// digitalWriter writes the members of a digital twin or of a component.
type digitalWriter struct {
	model  string
	nested bool // there may be components
	meta   []byte
	stamps stampWriter
}

// members writes the members and, at the end, their metadata. comma says that
// something stands before them.
func (w *digitalWriter) members(dst []byte, desired, reported *node, comma bool) []byte {
	start := len(w.meta)
	put := func(key string, want, have *node) {
		if key == markerKey {
			return
		}
		if w.nested && (isComponent(want) || isComponent(have)) {
			if comma {
				dst = append(dst, ',')
			}
			comma = true
			dst = append(appendKey(dst, key), '{')
			w.nested = false
			dst = w.members(dst, object(want), object(have), false)
			w.nested = true
			dst = append(dst, '}')
			return
		}
		a := readAnswer(have)
		if a.value != nil {
			if comma {
				dst = append(dst, ',')
			}
			comma = true
			dst = a.value.append(appendKey(dst, key))
		}
		if len(w.meta) > start {
			w.meta = append(w.meta, ',')
		}
		w.property(key, want, have, &a)
	}
	for i := range reported.members {
		m := &reported.members[i]
		put(m.key, desired.member(m.key), &m.val)
	}
	for i := range desired.members {
		if m := &desired.members[i]; reported.find(m.key) < 0 {
			put(m.key, &m.val, nil)
		}
	}
	if comma {
		dst = append(dst, ',')
	}
	dst = append(dst, `"$metadata":{`...)
	if w.nested {
		dst = appendString(append(dst, `"$model":`...), w.model)
		if len(w.meta) > start {
			dst = append(dst, ',')
		}
	}
	dst = append(dst, w.meta[start:]...)
	w.meta = w.meta[:start]
	return append(dst, '}')
}

// object gives n when it is an object, else one without members.
func object(n *node) *node {
	if n == nil || !n.isObject() {
		return &node{}
	}
	return n
}

// property notes the metadata of a property.
func (w *digitalWriter) property(key string, want, have *node, a *answered) {
	m := append(appendKey(w.meta, key), '{')
	comma := false
	name := func(s string) {
		if comma {
			m = append(m, ',')
		}
		comma = true
		m = appendKey(m, s)
	}
	if want != nil {
		name("desiredValue")
		m = want.append(m)
		name("desiredVersion")
		m = strconv.AppendInt(m, max(want.version, 1), 10)
	}
	for _, part := range [...]struct {
		name string
		val  *node
	}{{"ackVersion", a.version}, {"ackCode", a.code}, {"ackDescription", a.text}} {
		if part.val != nil {
			name(part.name)
			m = part.val.append(m)
		}
	}
	if have != nil {
		name("lastUpdateTime")
		m = w.stamps.time(m, have.at)
	}
	w.meta = append(m, '}')
}

// answered is a reported property taken apart. A device acknowledges a desired
// value by an object of the value, the code and the version that it answers,
// and maybe a text.
type answered struct{ value, code, version, text *node }

func readAnswer(have *node) answered {
	plain := answered{value: have}
	if have == nil || !have.isObject() {
		return plain
	}
	var a answered
	for i := range have.members {
		m := &have.members[i]
		switch m.key {
		case "value":
			a.value = &m.val
		case "ac":
			a.code = &m.val
		case "av":
			a.version = &m.val
		case "ad":
			a.text = &m.val
		default:
			return plain
		}
	}
	if a.value == nil || (a.code == nil && a.version == nil) {
		return plain // an object that happens to have such members
	}
	return a
}
