package dir

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
)

const sweepEvery = 10 * time.Minute

// Run does what the store does by itself until ctx ends: after a process that
// was killed it removes content that belongs to no blob, and from time to time
// blocks that nobody has committed.
func (s *Store) Run(ctx context.Context) error {
	if s.killed {
		n, err := s.sweep(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.cfg.Logger.Error("content that belongs to no blob not looked for", slog.Any("error", err))
		case n > 0:
			s.cfg.Logger.Info("removed content that belonged to no blob", slog.Int("files", n))
		}
	}
	t := time.NewTicker(min(sweepEvery, s.cfg.StagedFor))
	defer t.Stop()
	for {
		s.expire(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// expire drops blocks that have waited too long.
func (s *Store) expire(now time.Time) {
	before := now.Add(-s.cfg.StagedFor)
	for _, ref := range s.stage.overdue(before) {
		func() {
			defer s.blobs.lock(ref)()
			for _, still := range s.stage.overdue(before) {
				if still == ref {
					s.dropStage(ref)
					s.metrics.expired.Inc()
				}
			}
		}()
	}
}

// sweep removes content that no description names, and counts it. It is
// called after a process was killed between the two.
func (s *Store) sweep(ctx context.Context) (int, error) {
	containers, err := s.Containers(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, c := range containers {
		n, err := s.sweepDir(ctx, blob.Ref{Container: c}, blobsDir+c+"/")
		if sum += n; err != nil {
			return sum, err
		}
	}
	s.metrics.swept.Add(float64(sum))
	return sum, nil
}

// sweepDir sweeps a directory of the names that begin with at.Name.
func (s *Store) sweepDir(ctx context.Context, at blob.Ref, path string) (int, error) {
	list, err := s.entries(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		n := 0
		if piece, id, ok := contentID(e.Name()); ok {
			n, err = s.sweepContent(at, piece, id)
		} else if k, ok := parseEntry(e.Name(), at.Name); ok && k.mark != blobMark {
			n, err = s.sweepDir(ctx, blob.Ref{Container: at.Container, Name: k.key}, path+e.Name()+"/")
		}
		if sum += n; err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (s *Store) sweepContent(at blob.Ref, piece, id string) (int, error) {
	name, err := unescape(piece)
	if err != nil {
		return 0, nil // it is not ours
	}
	f, err := s.files(blob.Ref{Container: at.Container, Name: at.Name + name})
	if err != nil {
		return 0, nil // it is not ours
	}
	defer s.blobs.lock(f.ref)()
	m, err := s.read(&f)
	switch {
	case errors.Is(err, blob.ErrDamaged):
		return 0, nil // somebody may want to look at it
	case err != nil && !errors.Is(err, blob.ErrNotFound):
		return 0, err
	case m != nil && m.Content == id:
		return 0, nil
	}
	s.discard(f.content(id))
	return 1, nil
}

// entry is an entry of a directory, by the names that it stands for.
type entry struct {
	mark string // blobMark, dirMark or longMark
	// key is the name of a blob, else what the names below begin with.
	key  string
	file string
}

// parseEntry reads an entry of the directory of names that begin with base.
func parseEntry(file, base string) (entry, bool) {
	for _, mark := range [...]string{blobMark, dirMark, longMark} {
		piece, ok := strings.CutPrefix(file, mark)
		if !ok {
			continue
		}
		text, err := unescape(piece)
		if err != nil {
			return entry{}, false
		}
		k := entry{mark, base + text, file}
		if mark == dirMark {
			k.key += "/"
		}
		return k, true
	}
	return entry{}, false
}
