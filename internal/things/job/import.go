package job

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

const (
	importLines = 1000    // lines that are done together
	importBytes = 4 << 20 // and the bytes of them, about
	maxLine     = 2 << 20 // bytes of one line
)

// importAll does what the lines of a blob say. The place in the blob is stored
// with what was refused after each batch; a batch that was under way when the
// process died is done again.
func (r *Room) importAll(ctx context.Context, o *open, t *Transfer, s *TransferSpec) error {
	ref := blob.Ref{Container: s.InputContainer, Name: s.InputBlob}
	p, body, err := t.Blobs.Open(ctx, ref, o.job.done, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if s.InputETag == "" {
		s.InputETag = p.ETag
		if err := r.beginImport(ctx, o, s, p.Size); err != nil {
			return err
		}
	}
	if s.InputETag != p.ETag {
		return iot.Errorf(iot.InvalidBlob, "the blob %s was changed after %d of its bytes were imported: begin a new import", s.InputBlob, o.job.done)
	}
	in := &lineReader{r: bufio.NewReaderSize(body, 256<<10), at: o.job.done, number: o.job.Total}
	doubt := o.resumed
	for {
		lines, tooLong, err := in.batch()
		if err != nil {
			return err
		}
		if in.end && len(lines) == 0 && len(tooLong) == 0 {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var refused []Refused
		err = patient(ctx, func() error {
			for i := range lines {
				lines[i].Again = doubt
			}
			doubt = true // when it is done another time
			var err error
			refused, err = t.Import(ctx, lines)
			return err
		})
		if err != nil {
			return err
		}
		doubt = false
		if err := r.storeLines(ctx, o, append(refused, tooLong...), in); err != nil {
			return err
		}
	}
	if s.Configurations && t.ImportConfiguration != nil {
		if err := r.importConfigurations(ctx, o, t, s, in); err != nil {
			return err
		}
	}
	return r.writeErrors(ctx, o, t, s)
}

// beginImport notes what is imported, so that a later run knows it again.
func (r *Room) beginImport(ctx context.Context, o *open, s *TransferSpec, size int64) error {
	content, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	o.job.Content, o.job.size = content, size
	return r.write(ctx, "begin an import", func(ctx context.Context, tx state.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE job SET content = ?, size = ? WHERE seq = ?", string(content), size, o.job.seq)
		return err
	})
}

// storeLines stores how far an import has come and what was refused.
func (r *Room) storeLines(ctx context.Context, o *open, refused []Refused, in *lineReader) error {
	texts := make([]string, len(refused))
	for i := range refused {
		b, err := json.Marshal(refusal(&refused[i]))
		if err != nil {
			return fmt.Errorf("job: %w", err)
		}
		texts[i] = string(b)
	}
	failed := o.job.FailedCount
	err := r.write(ctx, "store the place of an import", func(ctx context.Context, tx state.Tx) error {
		for i, text := range texts {
			if _, err := tx.Exec(ctx, "INSERT INTO job_line (job, seq, text) VALUES (?, ?, ?)", o.job.seq, failed+int64(i)+1, text); err != nil {
				return err
			}
		}
		failed := failed + int64(len(texts))
		_, err := tx.Exec(ctx, "UPDATE job SET place = ?, total = ?, failed = ?, succeeded = ? WHERE seq = ?", in.at, in.number, failed, in.number-failed, o.job.seq)
		return err
	})
	if err != nil {
		return err
	}
	o.job.done, o.job.Total = in.at, in.number
	o.job.FailedCount = failed + int64(len(texts))
	o.job.Succeeded = in.number - o.job.FailedCount
	if o.job.size > 0 {
		o.progress.Store(min(99, 100*in.at/o.job.size))
	}
	return nil
}

// refusedLine is a line of importErrors.log.
type refusedLine struct {
	Line        int64  `json:"line"`
	DeviceID    string `json:"deviceId"`
	ModuleID    string `json:"moduleId,omitempty"`
	ErrorCode   string `json:"errorCode"`
	ErrorStatus string `json:"errorStatus"`
	Operation   string `json:"operation,omitempty"`
}

func refusal(f *Refused) refusedLine {
	return refusedLine{Line: f.Line, DeviceID: f.ID.Device, ModuleID: f.ID.Module, ErrorCode: f.Err.Code.Name(), ErrorStatus: f.Err.Message, Operation: f.Operation}
}

// writeErrors writes what was refused to its blob, line by line. The end of the
// job removes it from the store.
func (r *Room) writeErrors(ctx context.Context, o *open, t *Transfer, s *TransferSpec) error {
	var failed error
	from, more := int64(0), true
	page := func() (text []byte) {
		if !more {
			return nil
		}
		failed = patient(ctx, func() error {
			return r.db.Read(ctx, func(tx state.Tx) error {
				text = text[:0]
				n := 0
				rows, err := tx.Query(ctx, "SELECT seq, text FROM job_line WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?", o.job.seq, from, importLines)
				if err != nil {
					return err
				}
				defer rows.Close()
				last := from
				for rows.Next() {
					var line string
					if err := rows.Scan(&last, &line); err != nil {
						return err
					}
					text = append(append(text, line...), '\n')
					n++
				}
				more = n == importLines
				from = last
				return rows.Err()
			})
		})
		return text
	}
	var rest []byte
	read := readerFunc(func(p []byte) (int, error) {
		if len(rest) == 0 {
			if rest = page(); failed != nil {
				return 0, failed
			}
			if len(rest) == 0 {
				return 0, io.EOF
			}
		}
		n := copy(p, rest)
		rest = rest[n:]
		return n, nil
	})
	_, err := t.Blobs.Put(ctx, blob.Ref{Container: s.OutputContainer, Name: errorsBlob}, read, blob.WriteOptions{Headers: textHeaders})
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// lineReader takes batches of lines off a blob.
type lineReader struct {
	r      *bufio.Reader
	at     int64 // bytes that were taken, with those before the first
	number int64 // lines, likewise
	end    bool
}

// batch gives the next lines; tooLong are those that are not done for their
// length.
func (l *lineReader) batch() (lines []Line, tooLong []Refused, err error) {
	size := 0
	for len(lines)+len(tooLong) < importLines && size < importBytes && !l.end {
		text, whole, err := l.line()
		if err != nil {
			return nil, nil, err
		}
		text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
		if len(text) == 0 && whole {
			continue
		}
		l.number++
		if !whole {
			tooLong = append(tooLong, Refused{Line: l.number, Err: iot.Errorf(iot.MessageTooLarge, "the line is longer than %d bytes", maxLine)})
			continue
		}
		lines = append(lines, Line{Number: l.number, Text: text})
		size += len(text)
	}
	return lines, tooLong, nil
}

// line reads one line; whole is false when it was too long, and then it is
// passed over.
func (l *lineReader) line() (text []byte, whole bool, err error) {
	whole = true
	for {
		part, err := l.r.ReadSlice('\n')
		l.at += int64(len(part))
		if whole && len(text)+len(part) > maxLine {
			text, whole = nil, false
		}
		if whole {
			text = append(text, part...)
		}
		switch {
		case err == nil:
			return text, whole, nil
		case errors.Is(err, io.EOF):
			l.end = true
			return text, whole, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
}

// importConfigurations imports the other blob, whose lines are few.
func (r *Room) importConfigurations(ctx context.Context, o *open, t *Transfer, s *TransferSpec, devices *lineReader) error {
	_, body, err := t.Blobs.Open(ctx, blob.Ref{Container: s.InputContainer, Name: s.ConfigBlob}, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	in := &lineReader{r: bufio.NewReader(body)}
	var refused []Refused
	for !in.end {
		lines, tooLong, err := in.batch()
		if err != nil {
			return err
		}
		refused = append(refused, tooLong...)
		for _, l := range lines {
			err := patient(ctx, func() error { return t.ImportConfiguration(ctx, l.Text) })
			var domain *iot.Error
			switch {
			case err == nil:
			case errors.As(err, &domain):
				refused = append(refused, Refused{Line: l.Number, Operation: "configuration", Err: domain})
			default:
				return err
			}
		}
	}
	return r.storeLines(ctx, o, refused, devices)
}
