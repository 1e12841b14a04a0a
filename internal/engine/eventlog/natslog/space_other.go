//go:build !unix

package natslog

import "errors"

// diskSpace is not known here: the log then finds out by failing writes.
func diskSpace(string) (free, total int64, err error) {
	return 0, 0, errors.ErrUnsupported
}
