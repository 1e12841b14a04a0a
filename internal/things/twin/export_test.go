package twin

// SplitFrom sets the number of rows from which on grouped queries are read in
// parts.
func (r *Room) SplitFrom(rows int64) { r.queries.splitFrom = rows }
