package twin

import (
	"context"
	"errors"
	"log/slog"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Between gives the twins of the devices from first to last, both included,
// and of their modules, as they are stored: those that were ever changed. Rows
// that are damaged are logged and left out.
func (r *Room) Between(ctx context.Context, first, last string) (docs map[iot.ID]Doc, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		docs = map[iot.ID]Doc{}
		rows, err := tx.Query(ctx, "SELECT device, module, generation, "+columns+" FROM twin WHERE device >= ? AND device <= ? ORDER BY device, module", first, last)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			d, err := r.readDoc(rows)
			if errors.Is(err, state.ErrDamaged) {
				r.logger.Error("damaged twin left out of an export", slog.Any("error", err))
				continue
			}
			if err != nil {
				return err
			}
			docs[d.key.ID] = d
		}
		return rows.Err()
	})
	if err != nil {
		return nil, stored(err)
	}
	return docs, nil
}

func (r *Room) readDoc(row scanner1) (Doc, error) {
	d := Doc{rec: fresh(0), lim: &r.limits}
	var generation int64
	t := twinRow{row: row}
	if err := t.scan(&d.rec, []any{&d.key.ID.Device, &d.key.ID.Module, &generation}); err != nil {
		return d, err
	}
	d.key.Generation, d.rec.generation = uint64(generation), uint64(generation)
	if have, _ := d.rec.sum(d.key, nil); have != t.sum.Int64 {
		return d, state.DamagedRow(r.db, "the twin of "+d.key.ID.String())
	}
	return d, nil
}

// Unchanged gives the twin of an identity that was never changed.
func (r *Room) Unchanged(k Key) Doc { return Doc{key: k, rec: fresh(k.Generation), lim: &r.limits} }

// Generation says whose twin it is.
func (d Doc) Generation() uint64 { return d.key.Generation }
