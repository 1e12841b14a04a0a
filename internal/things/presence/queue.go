package presence

import (
	"context"
	"log/slog"

	"dunlin/internal/iot"
)

// store stores the changes that wait, until fewer than enough are left, and
// answers whether it could.
func (r *Room) store(ctx context.Context, enough int) bool {
	for {
		r.mu.Lock()
		r.saving = min(len(r.queue), MaxSave)
		list := r.queue[:r.saving:r.saving]
		r.mu.Unlock()
		if len(list) == 0 {
			return true
		}
		err := r.save(ctx, list)
		r.mu.Lock()
		if err == nil {
			r.stored()
		}
		r.saving = 0
		waiting := len(r.queue)
		r.mu.Unlock()
		if err != nil {
			r.logger.Error("connection states not stored, will be tried again", slog.Int("waiting", waiting), slog.Any("error", err))
			return false
		}
		if waiting < enough {
			return true
		}
	}
}

// stored takes what was saved out of the queue. It is called under mu.
func (r *Room) stored() {
	for i := range r.queue[:r.saving] {
		c := &r.queue[i]
		if c.Connected {
			continue
		}
		if g, ok := r.left[c.ID]; ok && g.since.Equal(c.Since) {
			delete(r.left, c.ID)
		}
	}
	r.queue = r.queue[r.saving:]
	if len(r.queue) == 0 {
		r.queue, r.most = nil, maxWaiting
	}
	if len(r.left) == 0 && len(r.queue) == 0 {
		r.left = map[iot.ID]gone{} // a map keeps the room of its fullest hour
	}
}

// thin drops changes that cancel each other out, when the store has taken none
// for long: at most two are left of each identity, so that the queue is bounded
// by their number and not by how often they come and go. It is called under mu.
func (r *Room) thin() {
	type key struct {
		id         iot.ID
		generation uint64
	}
	queue := r.queue[r.saving:]
	left := make(map[key]int, len(queue)/2) // changes from here on
	for i := range queue {
		if c := &queue[i]; !c.Same {
			left[key{c.ID, c.Generation}]++
		}
	}
	odd := make(map[key]bool, len(left))
	for k, n := range left {
		odd[k] = n%2 == 1
	}
	kept := append(make([]Change, 0, r.saving+len(queue)/2), r.queue[:r.saving]...)
	for i := range queue {
		c := &queue[i]
		if c.Same {
			continue
		}
		k := key{c.ID, c.Generation}
		n := left[k]
		left[k]--
		if n == 1 || (n == 2 && !odd[k]) {
			kept = append(kept, *c)
		}
	}
	r.queue = kept
	r.most = max(maxWaiting, 2*(len(kept)-r.saving))
}
