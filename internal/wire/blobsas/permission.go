package blobsas

import "strings"

// Permission is a set of what a signature can allow.
type Permission uint8

// The permissions, in the order in which they are written.
const (
	Read Permission = 1 << iota
	Add
	Create
	Write
	Delete
	List
)

const letters = "racwdl"

// String gives the letters, such as "rw".
func (p Permission) String() string {
	var b strings.Builder
	for i := range len(letters) {
		if p&(1<<i) != 0 {
			b.WriteByte(letters[i])
		}
	}
	return b.String()
}

// ParsePermissions reads letters. Those of the public interface that stand for
// nothing here (versions, tags, moving and the like) are passed over; anything
// else answers false.
func ParsePermissions(s string) (p Permission, ok bool) {
	for i := range len(s) {
		switch at := strings.IndexByte(letters, s[i]); {
		case at >= 0:
			p |= 1 << at
		case strings.IndexByte("xytfmeopi", s[i]) < 0:
			return 0, false
		}
	}
	return p, true
}
