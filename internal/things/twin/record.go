package twin

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// ticks is the unit of times in twins: 100 ns since 1970. 0 is never.
func ticks(t time.Time) int64 { return t.UnixNano() / 100 }

// section is one of the three documents of a twin, as it is stored. Values of
// it are not changed: a change makes a new one.
type section struct {
	text string // compact JSON object
	meta string // stamps of its objects and values; empty for tags
}

// record is a twin as it is stored.
type record struct {
	generation      uint64
	version         int64
	etag            int64
	model           string
	desiredVersion  int64
	reportedVersion int64
	tags            section
	desired         section
	reported        section
}

// fresh is the twin of an identity that was just made.
func fresh(generation uint64) record {
	return record{
		generation: generation, version: 2, etag: 1, desiredVersion: 1, reportedVersion: 1,
		tags: section{text: "{}"}, desired: section{"{}", emptyMeta}, reported: section{"{}", emptyMeta},
	}
}

// metaVersion is the first byte of the times of a section, whose form
// docs/formats/twin.md describes.
const metaVersion = 1

// emptyMeta is a root that was never updated.
const emptyMeta = "\x01\x00\x00"

var (
	errMeta = errors.New("twin: the times of a section do not fit its document")
	crc     = crc32.MakeTable(crc32.Castagnoli) // made once and never changed
)

// seal gives the section of a tree; stamps says that it keeps times.
func seal(n *node, buf []byte, stamps bool) (section, []byte) {
	buf = n.append(buf[:0])
	s := section{text: string(buf)}
	if stamps {
		var w metaWriter
		buf = w.append(append(buf[:0], metaVersion), n)
		s.meta = string(buf)
	}
	return s, buf
}

// metaWriter encodes the stamps of a tree in the order of its text: of each
// object and value the time and the version, each as the difference from the
// one before, as one change stamps many of them alike.
type metaWriter struct{ last stamp }

func (w *metaWriter) append(dst []byte, n *node) []byte {
	dst = binary.AppendVarint(dst, n.at-w.last.at)
	dst = binary.AppendVarint(dst, n.version-w.last.version)
	w.last = stamp{n.at, n.version}
	for i := range n.members {
		dst = w.append(dst, &n.members[i].val)
	}
	return dst
}

// open gives the tree of a stored section.
func (s *section) open(lim *Limits) (node, error) {
	var room []member
	return s.openIn(lim, &room)
}

// mostRoom bounds the members whose room is used again, as they hold on to the
// texts that they are of.
const mostRoom = 64

// openIn is open with room for members, to be used again.
func (s *section) openIn(lim *Limits, room *[]member) (node, error) {
	sc := scanner{s: s.text, lim: lim, stored: true, parts: (*room)[:0]}
	defer func() {
		if cap(sc.parts) <= mostRoom {
			*room = sc.parts[:0]
		}
	}()
	sc.skip()
	if sc.pos == len(sc.s) || sc.s[sc.pos] != '{' {
		return node{}, errMeta
	}
	n, err := sc.object(0, true)
	if err == nil {
		err = sc.end()
	}
	if err != nil || s.meta == "" {
		return n, err
	}
	if s.meta[0] != metaVersion {
		return n, errMeta
	}
	m := metaReader{s: s.meta[1:]}
	m.fill(&n)
	if m.bad || m.s != "" {
		return n, errMeta
	}
	return n, nil
}

type metaReader struct {
	s    string
	last stamp
	bad  bool
}

func (m *metaReader) fill(n *node) {
	m.last.at += m.varint()
	m.last.version += m.varint()
	n.at, n.version = m.last.at, m.last.version
	for i := range n.members {
		if m.bad {
			return
		}
		m.fill(&n.members[i].val)
	}
}

func (m *metaReader) varint() int64 {
	var u uint64
	for i := 0; i < len(m.s) && i < binary.MaxVarintLen64; i++ {
		u |= uint64(m.s[i]&0x7f) << (7 * i)
		if m.s[i] < 0x80 {
			m.s = m.s[i+1:]
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	m.bad = true
	return 0
}

// sum guards a row against bits that flip on the disk: a damaged twin must not
// reach a device.
func (r *record) sum(k Key, buf []byte) (int64, []byte) {
	b := buf[:0]
	for _, v := range [...]int64{int64(r.generation), r.version, r.etag, r.desiredVersion, r.reportedVersion} {
		b = binary.AppendVarint(b, v)
	}
	for _, s := range [...]string{k.ID.Device, k.ID.Module, r.model, r.tags.text, r.desired.text, r.desired.meta, r.reported.text, r.reported.meta} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return int64(crc32.Checksum(b, crc)), b
}

// cost is about what the record takes in memory.
func (r *record) cost() int {
	return 200 + len(r.model) + len(r.tags.text) + len(r.desired.text) + len(r.desired.meta) + len(r.reported.text) + len(r.reported.meta)
}
