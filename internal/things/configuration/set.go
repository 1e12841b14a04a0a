package configuration

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"dunlin/internal/engine/state"
)

// active is a configuration that is to be applied, understood.
type active struct {
	entry
	content
	condition
	broken bool // cannot be understood: what is noted of it stays
}

// set is all configurations at one time. It is never changed, but for the
// overlays that it has worked out.
type set struct {
	all      []*active // the one that counts least first; with those that are deleted
	byNumber map[int64]*active
	stamp    string // tells one set from another
	modules  bool   // some are about modules

	// What events can matter.
	tags     bool
	reported map[string]bool
	desired  map[string]bool // first names that are set
	whole    bool            // all of some section is set

	mu       sync.Mutex
	overlays map[string]*overlay
}

// maxOverlays bounds the combinations that are kept.
const maxOverlays = 10000

// overlay gives what parts together set in one twin.
func (s *set) overlay(module string, parts []part) *overlay {
	var b strings.Builder
	b.WriteString(module)
	for i := range parts {
		b.WriteByte(' ') // in no id
		b.WriteString(strconv.FormatInt(parts[i].number, 36))
	}
	key := b.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.overlays[key]
	if o == nil {
		o = lay(parts)
		if len(s.overlays) >= maxOverlays {
			clear(s.overlays)
		}
		s.overlays[key] = o
	}
	return o
}

// piecesOf gives what a configuration sets in the twin of a module, or with
// an empty name of what it is for.
func (a *active) piecesOf(module string) []piece {
	if a.kind != Edge {
		return a.pieces
	}
	var out []piece
	for _, p := range a.pieces {
		if p.module == module {
			out = append(out, p)
		}
	}
	return out
}

// reload reads the configurations anew.
func (r *Room) reload(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	var s *set
	err := r.db.Read(ctx, func(tx state.Tx) error {
		s = &set{byNumber: map[int64]*active{}, reported: map[string]bool{}, desired: map[string]bool{}, overlays: map[string]*overlay{}}
		err := readRecords(ctx, r.db, tx, true, func(rec *entry, damaged error) error {
			a, err := understand(rec)
			if err = errors.Join(damaged, err); err != nil {
				r.logger.Error("configuration left out", slog.String("id", rec.id), slog.Any("error", err))
				a = &active{entry: *rec, broken: true}
			}
			s.add(a)
			return nil
		})
		if err != nil {
			return err
		}
		s.stamp, err = stampOf(ctx, tx)
		return err
	})
	if err != nil {
		return stored(err, "read the configurations")
	}
	slices.SortFunc(s.all, func(a, b *active) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.number, b.number))
	})
	r.set.Store(s)
	r.stir()
	return nil
}

// understand reads what is stored. Whether twins can have it was asked before.
func understand(rec *entry) (*active, error) {
	a := &active{entry: *rec}
	var err error
	if a.content, err = parseContent(rec.content); err != nil {
		return a, err
	}
	a.condition, err = readCondition(rec.target, a.kind)
	return a, err
}

func (s *set) add(a *active) {
	s.all = append(s.all, a)
	s.byNumber[a.number] = a
	s.modules = s.modules || a.kind != Devices
	s.tags = s.tags || a.tags
	for name := range a.reported {
		s.reported[name] = true
	}
	for _, p := range a.pieces {
		if len(p.path) == 0 {
			s.whole = true
		} else {
			s.desired[p.path[0]] = true
		}
	}
}
