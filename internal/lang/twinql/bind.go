package twinql

import (
	"slices"
	"strings"

	"dunlin/internal/lang/diag"
)

// member is a name that a document may have. Those of an open member are
// everything, and found in the case given only.
type member struct {
	name string
	open bool
	in   []member
}

func open(name string) member { return member{name: name, open: true} }

var twinMembers = []member{
	{name: "deviceId"},
	{name: "moduleId"},
	{name: "etag"},
	{name: "deviceEtag"},
	{name: "version"},
	{name: "status"},
	{name: "statusReason"},
	{name: "statusUpdateTime"},
	{name: "connectionState"},
	{name: "lastActivityTime"},
	{name: "cloudToDeviceMessageCount"},
	{name: "authenticationType"},
	{name: "x509Thumbprint", in: []member{{name: "primaryThumbprint"}, {name: "secondaryThumbprint"}}},
	{name: "modelId"},
	open("tags"),
	{name: "properties", in: []member{open("desired"), open("reported")}},
	{name: "capabilities", in: []member{{name: "iotEdge"}}},
	{name: "deviceScope"},
	open("parentScopes"),
	open("configurations"),
}

var jobMembers = []member{
	{name: "deviceId"},
	{name: "moduleId"},
	{name: "jobId"},
	{name: "jobType"},
	{name: "status"},
	{name: "startTimeUtc"},
	{name: "endTimeUtc"},
	{name: "createdDateTimeUtc"},
	{name: "lastUpdatedDateTimeUtc"},
	{name: "outcome", in: []member{{name: "deviceMethodResponse", in: []member{{name: "status"}, open("payload")}}}},
	{name: "error", in: []member{{name: "code"}, {name: "description"}}},
}

func membersOf(c Collection) []member {
	if c == Jobs {
		return jobMembers
	}
	return twinMembers
}

// Bind checks what a query may ask of its collection and brings its paths to
// one form: without the name of the collection in front, known members in
// their own spelling. text is what q was parsed from. The notes are hints at
// members that no document has: they are undefined, which is no error.
func Bind(q *Query, text string) (notes []*Error, err error) {
	b := binder{text: text, from: q.From}
	for i := range q.Columns {
		b.expr(q.Columns[i].Expr)
	}
	if q.Where != nil {
		b.expr(q.Where)
	}
	for _, p := range q.GroupBy {
		b.path(p)
	}
	if b.err == nil {
		b.err = b.shape(q)
	}
	if b.err == nil {
		b.err = b.columns(q)
	}
	return b.notes, b.err
}

// BindCondition does the same for a condition that stands for itself.
func BindCondition(e Expr, from Collection, text string) (notes []*Error, err error) {
	b := binder{text: text, from: from}
	b.expr(e)
	return b.notes, b.err
}

type binder struct {
	text  string
	from  Collection
	notes []*Error
	err   error
}

// shape checks which clauses go together.
func (b *binder) shape(q *Query) error {
	if q.From == Jobs && (!q.Star || q.GroupBy != nil) {
		return diag.At(b.text, 0, "use SELECT * FROM devices.jobs", "members and aggregates cannot be selected from devices.jobs")
	}
	if q.Star && q.GroupBy != nil {
		return diag.At(b.text, q.GroupBy[0].Pos(), "select the members to group by and aggregates", "SELECT * cannot be grouped")
	}
	return nil
}

func (b *binder) columns(q *Query) error {
	var aggregate *Aggregate
	for i := range q.Columns {
		if a, ok := q.Columns[i].Expr.(*Aggregate); ok {
			aggregate = a
		}
	}
	names := map[string]bool{}
	for i := range q.Columns {
		c := &q.Columns[i]
		switch e := c.Expr.(type) {
		case *Aggregate:
			if c.As == "" {
				return diag.At(b.text, e.Pos(), e.Kind.String()+"(...) AS name", "an aggregate needs a name")
			}
		case *Path:
			if (aggregate != nil || q.GroupBy != nil) && !grouped(q, e) {
				return diag.At(b.text, e.Pos(), "add it to GROUP BY", "the member '%s' differs within a group", diag.Clip(Print(e)))
			}
		}
		if names[c.Name()] {
			return diag.At(b.text, c.Expr.Pos(), "name it with AS", "two columns have the name '%s'", diag.Clip(c.Name()))
		}
		names[c.Name()] = true
	}
	return nil
}

func grouped(q *Query, p *Path) bool {
	return slices.ContainsFunc(q.GroupBy, p.Same)
}

// Same reports whether two paths name the same member.
func (p *Path) Same(o *Path) bool {
	if len(p.Steps) != len(o.Steps) {
		return false
	}
	for i := range p.Steps {
		if p.Steps[i] != o.Steps[i] {
			return false
		}
	}
	return true
}

func (b *binder) expr(e Expr) {
	Walk(e, func(e Expr) bool {
		if p, ok := e.(*Path); ok {
			b.path(p)
		}
		return true
	})
}

func (b *binder) path(p *Path) {
	p.Steps = b.unprefix(p.Steps)
	members := membersOf(b.from)
	for i := range p.Steps {
		s := &p.Steps[i]
		m := findMember(members, s.Name)
		if m == nil {
			b.unknown(p, i, members)
			return
		}
		s.Name = m.name
		if m.open {
			return
		}
		members = m.in
	}
}

// unprefix takes away the name of the collection that a path may begin with.
func (b *binder) unprefix(steps []Step) []Step {
	words := strings.Split(b.from.String(), ".")
	if len(steps) <= len(words) {
		return steps
	}
	for i, w := range words {
		if !strings.EqualFold(steps[i].Name, w) {
			return steps
		}
	}
	return steps[len(words):]
}

func findMember(members []member, name string) *member {
	for i := range members {
		if strings.EqualFold(members[i].name, name) {
			return &members[i]
		}
	}
	return nil
}

func (b *binder) unknown(p *Path, step int, members []member) {
	if b.from == Jobs && step == 0 && findMember(twinMembers, p.Steps[0].Name) != nil {
		b.err = diag.At(b.text, p.Pos(), "", "jobs have no member '%s': it belongs to twins", p.Steps[0].Name)
		return
	}
	names := make([]string, len(members))
	for i := range members {
		names[i] = members[i].name
	}
	where := "documents of " + b.from.String() + " have"
	if step > 0 {
		where = "'" + p.Steps[step-1].Name + "' has"
	}
	name := p.Steps[step].Name
	hint := diag.DidYouMean(name, names)
	if hint == "" && step == 0 {
		for _, n := range [...]string{"desired", "reported"} {
			if strings.EqualFold(n, name) {
				hint = "did you mean properties." + n + "?"
			}
		}
	}
	b.notes = append(b.notes, diag.At(b.text, p.Pos(), hint, "%s no member '%s'", where, diag.Clip(name)))
}
