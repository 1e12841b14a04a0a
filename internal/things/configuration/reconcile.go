package configuration

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// batchSize is how many devices are brought in line together: their rows share
// commits, and their twins are written at once.
const batchSize = 256

// reconcile brings the twins of some devices in line with the configurations
// as they are. Changes that a twin refuses are noted as waiting and tried
// again by and by; an error is one of the store, and means that the same is to
// be done again.
func (r *Room) reconcile(ctx context.Context, s *set, devices []string) error {
	for batch := range slices.Chunk(devices, batchSize) {
		if err := r.reconcileBatch(ctx, s, batch); err != nil {
			return err
		}
	}
	return nil
}

func (r *Room) reconcileBatch(ctx context.Context, s *set, devices []string) error {
	families, err := r.families(ctx, s, devices)
	if err != nil {
		return err
	}
	var plans []plan
	for _, f := range families {
		list, missing, err := s.plans(f)
		if err != nil {
			r.logger.Error("configurations not applied", slog.String("device", f.device), slog.Any("error", err))
			continue
		}
		for _, module := range missing {
			// Its twin follows with the event that it was made.
			if err := r.twins.AddModule(ctx, iot.ID{Device: f.device, Module: module}); err != nil {
				r.refused(ctx, iot.ID{Device: f.device, Module: module}, err)
			}
		}
		plans = append(plans, list...)
	}
	r.metrics.evaluated.Add(float64(len(families)))
	if err := r.intend(ctx, plans); err != nil {
		return err
	}
	if err := r.patch(ctx, plans); err != nil {
		return err
	}
	agree(s, plans)
	return r.note(ctx, plans)
}

// families reads what is to be known of devices.
func (r *Room) families(ctx context.Context, s *set, devices []string) ([]*family, error) {
	byID := make(map[string]*family, len(devices))
	list := make([]*family, 0, len(devices))
	for _, id := range devices {
		if byID[id] == nil {
			byID[id] = &family{device: id}
			list = append(list, byID[id])
		}
	}
	var noted map[string][]target
	err := r.db.Read(ctx, func(tx state.Tx) (err error) {
		noted, err = readTargets(ctx, r.db, tx, devices)
		return err
	})
	if err != nil {
		return nil, stored(err, "read what configurations are for")
	}
	modules := s.modules
	for id, targets := range noted {
		byID[id].noted = targets
		modules = modules || slices.ContainsFunc(targets, func(t target) bool { return t.module != "" })
	}
	err = r.twins.Documents(ctx, twinql.Devices, devices, func(d Document) error {
		if f := byID[d.ID.Device]; f != nil {
			f.doc = &d
		}
		return nil
	})
	if err != nil || !modules {
		return list, err
	}
	err = r.twins.Documents(ctx, twinql.Modules, devices, func(d Document) error {
		if f := byID[d.ID.Device]; f != nil {
			if f.modules == nil {
				f.modules = map[string]*Document{}
			}
			f.modules[d.ID.Module] = &d
		}
		return nil
	})
	return list, err
}

// find gives what is noted of a configuration.
func find(list []target, number int64) *target {
	for i := range list {
		if list[i].number == number {
			return &list[i]
		}
	}
	return nil
}

// intend notes what is about to be set, before it is: whatever happens then,
// what was set is known and can be taken back.
func (r *Room) intend(ctx context.Context, plans []plan) error {
	return r.write(ctx, plans, func(p *plan) (put []target, drop []int64) {
		if p.body == nil {
			return nil, nil
		}
		for _, t := range p.after {
			if t.status != applied || t.won == "" {
				continue
			}
			have := find(p.before, t.number)
			if have != nil && have.generation == t.generation {
				all := parseWon(have.won).and(parseWon(t.won)).String()
				if have.won == all {
					continue // it is noted
				}
				t.won = all
			}
			t.status = waiting
			put = append(put, t)
		}
		return put, nil
	})
}

// note writes what came of it.
func (r *Room) note(ctx context.Context, plans []plan) error {
	return r.write(ctx, plans, func(p *plan) (put []target, drop []int64) {
		for _, t := range p.after {
			if have := find(p.before, t.number); have == nil || *have != t {
				put = append(put, t)
			}
		}
		return put, p.drop
	})
}

// write changes the rows that pick names for each twin, and takes them for
// what is noted from then on.
func (r *Room) write(ctx context.Context, plans []plan, pick func(*plan) (put []target, drop []int64)) error {
	var puts, drops []change
	for i := range plans {
		p := &plans[i]
		put, drop := pick(p)
		for _, t := range put {
			puts = append(puts, change{p.device, t})
			if have := find(p.before, t.number); have != nil {
				*have = t
			} else {
				p.before = append(p.before, t)
			}
		}
		for _, number := range drop {
			drops = append(drops, change{p.device, target{module: p.module, number: number}})
		}
	}
	if len(puts)+len(drops) == 0 {
		return nil
	}
	err := r.db.Write(ctx, func(tx state.Tx) error {
		if err := putTargets(ctx, r.db.Dialect(), tx, puts); err != nil {
			return err
		}
		return dropTargets(ctx, r.db.Dialect(), tx, drops)
	})
	return stored(err, "note what configurations are for")
}

// patch writes the twins that are not as they must be.
func (r *Room) patch(ctx context.Context, plans []plan) error {
	var wait sync.WaitGroup
	for i := range plans {
		if p := &plans[i]; p.body != nil {
			wait.Go(func() { r.patchOne(ctx, p) })
		}
	}
	wait.Wait()
	return ctx.Err()
}

func (r *Room) patchOne(ctx context.Context, p *plan) {
	is, version, err := r.twins.Patch(ctx, p.doc.ID, p.doc.Generation, p.body, "")
	if err == nil {
		r.metrics.applied.Inc()
		r.verify(p, is, version)
		return
	}
	r.refused(ctx, p.doc.ID, err)
	p.postpone()
}

// postpone notes that a change is still to be made. What is noted of earlier
// ones stays, so that it can be taken back.
func (p *plan) postpone() {
	for i := range p.after {
		if t := &p.after[i]; t.status == applied {
			t.status = waiting
			if have := find(p.before, t.number); have != nil {
				t.won = have.won
			}
		}
	}
	for _, number := range p.drop {
		if have := find(p.before, number); have != nil {
			t := *have
			t.status = waiting
			p.after = append(p.after, t)
		}
	}
	p.drop = nil
}

// agree makes what is noted of edge devices say what became of their modules.
func agree(s *set, plans []plan) {
	late := map[int64]bool{}
	for i := range plans {
		p := &plans[i]
		for j := range p.after {
			t := &p.after[j]
			switch {
			case p.module != "" && t.status == waiting:
				late[t.number] = true
			case p.module == "" && late[t.number] && t.status == applied && s.byNumber[t.number].kind == Edge:
				t.status = waiting
			}
		}
		if p.module == "" {
			clear(late) // the next plans are of the next device
		}
	}
}

// verify compares what a twin became with what it was to be. Somebody else may
// have changed it since it was read; then it is looked at again.
func (r *Room) verify(p *plan, is string, version int64) {
	v, err := parse(is)
	if err == nil {
		if have, ok := v.(map[string]any); ok && len(difference(have, p.want)) == 0 {
			r.changes.own(p.doc.ID, version)
		}
	}
}

func (r *Room) refused(ctx context.Context, id iot.ID, err error) {
	if ctx.Err() != nil {
		return
	}
	code := iot.CodeOf(err)
	if code == iot.DeviceNotFound || code == iot.ModuleNotFound {
		return // deleted: its event follows
	}
	r.metrics.failed.Inc()
	var domain *iot.Error
	if errors.As(err, &domain) && domain.Err != nil {
		err = errors.New(strings.TrimSuffix(domain.Message, ".") + ": " + domain.Err.Error())
	}
	r.logger.Warn("configurations not applied", slog.String("device", id.Device), slog.String("module", id.Module), slog.Any("error", err))
}
