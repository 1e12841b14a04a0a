package job

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Bounds of a page.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Filter selects jobs for a list.
type Filter struct {
	Kind   *Kind   // nil: every scheduled job
	Status *Status // nil: any
}

// listToken is the first byte of a continuation of a list.
const listToken = 1

func errBadToken() error {
	return iot.Errorf(iot.ArgumentInvalid, "the continuation token is not valid: give it back as it came")
}

// List gives a page of up to size jobs, the newest first, and the token of the
// next page, empty when there is none.
func (r *Room) List(ctx context.Context, f Filter, token string, size int) (list []Job, next string, err error) {
	before, err := readListToken(token)
	if err != nil {
		return nil, "", err
	}
	where, args := []string{"seq < ?"}, []any{before}
	if f.Kind != nil {
		where, args = append(where, "kind = ?"), append(args, int64(*f.Kind))
	} else {
		where = append(where, "kind >= 3")
	}
	if f.Status != nil {
		where, args = append(where, "status = ?"), append(args, int64(*f.Status))
	}
	size = max(1, min(size, MaxPage))
	list, err = r.list(ctx, "SELECT "+columns+" FROM job WHERE "+strings.Join(where, " AND ")+" ORDER BY seq DESC LIMIT ?", append(args, size+1)...)
	if len(list) > size {
		list = list[:size]
		b := binary.AppendUvarint([]byte{listToken}, uint64(list[size-1].seq))
		next = base64.RawURLEncoding.EncodeToString(b)
	}
	return list, next, err
}

func readListToken(token string) (before int64, err error) {
	if token == "" {
		return 1<<63 - 1, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(token) > 40 || len(b) < 2 || b[0] != listToken {
		return 0, errBadToken()
	}
	n, k := binary.Uvarint(b[1:])
	if k != len(b)-1 || n == 0 || n > 1<<62 {
		return 0, errBadToken()
	}
	return int64(n), nil
}

// Transfers gives the imports and exports that are remembered, the newest
// first, up to MaxPage of them.
func (r *Room) Transfers(ctx context.Context) ([]Job, error) {
	return r.list(ctx, "SELECT "+columns+" FROM job WHERE kind < 3 ORDER BY seq DESC LIMIT ?", MaxPage)
}

func (r *Room) list(ctx context.Context, query string, args ...any) (list []Job, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = list[:0]
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var j Job
			if err := scan(rows, &j); err != nil {
				return err
			}
			list = append(list, j)
		}
		return rows.Err()
	})
	for i := range list {
		r.live(&list[i])
	}
	return list, stored(err, "list jobs")
}
