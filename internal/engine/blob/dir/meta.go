package dir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
)

// meta is the description of a blob, the file b.NAME: a line with a checksum,
// then JSON.
type meta struct {
	Name     string            `json:"name"`
	Content  string            `json:"content"` // ID of its file or directory
	Size     int64             `json:"size"`
	Blocks   int               `json:"blocks,omitempty"` // number of files in the directory; 0: content is a file
	Listed   bool              `json:"listed,omitempty"` // committed from blocks
	ETag     string            `json:"etag"`
	Created  int64             `json:"created"` // Unix nanoseconds, as modified
	Modified int64             `json:"modified"`
	Type     string            `json:"contentType,omitempty"`
	Encoding string            `json:"contentEncoding,omitempty"`
	Language string            `json:"contentLanguage,omitempty"`
	Disposal string            `json:"contentDisposition,omitempty"`
	Cache    string            `json:"cacheControl,omitempty"`
	MD5      []byte            `json:"md5,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func (m *meta) headers(h *blob.Headers) {
	m.Type, m.Encoding, m.Language, m.Disposal, m.Cache, m.MD5 = h.ContentType, h.ContentEncoding, h.ContentLanguage, h.ContentDisposition, h.CacheControl, h.MD5
}

func (m *meta) properties() blob.Properties {
	return blob.Properties{
		ETag: m.ETag, Created: time.Unix(0, m.Created).UTC(), Modified: time.Unix(0, m.Modified).UTC(), Size: m.Size, Blocks: m.Listed,
		Headers: blob.Headers{
			ContentType: m.Type, ContentEncoding: m.Encoding, ContentLanguage: m.Language, ContentDisposition: m.Disposal, CacheControl: m.Cache, MD5: m.MD5,
		},
		Metadata: m.Metadata,
	}
}

// Files of this engine begin with what they are and the checksum of the rest.
const (
	metaMark   = "dunlin-blob 1 "
	blocksMark = "dunlin-blob-blocks 1 "
)

// sealed puts the line with the checksum before a JSON text.
func sealed(mark string, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "%s%08x\n", mark, checksum(text)), text...), nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func unseal(mark string, b []byte, v any) error {
	line, text, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || string(line) != fmt.Sprintf("%s%08x", mark, checksum(text)) {
		return errors.New("the checksum does not match")
	}
	return json.Unmarshal(text, v)
}

// files are where a blob is, relative to the root.
type files struct {
	ref   blob.Ref
	dir   string // of its entries; ends in a slash
	piece string
}

func (s *Store) files(ref blob.Ref) (files, error) {
	if !blob.ValidContainer(ref.Container) {
		return files{}, fmt.Errorf("%w: container %.80q", blob.ErrName, ref.Container)
	}
	if !blob.ValidName(ref.Name) {
		return files{}, fmt.Errorf("%w: %.80q", blob.ErrName, ref.Name)
	}
	d, piece := place(ref.Name)
	return files{ref, blobsDir + ref.Container + "/" + d, piece}, nil
}

func (f *files) meta() string { return f.dir + blobMark + f.piece }

func (f *files) content(id string) string { return f.dir + contentMark + f.piece + "." + id }

// read reads the description of a blob; ErrNotFound, or ErrNoContainer, when
// there is none.
func (s *Store) read(f *files) (*meta, error) {
	m, err := s.readMeta(f.meta())
	switch {
	case err == nil && m.Name != f.ref.Name:
		return nil, fmt.Errorf("%w: %s describes another blob", blob.ErrDamaged, s.path(f.meta()))
	case !errors.Is(err, fs.ErrNotExist):
		return m, err
	}
	if _, err := s.root.Lstat(blobsDir + f.ref.Container); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", blob.ErrNoContainer, f.ref.Container)
	}
	return nil, fmt.Errorf("%w: %s/%.200q", blob.ErrNotFound, f.ref.Container, f.ref.Name)
}

func (s *Store) readMeta(path string) (*meta, error) {
	b, err := s.root.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &meta{}
	if err := unseal(metaMark, b, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; remedy: upload it anew or delete it", blob.ErrDamaged, s.path(path), err)
	}
	return m, nil
}

// etag of a blob, empty when there is none.
func etag(m *meta) string {
	if m == nil {
		return ""
	}
	return m.ETag
}

// readBlocks reads the list of the blocks in a directory of content.
func (s *Store) readBlocks(f *files, m *meta) ([]blob.Block, error) {
	if m.Blocks == 0 {
		return nil, nil
	}
	path := f.content(m.Content) + "/" + blocksFile
	b, err := s.root.ReadFile(path)
	if err != nil {
		return nil, s.contentError(path, err)
	}
	var stored []storedBlock
	if err := unseal(blocksMark, b, &stored); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; remedy: upload the blob anew", blob.ErrDamaged, s.path(path), err)
	}
	if len(stored) != m.Blocks {
		return nil, fmt.Errorf("%w: %s names %d blocks of %d; remedy: upload the blob anew", blob.ErrDamaged, s.path(path), len(stored), m.Blocks)
	}
	list := make([]blob.Block, len(stored))
	for i := range stored {
		list[i] = blob.Block{ID: string(stored[i].ID), Size: stored[i].Size}
	}
	return list, nil
}

// storedBlock is an entry of the list of blocks.
type storedBlock struct {
	ID   []byte `json:"id"`
	Size int64  `json:"size"`
}

// contentError tells content that is missing from other failures.
func (s *Store) contentError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing; remedy: upload the blob anew or delete it", blob.ErrDamaged, s.path(path))
	}
	return err
}

// contentID takes the ID off the name of a content entry; ok is false for
// other entries.
func contentID(entry string) (piece, id string, ok bool) {
	rest, ok := strings.CutPrefix(entry, contentMark)
	at := strings.LastIndexByte(rest, '.')
	if !ok || at < 0 {
		return "", "", false
	}
	return rest[:at], rest[at+1:], true
}
