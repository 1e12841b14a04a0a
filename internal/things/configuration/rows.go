package configuration

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"time"

	"dunlin/internal/engine/state"
)

// entry is a configuration as it is stored.
type entry struct {
	number   int64
	id       string
	revision int64
	aim      int64
	done     int64
	deleted  bool
	schema   string
	labels   string
	content  string
	target   string
	priority int64
	queries  string
	created  int64
	updated  int64
}

const columns = "number, id, revision, aim, done, deleted, schema_version, labels, content, target, priority, queries, created_at, updated_at, sum"

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // made once and never changed

// sum guards what reaches devices against bits that flip on the disk.
func (r *entry) sum() int64 {
	b := binary.AppendVarint(nil, r.number)
	b = binary.AppendVarint(b, r.priority)
	for _, s := range [...]string{r.id, r.content, r.target, r.queries} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return int64(crc32.Checksum(b, castagnoli))
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (r *entry) values() []any {
	return []any{
		r.number, r.id, r.revision, r.aim, r.done, flag(r.deleted), r.schema, r.labels, r.content, r.target, r.priority, r.queries,
		r.created, r.updated, r.sum(),
	}
}

type scanner interface{ Scan(dest ...any) error }

func scanRecord(db state.DB, row scanner, r *entry) error {
	var sum int64
	err := row.Scan(&r.number, &r.id, &r.revision, &r.aim, &r.done, &r.deleted, &r.schema, &r.labels, &r.content, &r.target, &r.priority, &r.queries,
		&r.created, &r.updated, &sum)
	if err == nil && sum != r.sum() {
		return state.DamagedRow(db, "the configuration "+r.id)
	}
	return err
}

// readRecord answers nil when there is no such configuration.
func readRecord(ctx context.Context, db state.DB, tx state.Tx, id string) (*entry, error) {
	var r entry
	err := scanRecord(db, tx.QueryRow(ctx, "SELECT "+columns+" FROM configuration WHERE id = ? AND deleted = 0", id), &r)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // documented
	}
	return &r, err
}

// readRecords gives all configurations in the order of ids, with those that
// are deleted but not gone when all is set.
func readRecords(ctx context.Context, db state.DB, tx state.Tx, all bool, each func(*entry, error) error) error {
	query := "SELECT " + columns + " FROM configuration"
	if !all {
		query += " WHERE deleted = 0"
	}
	rows, err := tx.Query(ctx, query+" ORDER BY id, number")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		r := &entry{}
		err := scanRecord(db, rows, r)
		if err != nil && !errors.Is(err, state.ErrDamaged) {
			return err
		}
		if err := each(r, err); err != nil {
			return err
		}
	}
	return rows.Err()
}

func insertRecord(ctx context.Context, tx state.Tx, r *entry) error {
	_, err := tx.Exec(ctx, "INSERT INTO configuration ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", r.values()...)
	return err
}

func updateRecord(ctx context.Context, tx state.Tx, r *entry) error {
	_, err := tx.Exec(ctx, `UPDATE configuration SET revision = ?, aim = ?, deleted = ?, schema_version = ?, labels = ?, target = ?, priority = ?, queries = ?, updated_at = ?, sum = ?
WHERE number = ?`, r.revision, r.aim, flag(r.deleted), r.schema, r.labels, r.target, r.priority, r.queries, r.updated, r.sum(), r.number)
	return err
}

func (r *entry) configuration() (Configuration, error) {
	c := Configuration{
		ID: r.id, SchemaVersion: r.schema, Labels: json.RawMessage(r.labels), Content: json.RawMessage(r.content), Target: r.target, Priority: r.priority,
		Created: time.Unix(0, r.created).UTC(), Updated: time.Unix(0, r.updated).UTC(), ETag: etag(r.revision),
	}
	return c, json.Unmarshal([]byte(r.queries), &c.Queries)
}

// The states of a target.
const (
	targeted = 0 // others count more on every path
	applied  = 1
	waiting  = 2 // to be applied
)

// Words of the states in documents, by number.
var statusWords = [...]string{targeted: "Targeted", applied: "Applied", waiting: "Targeted"}

// target says that a configuration is for a twin.
type target struct {
	module     string
	number     int64
	generation uint64
	status     int
	won        string
}

// readTargets gives what is noted of devices and their modules.
func readTargets(ctx context.Context, db state.DB, tx state.Tx, devices []string) (map[string][]target, error) {
	where, arg, err := among(db.Dialect(), "device", devices)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, "SELECT device, module, configuration, generation, status, won FROM configuration_target WHERE "+where, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string][]target{}
	for rows.Next() {
		var device string
		var generation int64
		var t target
		if err := rows.Scan(&device, &t.module, &t.number, &generation, &t.status, &t.won); err != nil {
			return nil, err
		}
		t.generation = uint64(generation)
		out[device] = append(out[device], t)
	}
	return out, rows.Err()
}

// among is a condition that a column holds one of a list of texts, with the
// argument that it needs.
func among(d state.Dialect, column string, list []string) (sql string, arg any, err error) {
	if d == state.PostgreSQL {
		return column + " = ANY(CAST(? AS TEXT[]))", list, nil
	}
	b, err := json.Marshal(list)
	return column + " IN (SELECT value FROM json_each(?))", string(b), err
}

// change is what is to be done with one row of a twin.
type change struct {
	device string
	target
}

const (
	insertTargets = "INSERT INTO configuration_target (device, module, configuration, generation, status, won) "
	updateTargets = " ON CONFLICT (device, module, configuration) DO UPDATE SET generation = excluded.generation, status = excluded.status, won = excluded.won"

	putTarget  = insertTargets + "VALUES (?, ?, ?, ?, ?, ?)" + updateTargets
	dropTarget = "DELETE FROM configuration_target WHERE device = ? AND module = ? AND configuration = ?"
	// PostgreSQL takes many rows at once as columns: that spares a trip for each.
	putUnnest  = insertTargets + "SELECT * FROM unnest(CAST(? AS TEXT[]), CAST(? AS TEXT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS TEXT[]))" + updateTargets
	dropUnnest = "DELETE FROM configuration_target t USING unnest(CAST(? AS TEXT[]), CAST(? AS TEXT[]), CAST(? AS BIGINT[])) AS v(device, module, configuration) WHERE t.device = v.device AND t.module = v.module AND t.configuration = v.configuration"
)

// putTargets writes rows, each of another twin or configuration.
func putTargets(ctx context.Context, d state.Dialect, tx state.Tx, rows []change) error {
	if d != state.PostgreSQL {
		for _, r := range rows {
			if _, err := tx.Exec(ctx, putTarget, r.device, r.module, r.number, int64(r.generation), r.status, r.won); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		return nil
	}
	device, module, won := make([]string, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	number, generation, status := make([]int64, len(rows)), make([]int64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		device[i], module[i], won[i] = r.device, r.module, r.won
		number[i], generation[i], status[i] = r.number, int64(r.generation), int64(r.status)
	}
	_, err := tx.Exec(ctx, putUnnest, device, module, number, generation, status, won)
	return err
}

// dropTargets deletes rows.
func dropTargets(ctx context.Context, d state.Dialect, tx state.Tx, rows []change) error {
	if d != state.PostgreSQL {
		for _, r := range rows {
			if _, err := tx.Exec(ctx, dropTarget, r.device, r.module, r.number); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		return nil
	}
	device, module, number := make([]string, len(rows)), make([]string, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		device[i], module[i], number[i] = r.device, r.module, r.number
	}
	_, err := tx.Exec(ctx, dropUnnest, device, module, number)
	return err
}
