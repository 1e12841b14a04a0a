// Package commit holds what the SQL engines of the state store share: sessions
// with a statement cache, and writers that put writes which arrive together
// into one transaction, each behind its own savepoint. A commit costs a flush
// of the disk whatever it holds, so grouping is what makes durable writes fast.
package commit
