package dir

import (
	"context"
	"crypto/md5" //nolint:gosec // what the interface asks for, not for secrecy
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
)

// Put implements blob.Writer.
func (s *Store) Put(ctx context.Context, ref blob.Ref, r io.Reader, o blob.WriteOptions) (blob.Properties, error) {
	f, err := s.files(ref)
	if err != nil {
		return blob.Properties{}, err
	}
	if err := s.hasContainer(ref.Container); err != nil {
		return blob.Properties{}, err
	}
	sum := md5.New() //nolint:gosec // see above
	tmp, size, err := s.receive(ctx, r, o.Limit, sum)
	if err != nil {
		return blob.Properties{}, err
	}
	if o.Headers.MD5 == nil {
		o.Headers.MD5 = sum.Sum(nil)
	}
	defer s.blobs.lock(ref)()
	p, err := s.publish(&f, tmp, &meta{Size: size}, o)
	if err != nil {
		s.root.Remove(tmp) //nolint:errcheck // gone, or the next start removes it
		return p, err
	}
	s.dropStage(ref)
	return p, nil
}

// publish makes content below tmp, which is durable, that of a blob. The
// caller holds the blob.
func (s *Store) publish(f *files, tmp string, m *meta, o blob.WriteOptions) (blob.Properties, error) {
	old, err := s.read(f)
	if err != nil && !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, blob.ErrDamaged) {
		return blob.Properties{}, s.failed(err)
	}
	if err := o.Condition.Check(etag(old)); err != nil {
		return blob.Properties{}, err
	}
	m.Content = newID()
	m.headers(&o.Headers)
	m.Metadata = o.Metadata
	if err := s.place(f, func() error { return s.root.Rename(tmp, f.content(m.Content)) }); err != nil {
		return blob.Properties{}, s.failed(err)
	}
	if err := s.describe(f, old, m); err != nil {
		s.root.RemoveAll(f.content(m.Content)) //nolint:errcheck // an orphan, swept later
		return blob.Properties{}, s.failed(err)
	}
	if old != nil {
		s.discard(f.content(old.Content))
	}
	return m.properties(), nil
}

// place puts an entry into the directory of a blob, which is made when it is
// missing, and makes it durable.
func (s *Store) place(f *files, put func() error) error {
	s.tree.RLock()
	err := s.makeDir(f.ref.Container, f.dir)
	if err == nil {
		err = put()
	}
	s.tree.RUnlock()
	if err != nil {
		return err
	}
	return s.syncDir(f.dir)
}

// describe puts the description of a blob in place of the old one: the moment
// in which a write happens. Its directory is there.
func (s *Store) describe(f *files, old, m *meta) error {
	m.Name, m.ETag = f.ref.Name, "0x"+strings.ToUpper(newID())
	m.Modified = time.Now().UnixNano()
	m.Created = m.Modified
	if old != nil {
		m.Created = old.Created
		m.Modified = max(m.Modified, old.Modified)
	}
	b, err := sealed(metaMark, m)
	if err != nil {
		return err
	}
	tmp := tmpDir + newID()
	if err := s.writeFile(tmp, b); err != nil {
		s.root.Remove(tmp) //nolint:errcheck // the next start does it
		return err
	}
	if err := s.root.Rename(tmp, f.meta()); err != nil {
		return err
	}
	return s.syncDir(f.dir)
}

// discard removes content that no description names any more, once nobody
// reads it. What cannot be removed is swept later.
func (s *Store) discard(path string) {
	if !s.pins.doom(path) {
		return
	}
	if err := s.root.RemoveAll(path); err != nil && !s.closed.Load() {
		s.cfg.Logger.Warn("content of a blob not removed, the next start will", slog.String("file", s.path(path)), slog.Any("error", err))
	}
}

// Commit implements blob.Writer.
func (s *Store) Commit(ctx context.Context, ref blob.Ref, list []blob.BlockRef, o blob.WriteOptions) (blob.Properties, error) {
	f, err := s.files(ref)
	if err != nil {
		return blob.Properties{}, err
	}
	if len(list) > blob.MaxBlocks {
		return blob.Properties{}, fmt.Errorf("%w: %d blocks, at most %d", blob.ErrTooMany, len(list), blob.MaxBlocks)
	}
	if err := s.hasContainer(ref.Container); err != nil {
		return blob.Properties{}, err
	}
	defer s.blobs.lock(ref)()
	old, err := s.read(&f)
	if err != nil && !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, blob.ErrDamaged) {
		return blob.Properties{}, s.failed(err)
	}
	if err := o.Condition.Check(etag(old)); err != nil {
		return blob.Properties{}, err
	}
	parts, size, err := s.parts(&f, old, list)
	if err != nil {
		return blob.Properties{}, err
	}
	if o.Limit > 0 && size > o.Limit {
		return blob.Properties{}, fmt.Errorf("%w of %d bytes: the blocks have %d", blob.ErrTooLarge, o.Limit, size)
	}
	tmp := tmpDir + newID()
	if err := s.gather(ctx, tmp, parts); err != nil {
		s.root.RemoveAll(tmp) //nolint:errcheck // the next start does it
		return blob.Properties{}, s.failed(err)
	}
	p, err := s.publish(&f, tmp, &meta{Size: size, Blocks: len(parts), Listed: true}, o)
	if err != nil {
		s.root.RemoveAll(tmp) //nolint:errcheck // gone, or the next start removes it
		return p, err
	}
	s.dropStage(ref)
	return p, nil
}

// part is a block to become part of a blob, and the file that has it.
type part struct {
	block blob.Block
	file  string
}

// parts finds the blocks of a list.
func (s *Store) parts(f *files, old *meta, list []blob.BlockRef) ([]part, int64, error) {
	staged := s.stage.blocks(f.ref)
	var committed map[string]part
	var size int64
	parts := make([]part, 0, len(list))
	for _, b := range list {
		p, ok := part{}, false
		if b.From != blob.Committed {
			if n, waits := staged[b.ID]; waits {
				p, ok = part{blob.Block{ID: b.ID, Size: n}, stagePath(f.ref) + stagedFile(b.ID)}, true
			}
		}
		if !ok && b.From != blob.Staged {
			if committed == nil {
				var err error
				if committed, err = s.committed(f, old); err != nil {
					return nil, 0, s.failed(err)
				}
			}
			p, ok = committed[b.ID]
		}
		if !ok {
			return nil, 0, fmt.Errorf("%w: %x", blob.ErrNoBlock, b.ID)
		}
		size += p.block.Size
		parts = append(parts, p)
	}
	return parts, size, nil
}

func (s *Store) committed(f *files, m *meta) (map[string]part, error) {
	found := map[string]part{}
	if m == nil {
		return found, nil
	}
	list, err := s.readBlocks(f, m)
	for i, b := range list {
		found[b.ID] = part{b, f.content(m.Content) + "/" + strconv.Itoa(i)}
	}
	return found, err
}

// gather makes a directory of the parts and makes it durable. It holds the
// same files, not copies, where the file system knows links: committing costs
// the same whatever the size is, and until it is done nothing is lost.
func (s *Store) gather(ctx context.Context, tmp string, parts []part) error {
	if len(parts) == 0 {
		return s.writeFile(tmp, nil)
	}
	if err := s.root.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	stored := make([]storedBlock, len(parts))
	links := true
	for i, p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := tmp + "/" + strconv.Itoa(i)
		if links {
			err := s.root.Link(p.file, to)
			if errors.Is(err, fs.ErrNotExist) {
				return s.contentError(p.file, err)
			}
			links = err == nil
		}
		if !links {
			if err := s.duplicate(ctx, p.file, to); err != nil {
				return err
			}
		}
		stored[i] = storedBlock{[]byte(p.block.ID), p.block.Size}
	}
	b, err := sealed(blocksMark, stored)
	if err != nil {
		return err
	}
	if err := s.writeFile(tmp+"/"+blocksFile, b); err != nil {
		return err
	}
	return s.syncDir(tmp)
}

func (s *Store) duplicate(ctx context.Context, from, to string) error {
	r, err := s.root.Open(from)
	if err != nil {
		return s.contentError(from, err)
	}
	defer r.Close()
	w, err := s.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = s.copy(ctx, w, r, 0, nil)
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// Update implements blob.Writer.
func (s *Store) Update(_ context.Context, ref blob.Ref, h *blob.Headers, metadata map[string]string, c blob.Condition) (blob.Properties, error) {
	f, err := s.files(ref)
	if err != nil {
		return blob.Properties{}, err
	}
	defer s.blobs.lock(ref)()
	old, err := s.read(&f)
	if err != nil {
		return blob.Properties{}, s.failed(err)
	}
	if err := c.Check(old.ETag); err != nil {
		return blob.Properties{}, err
	}
	m := *old
	if h != nil {
		m.headers(h)
	}
	if metadata != nil {
		m.Metadata = metadata
	}
	if err := s.describe(&f, old, &m); err != nil {
		return blob.Properties{}, s.failed(err)
	}
	return m.properties(), nil
}

// Delete implements blob.Writer.
func (s *Store) Delete(_ context.Context, ref blob.Ref, c blob.Condition) error {
	f, err := s.files(ref)
	if err != nil {
		return err
	}
	defer s.blobs.lock(ref)()
	old, err := s.read(&f)
	if err != nil && !errors.Is(err, blob.ErrDamaged) {
		return s.failed(err)
	}
	if err := c.Check(etag(old)); err != nil && old != nil {
		return err
	}
	if err := s.root.Remove(f.meta()); err != nil {
		return s.failed(err)
	}
	if err := s.syncDir(f.dir); err != nil {
		return s.failed(err)
	}
	if old != nil {
		s.discard(f.content(old.Content))
	}
	s.dropStage(ref)
	s.prune(&f)
	return nil
}
