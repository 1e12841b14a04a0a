//go:build !linux

package cli

import "errors"

var errUnknown = errors.New("not available on this system")

func diskSpace(string) (free, total int64, err error) { return 0, 0, errUnknown }

func fileLimit() (uint64, error) { return 0, errUnknown }

func clockSynced() (known, synced bool) { return false, false }
