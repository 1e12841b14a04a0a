package run

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// maxLine is the longest line of a file.
const maxLine = 16 << 20

// Lines reads events from rows of CSV, or from lines of JSON, each in one of
// three forms: what
// `dunlin tail --json` prints, an event of a case ({"time", "payload"}), or an
// object that is the event itself.
type Lines struct {
	input string
	name  string // of the file, for errors
	field string // member of plain events that holds their arrival; empty: start
	start int64
	scan  *bufio.Scanner
	rows  *batch.CSV // instead of scan
	line  int

	// Lines of dunlin tail come partition by partition: all of them are read
	// and brought in the order of their arrival.
	sorted []Event
	tail   bool
}

// NewLines reads events of an input from r. Plain events arrive at the time
// that the member timeField holds, or at start when it is empty.
func NewLines(input, name string, r io.Reader, timeField string, start int64) *Lines {
	l := &Lines{input: input, name: name, field: timeField, start: start, scan: bufio.NewScanner(r)}
	l.scan.Buffer(make([]byte, 0, 64<<10), maxLine)
	return l
}

// Next gives the next event; io.EOF at the end.
func (l *Lines) Next() (Event, error) {
	if l.rows != nil {
		return l.nextRow()
	}
	if len(l.sorted) == 0 {
		e, err := l.read()
		if err != nil || !l.tail {
			return e, err
		}
		if err := l.sort(e); err != nil {
			return Event{}, err
		}
	}
	e := l.sorted[0]
	l.sorted = l.sorted[1:]
	return e, nil
}

// sort reads what follows a first line of dunlin tail.
func (l *Lines) sort(first Event) error {
	l.sorted = append(l.sorted[:0], first)
	for {
		e, err := l.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		l.sorted = append(l.sorted, e)
	}
	slices.SortStableFunc(l.sorted, func(a, b Event) int { return cmp.Compare(a.Arrival, b.Arrival) })
	return nil
}

func (l *Lines) read() (Event, error) {
	for l.scan.Scan() {
		l.line++
		text := strings.TrimSpace(l.scan.Text())
		if text == "" {
			continue
		}
		e, err := l.event(text)
		if err != nil {
			return e, fmt.Errorf("%s:%d: %w", l.name, l.line, err)
		}
		return e, nil
	}
	if err := l.scan.Err(); err != nil {
		return Event{}, fmt.Errorf("%s:%d: %w", l.name, l.line+1, err)
	}
	return Event{}, io.EOF
}

func (l *Lines) event(text string) (Event, error) {
	e := Event{Input: l.input, JSON: text, Arrival: l.start}
	v, err := value.FromJSON(text)
	if err != nil || v.Kind() != value.Record {
		return e, nil //nolint:nilerr // the job counts what it cannot read
	}
	get := func(name string) value.Value { return scalar.Member(v, name) }
	t := v.Tree()
	switch {
	case t.Has("enqueuedTime") && t.Has("systemProperties") && t.Has("partition"):
		l.tail = true
		return l.tailed(v)
	case t.Has("payload") && (t.Has("time") || t.Has("arrival")):
		return readEvent(l.input, v)
	case l.field != "":
		at, err := scalar.ToTime(get(l.field))
		if err != nil || at.IsNull() {
			return e, fmt.Errorf("the member '%s' holds no time in ISO 8601", l.field)
		}
		e.Arrival = at.Ticks()
	}
	return e, nil
}

// tailed makes an event of a line of dunlin tail.
func (l *Lines) tailed(v value.Value) (Event, error) {
	at, err := scalar.ToTime(scalar.Member(v, "enqueuedTime"))
	if err != nil {
		return Event{}, errors.New("enqueuedTime is no time in ISO 8601")
	}
	system := scalar.Member(v, "systemProperties")
	text := func(name string) value.Value { return scalar.Member(system, name) }
	hub := new(value.Tree)
	for _, m := range [...]struct {
		name string
		v    value.Value
	}{
		{"MessageId", text("message-id")},
		{"CorrelationId", text("correlation-id")},
		{"ConnectionDeviceId", scalar.Member(v, "deviceId")},
		{"ConnectionModuleId", scalar.Member(v, "moduleId")},
		{"ConnectionDeviceGenerationId", text("iothub-connection-auth-generation-id")},
		{"AuthMethod", text("iothub-connection-auth-method")},
		{"EnqueuedTime", at},
		{"MessageSource", text("iothub-message-source")},
		{"InterfaceName", text("dt-dataschema")},
	} {
		hub.Put(m.name, m.v)
	}
	events := new(value.Tree)
	events.Put("EventEnqueuedUtcTime", at)
	events.Put("PartitionId", scalar.Member(v, "partition"))
	events.Put("Offset", scalar.Member(v, "offset"))
	events.Put("SequenceNumber", scalar.Member(v, "sequenceNumber"))
	meta := new(value.Tree)
	meta.Put("IoTHub", value.RecordOf(hub))
	meta.Put("EventHub", value.RecordOf(events))
	meta.Put("User", scalar.Member(v, "properties"))
	meta.Put("PartitionId", scalar.Member(v, "partition"))
	return Event{
		Input: l.input, JSON: string(value.AppendJSON(nil, scalar.Member(v, "body"))), Arrival: at.Ticks(),
		Metadata: value.RecordOf(meta),
	}, nil
}

// Merge runs events of several sources in the order of their arrival; events
// that arrive together keep the order of the sources.
func (r *Runner) Merge(sources []*Lines) error {
	heads := make([]*Event, len(sources))
	advance := func(i int) error {
		e, err := sources[i].Next()
		if errors.Is(err, io.EOF) {
			heads[i] = nil
			return nil
		}
		heads[i] = &e
		return err
	}
	for i := range sources {
		if err := advance(i); err != nil {
			return err
		}
	}
	latest := int64(0)
	for {
		first := -1
		for i, h := range heads {
			if h != nil && (first < 0 || h.Arrival < heads[first].Arrival) {
				first = i
			}
		}
		if first < 0 {
			return r.End()
		}
		e := heads[first]
		latest = max(latest, e.Arrival) // a file may not be in order
		if _, err := r.Event(e.Input, e.JSON, latest, e.Metadata); err != nil {
			return err
		}
		if err := advance(first); err != nil {
			return err
		}
	}
}
