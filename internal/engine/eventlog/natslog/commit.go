package natslog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// The layout of a commit, which is the body of one stream message. It is
// specified in docs/formats/log.md; integers are little endian.
const (
	formatVersion = 1

	offMagic      = 0  // "DLog"
	offVersion    = 4  // uint8
	offFlags      = 5  // uint8, zero
	offPartitions = 6  // uint16
	offCRC        = 8  // uint32, CRC-32C of bytes 6 and 7 and of everything from byte 12 on
	offWriter     = 12 // uint64, random number of the writer
	offTime       = 20 // int64, when the commit was closed, Unix nanoseconds
	offSections   = 28 // uint16
	offNote       = 30 // uint16, length of the note
	headerSize    = 32

	headSize    = 24 // next uint64, last offset int64, last time int64
	sectionSize = 32 // partition uint16, zero uint16, count uint32, first uint64, time int64, length uint32, zero uint32

	// indexBits is the part of an Offset that counts records in a section.
	indexBits  = 20
	maxRecords = 1 << indexBits
	maxNote    = 1<<16 - 1
)

var (
	magic      = []byte("DLog")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// head is what a commit says about one partition after itself.
type head struct {
	next       int64 // sequence number of the next record
	lastOffset int64 // of the newest record, 0 when there never was one
	lastTime   int64 // of the newest record, Unix nanoseconds, 0 when there never was one
}

// section is the share of one partition in a commit.
type section struct {
	partition int
	count     int
	first     int64  // sequence number of the first record
	time      int64  // of the first record, Unix nanoseconds
	data      []byte // count records
}

// commitView is a view of an encoded commit.
type commitView struct {
	b          []byte
	partitions int
	sections   int
	writer     uint64
	time       int64
	note       []byte
}

var errNotCommit = errors.New("not a commit of an event log")

// appendCommit encodes a commit. It does not keep its arguments.
func appendCommit(dst []byte, writer uint64, now int64, note string, heads []head, sections []section) []byte {
	start := len(dst)
	note = note[:min(len(note), maxNote)]
	size := headerSize + len(heads)*headSize + len(sections)*sectionSize + len(note)
	for i := range sections {
		size += len(sections[i].data)
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, magic...)
	dst = append(dst, formatVersion, 0)
	dst = le.AppendUint16(dst, uint16(len(heads)))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, writer)
	dst = le.AppendUint64(dst, uint64(now))
	dst = le.AppendUint16(dst, uint16(len(sections)))
	dst = le.AppendUint16(dst, uint16(len(note)))
	for _, h := range heads {
		dst = le.AppendUint64(dst, uint64(h.next))
		dst = le.AppendUint64(dst, uint64(h.lastOffset))
		dst = le.AppendUint64(dst, uint64(h.lastTime))
	}
	for i := range sections {
		s := &sections[i]
		dst = le.AppendUint16(dst, uint16(s.partition))
		dst = le.AppendUint16(dst, 0)
		dst = le.AppendUint32(dst, uint32(s.count))
		dst = le.AppendUint64(dst, uint64(s.first))
		dst = le.AppendUint64(dst, uint64(s.time))
		dst = le.AppendUint32(dst, uint32(len(s.data)))
		dst = le.AppendUint32(dst, 0)
	}
	dst = append(dst, note...)
	for i := range sections {
		dst = append(dst, sections[i].data...)
	}
	b := dst[start:]
	le.PutUint32(b[offCRC:], checksum(b))
	return dst
}

// checksum covers everything but magic, version and flags, which have to have
// known values, and itself.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[offPartitions:offCRC], castagnoli), castagnoli, b[offCRC+4:])
}

// parseCommit checks b as a whole and gives a view of it.
func parseCommit(b []byte) (commitView, error) {
	var c commitView
	if len(b) < headerSize || string(b[:4]) != string(magic) {
		return c, errNotCommit
	}
	if v := b[offVersion]; v != formatVersion || b[offFlags] != 0 {
		return c, fmt.Errorf("commit has format version %d.%d, this program reads version %d: use the release that wrote it", v, b[offFlags], formatVersion)
	}
	if checksum(b) != le.Uint32(b[offCRC:]) {
		return c, errors.New("checksum of the commit does not match")
	}
	c = commitView{
		b:          b,
		partitions: int(le.Uint16(b[offPartitions:])),
		sections:   int(le.Uint16(b[offSections:])),
		writer:     le.Uint64(b[offWriter:]),
		time:       int64(le.Uint64(b[offTime:])),
	}
	noteLen := int(le.Uint16(b[offNote:]))
	at := headerSize + c.partitions*headSize + c.sections*sectionSize
	if at+noteLen > len(b) {
		return c, errors.New("commit is shorter than its tables")
	}
	c.note = b[at : at+noteLen]
	at += noteLen
	for i := range c.sections {
		t := c.entry(i)
		n := int(le.Uint32(t[24:]))
		if int(le.Uint16(t)) >= c.partitions || n > len(b)-at || int64(le.Uint32(t[4:])) > int64(n) {
			return c, errors.New("commit has a section that does not fit")
		}
		at += n
	}
	if at != len(b) {
		return c, errors.New("commit is longer than its sections")
	}
	return c, nil
}

func (c *commitView) entry(i int) []byte {
	at := headerSize + c.partitions*headSize + i*sectionSize
	return c.b[at : at+sectionSize]
}

// head gives what the commit says about partition p.
func (c *commitView) head(p int) head {
	t := c.b[headerSize+p*headSize:]
	return head{next: int64(le.Uint64(t)), lastOffset: int64(le.Uint64(t[8:])), lastTime: int64(le.Uint64(t[16:]))}
}

// section gives the share of partition p; ok is false when it has none.
func (c *commitView) section(p int) (s section, ok bool) {
	at := headerSize + c.partitions*headSize + c.sections*sectionSize + len(c.note)
	for i := range c.sections {
		t := c.entry(i)
		n := int(le.Uint32(t[24:]))
		if int(le.Uint16(t)) == p {
			return section{
				partition: p,
				count:     int(le.Uint32(t[4:])),
				first:     int64(le.Uint64(t[8:])),
				time:      int64(le.Uint64(t[16:])),
				data:      c.b[at : at+n : at+n],
			}, true
		}
		at += n
	}
	return s, false
}

// appendRecord encodes a record that is delta nanoseconds younger than the
// one before it in its section.
func appendRecord(dst []byte, delta int64, data []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	dst = binary.AppendUvarint(dst, uint64(delta))
	return append(dst, data...)
}

// nextRecord takes the first record off b.
func nextRecord(b []byte) (delta int64, data, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	b = b[n:]
	d, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, nil, false
	}
	b = b[n:]
	return int64(d), b[:size:size], b[size:], true
}
