package simulate

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recording is a CSV file cut into one list of rows per device, in the order
// of the file. It is held in memory and read only once, so all devices may
// share it.
type Recording struct {
	devices []string         // in order of first appearance
	rows    map[string][]row // by device
	total   int
}

// row is one message to send.
type row struct {
	number int           // of the data row in the file, from 1
	at     time.Duration // since the first row of the file that has a time
	body   []byte        // JSON object
}

// ReplayConfig says how a CSV file is read. The first line names the columns.
type ReplayConfig struct {
	File         string
	TimeColumn   string   // column that paces the replay; empty: rows have no time
	ValueColumns []string // columns that go into the body beside the time; empty: all
	DeviceColumn string   // column with the device id; empty: all rows belong to one device, named ""
}

// LoadRecording reads a CSV file. A body is a JSON object with the columns in
// the order of the file; a cell that is a JSON number stays that number, digit
// for digit, an empty one becomes null, anything else is text.
func LoadRecording(c ReplayConfig) (*Recording, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	rec, err := readRecording(f, c)
	if err != nil {
		return nil, fmt.Errorf("replay: %s: %w", c.File, err)
	}
	return rec, nil
}

func readRecording(r io.Reader, c ReplayConfig) (*Recording, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	in.TrimLeadingSpace = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; the first line must name the columns")
	}
	if err != nil {
		return nil, err
	}
	names := slices.Clone(header)
	names[0] = strings.TrimPrefix(names[0], "\ufeff")
	column := func(flag, name string) (int, error) {
		if name == "" {
			return -1, nil
		}
		if i := slices.Index(names, name); i >= 0 {
			return i, nil
		}
		return -1, fmt.Errorf("%s: no column %q; the file has %s", flag, name, strings.Join(names, ", "))
	}
	timeAt, err := column("time column", c.TimeColumn)
	if err != nil {
		return nil, err
	}
	deviceAt, err := column("device column", c.DeviceColumn)
	if err != nil {
		return nil, err
	}
	use := make([]bool, len(names))
	for _, v := range c.ValueColumns {
		i, err := column("value columns", v)
		if err != nil {
			return nil, err
		}
		use[i] = true
	}
	for i := range use {
		use[i] = use[i] || i == timeAt || (len(c.ValueColumns) == 0 && i != deviceAt)
	}
	keys := make([][]byte, len(names))
	for i, n := range names {
		if keys[i], err = json.Marshal(n); err != nil {
			return nil, err
		}
	}

	rec := &Recording{rows: map[string][]row{}}
	var first time.Time
	var last time.Duration
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		rec.total++
		line, _ := in.FieldPos(0)
		out := row{number: rec.total, at: last}
		if timeAt >= 0 {
			t, err := parseTime(cells[timeAt])
			if err != nil {
				return nil, fmt.Errorf("line %d: column %s: %w", line, names[timeAt], err)
			}
			if first.IsZero() {
				first = t
			}
			// A clock that steps back does not make the replay wait or jump.
			last = max(last, t.Sub(first))
			out.at = last
		}
		device := ""
		if deviceAt >= 0 {
			if device = cells[deviceAt]; device == "" {
				return nil, fmt.Errorf("line %d: column %s is empty", line, names[deviceAt])
			}
			device = strings.Clone(device)
		}
		out.body = appendObject(nil, keys, use, cells)
		if _, ok := rec.rows[device]; !ok {
			rec.devices = append(rec.devices, device)
		}
		rec.rows[device] = append(rec.rows[device], out)
	}
	if rec.total == 0 {
		return nil, errors.New("no rows after the header")
	}
	return rec, nil
}

// Devices lists the ids in order of first appearance.
func (r *Recording) Devices() []string { return slices.Clone(r.devices) }

// Rows counts the rows of all devices.
func (r *Recording) Rows() int { return r.total }

func appendObject(dst []byte, keys [][]byte, use []bool, cells []string) []byte {
	dst = append(dst, '{')
	for i, cell := range cells {
		if !use[i] {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, keys[i]...), ':')
		switch {
		case cell == "":
			dst = append(dst, "null"...)
		case isNumber(cell):
			dst = append(dst, cell...)
		default:
			text, err := json.Marshal(cell)
			if err != nil { // Marshal replaces invalid UTF-8; it cannot fail on a string
				text = []byte(`""`)
			}
			dst = append(dst, text...)
		}
	}
	return append(dst, '}')
}

// isNumber reports whether s may stand in JSON as a number. 007 may not.
func isNumber(s string) bool {
	if c := s[0]; c != '-' && (c < '0' || c > '9') {
		return false
	}
	return json.Valid([]byte(s))
}

var timeLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04",
	"2006-01-02 15:04",
	"2006-01-02",
}

// parseTime reads ISO 8601 in its usual spellings (no zone means UTC) and Unix
// time in seconds, milliseconds, microseconds or nanoseconds, told apart by
// size.
func parseTime(s string) (time.Time, error) {
	for _, l := range timeLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		switch a := max(n, -n); {
		case a < 1e11:
			return time.Unix(n, 0), nil
		case a < 1e14:
			return time.UnixMilli(n), nil
		case a < 1e17:
			return time.UnixMicro(n), nil
		default:
			return time.Unix(0, n), nil
		}
	}
	if v, err := strconv.ParseFloat(s, 64); err == nil && v > -1e11 && v < 1e11 {
		return time.Unix(0, int64(v*1e9)), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time; use ISO 8601 (2006-01-02T15:04:05Z) or Unix time", s)
}
