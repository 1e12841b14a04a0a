package twinsql

// frag is a piece of SQL that is true exactly when what it stands for is, and
// else false or NULL.
type frag struct {
	sql   string
	args  []any
	exact bool // false: it may be true when what it stands for is not
	needs bool // it is not true of a twin that has no row
	seen  bool // it is not true of a device that has never connected
}

func always() frag { return frag{sql: yes, exact: true} }

func nothing() frag { return frag{sql: no, exact: true, needs: true, seen: true} }

// maybe stands for what SQL cannot say.
func maybe() frag { return frag{sql: yes} }

const (
	yes = "TRUE"
	no  = "FALSE"
)

func exactly(sql string, args ...any) frag { return frag{sql: sql, args: args, exact: true} }

func exactlyIf(b bool) frag {
	if b {
		return always()
	}
	return nothing()
}

func all(list []frag) frag {
	kept, exact, needs, seen := list[:0:0], true, false, false
	for _, f := range list {
		if f.sql == no {
			return nothing()
		}
		exact, needs, seen = exact && f.exact, needs || f.needs, seen || f.seen
		if f.sql != yes {
			kept = append(kept, f)
		}
	}
	f := always()
	if len(kept) > 0 {
		f = join(kept, " AND ")
	}
	f.exact, f.needs, f.seen = exact, needs, seen
	return f
}

func anyOf(list []frag) frag {
	kept, exact, needs, seen, loose := list[:0:0], true, true, true, false
	for _, f := range list {
		switch f.sql {
		case no:
			continue
		case yes:
			if f.exact {
				return always()
			}
			loose = true
		}
		kept = append(kept, f)
		exact, needs, seen = exact && f.exact, needs && f.needs, seen && f.seen
	}
	if loose {
		return maybe()
	}
	if len(kept) == 0 {
		return nothing()
	}
	f := join(kept, " OR ")
	f.exact, f.needs, f.seen = exact, needs, seen
	return f
}

// join halves long lists: both databases read "a AND b AND c" as a tree that
// is as deep as the list is long, and SQLite has a limit there.
func join(list []frag, word string) frag {
	switch n := len(list); n {
	case 1:
		return list[0]
	default:
		l, r := join(list[:n/2], word), join(list[n/2:], word)
		args := append(append(make([]any, 0, len(l.args)+len(r.args)), l.args...), r.args...)
		return frag{sql: "(" + l.sql + word + r.sql + ")", args: args}
	}
}
