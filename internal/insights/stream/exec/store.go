package exec

import (
	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
)

// chunkRows is how many rows a store gives back at once.
const chunkRows = 512

// store keeps rows of a stream in the order in which they came. Rows have
// numbers, and leave in any order.
type store struct {
	width  int
	chunks queue[*chunk]
	first  int64 // number of the first row of chunks
	end    int64 // number that the next row gets
	size   int64
	spare  *chunk // that may be used again
}

// chunk is a run of rows.
type chunk struct {
	batch.Batch
	at   []place
	gone int
	size int64
}

// place is what a join keeps of a row beside its columns.
type place struct {
	bucket   *bucket // nil: its key has a null
	from, to int64   // times at which a partner may be
	matched  bool
	waiting  bool // candidates are not judged yet
	gone     bool
}

const placeBytes = 40

func newStore(width int) *store { return &store{width: width} }

// room gives the chunk that takes the next row.
func (s *store) room() *chunk {
	if s.chunks.len() > 0 {
		if c := *s.chunks.at(s.chunks.len() - 1); c.Len() < chunkRows {
			return c
		}
	}
	c := s.spare
	if s.spare = nil; c == nil {
		c = &chunk{Batch: *batch.New(s.width)}
	}
	s.chunks.push(c)
	return c
}

// add keeps a row of a batch.
func (s *store) add(b *batch.Batch, row int, p place) {
	c := s.room()
	n := int64(8 + placeBytes)
	for i, col := range b.Cols {
		v := col.At(row)
		switch v.Kind() {
		case value.Text, value.Record, value.Array:
			v = value.Clone(v)
			n += value.Footprint(v) + 16
		case value.Null, value.Bigint, value.Float, value.Bit, value.Datetime:
			n += 8
		}
		c.Cols[i].Append(v)
	}
	c.Time = append(c.Time, b.Time[row])
	c.at = append(c.at, p)
	c.size += n
	s.size += n
	s.end++
}

// row finds a row by its number.
func (s *store) row(n int64) (*chunk, int) {
	n -= s.first
	return *s.chunks.at(int(n / chunkRows)), int(n % chunkRows)
}

func (s *store) time(n int64) int64 {
	c, i := s.row(n)
	return c.Time[i]
}

func (s *store) place(n int64) *place {
	c, i := s.row(n)
	return &c.at[i]
}

// leave gives a row up. Its memory is taken back with that of others.
func (s *store) leave(n int64) {
	c, i := s.row(n)
	c.at[i].gone = true
	c.at[i].bucket = nil
	c.gone++
}

// trim takes back what can be.
func (s *store) trim() {
	for s.chunks.len() > 0 {
		c := *s.chunks.at(0)
		if c.gone < chunkRows {
			return
		}
		s.size -= c.size
		s.first += chunkRows
		s.chunks.popFront()
		c.Reset()
		c.at, c.gone, c.size = c.at[:0], 0, 0
		s.spare = c
	}
}

// gather appends the columns of some rows to columns; a negative number is a
// row of nulls.
func (s *store) gather(rows []int64, to []*batch.Column) {
	for i, col := range to {
		for _, n := range rows {
			if n < 0 {
				col.Append(value.Value{})
				continue
			}
			c, at := s.row(n)
			col.Append(c.Cols[i].At(at))
		}
	}
}

// kept is how many rows are kept.
func (s *store) kept() int64 {
	n := s.end - s.first
	for _, c := range s.chunks.items() {
		n -= int64(c.gone)
	}
	return n
}
