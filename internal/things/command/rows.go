package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// chunks are the numbers of rows that go with one statement: most of what a
// row costs is the statement around it, and each size is a statement to keep.
var chunks = [...]int{32, 8, 1}

// statement is one that takes several rows; texts by the index of chunks.
type statement struct {
	width int // values of a row
	texts [len(chunks)]string
}

func newStatement(head, row, tail string) *statement {
	s := &statement{width: strings.Count(row, "?")}
	for i, n := range chunks {
		s.texts[i] = head + row + strings.Repeat(", "+row, n-1) + tail
	}
	return s
}

// exec runs the statement for all rows in args.
func (s *statement) exec(ctx context.Context, tx state.Tx, args []any) error {
	for i, n := range chunks {
		for k := n * s.width; len(args) >= k; args = args[k:] {
			if _, err := tx.Exec(ctx, s.texts[i], args[:k]...); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	insertMessages = newStatement("INSERT INTO c2d_message (seq, device, module, generation, enqueued, expires, abandoned, ack, message_id, content, sum) VALUES ",
		"(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", "")
	deleteMessages = newStatement("DELETE FROM c2d_message WHERE seq IN (", "?", ")")
	insertFeedback = newStatement("INSERT INTO c2d_feedback (seq, device, module, generation, message_id, status, at, expires, abandoned) VALUES ",
		"(?, ?, ?, ?, ?, ?, ?, ?, 0)", "")
	abandonFeedback = newStatement("UPDATE c2d_feedback SET abandoned = abandoned + 1 WHERE seq IN (", "?", ")")
	deleteFeedback  = newStatement("DELETE FROM c2d_feedback WHERE seq IN (", "?", ")")
)

const messageColumns = "seq, device, module, generation, enqueued, expires, abandoned, ack, message_id, content, sum"

const selectQueue = "SELECT " + messageColumns + " FROM c2d_message WHERE device = ? AND module = ? AND generation = ? AND expires > ? ORDER BY seq LIMIT ?"

func (m *message) values(dst []any) []any {
	return append(dst, m.seq, m.id.Device, m.id.Module, int64(m.generation), m.enqueued, m.expires, int64(m.abandoned), int64(m.ack), m.messageID, m.content, m.sum())
}

// readQueue reads up to n messages of a queue that have not expired, oldest
// first. Rows that are damaged are given separately.
func (r *Room) readQueue(ctx context.Context, id iot.ID, generation uint64, now int64, n int) (list, damaged []*message, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list, damaged = nil, nil
		rows, err := tx.Query(ctx, selectQueue, id.Device, id.Module, int64(generation), now, n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m := &message{}
			var generation, sum int64
			if err := rows.Scan(&m.seq, &m.id.Device, &m.id.Module, &generation, &m.enqueued, &m.expires, &m.abandoned, &m.ack, &m.messageID, &m.content, &sum); err != nil {
				return err
			}
			m.generation = uint64(generation)
			if sum != m.sum() {
				damaged = append(damaged, m)
				continue
			}
			list = append(list, m)
		}
		return rows.Err()
	})
	return list, damaged, stored(err, "read a queue")
}

// stored turns an error of the store into one of the domain where a caller can
// do something about it; other errors stay as they are and are for the log.
func stored(err error, doing string) error {
	var domain *iot.Error
	switch {
	case err == nil, errors.As(err, &domain):
		return err
	case errors.Is(err, state.ErrFull):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the disk of the server is full, nothing was changed: try again once there is space", Err: err}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrClosed):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the store is not available at the moment: try again later", Err: err}
	}
	return fmt.Errorf("command: %s: %w", doing, err)
}
