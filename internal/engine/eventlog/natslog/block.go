package natslog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/highwayhash"
)

// The embedded server cuts a block file off at the first record that it
// cannot read, and so throws away the sound ones behind it. So the log looks
// at the block files before the server does, and takes damaged records out
// one by one; the original goes to the directory "damaged".
//
// A record of a block file, little endian: uint32 length of the whole record
// (highest bit: there is a message header), uint64 number (two highest bits
// are flags), int64 time, uint16 length of the subject; then the subject,
// uint32 length of the header and the header if there is one, the body, and
// a 64-bit hash of all but the three lengths.
const (
	blockHeader = 22
	blockHash   = 8
	headerBit   = 1 << 31
	flagBits    = 3 << 62

	// How long a start may look at old blocks, newest first.
	cleanBudget = 150 * time.Millisecond // after an orderly end
	crashBudget = time.Second
)

// damagedDir is where originals of repaired block files go.
func damagedDir(dir string) string { return filepath.Join(dir, "damaged") }

// mender looks for damage in the block files of one stream.
type mender struct {
	dir     string // of the log
	stream  string
	subject string
	clean   bool // the log was closed in order: no record is half written
	log     *slog.Logger
}

// mend repairs what is damaged. tail says that the newest record may be
// among what was lost.
func (m *mender) mend() (tail bool, err error) {
	budget := crashBudget
	if m.clean {
		budget = cleanBudget
	}
	dir := filepath.Join(storeDir(m.dir, m.stream), "msgs")
	blocks := blockFiles(dir)
	start := time.Now()
	mended := false
	var buf bytes.Buffer
	for i, name := range slices.Backward(blocks) {
		if time.Since(start) > budget {
			m.log.Debug("older blocks of the event log not checked at this start", slog.String("dir", dir), slog.Int("blocks", i+1))
			break
		}
		buf.Reset()
		if err := readFile(&buf, name); err != nil {
			return false, fmt.Errorf("cannot read the event log: %w", err)
		}
		b := buf.Bytes()
		newest := i == len(blocks)-1
		good, lost, tailLost := m.examine(b, name, newest)
		if lost == 0 {
			continue
		}
		kept, err := m.replace(name, good)
		if err != nil {
			return false, fmt.Errorf("%s: damaged, and cannot be repaired: %w", name, err)
		}
		mended = true
		tail = tail || tailLost
		m.log.Error("damaged records in the event log: they are left out, all others stay readable",
			slog.String("file", name), slog.Int("damaged_places", lost), slog.Int("bytes_lost", len(b)-len(good)), slog.String("original", kept),
			slog.String("remedy", "restore the data directory from a backup if these records are needed"))
	}
	if mended {
		// The index of the store does not fit any more; it is made anew.
		if err := os.Remove(filepath.Join(dir, "index.db")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	return tail, nil
}

func readFile(dst *bytes.Buffer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = dst.ReadFrom(f)
	return err
}

// examine gives the sound records of a block. What a crash leaves behind the
// last record of the newest block is not damage: the server cuts it off.
func (m *mender) examine(b []byte, name string, newest bool) (good []byte, lost int, tail bool) {
	index := strings.TrimSuffix(filepath.Base(name), ".blk")
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%s", m.stream, index))
	h, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return b, 0, false
	}
	good = b[:0:0]
	from := 0 // of the stretch of sound records that is not in good yet
	for at := 0; at < len(b); {
		n := soundRecord(b[at:], h)
		if n > 0 {
			at += n
			continue
		}
		next := m.resync(b, at+1, h)
		if next < 0 && newest && !m.clean && torn(b[at:], h) {
			break
		}
		lost++
		good = append(good, b[from:at]...)
		if next < 0 {
			return good, lost, newest
		}
		at, from = next, next
	}
	if lost > 0 {
		good = append(good, b[from:]...)
	}
	return good, lost, false
}

// soundRecord gives the length of the record at the start of b, 0 when there
// is no sound one.
func soundRecord(b []byte, h hash.Hash64) int {
	if len(b) < blockHeader+blockHash {
		return 0
	}
	length := le.Uint32(b)
	n, subject := int(length&^headerBit), int(le.Uint16(b[20:]))
	skip := blockHeader + subject
	if length&headerBit != 0 {
		skip += 4
	}
	if n > len(b) || n < skip+blockHash {
		return 0
	}
	if length&headerBit != 0 {
		if header := le.Uint32(b[skip-4:]); uint64(header) > uint64(n-skip-blockHash) {
			return 0
		}
	}
	var sum [blockHash]byte
	h.Reset()
	h.Write(b[4:20])
	h.Write(b[blockHeader : blockHeader+subject])
	h.Write(b[skip : n-blockHash])
	if !bytes.Equal(h.Sum(sum[:0]), b[n-blockHash:n]) {
		return 0
	}
	return n
}

// resync finds the next sound record at or after from, or -1.
func (m *mender) resync(b []byte, from int, h hash.Hash64) int {
	subject := []byte(m.subject)
	for at := from + blockHeader; at < len(b); {
		i := bytes.Index(b[min(at, len(b)):], subject)
		if i < 0 {
			return -1
		}
		start := at + i - blockHeader
		if int(le.Uint16(b[start+20:])) == len(subject) && soundRecord(b[start:], h) > 0 {
			return start
		}
		at += i + 1
	}
	return -1
}

// torn tells whether b looks like a record that was not written to its end:
// longer than the file, or nothing but zeros.
func torn(b []byte, h hash.Hash64) bool {
	if len(b) < blockHeader || len(bytes.TrimLeft(b, "\x00")) == 0 {
		return true
	}
	length := le.Uint32(b)
	if int(length&^headerBit) <= len(b) {
		return false
	}
	// It may be whole and only its length be wrong.
	whole := bytes.Clone(b)
	le.PutUint32(whole, length&headerBit|uint32(len(b)))
	return soundRecord(whole, h) == 0
}

// replace puts good in the place of a block file and keeps the original.
func (m *mender) replace(name string, good []byte) (kept string, err error) {
	if err := os.MkdirAll(damagedDir(m.dir), 0o700); err != nil {
		return "", err
	}
	kept = filepath.Join(damagedDir(m.dir), fmt.Sprintf("%s-%s.%s", m.stream, filepath.Base(name), time.Now().UTC().Format("20060102T150405.000000")))
	tmp := filepath.Join(damagedDir(m.dir), "new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(good)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := os.Link(name, kept); err != nil {
		return "", err
	}
	return kept, os.Rename(tmp, name)
}

// firstOfBlock reads the number of the first message in a block file.
func firstOfBlock(name string) (uint64, bool) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var b [12]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return 0, false
	}
	return le.Uint64(b[4:]) &^ flagBits, true
}

// blockFiles lists the block files of a store, oldest first.
func blockFiles(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "*.blk"))
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".blk"))
		return n
	}
	slices.SortFunc(names, func(a, b string) int { return number(a) - number(b) })
	return names
}
