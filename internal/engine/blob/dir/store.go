package dir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob"
)

// Config says where blobs are kept.
type Config struct {
	// Path is the directory. It is made when it is missing.
	Path string
	// StagedFor is how long blocks wait to be committed, counted from the last
	// one of their blob; a day by default.
	StagedFor time.Duration
	// Reserve is what is left free on the disk, in bytes: a write that finds
	// less is refused. Default: 512 MiB, or a tenth of a smaller disk.
	Reserve    int64
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// The layout of the directory.
const (
	formatFile = "format"
	formatText = "dunlin-blobs 1\n"
	openFile   = "open" // there while the store is open, and after it was killed
	blobsDir   = "blobs/"
	stagedDir  = "staged/"
	tmpDir     = "tmp/"
	blocksFile = "blocks"
	nameFile   = "name"
)

const (
	defaultStagedFor = 24 * time.Hour
	defaultReserve   = 512 << 20
	copyBuffer       = 128 << 10
	spaceCheck       = 16 << 20 // bytes written between two looks at the free space
)

// Store is an open directory.
type Store struct {
	cfg     Config
	root    *os.Root
	killed  bool // the last process did not close it
	closed  atomic.Bool
	buffers sync.Pool
	metrics *metrics

	blobs locks
	pins  pins
	// tree is held for reading while an entry is put into a directory that
	// was made for it, for writing while empty directories are removed.
	tree sync.RWMutex
	// making is held while directories are made, until they are durable.
	making sync.Mutex

	stage stages
}

var _ blob.Store = (*Store)(nil)

// Open opens the directory. Run is to be called with it, Close ends it.
func Open(_ context.Context, cfg Config) (*Store, error) {
	if cfg.StagedFor <= 0 {
		cfg.StagedFor = defaultStagedFor
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Path, 0o700); err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	root, err := os.OpenRoot(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	s := &Store{
		cfg: cfg, root: root,
		blobs: locks{held: map[blob.Ref]*lock{}}, pins: pins{held: map[string]*pin{}}, stage: stages{of: map[blob.Ref]*stage{}},
	}
	s.buffers.New = func() any { b := make([]byte, copyBuffer); return &b }
	if err := s.prepare(); err != nil {
		root.Close() //nolint:errcheck // the error before counts
		return nil, fmt.Errorf("blobs: %s: %w", cfg.Path, err)
	}
	s.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(s.stage.total()) })
	return s, nil
}

// prepare makes the directory ready, and drops what an earlier process was
// writing when it was killed.
func (s *Store) prepare() error {
	switch text, err := s.root.ReadFile(formatFile); {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.begin(); err != nil {
			return err
		}
	case err != nil:
		return err
	case string(text) != formatText:
		return fmt.Errorf("the file %s says %.40q: this version reads %q", formatFile, text, strings.TrimSpace(formatText))
	}
	if _, err := s.root.Lstat(openFile); err == nil {
		s.killed = true
	}
	if err := s.root.RemoveAll(strings.TrimSuffix(tmpDir, "/")); err != nil {
		return err
	}
	for _, d := range []string{blobsDir, stagedDir, tmpDir} {
		if err := s.root.MkdirAll(strings.TrimSuffix(d, "/"), 0o700); err != nil {
			return err
		}
	}
	if err := s.writeFile(openFile, nil); err != nil {
		return err
	}
	if err := s.syncDir("."); err != nil {
		return err
	}
	return s.loadStaged()
}

// begin marks a new directory. It takes none that holds something else.
func (s *Store) begin() error {
	list, err := s.entries(".")
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() != formatFile+".new" {
			return fmt.Errorf("it holds %s and no file %s: give an empty directory", e.Name(), formatFile)
		}
	}
	if err := s.writeFile(formatFile+".new", []byte(formatText)); err != nil {
		return err
	}
	return s.root.Rename(formatFile+".new", formatFile)
}

// Close ends the store. Writes that run on fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return errors.Join(s.root.Remove(openFile), s.root.Close())
}

// path names a file for people.
func (s *Store) path(name string) string { return filepath.Join(s.cfg.Path, filepath.FromSlash(name)) }

// failed turns errors of the file system into those of the contract.
func (s *Store) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load():
		return blob.ErrClosed
	case isFull(err):
		return fmt.Errorf("%w: %s: %w", blob.ErrFull, s.cfg.Path, err)
	}
	return err
}

func (s *Store) entries(dir string) ([]fs.DirEntry, error) {
	f, err := s.root.Open(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

func (s *Store) writeFile(name string, content []byte) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the entries of a directory durable.
func (s *Store) syncDir(dir string) error {
	f, err := s.root.Open(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// MakeContainer implements blob.Writer.
func (s *Store) MakeContainer(_ context.Context, container string) error {
	if !blob.ValidContainer(container) {
		return fmt.Errorf("%w: container %.80q", blob.ErrName, container)
	}
	s.making.Lock()
	defer s.making.Unlock()
	err := s.root.Mkdir(blobsDir+container, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = s.syncDir(blobsDir)
	}
	return s.failed(err)
}

// Containers implements blob.Reader.
func (s *Store) Containers(context.Context) ([]string, error) {
	list, err := s.entries(blobsDir)
	if err != nil {
		return nil, s.failed(err)
	}
	var names []string
	for _, e := range list {
		if e.IsDir() && blob.ValidContainer(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *Store) hasContainer(container string) error {
	if !blob.ValidContainer(container) {
		return fmt.Errorf("%w: container %.80q", blob.ErrName, container)
	}
	if _, err := s.root.Lstat(blobsDir + container); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s", blob.ErrNoContainer, container)
		}
		return s.failed(err)
	}
	return nil
}

// makeDir makes a directory below a container and makes it durable. The
// caller holds tree for reading.
func (s *Store) makeDir(container, dir string) error {
	if _, err := s.root.Lstat(strings.TrimSuffix(dir, "/")); err == nil {
		return nil
	}
	if err := s.hasContainer(container); err != nil {
		return err
	}
	s.making.Lock()
	defer s.making.Unlock()
	parent := blobsDir + container
	for part := range strings.SplitSeq(strings.TrimSuffix(dir[len(parent)+1:], "/"), "/") {
		if part == "" {
			break
		}
		switch err := s.root.Mkdir(parent+"/"+part, 0o700); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return err
		default:
			if err := s.syncDir(parent); err != nil {
				return err
			}
		}
		parent += "/" + part
	}
	return nil
}

// prune removes directories that have become empty, up to the container.
func (s *Store) prune(f *files) {
	s.tree.Lock()
	defer s.tree.Unlock()
	top := blobsDir + f.ref.Container
	for d := strings.TrimSuffix(f.dir, "/"); len(d) > len(top); d = d[:strings.LastIndexByte(d, '/')] {
		if s.root.Remove(d) != nil {
			return // it is not empty
		}
	}
}

// receive writes a stream to a new file below tmp and makes it durable. seen
// hears of all bytes. room is asked now and then whether it may go on.
func (s *Store) receive(ctx context.Context, r io.Reader, limit int64, seen io.Writer) (name string, size int64, err error) {
	if err := s.room(); err != nil {
		return "", 0, err
	}
	name = tmpDir + newID()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, s.failed(err)
	}
	size, err = s.copy(ctx, f, r, limit, seen)
	if err == nil {
		err = s.failed(f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		s.root.Remove(name) //nolint:errcheck // the next start does it
		return "", 0, err
	}
	s.metrics.written.Add(float64(size))
	return name, size, nil
}

func (s *Store) copy(ctx context.Context, w io.Writer, r io.Reader, limit int64, seen io.Writer) (size int64, err error) {
	p := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(p)
	next := int64(spaceCheck)
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, rerr := r.Read(*p)
		size += int64(n)
		if limit > 0 && size > limit {
			return size, fmt.Errorf("%w of %d bytes", blob.ErrTooLarge, limit)
		}
		if _, err := w.Write((*p)[:n]); err != nil {
			return size, s.failed(err)
		}
		if seen != nil {
			seen.Write((*p)[:n]) //nolint:errcheck // a hash takes all
		}
		if size >= next {
			if err := s.room(); err != nil {
				return size, err
			}
			next = size + spaceCheck
		}
		switch {
		case rerr == io.EOF: // not what wraps it: only the very end is the end
			return size, nil
		case rerr != nil:
			return size, rerr
		}
	}
}

// room refuses to take the last of the disk, which other parts of the instance
// may need more.
func (s *Store) room() error {
	if s.closed.Load() {
		return blob.ErrClosed
	}
	free, total, err := diskSpace(s.cfg.Path)
	if err != nil {
		return nil //nolint:nilerr // writes find out
	}
	reserve := s.cfg.Reserve
	if reserve == 0 {
		reserve = min(defaultReserve, total/10)
	}
	if free >= reserve {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes free, and %d are kept for other parts of the instance", blob.ErrFull, s.cfg.Path, free, reserve)
}
