// Package blob is the contract of the store of large bytes: blobs, named
// within containers, that are written as streams of any length, become visible
// whole or not at all, and are durable when the writer is told so. Engines are
// sub-packages; blobtest is the suite they share.
package blob

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Store is an open store. All methods may be called by any goroutine. What is
// not there answers ErrNoContainer or ErrNotFound, a condition that does not
// hold ErrCondition, a disk without room ErrFull.
type Store interface {
	Reader
	Writer
}

// Reader is the half of a store that looks.
type Reader interface {
	// Containers lists the names of all containers in order.
	Containers(ctx context.Context) ([]string, error)

	Head(ctx context.Context, ref Ref) (Properties, error)

	// Open gives the bytes of a blob from offset on, at most length of them
	// and all when length is negative. The caller closes the body. What it
	// reads belongs to one version of the blob, whatever is written meanwhile.
	// An offset at or beyond the end gives an empty body.
	Open(ctx context.Context, ref Ref, offset, length int64) (Properties, io.ReadCloser, error)

	// List gives the next page of a container's blobs in the order of the
	// bytes of their names.
	List(ctx context.Context, container string, o ListOptions) (Page, error)

	// Blocks gives the blocks that a blob was committed from, in order, and
	// those that wait to be committed, in the order of their ids. There need
	// not be a blob for the latter; without both it answers ErrNotFound.
	Blocks(ctx context.Context, ref Ref) (p Properties, committed, staged []Block, err error)
}

// Writer is the half of a store that changes.
type Writer interface {
	// MakeContainer makes a container; one that is there is left as it is.
	MakeContainer(ctx context.Context, container string) error

	// Put writes a blob from what r gives until io.EOF. Any other error of r
	// ends the write: the blob stays as it was. Blocks that wait for the blob
	// are dropped. Memory does not grow with the size.
	Put(ctx context.Context, ref Ref, r io.Reader, o WriteOptions) (Properties, error)

	// Stage keeps what r gives as a block of a blob to be. A block with the
	// same id that waits is replaced. Ids of one blob have the same length;
	// another one answers ErrBlockID. limit is the largest sum of the blocks
	// that wait for one blob, in bytes, 0 for none. What is not committed is
	// dropped after a time.
	Stage(ctx context.Context, ref Ref, id string, r io.Reader, limit int64) (size int64, err error)

	// Commit makes a blob out of blocks, in the order given, and drops the
	// blocks that wait for it. A block that is not there answers ErrNoBlock.
	Commit(ctx context.Context, ref Ref, list []BlockRef, o WriteOptions) (Properties, error)

	// Update replaces the metadata of a blob, its headers or both; nil keeps.
	Update(ctx context.Context, ref Ref, h *Headers, metadata map[string]string, c Condition) (Properties, error)

	// Delete removes a blob. Blocks that wait for it are dropped with it.
	Delete(ctx context.Context, ref Ref, c Condition) error
}

// Ref names a blob.
type Ref struct {
	Container string
	Name      string
}

// Properties are what is known of a blob beside its bytes.
type Properties struct {
	ETag     string // changes with every write; without quotes
	Created  time.Time
	Modified time.Time
	Size     int64
	Headers  Headers
	Metadata map[string]string
	// Blocks reports whether it was committed from blocks.
	Blocks bool
}

// Headers are what a reader of the blob is told of its content.
type Headers struct {
	ContentType        string
	ContentEncoding    string
	ContentLanguage    string
	ContentDisposition string
	CacheControl       string
	// MD5 of the content. Put fills it in when it is nil; the other writes
	// keep what the writer says of it.
	MD5 []byte
}

// WriteOptions go with a write of a whole blob.
type WriteOptions struct {
	Headers   Headers
	Metadata  map[string]string
	Condition Condition
	// Limit is the largest size in bytes, 0 for none. A larger one answers
	// ErrTooLarge.
	Limit int64
}

// Condition is what must hold of a blob for a write to happen; it is looked at
// in one step with the write. The zero Condition always holds.
type Condition struct {
	// IfMatch is an ETag, or "*" for any blob.
	IfMatch string
	// IfNoneMatch is an ETag, or "*" for no blob at all.
	IfNoneMatch string
}

// Check answers ErrCondition unless the condition holds for a blob with an
// ETag, empty when there is no blob.
func (c Condition) Check(etag string) error {
	switch {
	case c.IfMatch == "*" && etag == "", c.IfMatch != "" && c.IfMatch != "*" && c.IfMatch != etag,
		c.IfNoneMatch == "*" && etag != "", c.IfNoneMatch != "" && c.IfNoneMatch == etag:
		return ErrCondition
	}
	return nil
}

// Block is a part of a blob.
type Block struct {
	ID   string // bytes, as the writer gave them
	Size int64
}

// BlockRef names a block to commit.
type BlockRef struct {
	ID   string
	From BlockSource
}

// BlockSource says where a block is looked for.
type BlockSource uint8

// The places.
const (
	Latest    BlockSource = iota // among those that wait, then in the blob
	Staged                       // among those that wait
	Committed                    // in the blob as it is
)

// ListOptions choose a page of a list.
type ListOptions struct {
	Prefix string
	// Delimiter, when set, stands one entry for all names that have it
	// behind the prefix: what comes up to and with it.
	Delimiter string
	After     string // Next of the page before; empty for the first
	Max       int    // entries in the page, 1 and more
}

// Page is a part of a list.
type Page struct {
	Entries []Entry
	Next    string // After of the next page; empty when this is the last
}

// Entry is a blob, or the beginning of names that a delimiter stands for.
type Entry struct {
	Name     string
	IsPrefix bool
	Properties
}

// Errors that engines answer, wrapped with what they are about.
var (
	ErrNoContainer = errors.New("blob: there is no such container")
	ErrNotFound    = errors.New("blob: there is no such blob")
	ErrCondition   = errors.New("blob: the condition does not hold")
	ErrNoBlock     = errors.New("blob: a block of the list is not there")
	ErrBlockID     = errors.New("blob: the block id differs in length from others of the blob")
	ErrTooLarge    = errors.New("blob: larger than the limit")
	ErrTooMany     = errors.New("blob: too many blocks wait to be committed")
	ErrName        = errors.New("blob: the name is not valid")
	ErrFull        = errors.New("blob: no space left for blobs")
	ErrDamaged     = errors.New("blob: the stored bytes are damaged")
	ErrClosed      = errors.New("blob: the store is closed")
)

// The limits of names and lists, as the public interface has them.
const (
	MaxName     = 1024 // characters
	MaxSegments = 254  // parts of a name between slashes
	MaxBlockID  = 64   // bytes
	MaxBlocks   = 50_000
)

// ValidContainer reports whether s may name a container: 3 to 63 of a-z, 0-9
// and single hyphens between them.
func ValidContainer(s string) bool {
	if len(s) < 3 || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1 && s[i-1] != '-':
		default:
			return false
		}
	}
	return true
}

// ValidName reports whether s may name a blob: 1 to 1024 characters of UTF-8
// that XML can write, in at most 254 parts.
func ValidName(s string) bool {
	if s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxName || strings.Count(s, "/") >= MaxSegments {
		return false
	}
	for _, c := range s {
		if c < ' ' || c == 0xFFFE || c == 0xFFFF {
			return false
		}
	}
	return true
}
