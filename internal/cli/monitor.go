package cli

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type monitorCmd struct {
	Device   string   `name:"device" placeholder:"ID" help:"Only devices with this id and their modules; * stands for any text, as in 'pump-*'."`
	Source   string   `name:"source" default:"all" placeholder:"WORD,..." help:"What to show: telemetry, twin, lifecycle, connection, job, digital-twin or all; several with commas (${default})."`
	Property []string `name:"property" sep:"none" placeholder:"NAME[=VALUE]" help:"Only events with this application or system property, and value if given; * stands for any text. Several must all hold."`
	From     string   `name:"from" default:"latest" placeholder:"earliest|latest|TIME" help:"Where to start: a word or a time (2026-01-31T12:00:00Z, 12:00 today, or 10m ago); ${default}."`
	Count    int64    `name:"count" placeholder:"N" help:"End after so many events."`
}

// How long to wait before a connection that was lost is made again.
const (
	firstReconnect = 200 * time.Millisecond
	slowReconnect  = 2 * time.Second
)

// watch is a monitor under way.
type watch struct {
	s     *session
	query url.Values
	start string         // where partitions begin of which nothing was seen
	seen  map[int]string // the last offset of each partition
	left  int64          // events to show; negative for no end
	out   *bufio.Writer
	view  *view // nil for lines of JSON
}

// Run shows events until the user, or the number of them, ends it.
func (c *monitorCmd) Run(s *session) error {
	if _, err := strconv.ParseInt(c.From, 10, 64); err == nil {
		return usagef("--from %s: write earliest, latest or a time (2026-01-31T12:00:00Z, 12:00, 10m); dunlin tail starts at an offset", c.From)
	}
	from, err := (&tailCmd{From: c.From, Partition: -1, Follow: true}).start(time.Now())
	if err != nil {
		return err
	}
	w := &watch{s: s, start: from, seen: map[int]string{}, left: c.Count, out: bufio.NewWriterSize(s.out, 64<<10)}
	switch {
	case c.Count < 0:
		return usagef("--count: a number of events, not %d", c.Count)
	case c.Count == 0:
		w.left = -1
	}
	w.query = url.Values{"follow": {"true"}, "source": {c.Source}, "property": c.Property}
	if c.Device != "" {
		w.query.Set("devices", c.Device)
	}
	if !s.JSON {
		w.view = newView(s)
		s.notef("Watching; Ctrl+C stops.\n")
	}
	return w.run()
}

var errEnough = errors.New("cli: everything that was asked for was shown")

// run follows the log over as many connections as it takes. Only the first
// must succeed.
func (w *watch) run() error {
	wait, worked := time.Duration(0), false
	for {
		connected, err := w.follow(worked && wait > 0)
		worked = worked || connected
		var refused *apiError
		switch {
		case w.s.ctx.Err() != nil || errors.Is(err, errEnough):
			return nil //nolint:nilerr // the user has seen enough
		case !worked, errors.As(err, &refused) && refused.Status < http.StatusInternalServerError, errors.Is(err, errOutput):
			return err
		case connected:
			wait = firstReconnect
			w.s.notef("The instance has ended the connection; trying again. Ctrl+C stops.\n")
		default:
			wait = min(2*wait, slowReconnect)
		}
		if !pause(w.s.ctx, wait) {
			return nil
		}
	}
}

// errOutput is in the chain of errors of our own output.
var errOutput = errors.New("cannot write")

// follow shows events over one connection until it ends; connected is false
// when there was none.
func (w *watch) follow(again bool) (connected bool, err error) {
	cl, err := w.s.connect() // anew, as a restart may change address and certificate
	if err != nil {
		return false, err
	}
	defer cl.http.CloseIdleConnections()
	w.query.Set("from", w.start)
	w.query.Del("after")
	if len(w.seen) > 0 {
		var after []string
		for _, p := range slices.Sorted(maps.Keys(w.seen)) {
			after = append(after, strconv.Itoa(p)+":"+w.seen[p])
		}
		w.query.Set("after", strings.Join(after, ","))
	}
	resp, err := cl.open(w.s.ctx, request{method: http.MethodGet, path: "/api/events?" + w.query.Encode(), auth: "Bearer " + cl.token})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if w.start == "latest" {
		// What is latest now is not what will be after a restart.
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			w.start = at.UTC().Format(time.RFC3339Nano)
		}
	}
	if again {
		w.s.notef("Connected again.\n")
	}
	err = readLines(resp.Body, w.line, w.flush)
	return true, errors.Join(err, w.flush())
}

func (w *watch) flush() error {
	if err := w.out.Flush(); err != nil {
		return errors.Join(errOutput, err)
	}
	return nil
}

// line shows one line of the stream. A line that a lost connection has cut
// short is left: it comes again.
func (w *watch) line(line []byte) error {
	partition, offset, ok := position(line)
	if !ok || line[len(line)-1] != '\n' {
		return nil
	}
	if w.view == nil {
		_, _ = w.out.Write(line) // flush tells
	} else {
		_, _ = w.out.WriteString(w.view.line(line))
	}
	if offset != "" {
		w.seen[partition] = offset
	}
	if w.left > 0 && !isDamage(line) {
		if w.left--; w.left == 0 {
			return errEnough
		}
	}
	return nil
}

// position reads where a line belongs; lines begin with it. Lines that tell of
// damage may have no offset.
func position(line []byte) (partition int, offset string, ok bool) {
	rest, ok := strings.CutPrefix(string(line[:min(len(line), 80)]), `{"partition":`)
	if !ok {
		return 0, "", false
	}
	number, rest, _ := strings.Cut(rest, ",")
	partition, err := strconv.Atoi(number)
	if err != nil {
		return 0, "", false
	}
	if rest, ok := strings.CutPrefix(rest, `"offset":"`); ok {
		offset, _, _ = strings.Cut(rest, `"`)
	}
	return partition, offset, true
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
