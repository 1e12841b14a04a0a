package admin

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/wire/sas"
)

// maxCount is the largest number of devices that one call makes.
const maxCount = 10_000_000

// importedDevice is a line of the answer of POST /api/devices/import.
type importedDevice struct {
	ID    string       `json:"id"`
	Key   string       `json:"key,omitempty"` // primary key in base64
	Error *importError `json:"error,omitempty"`
}

type importError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// importSummary is the last line of the answer; without it the answer is not
// complete.
type importSummary struct {
	Created int          `json:"created"`
	Failed  int          `json:"failed"`
	Error   *importError `json:"error,omitempty"` // what ended the import early
}

// importDevices answers POST /api/devices/import. It makes many devices with
// symmetric keys and streams a line of JSON for each, {"id","key"} or
// {"id","error":{"code","message"}}, then {"created","failed"}. The devices are
// either counted, ?count=N&prefix=dev-&first=0, or come as lines of JSON in the
// body: {"id":"d1","primaryKey":"base64"}, where the key may be left out.
func (s *server) importDevices(w http.ResponseWriter, r *http.Request) {
	source, err := importSource(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// The answer is written while the body is still being read.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(out)
	var sum importSummary
	if err := s.runImport(r.Context(), source, lines, &sum); err != nil {
		if r.Context().Err() != nil {
			return
		}
		code, text := iot.CodeOf(err), "the server could not do this; its log says why"
		if domain, ok := errors.AsType[*iot.Error](err); ok {
			text = domain.Message
		}
		if code.Status() >= http.StatusInternalServerError {
			s.deps.Logger.Error("import of devices ended early", slog.Int("created", sum.Created), slog.Any("error", err))
		}
		sum.Error = &importError{code.Name(), text}
	}
	lines.Encode(sum) //nolint:errcheck,errchkjson // the caller has gone
	out.Flush()       //nolint:errcheck // the caller has gone
}

// batch is what one Import takes; keys holds nil where one is to be made.
type batch struct {
	ids  []string
	keys [][]byte
}

// runImport makes batch after batch. What stands before a line that cannot be
// read is made too.
func (s *server) runImport(ctx context.Context, next func(b *batch) error, lines *json.Encoder, sum *importSummary) error {
	for {
		var b batch
		end := next(&b)
		if len(b.ids) > 0 {
			done, err := s.service().Import(ctx, b.ids, b.keys)
			if err != nil {
				return err
			}
			if err := writeImported(done, lines, sum); err != nil {
				return err
			}
		}
		if errors.Is(end, io.EOF) {
			return nil
		}
		if end != nil {
			return end
		}
	}
}

func writeImported(done []registry.Imported, lines *json.Encoder, sum *importSummary) error {
	for _, d := range done {
		line := importedDevice{ID: d.ID}
		if d.Err != nil {
			sum.Failed++
			line.Error = &importError{d.Err.Code.Name(), d.Err.Message}
		} else {
			sum.Created++
			line.Key = base64.StdEncoding.EncodeToString(d.PrimaryKey)
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// importSource gives the function that fills batches; io.EOF ends them.
func importSource(r *http.Request) (func(b *batch) error, error) {
	q := r.URL.Query()
	if q.Has("count") {
		return countedSource(q)
	}
	in := bufio.NewScanner(r.Body)
	in.Buffer(make([]byte, 0, 4<<10), 64<<10)
	number := 0
	return func(b *batch) error {
		for len(b.ids) < registry.ImportBatch {
			if !in.Scan() {
				if err := in.Err(); err != nil {
					return iot.Errorf(iot.BadRequest, "line %d could not be read: %w", number+1, err)
				}
				return io.EOF
			}
			number++
			if len(in.Bytes()) == 0 {
				continue
			}
			var line struct {
				ID         string `json:"id"`
				PrimaryKey string `json:"primaryKey"`
			}
			if err := json.Unmarshal(in.Bytes(), &line); err != nil {
				return iot.Errorf(iot.DeserializationError, `line %d is not JSON such as {"id":"d1"}: %w`, number, err)
			}
			var key []byte
			if line.PrimaryKey != "" {
				var err error
				if key, err = sas.ParseKey(line.PrimaryKey); err != nil {
					return iot.Errorf(iot.ArgumentInvalid, "line %d: %w", number, err)
				}
			}
			b.ids, b.keys = append(b.ids, line.ID), append(b.keys, key)
		}
		return nil
	}, nil
}

func countedSource(q url.Values) (func(b *batch) error, error) {
	count, err := strconv.Atoi(q.Get("count"))
	if err != nil || count < 1 || count > maxCount {
		return nil, iot.Errorf(iot.ArgumentInvalid, "count '%.20s' is not valid: 1 to %d", q.Get("count"), maxCount)
	}
	prefix := q.Get("prefix")
	if prefix == "" {
		prefix = "dev-"
	}
	next := 0
	if f := q.Get("first"); f != "" {
		if next, err = strconv.Atoi(f); err != nil || next < 0 || next > 1<<40 {
			return nil, iot.Errorf(iot.ArgumentInvalid, "first '%.20s' is not valid: a number from 0", f)
		}
	}
	end := next + count
	if !iot.ValidID(prefix + strconv.Itoa(end)) {
		return nil, iot.Errorf(iot.ArgumentInvalid, "the prefix '%.140s' gives ids that are not valid: A-Z a-z 0-9 and - . + %% _ # * ? ! ( ) , : = @ $ ', 128 in all", prefix)
	}
	return func(b *batch) error {
		n := min(registry.ImportBatch, end-next)
		if n == 0 {
			return io.EOF
		}
		b.ids = make([]string, n)
		for i := range b.ids {
			b.ids[i] = prefix + strconv.Itoa(next+i)
		}
		next += n
		return nil
	}, nil
}
