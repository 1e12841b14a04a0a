package twin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// staleTries bounds how often operations are repeated because another node
// was faster.
const staleTries = 8

// worker is what one worker uses again from batch to batch.
type worker struct {
	room    *Room
	rows    []row
	works   []work
	refused []refusal
	buf     []byte
	members []member // room for those of a section that is read
	events  events
}

func (r *Room) work() {
	w := &worker{room: r}
	var batch []*entry
	for {
		var ok bool
		if batch, w.refused, ok = r.take(batch); !ok {
			return
		}
		w.run(batch)
		for _, e := range batch {
			for i := range e.taken {
				r.finish(e, &e.taken[i])
			}
		}
		for i := range w.refused {
			r.finish(&entry{id: w.refused[i].id}, &w.refused[i].op)
		}
		r.release(batch)
	}
}

// finish delivers and answers, in the order of operations.
func (r *Room) finish(e *entry, o *op) {
	if o.err != nil {
		r.metrics.refused.Inc()
	} else if o.changed {
		r.metrics.changes.Inc()
		if o.notice != nil {
			r.deliver(e.id, o.notice)
		}
	}
	r.answer(e.id, o)
}

// run brings the operations of a batch to their outcome.
func (w *worker) run(batch []*entry) {
	for try := 1; ; try++ {
		err := w.attempt(batch, try)
		switch {
		case err == nil:
			return
		case errors.Is(err, errStale) && try < staleTries:
			continue
		case len(batch) > 1 && !forAll(err):
			// Something is wrong with one of them: the others are innocent.
			for i := range batch {
				w.run(batch[i : i+1])
			}
			return
		}
		for _, e := range batch {
			e.known = false // the outcome of the write may be unknown
			for i := range e.taken {
				if o := &e.taken[i]; o.err == nil {
					o.err = stored(err)
				}
			}
		}
		return
	}
}

// forAll reports an error of the store that every write would meet.
func forAll(err error) bool {
	return errors.Is(err, state.ErrFull) || errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrClosed)
}

// attempt reads, changes and writes the twins of a batch. A twin that cannot
// be read fails its own operations only.
func (w *worker) attempt(batch []*entry, try int) error {
	r := w.room
	ctx := r.life
	missing := 0
	for _, e := range batch {
		e.reset(r.alone)
		if !e.known {
			missing++
		}
	}
	if try > 1 {
		// Somebody else changes these twins: hold them while they are changed.
		if err := r.write(ctx, func(tx state.Tx) error {
			for _, e := range batch {
				e.reset(false)
				e.known = false
			}
			query := selectRow
			if r.db.Dialect() == state.PostgreSQL {
				query += " FOR UPDATE"
			}
			if err := w.read(ctx, tx, query, batch); err != nil {
				return err
			}
			w.apply(batch)
			return w.put(ctx, tx)
		}); err != nil {
			return err
		}
	} else {
		if missing > 0 {
			if err := r.db.Read(ctx, func(tx state.Tx) error { return w.read(ctx, tx, selectRow, batch) }); err != nil {
				return err
			}
		}
		w.apply(batch)
		if len(w.rows) > 0 {
			if err := r.write(ctx, func(tx state.Tx) error { return w.put(ctx, tx) }); err != nil {
				return err
			}
		}
	}
	r.metrics.rows.Add(float64(len(w.rows)))
	for i := range w.works {
		w.works[i].commit()
	}
	clear(w.works)
	clear(w.rows)
	return nil
}

// reset takes back the outcome of an earlier try. What is known of a twin is
// enough to change it, as a row that is not the one that was read is noticed;
// to show it, unless alone, the store must be asked.
func (e *entry) reset(alone bool) {
	for i := range e.taken {
		o := &e.taken[i]
		o.err, o.changed, o.notice = nil, false, nil
		if !alone && o.kind <= opView {
			e.known = false
		}
	}
}

// write runs one transaction that writes twins.
func (r *Room) write(ctx context.Context, fn func(tx state.Tx) error) error {
	if !r.alone {
		// Large transactions on the same pages would clash, and the server
		// would let all but one of them begin again.
		r.writing.Lock()
		defer r.writing.Unlock()
	}
	return r.db.Write(ctx, fn)
}

// apply does the operations of twins that are known, and collects the rows to
// be written.
func (w *worker) apply(batch []*entry) {
	w.rows, w.works = w.rows[:0], w.works[:0]
	w.events.reset()
	now := ticks(time.Now())
	for _, e := range batch {
		w.works = append(w.works, work{room: w.room, entry: e, now: now, buf: w.buf, members: &w.members, gone: e.gone})
		wk := &w.works[len(w.works)-1]
		if w.room.outbox != nil {
			wk.events = &w.events
		}
		wk.begin()
		for i := range e.taken {
			wk.do(&e.taken[i])
		}
		wk.tell()
		wk.settle()
		if row, ok := wk.row(); ok {
			w.rows = append(w.rows, row)
		}
		w.buf = wk.buf
	}
	// Neighbours share pages, and a write costs by the page.
	slices.SortFunc(w.rows, func(a, b row) int { return strings.Compare(a.key.ID.Device, b.key.ID.Device) })
}

// read makes known what is not.
func (w *worker) read(ctx context.Context, tx state.Tx, query string, batch []*entry) error {
	for _, e := range batch {
		if e.known {
			continue
		}
		rec, _, err := scanRow(w.room.db, tx.QueryRow(ctx, query, e.id.Device, e.id.Module), Key{ID: e.id})
		e.broken = errors.Is(err, state.ErrDamaged)
		if err != nil && !e.broken {
			return err
		}
		e.known, e.rec = true, rec
		for i := range e.taken {
			if !e.broken || e.taken[i].kind == opDrop {
				break // what follows a deletion does not need the row
			}
			e.taken[i].err = stored(err)
		}
	}
	return nil
}

// work is a twin while operations change it.
type work struct {
	room  *Room
	entry *entry
	now   int64
	buf   []byte
	// members is room of the worker.
	members *[]member

	live    bool // there is a twin
	rec     record
	gone    uint64
	changed bool
	dropped bool
	beyond  bool    // more than reported properties has changed
	next    *record // what is written

	tags, desired, reported tree

	events *events // nil when nobody wants them
	story  story
}

// tree is a section that is being changed.
type tree struct {
	node  node
	open  bool // node is read
	dirty bool // node is newer than the record
}

func (w *work) begin() {
	if w.entry.rec != nil {
		w.live, w.rec = true, *w.entry.rec
	}
}

// do applies one operation; its error is the operation's own.
func (w *work) do(o *op) {
	if o.err != nil {
		return // it cannot be read
	}
	if o.kind == opDrop {
		w.drop(o.generation)
		o.changed = true
		return
	}
	switch {
	case w.live && o.generation < w.rec.generation, !w.live && o.generation <= w.gone:
		o.err = notFound(w.entry.id)
		return
	case !w.live || o.generation > w.rec.generation:
		w.tell()
		w.live, w.rec, w.beyond = true, fresh(o.generation), true
		w.tags, w.desired, w.reported = tree{}, tree{}, tree{}
		w.changed = false
	}
	switch o.kind {
	case opReport:
		o.err = w.report(o)
	case opPatch, opReplace, opDigital:
		o.err = w.change(o)
	case opGet, opView, opDrop:
	case opModel:
		if o.err = checkModel(o.text); o.err == nil && w.rec.model != o.text {
			w.rec.model = o.text
			w.rec.version++
			w.changed, w.beyond, o.changed = true, true, true
			w.story.model = w.events != nil
		}
	}
	if o.err == nil && (o.finished != nil || o.viewed != nil) {
		w.settle()
		o.rec = w.rec
	}
}

// maxModel is the largest model id in bytes.
const maxModel = 256

func checkModel(id string) error {
	if len(id) > maxModel || !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
		return iot.Errorf(iot.ArgumentInvalid, "the model id is not valid: at most %d bytes of UTF-8 text", maxModel)
	}
	return nil
}

func (w *work) drop(generation uint64) {
	if w.live && w.rec.generation <= generation {
		w.tell()
		w.live, w.changed = false, false
	}
	w.dropped = true
	w.gone = max(w.gone, generation)
}

// load reads a section the first time that it is needed.
func (w *work) load(t *tree, s *section) error {
	if t.open {
		return nil
	}
	n, err := s.openIn(&w.room.limits, w.members)
	if err != nil {
		return state.DamagedRow(w.room.db, "the twin of "+w.entry.id.String())
	}
	t.node, t.open = n, true
	return nil
}

func fits(n *node, name string, limit int, lim *Limits) error {
	if n.size <= limit {
		return nil
	}
	return iot.Errorf(iot.ArgumentInvalid, "DeviceTwin too large: %s would have %d bytes, at most %d are allowed (%s)", name, n.size, limit, lim.source("twin-"+name))
}

func (w *work) report(o *op) error {
	lim := &w.room.limits
	if o.ifVersion != 0 && o.ifVersion != w.rec.reportedVersion {
		return iot.Errorf(iot.PreconditionFailed, "the reported properties have the version %d, not %d: read them again and repeat the change", w.rec.reportedVersion, o.ifVersion)
	}
	patch, err := readReport(lim, o.text)
	if err != nil {
		return err
	}
	if err := w.load(&w.reported, &w.rec.reported); err != nil {
		return stored(err)
	}
	// Only desired properties show the version of each value.
	n := merge(&w.reported.node, &patch, stamp{at: w.now})
	if err := fits(&n, "reported", lim.Reported, lim); err != nil {
		return err
	}
	w.expect(&w.story.reported, &patch)
	w.reported.node, w.reported.dirty = n, true
	w.rec.reportedVersion++
	w.rec.version++
	w.note(&w.story.reported, &patch)
	w.changed, o.changed = true, true
	o.version = w.rec.reportedVersion
	return nil
}

func (w *work) change(o *op) error {
	lim := &w.room.limits
	if o.etag != nil && *o.etag != etagText(w.rec.etag) {
		return iot.Errorf(iot.PreconditionFailed, "the ETag of the twin of %s is not the one given: somebody changed it meanwhile, read it again and repeat the change", w.entry.id)
	}
	b, err := w.body(o)
	if err != nil {
		return err
	}
	if !b.tags.is && !b.desired.is {
		return nil
	}
	tags, err := w.changed1(&b.tags, &w.tags, &w.rec.tags, o.kind, stamp{}, "tags", lim.Tags)
	if err != nil {
		return err
	}
	s := stamp{w.now, w.rec.desiredVersion + 1}
	desired, err := w.changed1(&b.desired, &w.desired, &w.rec.desired, o.kind, s, "desired", lim.Desired)
	if err != nil {
		return err
	}
	if err := w.foresee(o.kind, &b); err != nil {
		return err
	}
	if b.tags.is {
		w.tags = tags
	}
	if b.desired.is {
		w.desired = desired
		w.rec.desiredVersion++
		o.notice = w.notice(o.kind, &b.desired)
	}
	w.rec.version++
	w.rec.etag++
	w.changed, w.beyond, o.changed = true, true, true
	w.recount(o.kind, &b)
	return nil
}

// body reads what an operation changes. A patch of a digital twin says so by
// what is there already.
func (w *work) body(o *op) (body, error) {
	if o.kind != opDigital {
		return readBody(&w.room.limits, w.entry.id, o.text)
	}
	if err := w.load(&w.desired, &w.rec.desired); err != nil {
		return body{}, stored(err)
	}
	if err := w.load(&w.reported, &w.rec.reported); err != nil {
		return body{}, stored(err)
	}
	tree, err := readDigital(&w.room.limits, o.text, &w.desired.node, &w.reported.node)
	// A patch that asks for nothing is no change.
	return body{desired: given{is: len(tree.members) > 0, tree: tree}}, err
}

// changed1 gives the section as it is after the change.
func (w *work) changed1(g *given, t *tree, s *section, kind opKind, at stamp, name string, limit int) (tree, error) {
	if !g.is {
		return *t, nil
	}
	if err := w.load(t, s); err != nil {
		return *t, stored(err)
	}
	old := &t.node
	if kind == opReplace || g.clear {
		old = &node{}
	}
	n := merge(old, &g.tree, at)
	return tree{node: n, open: true, dirty: true}, fits(&n, name, limit, &w.room.limits)
}

// notice is what a device is told of a change: the change itself, or all of
// the desired properties when they were replaced. A section that was cleared
// is a change that removes every member, as devices only merge.
func (w *work) notice(kind opKind, g *given) *iot.Inbound {
	n := &g.tree
	if kind == opReplace {
		n = &w.desired.node
	}
	w.buf = n.append(w.buf[:0])
	patch := appendVersioned(make([]byte, 0, len(w.buf)+32), string(w.buf), w.rec.desiredVersion)
	return &iot.Inbound{Kind: iot.KindDesired, Version: w.rec.desiredVersion, Patch: patch}
}

// settle brings the record up to date with the trees.
func (w *work) settle() {
	for _, t := range [...]struct {
		*tree
		to     *section
		stamps bool
	}{{&w.tags, &w.rec.tags, false}, {&w.desired, &w.rec.desired, true}, {&w.reported, &w.rec.reported, true}} {
		if t.dirty {
			*t.to, w.buf = seal(&t.node, w.buf, t.stamps)
			t.dirty = false
		}
	}
}

// row is what is to be written, if anything is.
func (w *work) row() (row, bool) {
	e := w.entry
	out := row{key: Key{ID: e.id, Generation: w.rec.generation}, old: e.rec}
	switch {
	case w.live && w.changed:
		rec := w.rec
		w.next, out.rec = &rec, &rec
		out.only = e.rec != nil && !w.beyond
		if e.broken {
			out.gone = w.gone
		}
		out.sum, w.buf = rec.sum(out.key, w.buf)
		return out, true
	case w.dropped:
		out.gone = w.gone
		return out, e.rec != nil || e.broken || !w.room.alone
	}
	return out, false
}

// commit makes what was written what is known.
func (w *work) commit() {
	e := w.entry
	e.gone = w.gone
	switch {
	case w.next != nil:
		e.rec = w.next
	case w.dropped && e.rec != nil && e.rec.generation <= w.gone:
		e.rec = nil
	}
	if e.broken {
		e.known, e.broken = false, false
	}
}
