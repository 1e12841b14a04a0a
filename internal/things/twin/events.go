package twin

import (
	"strconv"
	"time"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/iot"
)

// events packs the events of one write. Changes that meet in a batch are told
// as one where the final state follows from it.
type events struct {
	batch  outbox.Batch
	body   []byte
	stamps stampWriter
}

func (v *events) reset() { v.batch.Reset() }

// story is what is still to be told of a twin.
type story struct {
	tags, desired, reported noted
	model                   bool // the model id has changed
}

// noted is the change of one section: a patch in which null removes a member.
type noted struct {
	is   bool
	tree node
}

func (s *story) any() bool { return s.tags.is || s.desired.is || s.reported.is || s.model }

// joins: an object that comes after a value or a removal would be merged into
// what was there before them. Large patches are not worth the search.
func joins(first, next *node) bool {
	if len(first.members) > smallObject && len(next.members) > smallPatch {
		return false
	}
	for i := range next.members {
		n := &next.members[i]
		if !n.val.isObject() {
			continue
		}
		if at := first.find(n.key); at >= 0 && (!first.members[at].val.isObject() || !joins(&first.members[at].val, &n.val)) {
			return false
		}
	}
	return true
}

func joined(first, next *node) node {
	out := node{members: make([]member, len(first.members), len(first.members)+len(next.members))}
	copy(out.members, first.members)
	for i := range next.members {
		n := &next.members[i]
		at := first.find(n.key)
		switch {
		case at < 0:
			out.members = append(out.members, *n)
		case n.val.isObject():
			out.members[at].val = joined(&first.members[at].val, &n.val)
		default:
			out.members[at].val = n.val
		}
	}
	return out
}

// removal is the patch that removes every member.
func removal(of *node) node {
	all := node{members: make([]member, len(of.members))}
	for i := range of.members {
		all.members[i] = member{of.members[i].key, node{raw: null}}
	}
	return all
}

// expect tells what is noted when a patch, which is not applied yet, cannot be
// joined with it.
func (w *work) expect(p *noted, next *node) {
	if w.events != nil && p.is && !joins(&p.tree, next) {
		w.tell()
	}
}

// note keeps a patch that was applied.
func (w *work) note(p *noted, next *node) {
	switch {
	case w.events == nil:
	case p.is:
		p.tree = joined(&p.tree, next)
	default:
		p.is, p.tree = true, *next
	}
}

// foresee comes before a change by the back end that is sure to be made when
// foresee succeeds. A section that is cleared becomes a patch that removes
// every member, as devices and readers of events only merge.
func (w *work) foresee(kind opKind, b *body) error {
	if kind == opReplace {
		return w.foreseeAll()
	}
	for _, s := range [...]struct {
		*given
		tree *tree
		p    *noted
	}{{&b.tags, &w.tags, &w.story.tags}, {&b.desired, &w.desired, &w.story.desired}} {
		if s.clear {
			s.given.tree = removal(&s.tree.node)
		}
		if s.is {
			w.expect(s.p, &s.given.tree)
		}
	}
	return nil
}

// foreseeAll tells what is noted and reads the sections that a replacement
// leaves alone.
func (w *work) foreseeAll() error {
	if w.events == nil {
		return nil
	}
	w.tell()
	for _, s := range [...]struct {
		tree *tree
		rec  *section
	}{{&w.tags, &w.rec.tags}, {&w.desired, &w.rec.desired}, {&w.reported, &w.rec.reported}} {
		if err := w.load(s.tree, s.rec); err != nil {
			return stored(err)
		}
	}
	return nil
}

// recount comes behind the change.
func (w *work) recount(kind opKind, b *body) {
	if w.events == nil {
		return
	}
	if kind == opReplace {
		w.tellAll()
		return
	}
	if b.tags.is {
		w.note(&w.story.tags, &b.tags.tree)
	}
	if b.desired.is {
		w.note(&w.story.desired, &b.desired.tree)
	}
}

// tell makes the event of what is noted.
func (w *work) tell() {
	s := &w.story
	if !s.any() {
		return
	}
	v := w.events
	b := append(v.body[:0], `{"version":`...)
	b = strconv.AppendInt(b, w.rec.version, 10)
	if s.model {
		b = appendString(append(b, `,"modelId":`...), w.rec.model)
	}
	if s.tags.is {
		b = s.tags.tree.append(append(b, `,"tags":`...))
	}
	if s.desired.is || s.reported.is {
		b = append(b, `,"properties":{`...)
		if s.desired.is {
			v.stamps.versions = true
			b = v.appendPatch(append(b, `"desired":`...), &s.desired.tree, &w.desired.node, w.rec.desiredVersion)
		}
		if s.reported.is {
			if s.desired.is {
				b = append(b, ',')
			}
			v.stamps.versions = false
			b = v.appendPatch(append(b, `"reported":`...), &s.reported.tree, &node{at: w.now}, w.rec.reportedVersion)
		}
		b = append(b, '}')
	}
	v.body = append(b, '}')
	w.add("updateTwin")
	*s = story{}
}

// appendPatch writes a patch of a section as it is told. now is the section,
// or a value with the stamp of everything that the patch touches.
func (v *events) appendPatch(dst []byte, patch, now *node, version int64) []byte {
	dst = patch.append(dst)
	dst = dst[:len(dst)-1]
	if len(patch.members) > 0 {
		dst = append(dst, ',')
	}
	dst = v.stamps.touched(append(dst, `"$metadata":`...), patch, now)
	dst = append(dst, `,"$version":`...)
	return append(strconv.AppendInt(dst, version, 10), '}')
}

// touched writes the stamps of what a patch has left in place.
func (w *stampWriter) touched(dst []byte, patch, now *node) []byte {
	dst = w.stamp(dst, now)
	for i := range patch.members {
		p := &patch.members[i]
		if p.val.raw == null {
			continue
		}
		val := now
		if len(now.members) > 0 {
			at := now.find(p.key)
			if at < 0 {
				continue
			}
			val = &now.members[at].val
		}
		dst = append(dst, ',')
		dst = appendKey(dst, p.key)
		dst = w.touched(dst, &p.val, val)
	}
	return append(dst, '}')
}

// tellAll makes the event of a replacement: the whole twin.
func (w *work) tellAll() {
	v, id := w.events, w.entry.id
	b := appendString(append(v.body[:0], `{"deviceId":`...), id.Device)
	if id.IsModule() {
		b = appendString(append(b, `,"moduleId":`...), id.Module)
	}
	b = appendString(append(b, `,"etag":`...), etagText(w.rec.etag))
	if w.rec.model != "" {
		b = appendString(append(b, `,"modelId":`...), w.rec.model)
	}
	b = strconv.AppendInt(append(b, `,"version":`...), w.rec.version, 10)
	b = w.tags.node.append(append(b, `,"tags":`...))
	v.stamps.versions = true
	b = v.stamps.section(append(b, `,"properties":{"desired":`...), &w.desired.node, w.rec.desiredVersion)
	v.stamps.versions = false
	b = v.stamps.section(append(b, `,"reported":`...), &w.reported.node, w.rec.reportedVersion)
	v.body = append(b, `}}`...)
	w.add("replaceTwin")
}

// section writes a section with the stamps of all its values.
func (w *stampWriter) section(dst []byte, n *node, version int64) []byte {
	dst = n.append(dst)
	dst = dst[:len(dst)-1]
	if len(n.members) > 0 {
		dst = append(dst, ',')
	}
	dst = w.append(append(dst, `"$metadata":`...), n)
	dst = append(dst, `,"$version":`...)
	return append(strconv.AppendInt(dst, version, 10), '}')
}

func (w *work) add(op string) {
	w.events.batch.Add(outbox.Event{
		ID: w.entry.id, Generation: w.rec.generation, Source: iot.SourceTwinChange, OpType: op,
		Time: time.Unix(0, w.now*100), Body: w.events.body, Model: w.rec.model,
	})
}
