package outbox

import "time"

// floorEvery is how often the relay looks at the whole table.
const floorEvery = 5 * time.Second

// floor is the id from which rows are looked for. PostgreSQL keeps what was
// deleted until it tidies up, and a search from the beginning would wade
// through all of it. Ids are given out before the commit, so rows below those
// that are deleted may still turn up: the floor lags behind by floorEvery at
// least, much longer than a transaction lasts, and now and then the search
// begins at the beginning.
type floor struct {
	use    bool
	now    int64 // no row below it is looked for
	then   int64 // the floor after the next look at everything
	next   int64 // and after that
	wholly time.Time
}

func (f *floor) at(now time.Time) int64 {
	if !f.use {
		return 0
	}
	if now.Sub(f.wholly) >= floorEvery {
		f.wholly = now
		f.now, f.then = f.then, f.next
		return 0
	}
	return f.now
}

// deleted notes the largest id of rows that were deleted.
func (f *floor) deleted(id int64) { f.next = max(f.next, id) }
