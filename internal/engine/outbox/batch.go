package outbox

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// Event is one event of the log that a state change makes. In the log it is a
// message with content type application/json that carries the documented
// properties: deviceId, moduleId, hubName, operationTimestamp, opType and
// iothub-message-schema, the last by its source.
type Event struct {
	ID         iot.ID // whom it is about; the device decides the partition
	Generation uint64 // generation id of the identity; 0 when there is none
	Source     iot.EventSource
	OpType     string    // at most 255 bytes
	Time       time.Time // operationTimestamp; the zero time is now
	Body       []byte    // a JSON value in UTF-8; Add copies it
	Model      string    // DTDL model id of the identity, may be empty
}

// Batch packs the events of one transaction. The zero value is empty and ready
// to use. It is not safe for concurrent use.
type Batch struct {
	buf   []byte // as it is stored; the header is filled in by seal
	count uint32
	draft []byte
}

// The stored form: version, CRC-32C of what follows it, salt, number of
// events, events.
const (
	bodyVersion = 1
	sumAt       = 1
	saltAt      = sumAt + 4
	saltSize    = 12
	countAt     = saltAt + saltSize
	headerSize  = countAt + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Len is the number of events.
func (b *Batch) Len() int { return int(b.count) }

// Size is the number of bytes that are stored.
func (b *Batch) Size() int { return len(b.buf) }

// Reset empties the batch; its memory is used again.
func (b *Batch) Reset() {
	b.buf, b.count = b.buf[:0], 0
}

// Add puts an event behind those that are there. Nothing of e is kept.
func (b *Batch) Add(e Event) {
	if len(b.buf) == 0 {
		b.buf = append(b.buf, make([]byte, headerSize)...)
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.draft = record.AppendOrigin(b.draft[:0], iot.Origin{ID: e.ID, Generation: e.Generation, Source: e.Source, Model: e.Model})
	b.buf = binary.AppendUvarint(b.buf, uint64(len(b.draft)))
	b.buf = append(b.buf, b.draft...)
	b.buf = binary.AppendVarint(b.buf, e.Time.UnixNano())
	op := e.OpType[:min(len(e.OpType), 255)]
	b.buf = append(append(b.buf, byte(len(op))), op...)
	b.buf = binary.AppendUvarint(b.buf, uint64(len(e.Body)))
	b.buf = append(b.buf, e.Body...)
	b.count++
}

// seal completes the stored form.
func (b *Batch) seal() []byte {
	b.buf[0] = bodyVersion
	rand.Read(b.buf[saltAt : saltAt+saltSize])
	binary.LittleEndian.PutUint32(b.buf[countAt:], b.count)
	binary.LittleEndian.PutUint32(b.buf[sumAt:], crc32.Checksum(b.buf[saltAt:], castagnoli))
	return b.buf
}

// The ways a row cannot be read.
var (
	errShort = errors.New("outbox: the row is cut short")
	errSum   = errors.New("outbox: the row does not match its checksum")
	errLong  = errors.New("outbox: the row goes on behind its last event")
)

// stored is an event as it lies in a row; all of it are views of the row.
type stored struct {
	origin []byte
	head   record.Head
	time   time.Time
	op     []byte
	body   []byte
	index  uint32 // in its row
	salt   []byte // of its row
}

// unpack reads the events of a row and hands each to add.
func unpack(row []byte, add func(*stored)) error {
	if len(row) < headerSize {
		return errShort
	}
	if row[0] != bodyVersion {
		return fmt.Errorf("outbox: the row has version %d, this build reads %d: relay it with a newer build", row[0], bodyVersion)
	}
	if crc32.Checksum(row[saltAt:], castagnoli) != binary.LittleEndian.Uint32(row[sumAt:]) {
		return errSum
	}
	count := binary.LittleEndian.Uint32(row[countAt:])
	s := stored{salt: row[saltAt : saltAt+saltSize]}
	c := cursor{b: row[headerSize:]}
	for s.index = range count {
		s.origin = c.take(c.uvarint())
		s.time = time.Unix(0, c.varint()).UTC()
		s.op = c.take(uint64(c.byte()))
		s.body = c.take(c.uvarint())
		if c.short {
			return errShort
		}
		var err error
		if s.head, err = record.Peek(s.origin); err != nil {
			return err
		}
		add(&s)
	}
	if len(c.b) > 0 {
		return errLong
	}
	return nil
}

// cursor takes fields off the front of b.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.short = nil, true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.short = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.short = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}
