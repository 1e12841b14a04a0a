package window

import (
	"fmt"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Func is an aggregate function.
type Func uint8

// The aggregate functions. CountRows counts all rows, Count those whose
// argument is not null.
const (
	CountRows Func = iota
	Count
	CountDistinct
	Sum
	Avg
	Min
	Max
	Stdev
	StdevP
	Var
	VarP
	PercentileCont
	PercentileDisc
	Collect
	TopOne
	CollectTop
	UserDefined
)

// Aggregate is one aggregate.
type Aggregate struct {
	Func  Func
	Share float64 // of percentiles, 0 to 1
	Top   int     // how many CollectTop takes
	Desc  []bool  // of each ordering: those of TopOne, CollectTop and percentiles
	User  User    // of UserDefined
	Name  string  // of UserDefined

	present bool // of TopOne: rows without a value do not count

	// Args are what Rows wants a column of: the argument if there is one, and
	// then the orderings. A nil one is the whole row.
	Args []asa.Expr
}

// User is a user-defined aggregate. Values given to it are only good during
// the call. Errors stop the job.
type User interface {
	// Init makes the state of an empty group.
	Init() (UserState, error)
}

// UserState is the state of a user-defined aggregate for one group.
type UserState interface {
	Accumulate(v value.Value, ticks int64) error
	// Deaccumulate takes back what was accumulated first. ok is false, and
	// nothing has changed, when the aggregate has no such function.
	Deaccumulate(v value.Value, ticks int64) (ok bool, err error)
	Result() (value.Value, error)
}

// AggregateOf tells what an aggregate of a query does. user finds user-defined
// ones by their name.
func AggregateOf(a *asa.Aggregate, user func(name string) (User, error)) (Aggregate, error) {
	out := Aggregate{Func: UserDefined, Name: a.User}
	args := a.Args
	if a.Func == nil {
		if user == nil {
			return out, fmt.Errorf("there is no user-defined aggregate '%s'", a.User)
		}
		var err error
		if out.User, err = user(a.User); err != nil {
			return out, err
		}
	} else if err := out.builtin(a.Func.Name, &args, a.Rows, a.Distinct); err != nil {
		return out, err
	}
	out.args(args, a.OrderBy)
	return out, nil
}

// AnalyticOf is AggregateOf for the form with LIMIT DURATION.
func AnalyticOf(a *asa.Analytic) (Aggregate, error) {
	var out Aggregate
	args := a.Call.Args
	name := a.Func.Name
	rows := a.Call.Star || len(args) == 0 || name == "CollectTop" && len(args) == 1
	if err := out.builtin(name, &args, rows, false); err != nil {
		return out, err
	}
	out.args(args, a.OrderBy)
	return out, nil
}

var funcs = map[string]Func{
	"SUM": Sum, "AVG": Avg, "MIN": Min, "MAX": Max, "STDEV": Stdev, "STDEVP": StdevP, "VAR": Var, "VARP": VarP,
	"PERCENTILE_CONT": PercentileCont, "PERCENTILE_DISC": PercentileDisc, "Collect": Collect, "TopOne": TopOne, "CollectTop": CollectTop,
}

func (a *Aggregate) builtin(name string, args *[]asa.Expr, rows, distinct bool) error {
	var ok bool
	switch {
	case name != "COUNT":
		if a.Func, ok = funcs[name]; !ok {
			return fmt.Errorf("the aggregate %s is not supported", name)
		}
	case distinct:
		a.Func = CountDistinct
	case rows:
		a.Func = CountRows
		*args = nil
		return nil
	default:
		a.Func = Count
	}
	switch a.Func {
	case PercentileCont, PercentileDisc:
		if l, ok := (*args)[0].(*asa.Literal); ok {
			a.Share = l.Float
			if l.Kind == asa.IntLiteral {
				a.Share = float64(l.Int)
			}
		}
		*args = nil
		return nil
	case CollectTop:
		if l, ok := (*args)[0].(*asa.Literal); ok {
			a.Top = int(l.Int)
		}
		*args = (*args)[1:]
	case TopOne:
		a.Top = 1
	case Min, Max:
		// A text is a number there, except one that was made by a cast: the
		// first, or last, of texts is the first in their order.
		if c, ok := (*args)[0].(*asa.Cast); ok && c.To == asa.NVarchar {
			*args = append(slices.Clone(*args), c)
			a.Desc = []bool{a.Func == Max}
			a.Func, a.Top, a.present = TopOne, 1, true
		}
	default:
	}
	if rows && len(*args) == 0 {
		*args = []asa.Expr{nil}
	}
	return nil
}

func (a *Aggregate) args(args []asa.Expr, orders []asa.Order) {
	a.Args = append([]asa.Expr(nil), args...)
	for _, o := range orders {
		a.Args = append(a.Args, o.Expr)
		a.Desc = append(a.Desc, o.Desc)
	}
}

// family is what aggregates keep of the rows; those of one family with the same
// arguments share it.
type family uint8

const (
	familyCount family = iota
	familyDistinct
	familySum
	familyLow
	familyHigh
	familyMoments
	familyNumbers
	familyList
	familyTop
	familyPresent // counts what is not null: it needs no number
	familyUser
)

func (a *Aggregate) family() family {
	switch a.Func {
	case CountRows:
		return familyCount
	case CountDistinct:
		return familyDistinct
	case Sum, Avg:
		return familySum
	case Min:
		return familyLow
	case Max:
		return familyHigh
	case Stdev, StdevP, Var, VarP:
		return familyMoments
	case PercentileCont, PercentileDisc:
		return familyNumbers
	case Collect:
		return familyList
	case TopOne, CollectTop:
		return familyTop
	case Count:
		return familyPresent
	case UserDefined:
	}
	return familyUser
}

// share tells whether two aggregates can use the same accumulators.
func (a *Aggregate) share(o *Aggregate) bool {
	f := a.family()
	if f != o.family() || f == familyUser || len(a.Args) != len(o.Args) {
		return false
	}
	if f == familyTop && (a.Top != o.Top || a.present != o.present || a.Func != o.Func) {
		return false
	}
	for i, x := range a.Args {
		y := o.Args[i]
		if (x == nil) != (y == nil) || x != nil && asa.Print(x) != asa.Print(y) {
			return false
		}
	}
	if f == familyTop {
		for i := range a.Desc {
			if a.Desc[i] != o.Desc[i] {
				return false
			}
		}
	}
	return true
}

// signature describes the aggregate as far as a state depends on it.
func (a *Aggregate) signature() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d %v %d %v %s", a.Func, a.Share, a.Top, a.Desc, strings.ToLower(a.Name))
	for _, x := range a.Args {
		if x == nil {
			s.WriteString(" *")
		} else {
			s.WriteString(" " + asa.Print(x))
		}
	}
	return s.String()
}
