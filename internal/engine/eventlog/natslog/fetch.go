package natslog

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	fetchBatch = 256
	fetchBytes = 1 << 20
	fetchWait  = 5 * time.Second
)

// errNotFound says that the store has no such commit, or cannot read it.
var errNotFound = errors.New("no such commit in the store")

// badCommitError is a message of the stream that is not a sound commit.
type badCommitError struct {
	seq uint64
	err error
}

func (e *badCommitError) Error() string { return fmt.Sprintf("commit %d: %v", e.seq, e.err) }

func purgeBefore(seq uint64) jetstream.StreamPurgeOpt { return jetstream.WithPurgeSequence(seq) }

// fetched is one message of a fetch.
type fetched struct {
	seq  uint64
	data []byte
}

// fetch reads commits from seq on, in order, about a megabyte of them. The
// numbers in between may be missing. errNotFound means that the store cannot
// give the next one.
func (l *Log) fetch(ctx context.Context, seq uint64, dst []fetched, batch int) ([]fetched, error) {
	inbox := nats.NewInbox()
	sub, err := l.rc.SubscribeSync(inbox)
	if err != nil {
		return dst, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may have gone
	req := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, seq, batch, fetchBytes)
	if err := l.rc.PublishRequest("$JS.API.DIRECT.GET."+l.stream, inbox, req); err != nil {
		return dst, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return dst, err
		}
		switch status := m.Header.Get("Status"); {
		case status == "404":
			return dst, errNotFound
		case status == "204":
			return dst, nil
		case status != "":
			return dst, fmt.Errorf("stream %s does not answer: status %s %s", l.stream, status, m.Header.Get("Description"))
		}
		n, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return dst, fmt.Errorf("stream %s: message without a number", l.stream)
		}
		dst = append(dst, fetched{n, m.Data})
	}
}

// load reads commit seq from the store. It asks the leader of the stream when
// a direct read finds nothing, since a replica may be behind.
func (l *Log) load(ctx context.Context, seq uint64) ([]byte, error) {
	got, err := l.fetch(ctx, seq, nil, 1)
	if len(got) == 1 && got[0].seq == seq {
		return got[0].data, nil
	}
	if err != nil && !errors.Is(err, errNotFound) {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	m, err := l.rc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+l.stream, fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *struct {
			Data string `json:"data"`
		} `json:"message"`
		Error *struct {
			Code        int    `json:"code"`
			ErrCode     int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		if answer.Error.Code == 503 {
			return nil, fmt.Errorf("stream %s: %s", l.stream, answer.Error.Description)
		}
		return nil, errNotFound
	}
	if answer.Message == nil {
		return nil, errNotFound
	}
	return base64.StdEncoding.DecodeString(answer.Message.Data)
}

// loadNext reads the first commit at or after seq.
func (l *Log) loadNext(ctx context.Context, seq uint64) (uint64, commitView, error) {
	got, err := l.fetch(ctx, seq, nil, 1)
	if len(got) == 0 {
		if err == nil {
			err = errNotFound
		}
		return 0, commitView{}, err
	}
	c, err := l.parse(got[0])
	return got[0].seq, c, err
}

func (l *Log) parse(f fetched) (commitView, error) {
	c, err := parseCommit(f.data)
	if err == nil && c.partitions != l.cfg.Partitions {
		err = fmt.Errorf("it has %d partitions instead of %d", c.partitions, l.cfg.Partitions)
	}
	if err != nil {
		return c, &badCommitError{f.seq, err}
	}
	return c, nil
}

// search gives the first commit in first..last for which ok holds, or last+1.
// ok must hold for all commits after the first one for which it does.
// Commits that cannot be read are passed over.
func (l *Log) search(ctx context.Context, first, last uint64, ok func(*commitView) bool) (uint64, error) {
	lo, hi := first, last+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		at := mid
		var c commitView
		for at < hi {
			got, view, err := l.loadNext(ctx, at)
			if err == nil {
				at, c = got, view
				break
			}
			if !errors.Is(err, errNotFound) && !errors.As(err, new(*badCommitError)) {
				return 0, err
			}
			at++
		}
		switch {
		case at >= hi, ok(&c):
			hi = mid
		default:
			lo = at + 1
		}
	}
	return lo, nil
}

// fsync makes sure that what the store has written is on disk: the newest
// blocks may have been written by a server that died before it could.
func (e *embedded) fsync(stream string) error {
	if e == nil || !e.sync {
		return nil
	}
	blocks := blockFiles(filepath.Join(storeDir(e.dir, stream), "msgs"))
	for _, name := range blocks[max(0, len(blocks)-2):] {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = f.Sync()
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
