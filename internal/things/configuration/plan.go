package configuration

import (
	"cmp"
	"slices"
	"strings"

	"dunlin/internal/iot"
)

// family is a device with its modules.
type family struct {
	device  string
	doc     *Document            // nil: there is no such device
	modules map[string]*Document // by module id; read only when it matters
	noted   []target             // as it is stored
}

// plan is what is to be done with one twin.
type plan struct {
	device string
	module string
	doc    *Document // nil: there is no such twin
	body   []byte    // the change of the twin; nil when it is as it must be
	want   map[string]any
	before []target // what is noted of it
	after  []target // what is to be noted when the change is done
	drop   []int64  // numbers of the configurations that are not for it any more
}

// claim is what one configuration wants of one twin.
type claim struct {
	part
	loses bool // it is targeted, and that is all
}

// plans works out what is to be done with the twins of a family, and which
// modules are to be made.
func (s *set) plans(f *family) (out []plan, missing []string, err error) {
	claims := map[string][]claim{}
	edge := []*active(nil) // deployments over the device
	for _, a := range s.all {
		if a.deleted || a.broken {
			continue
		}
		switch a.kind {
		case Devices:
			if f.doc != nil && a.matches(f.doc.Source) {
				claims[""] = append(claims[""], claim{part: part{a.number, a.pieces}})
			}
		case Modules:
			for id, m := range f.modules {
				if a.matches(m.Source) {
					claims[id] = append(claims[id], claim{part: part{a.number, a.pieces}})
				}
			}
		case Edge:
			if f.doc != nil && f.doc.Edge && a.matches(f.doc.Source) {
				edge = append(edge, a)
			}
		}
	}
	s.deploy(f, edge, claims)

	wins := map[int64]bool{} // deployments that set something in some module
	for _, id := range f.twins(claims) {
		p, o, err := s.plan(f, id, claims[id])
		if err != nil {
			return nil, nil, err
		}
		for i := range p.after {
			t := &p.after[i]
			if t.won == "" && wins[t.number] {
				t.status = applied
			}
			wins[t.number] = wins[t.number] || t.status == applied
		}
		if o != nil && id == edgeAgent {
			missing = f.listed(o)
		}
		out = append(out, p)
	}
	return out, missing, nil
}

// deploy claims the modules of an edge device. One deployment describes it as
// a whole, the one that counts most of those; others lie over it.
func (s *set) deploy(f *family, edge []*active, claims map[string][]claim) {
	var base *active
	for _, a := range edge {
		if a.base {
			base = a
		}
	}
	for _, a := range edge {
		loses := a.base && a != base
		claims[""] = append(claims[""], claim{part{a.number, nil}, loses})
		modules := a.modules()
		if !slices.Contains(modules, edgeAgent) {
			modules = append(modules, edgeAgent) // it tells what came of every deployment
		}
		for _, id := range modules {
			if f.modules[id] != nil {
				claims[id] = append(claims[id], claim{part{a.number, a.piecesOf(id)}, loses})
			}
		}
	}
	if len(edge) == 0 {
		return
	}
	for id := range claims { // deployments were added behind all others
		slices.SortStableFunc(claims[id], func(a, b claim) int { return s.order(a.number) - s.order(b.number) })
	}
}

func (s *set) order(number int64) int {
	return slices.IndexFunc(s.all, func(a *active) bool { return a.number == number })
}

// twins names the twins of the family that something is, or was, claimed of.
// The edge agent and then the device come last: what is noted of them tells of
// all modules.
func (f *family) twins(claims map[string][]claim) []string {
	seen := map[string]bool{}
	for id := range claims {
		seen[id] = true
	}
	for _, t := range f.noted {
		seen[t.module] = true
	}
	out := make([]string, 0, len(seen))
	for id := range seen {
		out = append(out, id)
	}
	rank := map[string]int{edgeAgent: 1, "": 2}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(rank[a]-rank[b], strings.Compare(a, b)) })
	return out
}

func (f *family) twin(module string) *Document {
	if module == "" {
		return f.doc
	}
	return f.modules[module]
}

// plan works out what is to be done with one twin.
func (s *set) plan(f *family, module string, claims []claim) (plan, *overlay, error) {
	p := plan{device: f.device, module: module, doc: f.twin(module)}
	var before [][]string // what is to be taken back, unless it is set again
	for _, t := range f.noted {
		if t.module != module {
			continue
		}
		p.before = append(p.before, t)
		a := s.byNumber[t.number]
		if p.doc != nil && t.generation == p.doc.Generation && a != nil && !a.broken {
			before = append(before, parseWon(t.won).paths(a.piecesOf(module))...)
		}
		kept := slices.ContainsFunc(claims, func(c claim) bool { return c.number == t.number })
		if a != nil && a.broken && p.doc != nil && t.generation == p.doc.Generation {
			kept = true
		}
		if !kept {
			p.drop = append(p.drop, t.number)
		}
	}
	if p.doc == nil {
		return p, nil, nil
	}
	var parts []part
	for _, c := range claims {
		if !c.loses && len(c.pieces) > 0 {
			parts = append(parts, c.part)
		}
	}
	o := s.overlay(module, parts)
	i := 0
	for _, c := range claims {
		t := target{module: module, number: c.number, generation: p.doc.Generation}
		if !c.loses && len(c.pieces) > 0 {
			t.won = o.won[i].String()
			if !o.won[i].none() {
				t.status = applied
			}
			i++
		}
		p.after = append(p.after, t)
	}
	if len(o.roots) == 0 && len(before) == 0 {
		return p, o, nil
	}
	have, err := parse(p.doc.Desired)
	if err != nil {
		return p, o, err
	}
	was, ok := have.(map[string]any)
	if !ok {
		return p, o, badContent("the desired properties of %s are not an object", p.doc.ID)
	}
	p.want = o.over(was, before)
	if d := difference(was, p.want); len(d) > 0 {
		p.body, err = text(map[string]any{"properties": map[string]any{"desired": d}})
	}
	return p, o, err
}

// listed names the modules that the desired properties of the edge agent list
// and that do not exist.
func (f *family) listed(o *overlay) []string {
	v, _ := at(o.doc, []string{"modules"})
	list, _ := v.(map[string]any)
	var out []string
	for id := range list {
		if f.modules[id] == nil && iot.ValidID(id) && id != edgeAgent && id != "$edgeHub" {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
