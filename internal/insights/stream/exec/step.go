package exec

import (
	"slices"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// next is what comes behind a step. Batches are valid during the call only.
type next interface {
	// rows takes rows in the order of time.
	rows(b *batch.Batch) error
	// reached says that no row of up to that time will come any more.
	reached(ticks int64) error
}

// filter lets rows through for which a condition is true.
type filter struct {
	cond  eval.Cond
	next  next
	frame eval.Frame
	keep  []int32
	out   *batch.Batch
}

func (s *filter) rows(b *batch.Batch) error {
	s.frame.Of(b.Time, b.Cols)
	var err error
	if s.keep, err = s.cond(&s.frame, s.keep[:0]); err != nil || len(s.keep) == 0 {
		return err
	}
	if len(s.keep) == b.Len() {
		return s.next.rows(b)
	}
	if s.out == nil {
		s.out = batch.New(len(b.Cols))
	}
	s.out.Gather(b, s.keep)
	return s.next.rows(s.out)
}

func (s *filter) reached(ticks int64) error { return s.next.reached(ticks) }

// project computes the columns of the result.
type project struct {
	values []eval.Value
	next   next
	frame  eval.Frame
	out    batch.Batch
}

func (s *project) rows(b *batch.Batch) error {
	s.frame.Of(b.Time, b.Cols)
	s.out.Time = b.Time
	s.out.Cols = s.out.Cols[:0]
	for _, v := range s.values {
		c, err := v(&s.frame)
		if err != nil {
			return err
		}
		s.out.Cols = append(s.out.Cols, c)
	}
	return s.next.rows(&s.out)
}

func (s *project) reached(ticks int64) error { return s.next.reached(ticks) }

// assemble computes rows whose columns are not known before: SELECT * among
// others. It makes one record of each row.
type assemble struct {
	parts []part
	next  next
	frame eval.Frame
	cols  []*batch.Column
	out   *batch.Batch
}

// part is one column, or the columns of a record.
type part struct {
	name  string // empty: all members of the record
	value eval.Value
}

func (s *assemble) rows(b *batch.Batch) error {
	s.frame.Of(b.Time, b.Cols)
	s.cols = s.cols[:0]
	for _, p := range s.parts {
		c, err := p.value(&s.frame)
		if err != nil {
			return err
		}
		s.cols = append(s.cols, c)
	}
	s.out.Cols[0].Reset()
	s.out.Time = b.Time
	for i := range b.Len() {
		s.out.Cols[0].Append(s.record(i))
	}
	return s.next.rows(s.out)
}

// record makes the record of a row. A name that stands to the left of * is not
// overwritten, and one that is named behind it takes its place.
func (s *assemble) record(row int) value.Value {
	if len(s.parts) == 1 && s.parts[0].name == "" {
		if v := s.cols[0].At(row); v.Kind() == value.Record {
			return v
		}
		return value.RecordOf(new(value.Tree))
	}
	t := new(value.Tree)
	for i, p := range s.parts {
		v := s.cols[i].At(row)
		if p.name != "" {
			if at := named(t.Names, p.name); at >= 0 {
				t.Names[at], t.Values[at] = p.name, v
			} else {
				t.Names, t.Values = append(t.Names, p.name), append(t.Values, v)
			}
			continue
		}
		if v.Kind() != value.Record {
			continue
		}
		from, before := v.Tree(), t.Names
		for j, n := range from.Names {
			if named(before, n) < 0 {
				t.Names, t.Values = append(t.Names, n), append(t.Values, from.Values[j])
			}
		}
	}
	return value.RecordOf(t)
}

// named finds a name of any case; -1 when there is none.
func named(names []string, name string) int {
	return slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

func (s *assemble) reached(ticks int64) error { return s.next.reached(ticks) }

// apply makes a row of each element of an array, or member of a record.
type apply struct {
	arg   eval.Value
	kind  asa.ApplyFunc
	outer bool
	next  next
	frame eval.Frame
	out   *batch.Batch
	pick  []int32 // row of the input for each row of the output
}

func (s *apply) rows(b *batch.Batch) error {
	s.frame.Of(b.Time, b.Cols)
	arg, err := s.arg(&s.frame)
	if err != nil {
		return err
	}
	if s.out == nil {
		s.out = batch.New(len(b.Cols) + 2)
	}
	s.out.Reset()
	width := len(b.Cols)
	first, second := s.out.Cols[width], s.out.Cols[width+1]
	want := value.Array
	if s.kind == asa.GetRecordProperties {
		want = value.Record
	}
	s.pick = s.pick[:0]
	for i := range b.Len() {
		v := arg.At(i)
		if !v.IsNull() && v.Kind() != want {
			return &scalar.Error{Kind: scalar.InvalidCast, Message: "Cannot cast value of type '" + v.Kind().String() + "' to type '" + want.String() + "'."}
		}
		t := new(value.Tree)
		if !v.IsNull() {
			t = v.Tree()
		}
		for j, x := range t.Values {
			s.pick = append(s.pick, int32(i))
			if want == value.Array {
				first.Append(value.Int(int64(j)))
			} else {
				first.Append(value.String(t.Names[j]))
			}
			second.Append(x)
		}
		if len(t.Values) == 0 && s.outer {
			s.pick = append(s.pick, int32(i))
			first.Append(value.Value{})
			second.Append(value.Value{})
		}
	}
	if len(s.pick) == 0 {
		return nil
	}
	for c := range width {
		s.out.Cols[c].Gather(b.Cols[c], s.pick)
	}
	for _, p := range s.pick {
		s.out.Time = append(s.out.Time, b.Time[p])
	}
	return s.next.rows(s.out)
}

func (s *apply) reached(ticks int64) error { return s.next.reached(ticks) }

// stamp adds a column with the timestamp of each row, for when it has become
// part of another row.
type stamp struct {
	next next
	time batch.Column
	out  batch.Batch
}

func (s *stamp) rows(b *batch.Batch) error {
	copy(s.time.SetInts(value.Datetime, b.Len()), b.Time)
	s.out.Time = b.Time
	s.out.Cols = append(append(s.out.Cols[:0], b.Cols...), &s.time)
	return s.next.rows(&s.out)
}

func (s *stamp) reached(ticks int64) error { return s.next.reached(ticks) }
