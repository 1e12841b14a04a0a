package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/run"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
	"dunlin/internal/lang/diag"
)

type streamCmd struct {
	Run     streamRunCmd     `cmd:"" help:"Run a stream query over files, without a server."`
	Verify  streamVerifyCmd  `cmd:"" help:"Run files of cases and say which pass: unit tests of queries."`
	Explain streamExplainCmd `cmd:"" help:"Show what a query reads and computes."`
}

type streamRunCmd struct {
	Query      string            `arg:"" name:"query" help:"The query in the Stream Analytics language, or the name of a file that holds it."`
	Input      map[string]string `name:"input" placeholder:"NAME=FILE" help:"An input and the file of its events, one JSON object a line: plain events, lines of dunlin tail --json, or {\"time\",\"payload\"}; or rows of CSV below their names when it ends in .csv or .tsv. - is the standard input. Give it once for each input."`
	Function   map[string]string `name:"function" placeholder:"NAME=FILE" help:"A JavaScript function that the query calls as UDF.NAME or uda.NAME, and its file. Give it once for each function."`
	Time       string            `name:"time" placeholder:"MEMBER" help:"Member of plain events that says when they arrived. Without it they arrive now, which does not matter with TIMESTAMP BY."`
	Late       time.Duration     `name:"late" default:"-1s" placeholder:"DURATION" help:"How late an event may arrive; less than nothing is no limit (${default})."`
	Early      time.Duration     `name:"early" default:"-1s" placeholder:"DURATION" help:"How far ahead of its arrival an event may be; less than nothing is no limit (${default})."`
	OutOfOrder time.Duration     `name:"out-of-order" default:"0s" placeholder:"DURATION" help:"How long to wait for events that are not in order (${default})."`
	Drop       bool              `name:"drop" help:"Drop late and disordered events instead of adjusting their time."`
}

// Run prints the rows of all outputs.
func (c *streamRunCmd) Run(s *session) (err error) {
	query, name, err := queryText(c.Query)
	if err != nil {
		return err
	}
	script := run.Script{Query: query, Policy: clock.Policy{
		Early: ticks(c.Early), Late: ticks(c.Late), OutOfOrder: ticks(c.OutOfOrder), Drop: c.Drop,
	}}
	if len(c.Input) == 0 {
		return usagef("name the events of each input: --input NAME=FILE")
	}
	names := make([]string, 0, len(c.Input))
	for n := range c.Input {
		names = append(names, n)
	}
	slices.Sort(names)
	script.Catalog.Streams = names
	for n, file := range c.Function {
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f, err := run.Function(n, "", string(source))
		if err != nil {
			return showPlace(file, string(source), err)
		}
		script.Functions = append(script.Functions, f)
	}
	out := bufio.NewWriter(s.out)
	defer func() { err = errors.Join(err, out.Flush()) }()
	var line []byte
	r, err := run.New(script, func(row run.Row) error {
		line = line[:0]
		if s.JSON {
			line = append(line, `{"output":`...)
			line = value.AppendJSON(line, value.String(row.Output))
			line = append(line, `,"row":`...)
			line = value.AppendJSON(line, row.Value)
			line = append(line, '}', '\n')
		} else {
			line = append(line, row.Output...)
			line = append(line, "  "...)
			line = value.AppendTime(line, row.Time)
			line = append(line, "  "...)
			line = value.AppendJSON(line, row.Value)
			line = append(line, '\n')
		}
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		return showPlace(name, query, err)
	}
	for _, n := range r.Notes {
		s.notef("Note: %s\n", n)
	}
	var sources []*run.Lines
	for _, n := range names {
		f, err := openInput(s, c.Input[n])
		if err != nil {
			return err
		}
		defer f.Close()
		source, err := run.NewSource(n, c.Input[n], f, c.Time, value.TicksOf(time.Now()))
		if err != nil {
			return err
		}
		sources = append(sources, source)
	}
	if err := r.Merge(sources); err != nil {
		return err
	}
	for n, counts := range r.Counts() {
		if bad := counts.DeserializeErrors; bad > 0 {
			s.notef("%s: %s could not be read\n", n, count(int(bad), "event", "events"))
		}
		if bad := counts.InvalidTimestamp; bad > 0 {
			s.notef("%s: %s had no valid time for TIMESTAMP BY\n", n, count(int(bad), "event", "events"))
		}
		if counts.Late+counts.Early+counts.Disordered > 0 {
			s.notef("%s: %d early, %d late, %d out of order\n", n, counts.Early, counts.Late, counts.Disordered)
		}
	}
	return nil
}

func ticks(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return int64(d / 100)
}

func openInput(s *session, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(s.in), nil
	}
	return os.Open(name)
}

// queryText takes a text for the name of a file when there is one.
func queryText(arg string) (text, name string, err error) {
	if len(arg) < 1024 && !strings.ContainsAny(arg, "\n\x00") {
		if b, err := os.ReadFile(arg); err == nil {
			return string(b), filepath.Base(arg), nil
		} else if strings.HasSuffix(arg, ".asaql") || strings.HasSuffix(arg, ".sql") {
			return "", "", err
		}
	}
	return arg, "", nil
}

// showPlace shows the line of a query in which an error is.
func showPlace(name, query string, err error) error {
	e, ok := errors.AsType[*diag.Error](err)
	if !ok {
		return err
	}
	lines := strings.Split(query, "\n")
	if e.Line < 1 || e.Line > len(lines) {
		return err
	}
	line := []rune(strings.TrimRight(lines[e.Line-1], "\r"))
	at := min(max(e.Column-1, 0), len(line))
	const around = 60
	from, to := max(0, at-around), min(len(line), at+around)
	mark := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(line[from:at]))
	prefix := ""
	if name != "" {
		prefix = name + ": "
	}
	return fmt.Errorf("%s%w\n  %s\n  %s^", prefix, err, printable(string(line[from:to])), mark)
}

type streamVerifyCmd struct {
	Files []string `arg:"" name:"cases" help:"Files of cases, a JSON object a line: name, query, inputs, expected."`
}

// Run runs all cases; the command fails when one of them does.
func (c *streamVerifyCmd) Run(s *session) error {
	passed, failed := 0, 0
	for _, name := range c.Files {
		f, err := openInput(s, name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(make([]byte, 0, 64<<10), 64<<20)
		for n := 1; lines.Scan(); n++ {
			text := strings.TrimSpace(lines.Text())
			if text == "" || strings.HasPrefix(text, "//") {
				continue
			}
			title := fmt.Sprintf("%s:%d", name, n)
			tc, err := run.ReadCase(text)
			if err == nil {
				if tc.Name != "" {
					title = tc.Name
				}
				err = tc.Verify()
			}
			if err != nil {
				failed++
			} else {
				passed++
			}
			if err := s.verdict(title, err); err != nil {
				return err
			}
		}
		err = errors.Join(lines.Err(), f.Close())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if !s.JSON {
		s.notef("%d passed, %d failed\n", passed, failed)
	}
	if failed > 0 {
		return &silentError{}
	}
	return nil
}

func (s *session) verdict(name string, failure error) error {
	if s.JSON {
		v := struct {
			Name   string `json:"name"`
			Passed bool   `json:"passed"`
			Error  string `json:"error,omitempty"`
		}{Name: name, Passed: failure == nil}
		if failure != nil {
			v.Error = failure.Error()
		}
		return json.NewEncoder(s.out).Encode(v)
	}
	if failure == nil {
		_, err := fmt.Fprintf(s.out, "ok    %s\n", printable(name))
		return err
	}
	_, err := fmt.Fprintf(s.out, "FAIL  %s: %s\n", printable(name), printable(failure.Error()))
	return err
}

type streamExplainCmd struct {
	Query string `arg:"" name:"query" help:"The query, or the name of a file that holds it."`
}

// Run prints the plan.
func (c *streamExplainCmd) Run(s *session) error {
	query, name, err := queryText(c.Query)
	if err != nil {
		return err
	}
	script, notes, err := asa.Parse(query)
	if err != nil {
		return showPlace(name, query, err)
	}
	plan, more, err := asa.Bind(script, query, asa.Catalog{})
	if err != nil {
		return showPlace(name, query, err)
	}
	for _, n := range slices.Concat(notes, more) {
		s.notef("Note: %s\n", n)
	}
	_, err = io.WriteString(s.out, plan.String())
	return err
}
