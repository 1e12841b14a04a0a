package natslog

import (
	"io"
	"os"
)

// firstOfBlock reads the number of the first message in a block file of the
// store: 4 bytes length, then 8 bytes number, little endian; the two highest
// bits are flags.
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
	return le.Uint64(b[4:]) &^ (3 << 62), true
}
