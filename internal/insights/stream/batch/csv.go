package batch

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"dunlin/internal/insights/stream/value"
)

// Delimiters are the signs between the fields of CSV.
const Delimiters = ",; \t|"

// CSV reads events from rows of text: the first row has the names of the
// columns, and all values are texts. A field may stand in double quotes, with
// doubled quotes and line ends in it. An empty field that is not quoted is an
// empty text as well.
type CSV struct {
	rows  *csv.Reader
	names []string
}

// HeaderError says that the first row cannot be used: no event can be read.
type HeaderError struct{ Message string }

func (e *HeaderError) Error() string { return e.Message }

// RowError says that a row is no event; the next one may be.
type RowError struct {
	Line    int
	Message string
}

func (e *RowError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Message) }

// NewCSV reads the first row. The delimiter is one of Delimiters.
func NewCSV(r io.Reader, delimiter rune) (*CSV, error) {
	if !strings.ContainsRune(Delimiters, delimiter) {
		return nil, fmt.Errorf("batch: '%c' is no delimiter of CSV: comma, semicolon, space, tab or bar", delimiter)
	}
	c := &CSV{rows: csv.NewReader(r)}
	c.rows.Comma = delimiter
	c.rows.FieldsPerRecord = -1
	c.rows.ReuseRecord = true
	names, err := c.rows.Read()
	var syntax *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return nil, &HeaderError{"there is no row with the names of the columns"}
	case errors.As(err, &syntax):
		return nil, &HeaderError{fmt.Sprintf("the row with the names of the columns: %v", syntax.Err)}
	case err != nil:
		return nil, err
	}
	for i, n := range names {
		if i == 0 {
			n = strings.TrimPrefix(n, "\ufeff")
		}
		n = strings.TrimSpace(n)
		if n == "" || !utf8.ValidString(n) {
			return nil, &HeaderError{fmt.Sprintf("column %d has no name", i+1)}
		}
		for _, other := range c.names {
			if strings.EqualFold(n, other) {
				return nil, &HeaderError{fmt.Sprintf("two columns have the name '%s'", n)}
			}
		}
		c.names = append(c.names, n)
	}
	return c, nil
}

// Names are those of the columns.
func (c *CSV) Names() []string { return c.names }

// Next gives the fields of the next row, by column; the slice is overwritten by
// the next call. The error is io.EOF at the end, and a *RowError where the
// rows behind can still be read.
func (c *CSV) Next() ([]string, error) {
	fields, err := c.rows.Read()
	if syntax, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, &RowError{syntax.StartLine, syntax.Err.Error()}
	}
	if err != nil {
		return nil, err
	}
	line, _ := c.rows.FieldPos(0)
	if len(fields) != len(c.names) {
		return nil, &RowError{line, fmt.Sprintf("%d fields, the columns are %d", len(fields), len(c.names))}
	}
	for _, f := range fields {
		if !utf8.ValidString(f) {
			return nil, &RowError{line, "not UTF-8"}
		}
	}
	return fields, nil
}

// Fields is Read for an event of texts, such as a row of CSV. Names differ,
// also in case.
func (p *Projector) Fields(names, fields []string) []value.Value {
	clear(p.vals)
	for i, n := range names {
		for j := range p.root.members {
			if m := &p.root.members[j]; m.slot >= 0 && strings.EqualFold(m.name, n) {
				p.vals[m.slot] = value.String(fields[i])
			}
		}
	}
	if p.whole >= 0 {
		t := &value.Tree{Names: names, Values: make([]value.Value, len(fields))}
		for i, f := range fields {
			t.Values[i] = value.String(f)
		}
		p.vals[p.whole] = value.RecordOf(t)
	}
	return p.vals
}
