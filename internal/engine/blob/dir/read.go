package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"dunlin/internal/engine/blob"
)

// Head implements blob.Reader.
func (s *Store) Head(_ context.Context, ref blob.Ref) (blob.Properties, error) {
	f, err := s.files(ref)
	if err != nil {
		return blob.Properties{}, err
	}
	m, err := s.read(&f)
	if err != nil {
		return blob.Properties{}, s.failed(err)
	}
	return m.properties(), nil
}

// Blocks implements blob.Reader.
func (s *Store) Blocks(_ context.Context, ref blob.Ref) (p blob.Properties, committed, staged []blob.Block, err error) {
	f, err := s.files(ref)
	if err != nil {
		return p, nil, nil, err
	}
	defer s.blobs.lock(ref)()
	for id, size := range s.stage.blocks(ref) {
		staged = append(staged, blob.Block{ID: id, Size: size})
	}
	slices.SortFunc(staged, func(a, b blob.Block) int { return strings.Compare(a.ID, b.ID) })
	m, err := s.read(&f)
	if errors.Is(err, blob.ErrNotFound) && staged != nil {
		return p, nil, staged, nil
	}
	if err != nil {
		return p, nil, nil, s.failed(err)
	}
	committed, err = s.readBlocks(&f, m)
	return m.properties(), committed, staged, s.failed(err)
}

// Open implements blob.Reader.
func (s *Store) Open(_ context.Context, ref blob.Ref, offset, length int64) (blob.Properties, io.ReadCloser, error) {
	f, err := s.files(ref)
	if err != nil {
		return blob.Properties{}, nil, err
	}
	m, err := s.pin(&f)
	if err != nil {
		return blob.Properties{}, nil, s.failed(err)
	}
	if offset < 0 {
		offset = 0
	}
	left := max(0, m.Size-offset)
	if length >= 0 {
		left = min(left, length)
	}
	b := &body{s: s, files: f, path: f.content(m.Content), left: left}
	if err := b.seek(&f, m, offset); err != nil {
		b.Close() //nolint:errcheck // it has nothing to say
		return blob.Properties{}, nil, s.failed(err)
	}
	return m.properties(), b, nil
}

// pin reads the description of a blob and keeps its content from going.
func (s *Store) pin(f *files) (*meta, error) {
	defer s.blobs.lock(f.ref)()
	m, err := s.read(f)
	if err != nil {
		return nil, err
	}
	s.pins.add(f.content(m.Content))
	return m, nil
}

// body reads the content of one version of a blob.
type body struct {
	s      *Store
	files  files
	path   string       // of the content
	blocks []blob.Block // those not opened yet
	next   int          // number of the first of them
	file   *os.File
	left   int64
	closed bool
}

// seek opens the file that holds the offset.
func (b *body) seek(f *files, m *meta, offset int64) error {
	if b.left == 0 {
		return nil
	}
	if m.Blocks == 0 {
		return b.open(b.path, m.Size, offset)
	}
	list, err := b.s.readBlocks(f, m)
	if err != nil {
		return err
	}
	i := 0
	for ; i < len(list)-1 && offset >= list[i].Size; i++ {
		offset -= list[i].Size
	}
	b.blocks, b.next = list[i:], i
	return b.openBlock(offset)
}

func (b *body) openBlock(offset int64) error {
	size := b.blocks[0].Size
	path := b.path + "/" + strconv.Itoa(b.next)
	b.blocks, b.next = b.blocks[1:], b.next+1
	return b.open(path, size, offset)
}

// open opens a file that must have a size.
func (b *body) open(path string, size, offset int64) error {
	f, err := b.s.root.Open(path)
	if err != nil {
		return b.s.contentError(path, err)
	}
	b.file = f
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("%w: %s has %d bytes, it had %d; remedy: upload the blob anew", blob.ErrDamaged, b.s.path(path), info.Size(), size)
	}
	if err == nil && offset > 0 {
		_, err = f.Seek(offset, io.SeekStart)
	}
	return err
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for {
		if b.left == 0 {
			return 0, io.EOF
		}
		if int64(len(p)) > b.left {
			p = p[:b.left]
		}
		n, err := b.file.Read(p)
		b.left -= int64(n)
		b.s.metrics.read.Add(float64(n))
		if n > 0 || err == nil {
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return 0, b.s.failed(err)
		}
		if len(b.blocks) == 0 {
			return 0, fmt.Errorf("%w: %s ends too early", blob.ErrDamaged, b.s.path(b.path))
		}
		b.file.Close()
		if err := b.openBlock(0); err != nil {
			return 0, b.s.failed(err)
		}
	}
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.file != nil {
		b.file.Close()
	}
	if b.s.pins.drop(b.path) {
		b.s.discard(b.path)
		b.s.prune(&b.files)
	}
	return nil
}
