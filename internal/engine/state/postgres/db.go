package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/commit"
)

// Config says where the database is.
type Config struct {
	// URL as PostgreSQL knows it: postgres://user:password@host:port/database?sslmode=...
	URL string
	// Readers is the number of connections for reading; 0 means 8.
	Readers int
	// Writers is the number of connections for writing; 0 means 4. More only
	// help when rooms write to different rows.
	Writers int
}

// DB is an open store. It implements state.DB.
type DB struct {
	pool    *sql.DB
	name    string // host and database, without credentials
	writer  *commit.Writer
	readers *commit.Readers
	once    sync.Once
}

var _ state.DB = (*DB)(nil)

// Open connects to the database.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Readers <= 0 {
		c.Readers = 8
	}
	if c.Writers <= 0 {
		c.Writers = 4
	}
	conf, err := pgx.ParseConfig(c.URL)
	if err != nil {
		// The error of pgx repeats the URL without its password.
		return nil, fmt.Errorf("state store: the address of the database is not valid: %w", err)
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = 10 * time.Second
	}
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "dunlin"
	}
	pool := stdlib.OpenDB(*conf)
	pool.SetMaxIdleConns(0)
	db := &DB{pool: pool, name: conf.Host + "/" + conf.Database}
	rewrite := &rewriter{}
	engine := &commit.Engine{
		Open:      pool.Conn,
		Begin:     "BEGIN ISOLATION LEVEL SERIALIZABLE",
		BeginRead: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		Rewrite:   rewrite.text,
		Wrap:      db.wrap,
		Retry:     retry,
		Lost:      lost,
	}
	if db.readers, err = commit.NewReaders(ctx, engine, c.Readers); err != nil {
		_ = pool.Close()
		return nil, err
	}
	writers := make([]*commit.Session, 0, c.Writers)
	for range c.Writers {
		s, err := commit.NewSession(ctx, engine, false)
		if err != nil {
			for _, s := range writers {
				_ = s.Close()
			}
			db.readers.Close()
			_ = pool.Close()
			return nil, err
		}
		writers = append(writers, s)
	}
	db.writer = commit.NewWriter(ctx, engine, writers)
	return db, nil
}

// Dialect implements state.DB.
func (db *DB) Dialect() state.Dialect { return state.PostgreSQL }

// Read implements state.DB.
func (db *DB) Read(ctx context.Context, fn func(tx state.Tx) error) error {
	return db.readers.Do(ctx, fn)
}

// Get implements state.DB.
func (db *DB) Get(ctx context.Context, dest []any, query string, args ...any) error {
	return db.readers.Get(ctx, dest, query, args...)
}

// Write implements state.DB.
func (db *DB) Write(ctx context.Context, fn func(tx state.Tx) error) error {
	return db.writer.Do(ctx, fn)
}

// migrationLock is the advisory lock that two nodes which start together take
// in turn ("dunlin" in ASCII).
const migrationLock = 0x64756e6c696e

// Migrate implements state.DB.
func (db *DB) Migrate(ctx context.Context, room string, files fs.FS) (err error) {
	sub, err := fs.Sub(files, "postgres")
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, db.wrap(err))
	}
	defer conn.Close() //nolint:errcheck // it ends the session, and the lock with it
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return fmt.Errorf("migrations of %s: %w", room, db.wrap(err))
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db.pool, sub,
		goose.WithTableName(room+"_schema"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrations of %s in %s: %w", room, db.name, db.wrap(commit.NameMigration(err)))
	}
	return nil
}

// Location implements state.DB.
func (db *DB) Location() string { return "database " + db.name }

// Close implements state.DB.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		db.readers.Close()
		db.writer.Close()
		err = db.pool.Close()
	})
	return err
}

// rewriter turns ? into $1, $2 and so on, and remembers. Most rooms have a
// fixed set of texts; those that are made from queries of callers are without
// number, so it starts anew when it knows too many.
type rewriter struct {
	known sync.Map // string to string
	count atomic.Int64
}

const (
	maxRewritten  = 2048
	maxRemembered = 16 << 10 // bytes of a text
)

func (r *rewriter) text(query string) string {
	if v, ok := r.known.Load(query); ok {
		return v.(string)
	}
	if strings.IndexByte(query, '?') < 0 {
		return query
	}
	if len(query) > maxRemembered {
		return placeholders(query)
	}
	out := placeholders(query)
	if r.count.Add(1) > maxRewritten {
		r.count.Store(0)
		r.known.Clear()
	}
	r.known.Store(query, out)
	return out
}

func placeholders(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	var quote byte
	for i := range len(query) {
		c := query[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Error codes of PostgreSQL, appendix A of its manual.
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	diskFull             = "53100"
	dataCorrupted        = "XX001"
	indexCorrupted       = "XX002"
)

func (db *DB) wrap(err error) error {
	if err == nil || errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrFull) ||
		errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrUnavailable) {
		return err
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == uniqueViolation:
			return fmt.Errorf("%w: %w", state.ErrConflict, err)
		case e.Code == diskFull:
			return fmt.Errorf("%w (database %s): free some space there: %w", state.ErrFull, db.name, err)
		case e.Code == dataCorrupted || e.Code == indexCorrupted:
			return fmt.Errorf("%w: database %s: %w; remedy: put back a backup of the database", state.ErrDamaged, db.name, err)
		case e.Code == serializationFailure || e.Code == deadlockDetected:
			return fmt.Errorf("%w: too many writes of the same rows at once: %w", state.ErrUnavailable, err)
		case lost(err):
			return fmt.Errorf("%w: database %s: %w", state.ErrUnavailable, db.name, err)
		}
		return err
	}
	var c *pgconn.ConnectError
	if errors.As(err, &c) || lost(err) {
		return fmt.Errorf("%w: database %s: %w", state.ErrUnavailable, db.name, err)
	}
	return err
}

func retry(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == serializationFailure || e.Code == deadlockDetected)
}
