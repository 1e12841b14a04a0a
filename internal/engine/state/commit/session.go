package commit

import (
	"context"
	"database/sql"

	"dunlin/internal/engine/state"
)

// maxStatements bounds the prepared statements of one session. Rooms have a
// fixed set of query texts, so the bound is only met by generated ones.
const maxStatements = 512

// maxKept is the longest text, in bytes, whose statement is kept prepared. Long
// ones are made from what callers sent and seldom come again, and a prepared
// statement takes many times the memory of its text.
const maxKept = 4 << 10

// Engine says how one database differs from the other.
type Engine struct {
	// Open gives a new connection of its own.
	Open func(ctx context.Context) (*sql.Conn, error)
	// Begin and BeginRead start a transaction.
	Begin, BeginRead string
	// Rewrite translates ? placeholders; nil when the database takes them.
	Rewrite func(query string) string
	// Wrap marks an error of the driver with an error of package state. It
	// must leave an error alone that it has seen before.
	Wrap func(err error) error
	// Retry reports an error that vanishes when the transaction is repeated.
	Retry func(err error) bool
	// Lost reports an error after which the connection is of no use.
	Lost func(err error) bool
}

// Session is one connection with its prepared statements. It is a state.Tx
// while a transaction is open and belongs to one goroutine at a time.
type Session struct {
	engine *Engine
	conn   *sql.Conn
	stmts  map[string]*sql.Stmt
	// cancel lets the context of a caller interrupt long queries. A writer
	// must not: an interrupted statement would end the whole group.
	cancel bool
}

// NewSession opens a connection. cancel says whether a context may interrupt
// queries that are running.
func NewSession(ctx context.Context, e *Engine, cancel bool) (*Session, error) {
	conn, err := e.Open(ctx)
	if err != nil {
		return nil, e.Wrap(err)
	}
	return &Session{engine: e, conn: conn, stmts: map[string]*sql.Stmt{}, cancel: cancel}, nil
}

// Close gives the connection back.
func (s *Session) Close() error {
	for _, st := range s.stmts {
		_ = st.Close()
	}
	return s.conn.Close()
}

// Exec implements state.Tx.
func (s *Session) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	st, err := s.prepare(ctx, query) //nolint:sqlclosecheck // kept for the next time
	if err != nil {
		return 0, s.engine.Wrap(err)
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, s.engine.Wrap(err)
	}
	return res.RowsAffected()
}

// Query implements state.Tx.
func (s *Session) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !s.cancel {
		ctx = context.WithoutCancel(ctx)
	}
	if len(query) > maxKept {
		rows, err := s.conn.QueryContext(ctx, s.text(query), args...)
		return rows, s.engine.Wrap(err)
	}
	st, err := s.prepare(context.WithoutCancel(ctx), query) //nolint:sqlclosecheck // kept for the next time
	if err != nil {
		return nil, s.engine.Wrap(err)
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return nil, s.engine.Wrap(err)
	}
	return rows, nil
}

// QueryRow implements state.Tx. A point read is not interrupted: watching the
// context costs more than the read.
func (s *Session) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	st, err := s.prepare(ctx, query) //nolint:sqlclosecheck // kept for the next time
	if err != nil {
		return s.conn.QueryRowContext(ctx, s.text(query), args...) // fails again, and carries the error
	}
	return st.QueryRowContext(ctx, args...)
}

func (s *Session) text(query string) string {
	if s.engine.Rewrite == nil {
		return query
	}
	return s.engine.Rewrite(query)
}

func (s *Session) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := s.stmts[query]; ok {
		return st, nil
	}
	if len(s.stmts) >= maxStatements {
		for _, st := range s.stmts {
			_ = st.Close()
		}
		clear(s.stmts)
	}
	st, err := s.conn.PrepareContext(ctx, s.text(query))
	if err != nil {
		return nil, err
	}
	s.stmts[query] = st
	return st, nil
}

// run is Exec for the statements that steer the transaction: they are never
// interrupted, else the session would be left in an unknown state.
func (s *Session) run(ctx context.Context, query string) error {
	_, err := s.Exec(context.WithoutCancel(ctx), query)
	return err
}

// Read runs fn in a read transaction of the session.
func (s *Session) Read(ctx context.Context, fn func(tx state.Tx) error) (err error) {
	if err := s.run(ctx, s.engine.BeginRead); err != nil {
		return err
	}
	done := false
	defer func() {
		rerr := s.run(ctx, "ROLLBACK")
		if done && err == nil {
			err = rerr
		}
	}()
	err = s.engine.Wrap(fn(s))
	done = true
	return err
}
