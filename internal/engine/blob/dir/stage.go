package dir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"dunlin/internal/engine/blob"
)

// stages are the blocks that wait, by blob: what the directory staged holds.
type stages struct {
	mu    sync.Mutex
	of    map[blob.Ref]*stage
	bytes int64
}

type stage struct {
	blocks map[string]int64 // sizes by id
	bytes  int64
	last   time.Time // when the last one came
}

// total gives the bytes that wait.
func (g *stages) total() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bytes
}

// blocks gives the blocks of a blob. The caller holds the blob, so that they
// do not change.
func (g *stages) blocks(ref blob.Ref) map[string]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k := g.of[ref]; k != nil {
		return k.blocks
	}
	return nil
}

// admit answers why a block cannot be added.
func (g *stages) admit(ref blob.Ref, id string, size, limit int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.of[ref]
	if k == nil {
		return nil
	}
	for have := range k.blocks {
		if len(have) != len(id) {
			return fmt.Errorf("%w: %d bytes, others have %d", blob.ErrBlockID, len(id), len(have))
		}
		break
	}
	old, there := k.blocks[id]
	switch {
	case !there && len(k.blocks) >= blob.MaxBlocks:
		return fmt.Errorf("%w: at most %d", blob.ErrTooMany, blob.MaxBlocks)
	case limit > 0 && k.bytes-old+size > limit:
		return fmt.Errorf("%w of %d bytes: the blocks that wait have %d", blob.ErrTooLarge, limit, k.bytes-old+size)
	}
	return nil
}

func (g *stages) add(ref blob.Ref, id string, size int64, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.of[ref]
	if k == nil {
		k = &stage{blocks: map[string]int64{}}
		g.of[ref] = k
	}
	more := size - k.blocks[id]
	k.blocks[id] = size
	k.bytes += more
	g.bytes += more
	if k.last.Before(now) {
		k.last = now
	}
}

func (g *stages) drop(ref blob.Ref) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.of[ref]
	if k != nil {
		g.bytes -= k.bytes
		delete(g.of, ref)
	}
	return k != nil
}

// overdue lists the blobs whose last block came before a time.
func (g *stages) overdue(before time.Time) []blob.Ref {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []blob.Ref
	for ref, k := range g.of {
		if k.last.Before(before) {
			list = append(list, ref)
		}
	}
	return list
}

// stagePath is the directory of the blocks that wait for a blob.
func stagePath(ref blob.Ref) string {
	sum := sha256.Sum256([]byte(ref.Name))
	return stagedDir + ref.Container + "/" + hex.EncodeToString(sum[:16]) + "/"
}

// stagedFile is the file of a block.
func stagedFile(id string) string { return "b" + hex.EncodeToString([]byte(id)) }

// Stage implements blob.Writer.
func (s *Store) Stage(ctx context.Context, ref blob.Ref, id string, r io.Reader, limit int64) (int64, error) {
	if _, err := s.files(ref); err != nil {
		return 0, err
	}
	if id == "" || len(id) > blob.MaxBlockID {
		return 0, fmt.Errorf("%w: %d bytes, allowed are 1 to %d", blob.ErrBlockID, len(id), blob.MaxBlockID)
	}
	if err := s.hasContainer(ref.Container); err != nil {
		return 0, err
	}
	// What cannot be taken need not be received.
	if err := s.stage.admit(ref, id, 0, limit); err != nil {
		return 0, err
	}
	tmp, size, err := s.receive(ctx, r, limit, nil)
	if err != nil {
		return 0, err
	}
	defer s.blobs.lock(ref)()
	if err = s.stage.admit(ref, id, size, limit); err == nil {
		err = s.failed(s.keep(ref, id, tmp))
	}
	if err != nil {
		s.root.Remove(tmp) //nolint:errcheck // gone, or the next start removes it
		return 0, err
	}
	s.stage.add(ref, id, size, time.Now())
	return size, nil
}

// keep puts a block among those that wait and makes that durable.
func (s *Store) keep(ref blob.Ref, id, tmp string) error {
	path := stagePath(ref)
	if s.stage.blocks(ref) == nil {
		if err := s.root.MkdirAll(strings.TrimSuffix(path, "/"), 0o700); err != nil {
			return err
		}
		if err := s.writeFile(path+nameFile, []byte(ref.Name)); err != nil {
			return err
		}
		for _, d := range []string{stagedDir + ref.Container, stagedDir} {
			if err := s.syncDir(d); err != nil {
				return err
			}
		}
	}
	if err := s.root.Rename(tmp, path+stagedFile(id)); err != nil {
		return err
	}
	return s.syncDir(path)
}

// dropStage drops the blocks that wait for a blob. The caller holds the blob.
func (s *Store) dropStage(ref blob.Ref) {
	if !s.stage.drop(ref) {
		return
	}
	path := stagePath(ref)
	if err := s.root.RemoveAll(strings.TrimSuffix(path, "/")); err != nil && !s.closed.Load() {
		s.cfg.Logger.Warn("blocks of a blob not removed, the next start will", slog.String("file", s.path(path)), slog.Any("error", err))
	}
}

// loadStaged reads which blocks wait.
func (s *Store) loadStaged() error {
	containers, err := s.entries(stagedDir)
	if err != nil {
		return err
	}
	for _, c := range containers {
		blobs, err := s.entries(stagedDir + c.Name())
		if err != nil {
			return err
		}
		for _, b := range blobs {
			if err := s.loadStage(c.Name(), stagedDir+c.Name()+"/"+b.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) loadStage(container, path string) error {
	name, err := s.root.ReadFile(path + "/" + nameFile)
	ref := blob.Ref{Container: container, Name: string(name)}
	if errors.Is(err, fs.ErrNotExist) || err == nil && stagePath(ref) != path+"/" {
		return s.root.RemoveAll(path) // it was being made, or removed
	}
	if err != nil {
		return err
	}
	list, err := s.entries(path)
	if err != nil {
		return err
	}
	kept := false
	for _, e := range list {
		text, ok := strings.CutPrefix(e.Name(), "b")
		id, err := hex.DecodeString(text)
		if !ok || err != nil || e.Name() == blocksFile {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.stage.add(ref, string(id), info.Size(), info.ModTime())
		kept = true
	}
	if !kept {
		return s.root.RemoveAll(path)
	}
	return nil
}
