package twin

import (
	"context"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin/twinsql"
)

// Configured says that a twin is, or is to be, as a configuration wants it.
type Configured struct {
	ID            iot.ID
	Generation    uint64
	Configuration string // its id
	Status        string // Targeted or Applied
}

// Configurations calls each for what is noted of devices and of their modules,
// in the order of the ids of configurations.
type Configurations func(ctx context.Context, tx state.Tx, devices []string, each func(Configured)) error

// wantsConfigurations reports whether the rows of a plan show configurations
// or are judged by them.
func (p *plan) wantsConfigurations() bool { return p.wants("configurations") }

// wants reports whether the rows of a plan show a member or are judged by it.
func (p *plan) wants(member string) bool {
	if p.query.Star {
		return true
	}
	wants := false
	look := func(e twinql.Expr) bool {
		if path, ok := e.(*twinql.Path); ok && path.Steps[0].Name == member {
			wants = true
		}
		return !wants
	}
	twinql.Walk(p.query.Where, look)
	for i := range p.query.Columns {
		twinql.Walk(p.query.Columns[i].Expr, look)
	}
	for _, path := range p.query.GroupBy {
		look(path)
	}
	return wants
}

// configure fills in the configurations of documents.
func (q *queries) configure(ctx context.Context, tx state.Tx, list []*found) error {
	if len(list) == 0 {
		return nil
	}
	devices := make([]string, 0, len(list))
	byID := make(map[iot.ID]*found, len(list))
	for _, f := range list {
		id := f.doc.key.ID
		byID[id] = f
		if len(devices) == 0 || devices[len(devices)-1] != id.Device {
			devices = append(devices, id.Device)
		}
	}
	return q.configurations(ctx, tx, devices, func(c Configured) {
		if f := byID[c.ID]; f != nil && f.doc.key.Generation == c.Generation {
			f.identity.Configurations = append(f.identity.Configurations, c)
		}
	})
}

// Document is an identity with its twin, and a document of the query language.
type Document struct{ found }

// Key says whose twin it is.
func (d *Document) Key() Key { return d.doc.key }

// Doc is the twin.
func (d *Document) Doc() Doc { return d.doc }

// Edge reports whether it is that of an edge device.
func (d *Document) Edge() bool { return d.identity.Edge }

// Documents calls each for those of the devices that exist or, from
// twinql.Modules, for all of their modules, in the order of their ids. A
// damaged one is logged and left out.
func (r *Room) Documents(ctx context.Context, from twinql.Collection, devices []string, each func(*Document) error) error {
	q := r.queries
	p := &plan{query: &twinql.Query{From: from}}
	column := "d.id"
	if from == twinql.Modules {
		column = "d.device"
	}
	p.filter = twinsql.Among(q.db.Dialect(), column, devices)
	var list []*found
	err := q.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		return q.scan(ctx, tx, p, maxDocuments, func(f *found) (bool, error) {
			if !f.damaged {
				list = append(list, f)
			}
			return true, nil
		})
	})
	if err != nil {
		return stored(err)
	}
	for _, f := range list {
		if err := each(&Document{*f}); err != nil {
			return err
		}
	}
	return nil
}

// maxDocuments is more than anybody asks for.
const maxDocuments = 1 << 30
