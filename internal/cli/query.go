package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type queryCmd struct {
	Text string `arg:"" optional:"" name:"query" help:"The query, such as \"SELECT deviceId, tags.site FROM devices\", or only a condition on devices, such as \"tags.site = 'north'\". All devices when left out."`
	Top  int    `name:"top" default:"100" placeholder:"N" help:"End after so many rows (${default}); 0 is no end."`
}

// pageSize is how many rows are asked for at a time.
const pageSize = 500

// Run prints the rows of a query.
func (c *queryCmd) Run(s *session) error {
	if c.Top < 0 {
		return usagef("--top: a number of rows, not %d", c.Top)
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var rows []json.RawMessage
	kind, next := "", ""
	for {
		size := pageSize
		if c.Top > 0 {
			size = min(size, c.Top-len(rows))
		}
		var page []json.RawMessage
		header := map[string]string{"X-Ms-Max-Item-Count": strconv.Itoa(size)}
		if next != "" {
			header["X-Ms-Continuation"] = next
		}
		text := c.query()
		h, err := cl.query(s, text, header, &page)
		if hasCode(err, "ArgumentInvalid") && text != c.Text {
			return fmt.Errorf("%w, in: %s", err, text) // positions count in what was completed
		}
		if err != nil {
			return err
		}
		if kind == "" {
			kind = h.Get("x-ms-item-type")
			for _, note := range h.Values("x-dunlin-note") {
				if text, err := strconv.Unquote(note); err == nil {
					s.notef("Note: %s\n", printable(text))
				}
			}
		}
		rows, next = append(rows, page...), h.Get("x-ms-continuation")
		if next == "" || c.Top > 0 && len(rows) >= c.Top {
			break
		}
	}
	switch {
	case s.JSON:
		if rows == nil {
			rows = []json.RawMessage{}
		}
		err = s.printJSON(rows)
	case len(rows) == 0:
		s.printf("Nothing was selected.\n")
		return nil
	case strings.EqualFold(kind, "twin"):
		err = s.printTwins(rows)
	default:
		err = s.printRows(rows)
	}
	if err == nil && next != "" {
		s.notef("There are more: --top N, or --top 0 for all.\n")
	}
	return err
}

// query completes what may be only a condition.
func (c *queryCmd) query() string {
	text := strings.TrimSpace(c.Text)
	word, _, _ := strings.Cut(text, " ")
	switch {
	case text == "":
		return "SELECT * FROM devices"
	case strings.EqualFold(strings.TrimSpace(word), "select"), strings.HasPrefix(strings.ToLower(text), "select"):
		return text
	case strings.EqualFold(word, "where"):
		return "SELECT * FROM devices " + text
	}
	return "SELECT * FROM devices WHERE " + text
}

// query asks for a page and gives the headers of the answer.
func (c *client) query(s *session, text string, header map[string]string, out *[]json.RawMessage) (http.Header, error) {
	resp, err := c.openHub(s.ctx, http.MethodPost, "/devices/query", header, map[string]string{"query": text})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return nil, fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	return resp.Header, nil
}

// printTwins prints a line for each twin.
func (s *session) printTwins(rows []json.RawMessage) error {
	now := time.Now()
	modules := false
	var lines [][]string
	for _, raw := range rows {
		var t twin
		if err := decode(raw, &t); err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		modules = modules || t.Module != ""
		tags := ""
		if len(t.Tags) > 0 {
			tags = cell(t.Tags)
		}
		lines = append(lines, []string{t.Device, t.Module, t.Status, strings.ToLower(t.ConnectionState), ago(parseTime(t.LastActivityTime), now), tags})
	}
	head := []string{"DEVICE", "MODULE", "STATUS", "CONNECTION", "LAST ACTIVITY", "TAGS"}
	if !modules {
		head = slices.Delete(head, 1, 2)
		for i := range lines {
			lines[i] = slices.Delete(lines[i], 1, 2)
		}
	}
	return table(s.out, head, lines)
}

// printRows prints what a query has projected: its members are the columns, in
// the order in which they come.
func (s *session) printRows(rows []json.RawMessage) error {
	var head []string
	var all [][]string
	var cells []map[string]string
	for _, raw := range rows {
		names, values, err := members(raw)
		if err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		all, cells = append(all, names), append(cells, values)
		if len(names) > len(head) {
			head = names
		}
	}
	head = slices.Clone(head) // the order is that of the fullest row
	for _, names := range all {
		for _, name := range names {
			if !slices.Contains(head, name) {
				head = append(head, name)
			}
		}
	}
	lines := make([][]string, len(cells))
	for i, values := range cells {
		for _, name := range head {
			lines[i] = append(lines[i], values[name])
		}
	}
	for i := range head {
		head[i] = printable(head[i])
	}
	return table(s.out, head, lines)
}

// members gives the names of an object in their order, and its values as text.
func members(raw json.RawMessage) (names []string, values map[string]string, err error) {
	values = map[string]string{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	t, err := d.Token()
	if err != nil {
		return nil, nil, err
	}
	if t != json.Delim('{') {
		return []string{"value"}, map[string]string{"value": shorten(string(raw))}, nil
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, nil, err
		}
		name, _ := t.(string)
		names = append(names, name)
		if text, ok := v.(string); ok {
			values[name] = shorten(printable(text))
		} else {
			values[name] = cell(v)
		}
	}
	return names, values, nil
}
