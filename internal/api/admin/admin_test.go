package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "secret-admin-token"

func serve(t *testing.T, log eventlog.Log) *httptest.Server {
	t.Helper()
	done := make(chan struct{})
	s := httptest.NewServer(New(Deps{
		Token: token, Log: log, Logger: slog.New(slog.DiscardHandler), Done: done,
		Info: func(context.Context) (Info, error) { return Info{HostName: "localhost"}, nil },
	}))
	t.Cleanup(func() {
		close(done)
		s.Close()
	})
	return s
}

func get(t *testing.T, s *httptest.Server, path, bearer string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", bearer)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type ignore struct{}

func (ignore) Durable(int, error) {}
func (ignore) Ready()             {}

var at = time.Date(2026, 1, 31, 12, 0, 0, 123e6, time.UTC)

// put appends one message of a device, a second after the one before.
func put(log eventlog.Log, partition, n int, device string, m iot.Message) {
	o := iot.Origin{ID: iot.ID{Device: device}, Generation: 638, Auth: iot.AuthMethod{}}
	rec := record.AppendEvent(nil, record.AppendOrigin(nil, o), &m)
	log.Producer(partition, ignore{}).Append(at.Add(time.Duration(n)*time.Second).UnixNano(), [][]byte{rec})
}

func body(s string) iot.Message { return iot.Message{Body: []byte(s)} }

func TestOnlyTheAdminTokenOpens(t *testing.T) {
	log := memlog.New(memlog.Config{Partitions: 1})
	defer log.Close()
	s := serve(t, log)
	for _, bearer := range []string{"", "Bearer", "Bearer wrong", token, "Basic " + token, "Bearer " + token + "x"} {
		resp := get(t, s, "/api/info", bearer)
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %d", bearer, resp.StatusCode)
		}
		if text := read(t, resp); !strings.Contains(text, "dunlin info") {
			t.Errorf("%q: %s", bearer, text)
		}
	}
	for _, bearer := range []string{"Bearer " + token, "bearer " + token} {
		if resp := get(t, s, "/api/info", bearer); resp.StatusCode != http.StatusOK {
			t.Errorf("%q: %d", bearer, resp.StatusCode)
		}
	}
	if resp := get(t, s, "/api/nothing", "Bearer "+token); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown path: %d", resp.StatusCode)
	}
}

func TestEventLine(t *testing.T) {
	log := memlog.New(memlog.Config{Partitions: 1})
	defer log.Close()
	o := iot.Origin{
		ID: iot.ID{Device: "d", Module: "m"}, Generation: 638, Model: "dtmi:com:example:T;1",
		Auth: iot.AuthMethod{Scope: iot.ScopeModule, Type: iot.AuthX509},
	}
	m := iot.Message{
		System: []iot.SystemProperty{
			{Key: iot.MessageID, Value: []byte("m\"1")},
			{Key: iot.ContentType, Value: []byte("application/json")},
			{Key: iot.ContentEncoding, Value: []byte("utf-8")},
		},
		Properties: []iot.Property{
			{Name: []byte("a b"), Value: []byte("c&d=é")},
			{Name: []byte("empty"), Value: []byte{}},
			{Name: []byte("none")},
			{Name: []byte("odd"), Value: []byte("\x01\n\xff")},
		},
		Body: []byte("{\"t\":\n 1}"),
	}
	log.Producer(0, ignore{}).Append(at.UnixNano(), [][]byte{record.AppendEvent(nil, record.AppendOrigin(nil, o), &m)})
	s := serve(t, log)
	text := read(t, get(t, s, "/api/events?from=earliest", "Bearer "+token))
	var offset string
	if err := json.Unmarshal([]byte(text), &struct{ Offset *string }{&offset}); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	want := `{"partition":0,"offset":"` + offset + `","sequenceNumber":"0","enqueuedTime":"2026-01-31T12:00:00.123Z","deviceId":"d","moduleId":"m",` +
		`"systemProperties":{"message-id":"m\"1","content-type":"application/json","content-encoding":"utf-8",` +
		`"iothub-connection-device-id":"d","iothub-connection-module-id":"m",` +
		`"iothub-connection-auth-method":"{\"scope\":\"module\",\"type\":\"x509\",\"issuer\":\"external\",\"acceptingIpFilterRule\":null}",` +
		`"iothub-connection-auth-generation-id":"638","iothub-enqueuedtime":"2026-01-31T12:00:00.123Z",` +
		`"iothub-message-source":"Telemetry","dt-dataschema":"dtmi:com:example:T;1"},` +
		`"properties":{"a b":"c&d=é","empty":"","none":null,"odd":"\u0001\n` + "\ufffd" + `"},"body":{"t":1}}` + "\n"
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestBodyIsJSONOnlyWhenDeclaredAndValid(t *testing.T) {
	tests := []struct {
		contentType, encoding, body, want string
	}{
		{"application/json", "utf-8", `{"a":1}`, `"body":{"a":1}`},
		{"Application/JSON", "UTF-8", `[1]`, `"body":[1]`},
		{"application/json; charset=utf-8", "", `1`, `"body":1`},
		{"application/json", "utf-8", ` {"a": 1} `, `"body": {"a": 1} `},
		{"application/json", "", `{"a":1}`, `"bodyBase64":"eyJhIjoxfQ=="`},
		{"", "", `{"a":1}`, `"bodyBase64":"eyJhIjoxfQ=="`},
		{"text/plain", "utf-8", `1`, `"bodyBase64":"MQ=="`},
		{"application/json", "utf-16", `1`, `"bodyBase64":"MQ=="`},
		{"application/json", "utf-8", `{"a":`, `"bodyBase64":"eyJhIjo="`},
		{"application/json", "utf-8", "\"\xff\"", `"bodyBase64":"Iv8i"`},
		{"application/json", "utf-8", "", `"bodyBase64":""`},
	}
	for _, tt := range tests {
		e := record.Event{Message: iot.Message{Body: []byte(tt.body)}}
		for k, v := range map[iot.SystemKey]string{iot.ContentType: tt.contentType, iot.ContentEncoding: tt.encoding} {
			if v != "" {
				e.System = append(e.System, iot.SystemProperty{Key: k, Value: []byte(v)})
			}
		}
		if got := string(appendBody(nil, &e)); got != ","+tt.want {
			t.Errorf("%s, %s: %s\ngot  %s\nwant ,%s", tt.contentType, tt.encoding, tt.body, got, tt.want)
		}
	}
}

type line struct {
	Partition      int
	Offset         string
	SequenceNumber string
	DeviceID       string
	Error          string
}

func parseLines(t *testing.T, text string) []line {
	t.Helper()
	var list []line
	for s := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			t.Fatalf("%v in %q", err, s)
		}
		list = append(list, l)
	}
	return list
}

func TestSelection(t *testing.T) {
	log := memlog.New(memlog.Config{Partitions: 2})
	defer log.Close()
	for n := range 10 {
		put(log, n%2, n, "d"+strconv.Itoa(n%2), body("x"))
	}
	s := serve(t, log)
	all := parseLines(t, read(t, get(t, s, "/api/events?from=earliest", "Bearer "+token)))
	next := map[int]int{}
	for _, l := range all {
		if l.SequenceNumber != strconv.Itoa(next[l.Partition]) {
			t.Errorf("partition %d: %s follows %d", l.Partition, l.SequenceNumber, next[l.Partition])
		}
		next[l.Partition]++
	}
	if len(all) != 10 {
		t.Fatalf("%d lines", len(all))
	}
	var third string // offset in partition 1
	for _, l := range all {
		if l.Partition == 1 && l.SequenceNumber == "2" {
			third = l.Offset
		}
	}
	for query, want := range map[string]int{
		"from=earliest&partition=0":                              5,
		"from=earliest&device=d1":                                5,
		"from=earliest&device=d1&partition=0":                    0,
		"from=earliest&device=nobody":                            0,
		"from=earliest&count=3":                                  3,
		"from=earliest&follow=true&count=10":                     10,
		"from=" + third + "&partition=1":                         3,
		"from=" + at.Add(6*time.Second).Format(time.RFC3339Nano): 4,
	} {
		if got := parseLines(t, read(t, get(t, s, "/api/events?"+query, "Bearer "+token))); len(got) != want {
			t.Errorf("%s: %d lines, want %d", query, len(got), want)
		}
	}
	for query, word := range map[string]string{
		"from=yesterday":                "earliest, latest",
		"from=5":                        "partition",
		"from=latest":                   "follow",
		"from=earliest&partition=2":     "0 to 1",
		"from=earliest&count=-1":        "count",
		"from=earliest&follow=maybe":    "true or false",
		"from=earliest&partition=first": "partition",
	} {
		resp := get(t, s, "/api/events?"+query, "Bearer "+token)
		if text := read(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, word) {
			t.Errorf("%s: %d %s", query, resp.StatusCode, text)
		}
	}
}

func TestFollowShowsWhatComes(t *testing.T) {
	log := memlog.New(memlog.Config{Partitions: 2})
	defer log.Close()
	put(log, 0, 0, "old", body("x"))
	s := serve(t, log)
	resp := get(t, s, "/api/events?follow=true&count=2", "Bearer "+token)
	// Readers have started once the answer's header is there, or start within
	// this: latest is where they find the end.
	in := bufio.NewReader(resp.Body)
	got := make(chan string)
	go func() {
		defer close(got)
		for {
			l, err := in.ReadString('\n')
			if err != nil {
				return
			}
			got <- l
		}
	}()
	var seen []string
	for n, tick := 1, time.NewTicker(20*time.Millisecond); len(seen) < 2; n++ {
		put(log, n%2, n, "new", body("x"))
		select {
		case l, ok := <-got:
			if !ok {
				t.Fatalf("ended after %q", seen)
			}
			seen = append(seen, l)
		case <-tick.C:
		}
	}
	if strings.Contains(strings.Join(seen, ""), `"old"`) {
		t.Errorf("shows what was there before: %q", seen)
	}
	if l, ok := <-got; ok {
		t.Errorf("more than asked for: %s", l)
	}
}

// damagedLog yields damage between records.
type damagedLog struct{ eventlog.Log }

func (l damagedLog) Read(ctx context.Context, p int, o eventlog.ReadOptions) iter.Seq2[eventlog.Record, error] {
	return func(yield func(eventlog.Record, error) bool) {
		n := 0
		for rec, err := range l.Log.Read(ctx, p, o) {
			if n++; n == 2 && !yield(eventlog.Record{}, &eventlog.DamageError{File: "3.blk", Detail: "checksum", Remedy: "restore it"}) {
				return
			}
			if n == 3 && !yield(eventlog.Record{Offset: 9, Data: []byte{250, 1}}, nil) { // of a newer build
				return
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func TestDamageIsToldAndReadingGoesOn(t *testing.T) {
	log := memlog.New(memlog.Config{Partitions: 1})
	defer log.Close()
	for n := range 3 {
		put(log, 0, n, "d", body("x"))
	}
	s := serve(t, damagedLog{log})
	text := read(t, get(t, s, "/api/events?from=earliest&count=3", "Bearer "+token))
	got := parseLines(t, text)
	if len(got) != 5 {
		t.Fatalf("%d lines: %s", len(got), text)
	}
	if !strings.Contains(got[1].Error, "3.blk") || !strings.Contains(got[1].Error, "restore it") {
		t.Errorf("the damage is told as %q", got[1].Error)
	}
	if !strings.Contains(got[3].Error, "version") || got[3].Offset != "9" {
		t.Errorf("the foreign record is told as %+v", got[3])
	}
	if got[4].SequenceNumber != "2" {
		t.Errorf("reading did not go on: %+v", got[4])
	}
}

// A caller that does not read holds back its own readers only, and its end
// ends them: goleak in TestMain would show them.
func TestSlowCaller(t *testing.T) {
	l := newLines(0)
	line := []byte(strings.Repeat("x", 1000))
	added := make(chan int)
	go func() {
		n := 0
		for l.add(line, true) {
			n++
		}
		added <- n
	}()
	b, ok := l.take(nil)
	if !ok || len(b) == 0 {
		t.Fatal("nothing to take")
	}
	l.end()
	if n := <-added; n*len(line) > 2*(maxGathered+len(line)) {
		t.Errorf("%d lines were gathered", n)
	}
}

func TestErrorsOfTheServerStayInside(t *testing.T) {
	s := httptest.NewServer(New(Deps{
		Token: token, Logger: slog.New(slog.DiscardHandler),
		Info: func(context.Context) (Info, error) { return Info{}, errors.New("password=hunter2") },
	}))
	defer s.Close()
	resp := get(t, s, "/api/info", "Bearer "+token)
	if text := read(t, resp); resp.StatusCode != http.StatusInternalServerError || strings.Contains(text, "hunter2") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

func BenchmarkEventLine(b *testing.B) {
	e := record.Event{Origin: iot.Origin{ID: iot.ID{Device: "dev-1"}, Generation: 638}, Message: iot.Message{
		System: []iot.SystemProperty{{Key: iot.ContentType, Value: []byte("application/json")}, {Key: iot.ContentEncoding, Value: []byte("utf-8")}},
		Body:   []byte(`{"temperature":21.5,"humidity":40,"pad":"` + strings.Repeat("x", 100) + `"}`),
	}}
	rec := eventlog.Record{Offset: 1 << 20, Sequence: 7, Time: at.UnixNano()}
	var line []byte
	text := newLineWriter(3)
	b.ReportAllocs()
	for b.Loop() {
		line = text.append(line[:0], &rec, &e)
	}
}
