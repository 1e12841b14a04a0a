package run

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// NewSource reads events of an input from a file: CSV when its name ends in
// .csv or .tsv, with the delimiter that its first row has most of, else lines
// of JSON.
func NewSource(input, name string, r io.Reader, timeField string, start int64) (*Lines, error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv", ".tsv":
		b := bufio.NewReaderSize(r, 64<<10)
		head, err := b.Peek(64 << 10)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		first, _, _ := strings.Cut(string(head), "\n")
		return NewCSV(input, name, b, delimiterOf(first), timeField, start)
	}
	return NewLines(input, name, r, timeField, start), nil
}

// delimiterOf guesses; a blank is one only where there is no other.
func delimiterOf(header string) rune {
	best, most := ',', 0
	for _, d := range ",;\t|" {
		if n := strings.Count(header, string(d)); n > most {
			best, most = d, n
		}
	}
	if most == 0 && strings.Contains(strings.TrimSpace(header), " ") {
		return ' '
	}
	return best
}

// NewCSV reads events of an input from rows of CSV, whose values are all
// texts. They arrive at the time that the column timeField holds, or at start
// when it is empty.
func NewCSV(input, name string, r io.Reader, delimiter rune, timeField string, start int64) (*Lines, error) {
	rows, err := batch.NewCSV(r, delimiter)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Lines{input: input, name: name, field: timeField, start: start, rows: rows}, nil
}

// nextRow is Next for rows of CSV. What is no row becomes an event that cannot
// be read, which the job counts.
func (l *Lines) nextRow() (Event, error) {
	e := Event{Input: l.input, Arrival: l.start}
	fields, err := l.rows.Next()
	var bad *batch.RowError
	switch {
	case errors.Is(err, io.EOF):
		return e, io.EOF
	case errors.As(err, &bad):
		return e, nil
	case err != nil:
		return e, fmt.Errorf("%s: %w", l.name, err)
	}
	t := &value.Tree{Names: l.rows.Names()}
	for _, f := range fields {
		t.Values = append(t.Values, value.String(f))
	}
	row := value.RecordOf(t)
	if l.field != "" {
		at, err := scalar.ToTime(scalar.Member(row, l.field))
		if err != nil || at.IsNull() {
			return e, fmt.Errorf("%s: the column '%s' holds no time in ISO 8601", l.name, l.field)
		}
		e.Arrival = at.Ticks()
	}
	e.JSON = string(value.AppendJSON(nil, row))
	return e, nil
}

// Writer writes rows of one output.
type Writer interface {
	// Write takes a row, a record.
	Write(row value.Value) error
	// Flush brings what was written to its place.
	Flush() error
}

// jsonWriter writes lines of JSON.
type jsonWriter struct {
	w    *bufio.Writer
	line []byte
}

// NewJSONWriter writes each row as a line of JSON.
func NewJSONWriter(w io.Writer) Writer { return &jsonWriter{w: bufio.NewWriter(w)} }

func (w *jsonWriter) Write(row value.Value) error {
	w.line = append(value.AppendJSON(w.line[:0], row), '\n')
	_, err := w.w.Write(w.line)
	return err
}

func (w *jsonWriter) Flush() error { return w.w.Flush() }

// ColumnError says that a row has a column that the first row of a file had
// not: it belongs into another file.
type ColumnError struct{ Name string }

func (e *ColumnError) Error() string {
	return "the row has a column '" + e.Name + "' that the rows before had not"
}

// csvWriter writes CSV.
type csvWriter struct {
	w     *csv.Writer
	names []string
	row   []string
}

// NewCSVWriter writes rows as CSV, below a row with the names of their
// columns: those of the first row. A row without one of them has an empty
// field there, like one that holds null; one with another is refused with a
// *ColumnError. Records and arrays are the words Record and Array.
func NewCSVWriter(w io.Writer, delimiter rune) (Writer, error) {
	if !strings.ContainsRune(batch.Delimiters, delimiter) {
		return nil, fmt.Errorf("'%c' is no delimiter of CSV: comma, semicolon, space, tab or bar", delimiter)
	}
	c := &csvWriter{w: csv.NewWriter(w)}
	c.w.Comma = delimiter
	return c, nil
}

func (w *csvWriter) Write(row value.Value) error {
	t := row.Tree()
	if w.names == nil && len(t.Names) > 0 {
		w.names = append(w.names, t.Names...)
		if err := w.w.Write(w.names); err != nil {
			return err
		}
	}
	for _, n := range t.Names {
		if !containsFold(w.names, n) {
			return &ColumnError{n}
		}
	}
	w.row = w.row[:0]
	for _, n := range w.names {
		w.row = append(w.row, field(scalar.Member(row, n)))
	}
	if len(w.row) == 0 {
		return nil
	}
	return w.w.Write(w.row)
}

func containsFold(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func field(v value.Value) string {
	switch v.Kind() {
	case value.Record:
		return "Record"
	case value.Array:
		return "Array"
	case value.Text:
		return v.Text()
	case value.Null:
		return ""
	case value.Datetime:
		return string(value.AppendTime(nil, v.Ticks()))
	case value.Float:
		return strings.Trim(string(value.AppendNumber(nil, v.Float())), `"`)
	case value.Bigint, value.Bit:
	}
	return string(value.AppendJSON(nil, v))
}

func (w *csvWriter) Flush() error {
	w.w.Flush()
	return w.w.Error()
}
