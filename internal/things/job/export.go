package job

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/state"
)

// exportPage is the number of devices that are read at a time.
const exportPage = 500

// textHeaders are those of the blobs that are written.
var textHeaders = blob.Headers{ContentType: "text/plain; charset=utf-8"}

// export writes every identity to a blob, which becomes visible when it is
// whole. After a crash it begins anew.
func (r *Room) export(ctx context.Context, o *open, t *Transfer, s *TransferSpec) error {
	var total int64
	if err := patient(ctx, func() (err error) {
		total, err = t.Count(ctx)
		return err
	}); err != nil {
		return err
	}
	e := &exporter{ctx: ctx, open: o, transfer: t, keys: !s.ExcludeKeys, total: total, more: true}
	if _, err := t.Blobs.Put(ctx, blob.Ref{Container: s.OutputContainer, Name: s.OutputBlob}, e, blob.WriteOptions{Headers: textHeaders}); err != nil {
		return err
	}
	if s.Configurations && t.ExportConfigurations != nil {
		lines, err := t.ExportConfigurations(ctx)
		if err != nil {
			return err
		}
		text := bytes.Join(append(lines, nil), []byte("\n"))
		if _, err := t.Blobs.Put(ctx, blob.Ref{Container: s.OutputContainer, Name: s.ConfigBlob}, bytes.NewReader(text), blob.WriteOptions{Headers: textHeaders}); err != nil {
			return err
		}
	}
	o.job.Total, o.job.Succeeded = e.done, e.done
	return r.write(ctx, "store the number of an export", func(ctx context.Context, tx state.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE job SET total = ?, succeeded = ?, message = ? WHERE seq = ?", e.done, e.done,
			fmt.Sprintf("%d devices were written.", e.done), o.job.seq)
		return err
	})
}

// exporter gives the lines of an export, page by page as they are read from it.
type exporter struct {
	ctx      context.Context //nolint:containedctx // a reader has nowhere else to take it from
	open     *open
	transfer *Transfer
	keys     bool
	total    int64
	done     int64
	after    string
	more     bool
	buf      []byte
	rest     []byte // of buf, not given yet
}

// Read implements io.Reader.
func (e *exporter) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if !e.more {
			return 0, io.EOF
		}
		if e.ctx.Err() != nil {
			return 0, context.Cause(e.ctx)
		}
		var page Exported
		err := patient(e.ctx, func() (err error) {
			page, err = e.transfer.Export(e.ctx, e.after, exportPage, e.keys, e.buf[:0])
			return err
		})
		if err != nil {
			return 0, err
		}
		e.buf, e.rest = page.Lines, page.Lines
		e.after, e.more = page.Last, page.More
		e.done += int64(page.Devices)
		if e.total > 0 {
			e.open.progress.Store(min(99, 100*e.done/e.total))
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}
