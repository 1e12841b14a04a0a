package registry

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// ImportBatch is the number of devices that Import writes with one statement.
// SQLite allows 32,766 values in one, and larger batches gain nothing.
const ImportBatch = 500

// Imported is a device that Import made or found.
type Imported struct {
	ID         string
	PrimaryKey []byte
	// Err is set when the device was not made: the id is not valid or taken.
	Err *iot.Error
}

// Import makes plain devices with symmetric keys, many in one transaction:
// enabled, with random keys where primary gives none. It is what fills a
// registry with a million devices; everything else goes through PutDevice.
// At most ImportBatch ids are taken in one call.
func (r *Registry) Import(ctx context.Context, ids []string, primary [][]byte, now time.Time) ([]Imported, error) {
	if len(ids) > ImportBatch {
		return nil, iot.Errorf(iot.TooManyDevices, "an import takes at most %d devices at once", ImportBatch)
	}
	out := make([]Imported, len(ids))
	random := make([]byte, len(ids)*(2*keyLen+9))
	rand.Read(random)
	cut := func(n int) []byte {
		b := random[:n:n]
		random = random[n:]
		return b
	}
	first := r.nextGeneration(now, max(1, len(ids)))
	args := make([]any, 0, len(ids)*6)
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		out[i] = Imported{ID: id, PrimaryKey: cut(keyLen)}
		if primary != nil && primary[i] != nil {
			out[i].PrimaryKey = primary[i]
		}
		second, etag := cut(keyLen), base64.StdEncoding.EncodeToString(cut(9))
		switch {
		case !iot.ValidID(id):
			out[i].Err = errBadID("device", id)
		case seen[id]:
			out[i].Err = iot.Errorf(iot.DeviceDefinedTwice, "the device %s is in the import twice", id)
		default:
			seen[id] = true
			keys := Secrets{PrimaryKey: out[i].PrimaryKey, SecondaryKey: second}
			generation := first + uint64(i)
			args = append(args, id, int64(generation), etag, keys.PrimaryKey, second, keys.sum(iot.ID{Device: id}, generation, Enabled))
		}
	}
	if len(args) == 0 {
		return out, nil
	}
	n := len(args) / 6
	query := importText(n)
	var taken map[string]bool
	err := r.db.Write(ctx, func(tx state.Tx) error {
		taken = nil
		made, err := tx.Exec(ctx, query, args...)
		if err != nil {
			return err
		}
		if made == int64(n) {
			return r.imported(args, nil, now).put(ctx, tx)
		}
		// Some ids were taken: those whose generation is not from here.
		taken = map[string]bool{}
		for i := 0; i < len(args); i += 6 {
			var generation int64
			if err := tx.QueryRow(ctx, "SELECT generation FROM device WHERE id = ?", args[i]).Scan(&generation); err != nil {
				return err
			}
			if generation != args[i+1].(int64) {
				taken[args[i].(string)] = true
			}
		}
		return r.imported(args, taken, now).put(ctx, tx)
	})
	if err != nil {
		return nil, stored(err, "import devices")
	}
	for i := range out {
		if out[i].Err == nil && taken[out[i].ID] {
			out[i].Err = iot.Errorf(iot.DeviceAlreadyExists, "A device with ID '%s' is already registered.", out[i].ID)
		}
	}
	return out, nil
}

// imported gives the events of an import: its rows without those that are taken.
func (r *Registry) imported(rows []any, taken map[string]bool, now time.Time) *lifecycle {
	l := r.lifecycle(now)
	for i := 0; i < len(rows) && r.outbox != nil; i += 6 {
		if id := rows[i].(string); !taken[id] {
			l.created(iot.ID{Device: id}, uint64(rows[i+1].(int64)))
		}
	}
	return l
}

func importText(n int) string {
	const row = "(?, ?, ?, 0, 0, 0, ?, ?, ?, 0, '', '')"
	var b strings.Builder
	b.Grow(200 + n*(len(row)+1))
	b.WriteString("INSERT INTO device (id, generation, etag, status, status_at, auth, key1, key2, sum, edge, scope, parents) VALUES ")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(row)
	}
	b.WriteString(" ON CONFLICT (id) DO NOTHING")
	return b.String()
}
