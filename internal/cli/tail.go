package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type tailCmd struct {
	From      string `name:"from" placeholder:"earliest|latest|TIME|OFFSET" help:"Where to start: a word, a time (2026-01-31T12:00:00Z, 12:00 today, or 10m ago), or an offset of a partition. Default latest, with --no-follow earliest."`
	Device    string `name:"device" placeholder:"ID" help:"Only this device and its modules."`
	Source    string `name:"source" default:"telemetry" placeholder:"WORD,..." help:"What to show: telemetry, twin, lifecycle, connection, job, digital-twin or all; several with commas (${default})."`
	Partition int    `name:"partition" default:"-1" placeholder:"N" help:"Only this partition."`
	Follow    bool   `name:"follow" default:"true" negatable:"" help:"Wait for new messages; --no-follow ends with the newest."`
	Count     int64  `name:"count" placeholder:"N" help:"End after so many messages."`
}

// Run prints events until there are no more.
func (c *tailCmd) Run(s *session) error {
	q := url.Values{}
	from, err := c.start(time.Now())
	if err != nil {
		return err
	}
	q.Set("from", from)
	q.Set("follow", strconv.FormatBool(c.Follow))
	q.Set("source", c.Source)
	if c.Device != "" {
		q.Set("device", c.Device)
	}
	if c.Partition >= 0 {
		q.Set("partition", strconv.Itoa(c.Partition))
	}
	if c.Count < 0 {
		return usagef("--count: a number of messages, not %d", c.Count)
	}
	if c.Count > 0 {
		q.Set("count", strconv.FormatInt(c.Count, 10))
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	resp, err := cl.open(s.ctx, request{method: http.MethodGet, path: "/api/events?" + q.Encode(), auth: "Bearer " + cl.token})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.Follow && terminal(s.err) && !s.JSON {
		s.notef("Waiting for messages; Ctrl+C ends.\n")
	}
	damaged, err := s.printEvents(resp.Body)
	switch {
	case s.ctx.Err() != nil: // the user has seen enough
		return nil
	case err != nil:
		return fmt.Errorf("the stream of events broke off: %w", err)
	case damaged > 0:
		return fmt.Errorf("%s in the log could not be read and was left out; the log of the instance names file and remedy", count(damaged, "place", "places"))
	}
	return nil
}

// start turns --from into what the instance understands.
func (c *tailCmd) start(now time.Time) (string, error) {
	from := strings.TrimSpace(c.From)
	switch {
	case from == "" && c.Follow:
		return "latest", nil
	case from == "", from == "earliest":
		return "earliest", nil
	case from == "latest":
		if !c.Follow {
			return "", usagef("--from latest with --no-follow would show nothing")
		}
		return from, nil
	}
	if n, err := strconv.ParseInt(from, 10, 64); err == nil && n >= 0 {
		if c.Partition < 0 {
			return "", usagef("--from %s: an offset belongs to one partition: add --partition N", from)
		}
		return from, nil
	}
	if span, ok := strings.CutSuffix(from, " ago"); ok || strings.HasPrefix(from, "-") {
		if d, err := time.ParseDuration(strings.TrimPrefix(span, "-")); err == nil {
			return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
		}
	}
	if d, err := time.ParseDuration(from); err == nil && d > 0 {
		return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, from, time.Local); err == nil {
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, from); err == nil {
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.Local)
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return "", usagef("--from %s: write earliest, latest, a time (2026-01-31T12:00:00Z, 12:00, 10m) or an offset", c.From)
}

// printEvents copies the lines as they are, or as text for people. It counts
// the places that the instance could not read, and tells of them.
func (s *session) printEvents(r io.Reader) (damaged int, err error) {
	out := bufio.NewWriterSize(s.out, 256<<10)
	err = readLines(r, func(line []byte) error {
		text, bad := s.eventText(line)
		if bad {
			damaged++
		}
		_, err := out.Write(text)
		return err
	}, out.Flush)
	return damaged, errors.Join(err, out.Flush())
}

// event is a line of the stream, as far as it is shown to people.
type event struct {
	Partition  int                `json:"partition"`
	Time       time.Time          `json:"enqueuedTime"`
	Device     string             `json:"deviceId"`
	Module     string             `json:"moduleId"`
	System     map[string]string  `json:"systemProperties"`
	Properties map[string]*string `json:"properties"`
	Body       json.RawMessage    `json:"body"`
	Base64     *[]byte            `json:"bodyBase64"`
	Error      string             `json:"error"`
}

// eventText gives the text of one line. Damage is told on the error stream
// unless JSON is wanted, where its line stays where it is.
func (s *session) eventText(line []byte) (text []byte, damaged bool) {
	if s.JSON {
		return line, isDamage(line)
	}
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return line, false
	}
	if e.Error != "" {
		s.notef("dunlin: partition %d: %s\n", e.Partition, e.Error)
		return nil, true
	}
	var b strings.Builder
	b.WriteString(e.Time.Local().Format("15:04:05.000"))
	b.WriteString("  ")
	b.WriteString(e.Device)
	if e.Module != "" {
		b.WriteString("/" + e.Module)
	}
	if id := e.System["message-id"]; id != "" {
		b.WriteString("  #" + printable(id))
	}
	for _, name := range slices.Sorted(keys(e.Properties)) {
		b.WriteString("  " + printable(name))
		if v := e.Properties[name]; v != nil {
			b.WriteString("=" + printable(*v))
		}
	}
	b.WriteString("  ")
	switch {
	case e.Body != nil:
		b.Write(e.Body)
	case e.Base64 != nil:
		b.WriteString(bodyText(*e.Base64))
	}
	b.WriteByte('\n')
	return []byte(b.String()), false
}

// isDamage reports whether a line tells of damage. Such lines start alike and
// those of events do not have the member.
func isDamage(line []byte) bool {
	const longest = 4096 // events may be large; what tells of damage is not
	if len(line) >= longest || !bytes.Contains(line[:min(len(line), 80)], damageMark) {
		return false
	}
	var e struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(line, &e) == nil && e.Error != ""
}

var damageMark = []byte(`,"error":`)

// bodyText shows a body as text if it is text, else its size.
func bodyText(b []byte) string {
	const most = 2000
	text := string(b[:min(len(b), most)])
	if printable(text) == text {
		if len(b) > most {
			text += "..."
		}
		return text
	}
	return "(" + count(len(b), "byte", "bytes") + ")"
}

// printable replaces what could play with a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\ufffd' {
			return '?'
		}
		return r
	}, s)
}

func keys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
