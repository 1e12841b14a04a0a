// Package sqlite keeps the state store in one SQLite file: write-ahead log,
// synchronous FULL, one writer that commits in groups and a few readers. It is
// the embedded engine; nothing needs to be installed or configured.
//
// The file is made in full before it gets its name, so an empty file is always
// damage. Open refuses a truncated or altered file and says what to do; damage
// that shows later is reported as state.ErrDamaged by the read or write that
// met it, while everything else stays readable.
package sqlite
