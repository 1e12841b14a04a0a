// Package natslog is the event log on NATS JetStream: on a server inside the
// process, or on an external cluster with replicas. One stream message holds
// one commit, which is what all partitions have gathered within a few
// milliseconds; that makes durable appends cheap. The layout of a commit is
// in docs/formats/log.md.
package natslog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"dunlin/internal/engine/eventlog"
)

// Keys of the stream's metadata.
const (
	metaPartitions = "dunlin_partitions"
	metaFormat     = "dunlin_log_format"
)

// Log implements eventlog.Log.
type Log struct {
	cfg         Config
	stream      string
	subject     string
	replyPrefix string
	emb         *embedded // nil with an external server
	nc          *nats.Conn
	rc          *nats.Conn // for readers, so that they do not delay answers
	js          jetstream.JetStream
	m           *metrics
	tail        *tail
	pool        batches
	a           appender
	acks        chan *nats.Msg
	answers     *nats.Subscription // feeds acks
	kick        chan struct{}      // capacity 1
	ctx         context.Context    // ends when Close begins
	cancel      context.CancelFunc
	closeOnce   sync.Once
	closeErr    error
	closing     atomic.Bool
	done        sync.WaitGroup // committer and keeper

	sendMu sync.Mutex
	msg    *nats.Msg

	tailLost bool // the newest commit was damaged; known while opening

	marked uint64 // commit of the last mark; the keeper's own

	// under a.mu
	settled  []*batch
	ended    bool       // the committer is gone
	late     int        // calls of waiters after that
	lateDone *sync.Cond // one has returned

	// the committer's own
	readyBuf []*producer
	warned   map[string]int64

	lateMu sync.Mutex // makes calls of waiters come one at a time

	firstMu sync.Mutex
	firstOf uint64 // commit that firsts belongs to
	firsts  []int64
}

// Open opens or creates the log of cfg. ctx bounds opening only.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	base := time.Now()
	l := &Log{
		cfg:     cfg,
		stream:  "DUNLIN_" + cfg.Name,
		subject: "dunlin.log." + cfg.Name,
		acks:    make(chan *nats.Msg, 64),
		kick:    make(chan struct{}, 1),
		warned:  make(map[string]int64),
	}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.a = appender{
		pool:    &l.pool,
		writer:  randomWriter(),
		gap:     int64(max(0, cfg.Gap)),
		maxHeld: cfg.MaxHeld,
		clock:   func() int64 { return int64(time.Since(base)) },
		shares:  make([]share, cfg.Partitions),
		heads:   make([]head, cfg.Partitions),
		round:   1,
		// So that the first append finds that the gap has passed.
		lastSent: -int64(time.Hour),
	}
	l.lateDone = sync.NewCond(&l.a.mu)
	l.m, err = newMetrics(cfg.Registerer, cfg.Name, func() float64 {
		l.a.mu.Lock()
		defer l.a.mu.Unlock()
		return float64(l.a.held)
	})
	if err != nil {
		return nil, err
	}
	if err := l.open(ctx); err != nil {
		l.cancel()
		l.disconnect()
		l.m.close()
		return nil, err
	}
	return l, nil
}

func randomWriter() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (l *Log) open(ctx context.Context) error {
	if l.cfg.URL == "" {
		if err := os.MkdirAll(l.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("eventlog: %w", err)
		}
		e := &embedded{dir: l.cfg.Dir, sync: l.cfg.Durability == Sync, log: l.cfg.Logger}
		l.emb = e
		mark, marked := l.loadMark()
		m := mender{dir: l.cfg.Dir, stream: l.stream, subject: l.subject, clean: marked && mark.Clean, log: l.cfg.Logger}
		var err error
		l.tailLost, err = m.mend()
		if err != nil {
			return fmt.Errorf("eventlog: %w", err)
		}
		if err := e.start(); err != nil {
			return fmt.Errorf("eventlog: %w", err)
		}
	}
	if err := l.connect(); err != nil {
		return err
	}
	info, err := l.prepareStream(ctx)
	if err != nil {
		return err
	}
	if err := l.recover(ctx, info); err != nil {
		return err
	}
	l.a.note = writerNote()
	l.a.maxBatch = min(maxPayload, int(l.nc.MaxPayload())) - 1024 // headers of the message
	l.msg = &nats.Msg{Subject: l.subject, Header: nats.Header{expectedLast: []string{""}}}
	l.replyPrefix = nats.NewInbox() + "."
	if l.answers, err = l.nc.ChanSubscribe(l.replyPrefix+"*", l.acks); err != nil {
		return fmt.Errorf("eventlog: %w", err)
	}
	l.a.mu.Lock()
	l.checkSpace()
	l.a.timer = time.AfterFunc(time.Hour, l.onTimer)
	l.a.timer.Stop()
	l.a.mu.Unlock()
	l.done.Go(l.commit)
	l.done.Go(l.keep)
	return nil
}

// writerNote says who writes, for the error of a writer that is shut out.
func writerNote() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("host %s, process %d, since %s", host, os.Getpid(), time.Now().UTC().Format(time.RFC3339))
}

func (l *Log) connect() error {
	dial := func(name string) (*nats.Conn, error) {
		opts := []nats.Option{
			nats.Name("dunlin " + name + " " + l.cfg.Name),
			nats.MaxReconnects(-1),
			nats.ReconnectWait(100 * time.Millisecond),
			nats.ReconnectJitter(0, 0),
			nats.ReconnectBufSize(-1), // a commit that cannot be sent is sent again by the committer
			nats.Timeout(5 * time.Second),
			nats.PingInterval(20 * time.Second),
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if err != nil {
					l.cfg.Logger.Warn("connection to NATS lost", slog.String("connection", name), slog.Any("error", err))
				}
			}),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
				l.cfg.Logger.Warn("NATS reports an error", slog.String("connection", name), slog.Any("error", err))
			}),
		}
		url := l.cfg.URL
		if l.emb != nil {
			opts = append(opts, nats.InProcessServer(l.emb))
		}
		nc, err := nats.Connect(url, opts...)
		if err != nil {
			if l.emb == nil {
				return nil, fmt.Errorf("eventlog: NATS at %s: %w", url, err)
			}
			return nil, fmt.Errorf("eventlog: embedded NATS: %w", err)
		}
		return nc, nil
	}
	var err error
	if l.nc, err = dial("commit"); err != nil {
		return err
	}
	if l.rc, err = dial("read"); err != nil {
		return err
	}
	l.js, err = jetstream.New(l.rc)
	return err
}

func (l *Log) disconnect() {
	if l.nc != nil {
		l.nc.Close()
	}
	if l.rc != nil {
		l.rc.Close()
	}
	if l.emb != nil {
		l.emb.stop()
	}
}

// prepareStream creates the stream, or adapts the one that is there to the
// retention of the configuration.
func (l *Log) prepareStream(ctx context.Context) (*jetstream.StreamInfo, error) {
	want := jetstream.StreamConfig{
		Name:        l.stream,
		Description: "Event log of Dunlin; written by one process, layout in docs/formats/log.md",
		Subjects:    []string{l.subject},
		Storage:     jetstream.FileStorage,
		Replicas:    l.cfg.Replicas,
		MaxBytes:    l.cfg.MaxBytes,
		Discard:     jetstream.DiscardOld,
		Duplicates:  time.Second, // not used: the expected last sequence does it
		AllowDirect: true,
		MaxMsgs:     -1,
		MaxMsgSize:  -1,
		Metadata: map[string]string{
			metaPartitions: strconv.Itoa(l.cfg.Partitions),
			metaFormat:     strconv.Itoa(formatVersion),
		},
	}
	if want.MaxBytes == 0 {
		want.MaxBytes = -1
	}
	s, err := l.js.Stream(ctx, l.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		var blocks []string
		if l.emb != nil {
			blocks = blockFiles(filepath.Join(storeDir(l.cfg.Dir, l.stream), "msgs"))
		}
		m, marked := l.loadMark()
		switch {
		case len(blocks) > 0:
			// The server takes the blocks into the new stream.
			l.cfg.Logger.Error("the description of the event log is damaged, it is made anew around the stored records",
				slog.String("log", l.cfg.Name), slog.String("dir", storeDir(l.cfg.Dir, l.stream)))
		case marked:
			want.FirstSeq = m.Commit + 1 // the store has gone; no number may come twice
		}
		s, err = l.js.CreateStream(ctx, want)
		if err != nil {
			return nil, fmt.Errorf("eventlog: create stream %s: %w", l.stream, err)
		}
		return s.CachedInfo(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("eventlog: stream %s: %w", l.stream, err)
	}
	have := s.CachedInfo().Config
	if n := have.Metadata[metaPartitions]; n != want.Metadata[metaPartitions] {
		if n == "" {
			return nil, fmt.Errorf("eventlog: stream %s is not an event log of Dunlin", l.stream)
		}
		return nil, fmt.Errorf("eventlog: log %q was created with %s partitions and cannot be opened with %d: set the number of partitions to %s", l.cfg.Name, n, l.cfg.Partitions, n)
	}
	if v := have.Metadata[metaFormat]; v != want.Metadata[metaFormat] {
		return nil, fmt.Errorf("eventlog: log %q has format %s, this program reads %d: use the release that wrote it", l.cfg.Name, v, formatVersion)
	}
	if have.MaxBytes == want.MaxBytes && have.Replicas == want.Replicas {
		return s.CachedInfo(), nil
	}
	have.MaxBytes, have.Replicas = want.MaxBytes, want.Replicas
	s, err = l.js.UpdateStream(ctx, have)
	if err != nil {
		return nil, fmt.Errorf("eventlog: update stream %s: %w", l.stream, err)
	}
	return s.CachedInfo(), nil
}

func (l *Log) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return nil, fmt.Errorf("eventlog: stream %s: %w", l.stream, err)
	}
	return s.CachedInfo(), nil
}

// Partitions implements eventlog.Log.
func (l *Log) Partitions() int { return l.cfg.Partitions }

// Info implements eventlog.Log.
func (l *Log) Info(ctx context.Context, partition int) (eventlog.Info, error) {
	if partition < 0 || partition >= l.cfg.Partitions {
		return eventlog.Info{}, fmt.Errorf("eventlog: no partition %d: there are %d", partition, l.cfg.Partitions)
	}
	if l.tail.isClosed() {
		return eventlog.Info{}, eventlog.ErrClosed
	}
	info, err := l.streamInfo(ctx)
	if err != nil {
		return eventlog.Info{}, err
	}
	first, err := l.firstKept(ctx, info.State.FirstSeq, partition)
	if err != nil {
		return eventlog.Info{}, err
	}
	_, h := l.tail.state(partition)
	return eventlog.Info{
		First:      min(first, h.next),
		Next:       h.next,
		LastOffset: eventlog.Offset(h.lastOffset),
		LastTime:   h.lastTime,
	}, nil
}

// firstKept gives the number of the oldest record of a partition when commit
// seq is the oldest one.
func (l *Log) firstKept(ctx context.Context, seq uint64, partition int) (int64, error) {
	l.firstMu.Lock()
	defer l.firstMu.Unlock()
	if l.firsts != nil && l.firstOf == seq {
		return l.firsts[partition], nil
	}
	durable, _ := l.tail.state(partition)
	for s := max(1, seq); s <= durable; s++ {
		at, c, err := l.loadNext(ctx, s)
		if errors.Is(err, errNotFound) || errors.As(err, new(*badCommitError)) {
			continue
		}
		if err != nil {
			return 0, err
		}
		firsts := make([]int64, l.cfg.Partitions)
		for p := range firsts {
			firsts[p] = c.begin(p)
		}
		if at == seq {
			l.firstOf, l.firsts = seq, firsts
		}
		return firsts[partition], nil
	}
	return math.MaxInt64, nil // nothing is kept
}

// begin gives the sequence number that partition p had before the commit.
func (c *commitView) begin(p int) int64 {
	if s, ok := c.section(p); ok {
		return s.first
	}
	return c.head(p).next
}

// Close implements eventlog.Log.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.closing.Store(true)
		l.cancel()
		l.done.Wait()
		l.a.mu.Lock()
		l.a.timer.Stop()
		if l.a.stop != eventlog.ErrClosed { //nolint:errorlint // a wrapped one says that records were lost while closing
			l.closeErr = l.a.stop
		}
		l.a.stop = eventlog.ErrClosed
		l.a.mu.Unlock()
		l.tail.close()
		l.saveMark(true)
		l.disconnect()
		l.m.close()
	})
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	for l.late > 0 {
		l.lateDone.Wait()
	}
	return l.closeErr
}
