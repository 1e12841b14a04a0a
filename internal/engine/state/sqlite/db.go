package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/pressly/goose/v3"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/commit"
)

// Config says where the store is.
type Config struct {
	// Path of the database file; its directory must exist.
	Path string
	// Readers is the number of connections for reading; 0 means 4.
	Readers int
	// CheckBytes is the size up to which Open checks every page of the file
	// and not its header alone; 0 means 64 MiB, which takes some 0.3 s.
	// Check does it at any size.
	CheckBytes int64
}

// Cache sizes in KiB: the writer touches the upper pages of every tree again
// and again; a reader's misses are served by the page cache of the system.
const (
	writerCacheKiB = 16 << 10
	readerCacheKiB = 4 << 10
)

// DB is an open store. It implements state.DB.
type DB struct {
	path    string
	pool    *sql.DB
	engine  *commit.Engine
	writer  *commit.Writer
	readers *commit.Readers
	points  *points
	migrate sync.Mutex
	once    sync.Once
}

var _ state.DB = (*DB)(nil)

// Open opens the store and makes it when there is none. Errors name the file
// and the remedy.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Readers <= 0 {
		c.Readers = 4
	}
	if c.CheckBytes <= 0 {
		c.CheckBytes = 64 << 20
	}
	if err := writable(c.Path); err != nil {
		return nil, err
	}
	if err := create(ctx, c.Path); err != nil {
		return nil, err
	}
	if err := checkHeader(c.Path); err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", dsn(c.Path))
	if err != nil {
		return nil, fmt.Errorf("state store %s: %w", c.Path, err)
	}
	pool.SetMaxIdleConns(0)
	db := &DB{path: c.Path, pool: pool}
	db.engine = &commit.Engine{
		Open:      pool.Conn,
		Begin:     "BEGIN IMMEDIATE",
		BeginRead: "BEGIN",
		Wrap:      db.wrap,
		Retry:     retry,
		Lost:      func(error) bool { return false },
	}
	if err := db.open(ctx, c); err != nil {
		_ = pool.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, c Config) error {
	w, err := db.session(ctx, false, writerCacheKiB)
	if err != nil {
		return err
	}
	if err := db.check(ctx, w, c.CheckBytes); err != nil {
		_ = w.Close()
		return err
	}
	read := *db.engine
	read.Open = func(ctx context.Context) (*sql.Conn, error) {
		conn, err := db.pool.Conn(ctx)
		if err != nil {
			return nil, err
		}
		_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA cache_size=-%d", readerCacheKiB))
		return conn, err
	}
	if db.readers, err = commit.NewReaders(ctx, &read, c.Readers); err != nil {
		_ = w.Close()
		return err
	}
	if db.points, err = openPoints(c.Path, max(1, c.Readers/2)); err != nil {
		db.readers.Close()
		_ = w.Close()
		return err
	}
	db.writer = commit.NewWriter(ctx, db.engine, []*commit.Session{w})
	return nil
}

func (db *DB) session(ctx context.Context, cancel bool, cacheKiB int) (*commit.Session, error) {
	s, err := commit.NewSession(ctx, db.engine, cancel)
	if err != nil {
		return nil, err
	}
	if _, err := s.Exec(ctx, fmt.Sprintf("PRAGMA cache_size=-%d", cacheKiB)); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// uri names the file in a way that lets its path hold any character.
func uri(path string) url.URL {
	if !filepath.IsAbs(path) {
		return url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	}
	return url.URL{Scheme: "file", OmitHost: true, Path: path}
}

// dsn is the uri with what each connection begins with.
func dsn(path string) string {
	u := uri(path)
	q := url.Values{"_pragma": {
		"busy_timeout(10000)",
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		"temp_store(MEMORY)",
		"journal_size_limit(67108864)",
		"wal_autocheckpoint(4096)", // pages: less to move twice while many devices are imported
	}}
	u.RawQuery = q.Encode()
	return u.String()
}

// create makes the file under another name and renames it when it is whole.
func create(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	fresh := path + ".new"
	for _, name := range []string{fresh, fresh + "-wal", fresh + "-shm", path + "-wal", path + "-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("state store %s: %w", path, err)
		}
	}
	db, err := sql.Open("sqlite", dsn(fresh))
	if err != nil {
		return fmt.Errorf("state store %s: %w", path, err)
	}
	// application_id marks the file as ours ("Dnln"); writing it makes page 1.
	_, err = db.ExecContext(ctx, "PRAGMA application_id=1148087406")
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("state store %s cannot be made: %w", path, (&DB{path: path}).wrap(err))
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("state store %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("state store: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("state store: sync of %s: %w", dir, err)
	}
	return nil
}

// Dialect implements state.DB.
func (db *DB) Dialect() state.Dialect { return state.SQLite }

// Read implements state.DB.
func (db *DB) Read(ctx context.Context, fn func(tx state.Tx) error) error {
	return db.readers.Do(ctx, fn)
}

// Get implements state.DB.
func (db *DB) Get(ctx context.Context, dest []any, query string, args ...any) error {
	if err := db.points.get(ctx, dest, query, args); !errors.Is(err, errPlain) {
		return err
	}
	return db.readers.Get(ctx, dest, query, args...)
}

// Write implements state.DB.
func (db *DB) Write(ctx context.Context, fn func(tx state.Tx) error) error {
	return db.writer.Do(ctx, fn)
}

// Migrate implements state.DB.
func (db *DB) Migrate(ctx context.Context, room string, files fs.FS) error {
	db.migrate.Lock()
	defer db.migrate.Unlock()
	sub, err := fs.Sub(files, "sqlite")
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	// goose wants a pool: this one has a single connection and ends with it.
	pool, err := sql.Open("sqlite", dsn(db.path))
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	defer pool.Close() //nolint:errcheck // nothing is pending on it
	pool.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectSQLite3, pool, sub,
		goose.WithTableName(room+"_schema"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrations of %s in %s: %w", room, db.path, db.wrap(commit.NameMigration(err)))
	}
	return nil
}

// Location implements state.DB.
func (db *DB) Location() string { return "file " + db.path }

// Close implements state.DB.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		db.points.close()
		db.readers.Close()
		db.writer.Close()
		err = db.pool.Close()
	})
	return err
}
