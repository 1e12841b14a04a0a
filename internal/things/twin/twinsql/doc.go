// Package twinsql turns conditions of the query language into SQL for SQLite
// and PostgreSQL, over the rows of a device or module (alias d) and of its twin
// (alias t, whose columns are NULL when the twin was never changed).
//
// What a caller wrote reaches the database as bound parameters only. The text
// of a statement holds nothing but column names, operators and the expressions
// of indexes that an operator declared.
//
// The language has three truth values and so has SQL, but NULL in SQL means
// other things too, and each type has its own comparisons. So negations are
// taken down to the comparisons, and every comparison says in SQL when it is
// true: exactly then, and else false or NULL. What SQL cannot say exactly
// becomes a condition that holds whenever the original may hold; the filter is
// then not exact and the caller evaluates the rows that it finds.
package twinsql
