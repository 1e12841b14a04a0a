package asa

import (
	"math"
	"strings"
)

// group reads an item of GROUP BY. Windows look like calls.
func (p *parser) group() (Expr, error) {
	e, err := p.value()
	if err != nil {
		return nil, err
	}
	if c, ok := e.(*Call); ok && c.Space == "" {
		w, err := p.window(c, true)
		if err != nil {
			return nil, err
		}
		if w != nil {
			return w, nil
		}
	}
	return e, nil
}

var windowKinds = map[string]WindowKind{
	"tumblingwindow": TumblingWindow, "tumbling": TumblingWindow, "hoppingwindow": HoppingWindow, "hopping": HoppingWindow,
	"slidingwindow": SlidingWindow, "sliding": SlidingWindow, "sessionwindow": SessionWindow, "session": SessionWindow, "windows": Windows,
}

// window makes a window of a call; nil when the call is none.
func (p *parser) window(c *Call, outermost bool) (*Window, error) {
	kind, ok := windowKinds[strings.ToLower(c.Name)]
	if !ok {
		return nil, nil
	}
	w := &Window{at: c.at, Kind: kind}
	if c.Star || c.Distinct {
		return nil, p.failAt(c.Pos(), "", "%s takes a unit and numbers", c.Name)
	}
	if c.Over != nil {
		o := c.Over
		if kind != SessionWindow || o.OrderBy != nil || o.Limit != nil || o.When != nil || o.PartitionBy == nil {
			return nil, p.failAt(o.Pos(), "", "of the windows only SessionWindow has OVER, with PARTITION BY")
		}
		w.Over = o.PartitionBy
	}
	args := windowArgs{p: p, call: c, rest: c.Args}
	var err error
	switch kind {
	case TumblingWindow:
		if w.Size, err = args.span("Duration", "the size of the window"); err != nil {
			return nil, err
		}
		w.Offset, err = args.offset(w.Size.Unit)
	case HoppingWindow:
		if w.Size, err = args.span("Duration", "the size of the window"); err != nil {
			return nil, err
		}
		if w.Hop, err = args.next("Hop", w.Size, "the hop of the window"); err != nil {
			return nil, err
		}
		w.Offset, err = args.offset(w.Size.Unit)
	case SlidingWindow:
		w.Size, err = args.span("Duration", "the size of the window")
	case SessionWindow:
		if w.Size, err = args.span("Timeout", "the timeout of the session"); err != nil {
			return nil, err
		}
		w.Max, err = args.next("MaxDuration", w.Size, "the longest duration of the session")
	case Windows:
		if !outermost {
			return nil, p.failAt(c.Pos(), "list all windows in one Windows(...)", "Windows cannot stand in Windows")
		}
		return w, p.members(w, c)
	case SnapshotWindow:
	}
	if err == nil && len(args.rest) > 0 {
		err = p.failAt(args.rest[0].Pos(), "", "%s has no further argument", c.Name)
	}
	return w, err
}

// members reads what stands in Windows(...).
func (p *parser) members(w *Window, c *Call) error {
	if len(c.Args) == 0 {
		return p.failAt(c.Pos(), "such as Windows(TumblingWindow(minute, 1), TumblingWindow(hour, 1))", "Windows lists at least one window")
	}
	for _, a := range c.Args {
		var id *string
		inner, ok := a.(*Call)
		if ok && inner.Space == "" && strings.EqualFold(inner.Name, "Window") {
			var text *Literal
			if len(inner.Args) == 2 {
				text, _ = inner.Args[0].(*Literal)
			}
			if text == nil || text.Kind != TextLiteral || text.Text == "" {
				return p.failAt(a.Pos(), "such as Window('hourly', TumblingWindow(hour, 1))", "Window takes a name and a window")
			}
			id = &text.Text
			inner, ok = inner.Args[1].(*Call)
		}
		if !ok {
			return p.failAt(a.Pos(), "", "Windows lists windows, this is none")
		}
		var m *Window
		if strings.EqualFold(inner.Space, "System") && strings.EqualFold(inner.Name, "Timestamp") {
			m = &Window{at: inner.at, Kind: SnapshotWindow}
		} else if inner.Space == "" {
			var err error
			if m, err = p.window(inner, false); err != nil {
				return err
			}
		}
		if m == nil {
			return p.failAt(a.Pos(), "", "Windows lists windows, '%s' is none", inner.Name)
		}
		m.ID = id
		for _, other := range w.Members {
			if (other.ID == nil) != (id == nil) {
				return p.failAt(a.Pos(), "", "either all windows of Windows have names, or none")
			}
			if id != nil && strings.EqualFold(*other.ID, *id) {
				return p.failAt(a.Pos(), "", "two windows have the name '%s'", *id)
			}
		}
		w.Members = append(w.Members, m)
	}
	return nil
}

// windowArgs are the arguments of a window, of which rest are not yet read.
type windowArgs struct {
	p    *parser
	call *Call
	rest []Expr
}

// span reads "unit, n" or word(unit, n).
func (a *windowArgs) span(word, what string) (Duration, error) {
	if len(a.rest) == 0 {
		return Duration{}, a.p.failAt(a.call.Pos(), "such as "+a.call.Name+"(second, 10)", "%s of %s is missing", what, a.call.Name)
	}
	if d, ok, err := a.inner(word); ok || err != nil {
		return d, err
	}
	unit, err := a.unit(a.rest[0])
	if err != nil {
		return Duration{}, err
	}
	d := Duration{at: at(a.rest[0].Pos()), Unit: unit}
	a.rest = a.rest[1:]
	d.Count, err = a.count(what, false)
	return d, err
}

// next reads "n" in the unit of an earlier span, or word(unit, n).
func (a *windowArgs) next(word string, before Duration, what string) (Duration, error) {
	if d, ok, err := a.inner(word); ok || err != nil {
		return d, err
	}
	d := Duration{at: before.at, Unit: before.Unit}
	if len(a.rest) > 0 {
		d.at = at(a.rest[0].Pos())
	}
	var err error
	d.Count, err = a.count(what, false)
	return d, err
}

func (a *windowArgs) offset(unit Unit) (*Duration, error) {
	if len(a.rest) == 0 {
		return nil, nil
	}
	if c, ok := a.rest[0].(*Call); ok && c.Space == "" && strings.EqualFold(c.Name, "Offset") {
		inner := windowArgs{p: a.p, call: c, rest: c.Args}
		if len(c.Args) != 2 {
			return nil, a.p.failAt(c.Pos(), "such as Offset(millisecond, -1)", "Offset takes a unit and a number")
		}
		u, err := a.unit(c.Args[0])
		if err != nil {
			return nil, err
		}
		inner.rest = c.Args[1:]
		d := Duration{at: c.at, Unit: u}
		if d.Count, err = inner.count("the offset", true); err != nil {
			return nil, err
		}
		a.rest = a.rest[1:]
		return &d, inRange(a.p, d)
	}
	d := Duration{at: at(a.rest[0].Pos()), Unit: unit}
	var err error
	if d.Count, err = a.count("the offset", true); err != nil {
		return nil, err
	}
	return &d, inRange(a.p, d)
}

// inner reads word(unit, n).
func (a *windowArgs) inner(word string) (d Duration, ok bool, err error) {
	if len(a.rest) == 0 {
		return d, false, nil
	}
	c, ok := a.rest[0].(*Call)
	if !ok || c.Space != "" || !strings.EqualFold(c.Name, word) {
		return d, false, nil
	}
	if len(c.Args) != 2 {
		return d, true, a.p.failAt(c.Pos(), "such as "+word+"(second, 10)", "%s takes a unit and a number", word)
	}
	inner := windowArgs{p: a.p, call: c, rest: c.Args}
	if d, err = inner.span(word, "the length"); err != nil {
		return d, true, err
	}
	a.rest = a.rest[1:]
	return d, true, nil
}

func (a *windowArgs) unit(e Expr) (Unit, error) {
	path, ok := e.(*Path)
	if !ok || len(path.Names) != 1 {
		return 0, a.p.failAt(e.Pos(), "such as second", "a unit of time is expected")
	}
	u, ok := unitOf(path.Names[0].Text)
	if !ok || u.Ticks() == 0 {
		return 0, a.p.failAt(e.Pos(), "day, hour, minute, second, millisecond and microsecond are",
			"'%s' is no unit for windows", path.Names[0].Text)
	}
	return u, nil
}

// count reads a whole number; only those of offsets may be below 1.
func (a *windowArgs) count(what string, signed bool) (int64, error) {
	if len(a.rest) == 0 {
		return 0, a.p.failAt(a.call.Pos(), "", "%s of %s is missing", what, a.call.Name)
	}
	l, ok := a.rest[0].(*Literal)
	if !ok || l.Kind != IntLiteral {
		return 0, a.p.failAt(a.rest[0].Pos(), "", "%s is a whole number that stands in the text", what)
	}
	if !signed && l.Int < 1 || l.Int > math.MaxInt32 || l.Int < math.MinInt32 {
		return 0, a.p.failAt(l.Pos(), "", "%s cannot be %d", what, l.Int)
	}
	a.rest = a.rest[1:]
	return l.Int, nil
}

// inRange keeps spans within what ticks can count.
func inRange(p *parser, d Duration) error {
	if n := d.Count; n != 0 && (n > math.MaxInt64/d.Unit.Ticks() || n < math.MinInt64/d.Unit.Ticks()) {
		return p.failAt(d.Pos(), "", "this is longer than time itself")
	}
	return nil
}
