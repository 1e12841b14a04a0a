package cli

import (
	"bufio"
	"errors"
	"io"
)

// readLines hands each line of r to line, its end included; the bytes are valid
// until the next. pause is called whenever nothing more is there at once: lines
// come in bursts, and each burst should go out whole. An end of r is no error.
func readLines(r io.Reader, line func(b []byte) error, pause func() error) error {
	in := bufio.NewReaderSize(r, 256<<10)
	var long []byte // a line that is longer than the buffer, so far
	for {
		b, rerr := in.ReadSlice('\n')
		if errors.Is(rerr, bufio.ErrBufferFull) {
			long = append(long, b...)
			continue
		}
		if len(long) > 0 {
			long = append(long, b...)
			b, long = long, long[:0]
		}
		if len(b) > 0 {
			if err := line(b); err != nil {
				return err
			}
		}
		if in.Buffered() == 0 {
			if err := pause(); err != nil {
				return err
			}
		}
		if errors.Is(rerr, io.EOF) {
			return nil
		}
		if rerr != nil {
			return rerr
		}
	}
}
