package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"dunlin/internal/engine/state"
)

// points reads single rows: what devices need when they connect. It calls
// SQLite itself, on connections of its own, because database/sql and the driver
// cost more than the search for the row does. What it does not understand, and
// what fails, it leaves to the ordinary readers, which then tell what is wrong.
type points struct {
	tokens chan struct{} // one for each handle in free
	closed chan struct{}
	once   sync.Once
	open   int

	mu   sync.Mutex
	free []*point // a stack: the one that was used last is warm
}

// point is one connection with its prepared statements.
type point struct {
	tls   *libc.TLS
	db    uintptr
	stmts map[string]uintptr
	arg   uintptr // argBytes of memory for texts and bytes
	args  []byte  // the same
}

// Bounds of one handle. Statements that are not kept are left to the ordinary
// readers, as are arguments that do not fit.
const (
	pointStatements = 64
	argBytes        = 1 << 10
)

// errPlain says that the ordinary readers have to do it.
var errPlain = errors.New("sqlite: not a point read")

func openPoints(path string, n int) (*points, error) {
	p := &points{tokens: make(chan struct{}, n), closed: make(chan struct{})}
	for range n {
		h, err := openPoint(path)
		if err != nil {
			p.close()
			return nil, err
		}
		p.put(h)
		p.open++
	}
	return p, nil
}

func (p *points) put(h *point) {
	p.mu.Lock()
	p.free = append(p.free, h)
	p.mu.Unlock()
	p.tokens <- struct{}{}
}

func (p *points) pop() *point {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	h := p.free[last]
	p.free = p.free[:last]
	return h
}

// get reads one row into dest. It answers sql.ErrNoRows when there is none and
// errPlain when it cannot tell.
func (p *points) get(ctx context.Context, dest []any, query string, args []any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.closed:
		return state.ErrClosed
	default:
	}
	select {
	case <-p.tokens:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return state.ErrClosed
	}
	h := p.pop()
	defer p.put(h)
	return h.get(dest, query, args)
}

// close waits for running reads and closes the handles that were opened.
func (p *points) close() {
	p.once.Do(func() {
		close(p.closed)
		for range p.open {
			<-p.tokens
			p.pop().close()
		}
	})
}

func openPoint(path string) (*point, error) {
	h := &point{tls: libc.NewTLS(), stmts: map[string]uintptr{}}
	h.arg = sqlite3.Xsqlite3_malloc(h.tls, argBytes)
	file := uri(path)
	name, err := libc.CString(file.String())
	if err != nil || h.arg == 0 {
		h.close()
		return nil, fmt.Errorf("state store %s: no memory for a reader: %w", path, err)
	}
	defer libc.Xfree(h.tls, name)
	h.args = unsafe.Slice((*byte)(memory(h.arg)), argBytes)
	// One goroutine at a time uses a handle, so it needs no locks of its own.
	rc := sqlite3.Xsqlite3_open_v2(h.tls, name, h.arg, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_URI, 0)
	h.db = *(*uintptr)(memory(h.arg))
	if rc == sqlite3.SQLITE_OK {
		sqlite3.Xsqlite3_busy_timeout(h.tls, h.db, 10_000)
		rc = h.exec(fmt.Sprintf("PRAGMA query_only=1; PRAGMA cache_size=-%d", readerCacheKiB))
	}
	if rc != sqlite3.SQLITE_OK {
		h.close()
		return nil, fmt.Errorf("state store %s: a reader cannot be opened: SQLite error %d", path, rc)
	}
	return h, nil
}

func (h *point) close() {
	for _, s := range h.stmts {
		sqlite3.Xsqlite3_finalize(h.tls, s)
	}
	if h.db != 0 {
		sqlite3.Xsqlite3_close_v2(h.tls, h.db)
	}
	sqlite3.Xsqlite3_free(h.tls, h.arg)
	h.tls.Close()
}

func (h *point) exec(text string) int32 {
	s, err := libc.CString(text)
	if err != nil {
		return sqlite3.SQLITE_NOMEM
	}
	defer libc.Xfree(h.tls, s)
	return sqlite3.Xsqlite3_exec(h.tls, h.db, s, 0, 0, 0)
}

// memory is the place behind a number that SQLite calls a pointer. Its memory
// is not the garbage collector's.
func memory(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func (h *point) prepare(query string) (uintptr, error) {
	if s, ok := h.stmts[query]; ok {
		return s, nil
	}
	if len(h.stmts) >= pointStatements {
		return 0, errPlain
	}
	text, err := libc.CString(query)
	if err != nil {
		return 0, errPlain
	}
	defer libc.Xfree(h.tls, text)
	rc := sqlite3.Xsqlite3_prepare_v3(h.tls, h.db, text, int32(len(query)), sqlite3.SQLITE_PREPARE_PERSISTENT, h.arg, 0)
	s := *(*uintptr)(memory(h.arg))
	if rc != sqlite3.SQLITE_OK || s == 0 {
		return 0, errPlain
	}
	h.stmts[query] = s
	return s, nil
}

func (h *point) get(dest []any, query string, args []any) error {
	s, err := h.prepare(query)
	if err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_reset(h.tls, s) // which ends the read transaction too
	if int(sqlite3.Xsqlite3_bind_parameter_count(h.tls, s)) != len(args) {
		return errPlain
	}
	used := 0
	for i, a := range args {
		var n int
		switch a := a.(type) {
		case string:
			if n = len(a); n > argBytes-used {
				return errPlain
			}
			copy(h.args[used:], a)
			sqlite3.Xsqlite3_bind_text(h.tls, s, int32(i+1), h.arg+uintptr(used), int32(n), 0)
		case int64:
			sqlite3.Xsqlite3_bind_int64(h.tls, s, int32(i+1), a)
		default:
			return errPlain
		}
		used += n
	}
	switch sqlite3.Xsqlite3_step(h.tls, s) {
	case sqlite3.SQLITE_ROW:
	case sqlite3.SQLITE_DONE:
		return sql.ErrNoRows
	default:
		return errPlain
	}
	if int(sqlite3.Xsqlite3_column_count(h.tls, s)) != len(dest) {
		return errPlain
	}
	for i, d := range dest {
		if !h.column(s, int32(i), d) {
			return errPlain
		}
	}
	return nil
}

// column reads one column into what dest points to, false when it is not of a
// kind that both sides have.
func (h *point) column(s uintptr, i int32, dest any) bool {
	kind := sqlite3.Xsqlite3_column_type(h.tls, s, i)
	switch d := dest.(type) {
	case *string:
		if kind != sqlite3.SQLITE_TEXT {
			return false
		}
		*d = string(h.bytes(s, i))
		return true
	case *sql.NullString:
		*d = sql.NullString{Valid: kind == sqlite3.SQLITE_TEXT}
		if d.Valid {
			d.String = string(h.bytes(s, i))
		}
		return d.Valid || kind == sqlite3.SQLITE_NULL
	case **string:
		*d = nil
		if kind == sqlite3.SQLITE_TEXT {
			*d = new(string(h.bytes(s, i)))
		}
		return kind == sqlite3.SQLITE_TEXT || kind == sqlite3.SQLITE_NULL
	case *[]byte:
		switch kind {
		case sqlite3.SQLITE_NULL:
			*d = nil
		case sqlite3.SQLITE_BLOB:
			*d = append([]byte(nil), h.bytes(s, i)...) // nil when empty, as the driver has it
		case sqlite3.SQLITE_TEXT:
			*d = append([]byte{}, h.bytes(s, i)...)
		default:
			return false
		}
		return true
	}
	if kind != sqlite3.SQLITE_INTEGER {
		return false
	}
	n := sqlite3.Xsqlite3_column_int64(h.tls, s, i)
	if d, ok := dest.(*int64); ok {
		*d = n
		return true
	}
	if _, ok := dest.(sql.Scanner); ok {
		return false
	}
	v := reflect.ValueOf(dest)
	if v.Kind() != reflect.Pointer {
		return false
	}
	switch v = v.Elem(); {
	case v.Kind() == reflect.Bool && (n == 0 || n == 1):
		v.SetBool(n == 1)
	case v.CanInt() && !v.OverflowInt(n):
		v.SetInt(n)
	case v.CanUint() && n >= 0 && !v.OverflowUint(uint64(n)):
		v.SetUint(uint64(n))
	default:
		return false
	}
	return true
}

// bytes is a view of a text or of bytes, until the statement moves on.
func (h *point) bytes(s uintptr, i int32) []byte {
	p := sqlite3.Xsqlite3_column_blob(h.tls, s, i)
	n := sqlite3.Xsqlite3_column_bytes(h.tls, s, i)
	if p == 0 || n <= 0 {
		return nil
	}
	return unsafe.Slice((*byte)(memory(p)), n)
}
