package twin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin/twinsql"
)

// indexes are the members that an operator wants found fast: equality with a
// text, and IN with texts, go along a tree then instead of through all twins.
// They are indexes of the database over an expression, so that they cannot
// differ from the twins. Each costs room and time with every change of tags,
// so there is none that nobody declared.
type indexes struct {
	declared []index
	queries  map[string]string // section and steps to the expression in queries
}

type index struct {
	path string // as it was declared
	name string // in the database
	expr string
}

// indexPrefix begins the names of these indexes in the database.
const indexPrefix = "twin_by_"

// maxIndexes bounds what every change of a twin has to keep up.
const maxIndexes = 20

// CheckIndexes says what is wrong with a declaration of Deps.Indexes, nil when
// nothing is.
func CheckIndexes(paths []string) *iot.Error {
	_, err := readIndexes(state.SQLite, paths)
	if e, ok := errors.AsType[*iot.Error](err); ok {
		return e
	}
	if err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "%w", err)
	}
	return nil
}

// readIndexes understands declarations such as "tags.site".
func readIndexes(d state.Dialect, paths []string) (indexes, error) {
	out := indexes{queries: map[string]string{}}
	if len(paths) > maxIndexes {
		return out, iot.Errorf(iot.ArgumentInvalid, "%d indexes over twins are declared, at most %d are possible", len(paths), maxIndexes)
	}
	for _, path := range paths {
		e, err := twinql.ParseCondition(path)
		if err == nil {
			_, err = twinql.BindCondition(e, twinql.Devices, path)
		}
		p, ok := e.(*twinql.Path)
		if err != nil || !ok {
			return out, iot.Errorf(iot.ArgumentInvalid, "the index '%.80s' is not the path of a member, such as tags.site", path)
		}
		section, steps := p.Steps[0].Name, p.Steps[1:]
		if section == "properties" && len(steps) > 0 {
			section, steps = steps[0].Name, steps[1:]
		}
		expr, err := twinsql.IndexExpression(d, "", section, steps)
		if err != nil {
			return out, iot.Errorf(iot.ArgumentInvalid, "the index '%.80s' is not possible: %w", path, err)
		}
		inQueries, err := twinsql.IndexExpression(d, "t.", section, steps)
		if err != nil {
			return out, err
		}
		key := indexKey(section, steps)
		if out.queries[key] != "" {
			continue
		}
		out.queries[key] = inQueries
		sum := sha256.Sum256([]byte(expr))
		out.declared = append(out.declared, index{path, indexPrefix + hex.EncodeToString(sum[:8]), expr})
	}
	return out, nil
}

func indexKey(section string, steps []twinql.Step) string {
	return section + " " + twinql.Print(&twinql.Path{Steps: steps})
}

// of gives the expression of the index over a member, "" without one.
func (x *indexes) of(section string, steps []twinql.Step) string {
	if len(x.queries) == 0 {
		return ""
	}
	return x.queries[indexKey(section, steps)]
}

// build makes the database have the declared indexes and no others.
func (x *indexes) build(ctx context.Context, db state.DB, logger *slog.Logger) error {
	catalog := "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'twin'"
	if db.Dialect() == state.PostgreSQL {
		catalog = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'twin'"
	}
	var have []string
	err := db.Read(ctx, func(tx state.Tx) error {
		have = nil
		rows, err := tx.Query(ctx, catalog)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			if strings.HasPrefix(name, indexPrefix) {
				have = append(have, name)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	do := func(statement string) error {
		return db.Write(ctx, func(tx state.Tx) error {
			_, err := tx.Exec(ctx, statement)
			return err
		})
	}
	for _, name := range have {
		if !slices.ContainsFunc(x.declared, func(i index) bool { return i.name == name }) {
			logger.Info("dropping an index over twins that is not declared any more", slog.String("index", name))
			if err := do("DROP INDEX IF EXISTS " + name); err != nil {
				return err
			}
		}
	}
	for _, i := range x.declared {
		if slices.Contains(have, i.name) {
			continue
		}
		start := time.Now()
		if err := do("CREATE INDEX IF NOT EXISTS " + i.name + " ON twin ((" + i.expr + "), device, module)"); err != nil {
			return err
		}
		logger.Info("index over twins built", slog.String("path", i.path), slog.Duration("took", time.Since(start)))
	}
	return nil
}
