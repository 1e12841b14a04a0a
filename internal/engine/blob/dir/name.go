package dir

import (
	"errors"
	"strings"
)

// The name of a blob becomes a path below the directory of its container. What
// stands between slashes is a directory, so that a list of "dev1/" reads one
// directory. Each entry of a directory begins with what it is:
//
//	d.NAME      directory of the names that go on behind NAME and a slash
//	l.NAME      directory of the names that go on behind NAME, which was cut
//	            here because no file system takes it whole
//	b.NAME      description of the blob whose name ends here
//	c.NAME.ID   its content: a file, or a directory of blocks
//
// In NAME only a-z, 0-9, "-", "_" and "." stand for themselves. "=a" is "A",
// and any other byte is "%" and two digits: no two names meet where case or
// the form of Unicode is not kept, and none means anything to a file system.
const (
	dirMark     = "d."
	longMark    = "l."
	blobMark    = "b."
	contentMark = "c."

	// maxPiece is where names are cut, in bytes: what stands around them must
	// fit too, and some file systems take no more than 143. A piece that has
	// this length, or a little more because an escape is not cut in two, never
	// goes on, whatever comes next: so the order of entries is that of names.
	maxPiece = 110
)

const hexDigits = "0123456789abcdef"

// escape appends one byte of a name.
func escape(b []byte, c byte) []byte {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		return append(b, c)
	case c >= 'A' && c <= 'Z':
		return append(b, '=', c+'a'-'A')
	}
	return append(b, '%', hexDigits[c>>4], hexDigits[c&15])
}

// place gives the directory of a blob below that of its container, ending in a
// slash unless it is empty, and the last piece of its name.
func place(name string) (dir, piece string) {
	var path, b []byte
	for i := range len(name) {
		if name[i] == '/' {
			path = append(append(append(path, dirMark...), b...), '/')
			b = b[:0]
			continue
		}
		if len(b) >= maxPiece {
			path = append(append(append(path, longMark...), b...), '/')
			b = b[:0]
		}
		b = escape(b, name[i])
	}
	return string(path), string(b)
}

var errForeign = errors.New("not an entry of ours")

// unescape turns a piece back.
func unescape(piece string) (string, error) {
	if !strings.ContainsAny(piece, "=%") {
		return piece, nil
	}
	var b strings.Builder
	for i := 0; i < len(piece); i++ {
		switch c := piece[i]; {
		case c == '=' && i+1 < len(piece) && piece[i+1] >= 'a' && piece[i+1] <= 'z':
			i++
			b.WriteByte(piece[i] - 'a' + 'A')
		case c == '%' && i+2 < len(piece):
			hi, lo := strings.IndexByte(hexDigits, piece[i+1]), strings.IndexByte(hexDigits, piece[i+2])
			if hi < 0 || lo < 0 {
				return "", errForeign
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		case c == '=' || c == '%':
			return "", errForeign
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
