//go:build !linux

package robust

import "errors"

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }
