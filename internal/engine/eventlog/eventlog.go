// Package eventlog is the contract of the durable, partitioned log that every
// event of the platform goes through. Records of one partition keep their
// order and get dense sequence numbers; a record is reported durable only
// when it would survive a power failure (unless the engine was opened
// otherwise). Engines are sub-packages; eventlogtest is the suite they share.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Offset is a position in one partition: positive, growing with the sequence
// number, not dense. Only the engine that gave it can interpret it.
type Offset int64

// Record is one entry of a partition as a reader sees it.
type Record struct {
	Offset   Offset
	Sequence int64  // dense in its partition, first is 0
	Time     int64  // when it was appended, Unix nanoseconds UTC; never falls within a partition
	Data     []byte // opaque to the log; valid until the iterator moves on
}

// Info describes one partition. In an empty partition First equals Next.
type Info struct {
	First      int64  // sequence number of the oldest record kept
	Next       int64  // sequence number that the next record will get
	LastOffset Offset // of the newest record; 0 when there never was one
	LastTime   int64  // Unix nanoseconds of the newest record; 0 when there never was one
}

// StartKind says how From.Value is meant.
type StartKind uint8

// The ways to name a starting point.
const (
	Earliest    StartKind = iota // the oldest record kept
	Latest                       // only what is appended from now on
	AtSequence                   // Value is a sequence number, inclusive
	AtOffset                     // Value is an Offset, inclusive
	AfterOffset                  // Value is an Offset, exclusive
	AtTime                       // Value is Unix nanoseconds, inclusive
)

// From is where a reader starts. A point older than the oldest record kept
// means the oldest; one beyond the end waits for it.
type From struct {
	Kind  StartKind
	Value int64
}

// ReadOptions selects what a reader sees.
type ReadOptions struct {
	From From
	// Follow keeps the reader waiting for new records until its context
	// ends; otherwise it ends where the partition ended when Read was called.
	Follow bool
}

// Log is one named log with a fixed number of partitions. All methods may be
// called by any goroutine.
type Log interface {
	Partitions() int

	// Producer gives a handle that appends to one partition for one waiter.
	// It holds no resources; dropping it is enough.
	Producer(partition int, w Waiter) Producer

	// Read yields the records of a partition in order. Damage in the stored
	// data is yielded as a *DamageError; a caller that goes on iterating gets
	// the records after the damage. Any other error ends the iteration.
	Read(ctx context.Context, partition int, o ReadOptions) iter.Seq2[Record, error]

	Info(ctx context.Context, partition int) (Info, error)

	// Close waits until everything appended is durable or has failed.
	Close() error
}

// Producer appends for one waiter. Its methods may not be called concurrently
// with each other.
type Producer interface {
	// Append copies recs, in order, into the next commit with time now (Unix
	// nanoseconds), and returns at once. ok is false when the log holds as
	// much as it should: recs are taken all the same, but the caller must
	// stop until Waiter.Ready. An Append without records is settled, as no
	// records, after everything that was appended to the log before it.
	Append(now int64, recs [][]byte) (ok bool)
}

// Waiter hears what became of appended records. The log calls it from one
// goroutine that serves all producers: it must not block and must not call
// back into the log.
type Waiter interface {
	// Durable settles the next n records, in the order of Append: nil means
	// they are on disk; an error means that they are not acknowledged (they
	// may or may not turn up in the log).
	Durable(n int, err error)
	// Ready follows an Append that answered false, once there is room again.
	Ready()
}

// ErrClosed is the answer of a log that has been closed.
var ErrClosed = errors.New("eventlog: closed")

// ErrTooLarge is in the chain of the error that settles a record which is
// longer than the log can ever take.
var ErrTooLarge = errors.New("eventlog: record is too large")

// DamageError reports stored records that cannot be read back. What the log
// could not read is skipped by a reader that goes on.
type DamageError struct {
	File   string // file that holds the damage, when known
	Detail string // what is wrong with it
	Remedy string // what an operator can do
	From   Offset // the damage lies after this offset
}

func (e *DamageError) Error() string {
	s := "eventlog: damaged record: " + e.Detail
	if e.File != "" {
		s = fmt.Sprintf("eventlog: %s: damaged record: %s", e.File, e.Detail)
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}
