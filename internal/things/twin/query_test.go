package twin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin"
)

// fleet is a store with identities and twins that is queried. The rows of the
// registry are written as it writes them.
type fleet struct {
	tb    testing.TB
	db    state.DB
	rooms *site
	docs  map[string]any // whole documents by id, decoded
	ids   []string
}

func newFleet(tb testing.TB, db state.DB) *fleet {
	tb.Helper()
	for _, room := range []string{"registry", "command"} {
		if err := db.Migrate(tb.Context(), room, os.DirFS("../"+room+"/migrations")); err != nil {
			tb.Fatal(err)
		}
	}
	r, err := twin.Open(tb.Context(), twin.Deps{
		DB: db, Queued: true, Deliver: func(iot.ID, *iot.Inbound) bool { return false }, Limits: twin.StrictLimits(), Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Indexes: []string{"tags.a", "properties.reported.b[0]", "tags.größe"},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	f := &fleet{tb: tb, db: db, rooms: &site{Room: r, tb: tb}, docs: map[string]any{}}
	return f
}

// device makes a device of the registry.
func (f *fleet) device(i *twin.Identity) {
	f.tb.Helper()
	flag := map[bool]int{true: 1}
	auth := slices.Index([]string{"sas", "selfSigned", "certificateAuthority", "none"}, i.AuthType)
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	nanos := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixNano()
	}
	err := f.db.Write(f.tb.Context(), func(tx state.Tx) error {
		for range i.Messages {
			if _, err := tx.Exec(f.tb.Context(), `INSERT INTO c2d_message (seq, device, module, generation, enqueued, expires, abandoned, ack, message_id, content, sum)
				VALUES ((SELECT COALESCE(max(seq), 0) + 1 FROM c2d_message), ?, ?, 1, 0, 0, 0, 0, '', ?, 0)`, i.ID.Device, i.ID.Module, []byte{}); err != nil {
				return err
			}
		}
		if i.ID.IsModule() {
			_, err := tx.Exec(f.tb.Context(), `INSERT INTO module (device, id, generation, etag, managed_by, auth, thumb1, thumb2, sum, connected, connected_at, active_at)
				VALUES (?, ?, 1, ?, '', ?, ?, ?, 0, ?, 0, ?)`, i.ID.Device, i.ID.Module, i.ETag, auth, text(i.PrimaryThumbprint), text(i.SecondaryThumbprint), flag[i.Connected], nanos(i.LastActivity))
			return err
		}
		_, err := tx.Exec(f.tb.Context(), `INSERT INTO device (id, generation, etag, status, status_reason, status_at, auth, thumb1, thumb2, sum, edge, scope, parents)
			VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)`, i.ID.Device, i.ETag, flag[i.Disabled], i.StatusReason, nanos(i.StatusSince), auth,
			text(i.PrimaryThumbprint), text(i.SecondaryThumbprint), flag[i.Edge], i.Scope, strings.Join(i.ParentScopes, " "))
		if err != nil || (!i.Connected && i.LastActivity.IsZero()) {
			return err // never connected
		}
		_, err = tx.Exec(f.tb.Context(), "INSERT INTO seen (device, made, connected, connected_at, active_at) VALUES (?, 1, ?, 0, ?)",
			i.ID.Device, flag[i.Connected], nanos(i.LastActivity))
		return err
	})
	if err != nil {
		f.tb.Fatal(err)
	}
	f.ids = append(f.ids, i.ID.String())
}

// twin writes the twin of a device; empty texts leave sections alone.
func (f *fleet) twin(id iot.ID, change, reported string) {
	f.tb.Helper()
	k := twin.Key{ID: id, Generation: 1}
	if change != "" {
		if _, err := f.rooms.Patch(f.tb.Context(), k, []byte(change), nil); err != nil {
			f.tb.Fatal(err, change)
		}
	}
	if reported != "" {
		done := make(chan error, 1)
		f.rooms.Report(k, []byte(reported), 0, func(_ int64, err error) { done <- err })
		if err := <-done; err != nil {
			f.tb.Fatal(err, reported)
		}
	}
}

// note keeps the document of an identity, as the reads of twins write it.
func (f *fleet) note(i *twin.Identity) {
	f.tb.Helper()
	d := f.rooms.get(twin.Key{ID: i.ID, Generation: 1})
	text, err := d.Append(nil, i)
	if err != nil {
		f.tb.Fatal(err)
	}
	f.docs[i.ID.String()] = decoded(f.tb, text)
}

func decoded(tb testing.TB, text []byte) (v any) {
	tb.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		tb.Fatal(err, string(text))
	}
	return v
}

// run gives all rows of a query, page by page.
func (f *fleet) run(tb rapid.TB, query string, size int) []any {
	tb.Helper()
	out := []any{}
	token := ""
	for range 1000 {
		p, err := f.rooms.Query(f.tb.Context(), query, token, size, nil)
		if err != nil {
			tb.Fatalf("%s: %v", query, err)
		}
		var page []any
		if err := json.Unmarshal(p.Items, &page); err != nil {
			tb.Fatalf("%s: %v: %s", query, err, p.Items)
		}
		if len(page) > size {
			tb.Fatalf("%s: a page of %d, asked for %d", query, len(page), size)
		}
		out = append(out, page...)
		if token = p.Continuation; token == "" {
			return out
		}
	}
	tb.Fatalf("%s: the pages do not end", query)
	return nil
}

// decodedSource looks into a decoded document: the plain model of a lookup.
type decodedSource struct{ doc any }

func (s decodedSource) Lookup(p *twinql.Path) twinql.Value { return modelValue(s.at(p)) }

type absent struct{}

func (s decodedSource) at(p *twinql.Path) any {
	v := s.doc
	for _, step := range p.Steps {
		switch at := v.(type) {
		case map[string]any:
			m, ok := at[step.Name]
			if !ok || step.Name == "" {
				return absent{}
			}
			v = m
		case []any:
			if step.Name != "" || step.Index >= len(at) {
				return absent{}
			}
			v = at[step.Index]
		default:
			return absent{}
		}
	}
	return v
}

func modelValue(v any) twinql.Value {
	switch v := v.(type) {
	case nil:
		return twinql.Value{Kind: twinql.Null}
	case bool:
		return twinql.BoolValue(v)
	case float64:
		return twinql.NumberValue(v)
	case string:
		return twinql.TextValue(v)
	case []any:
		return twinql.Value{Kind: twinql.Array}
	case map[string]any:
		return twinql.Value{Kind: twinql.Object}
	}
	return twinql.Value{}
}

// names of members: few, so that conditions meet documents; some are awkward.
var names = []string{"a", "b", "0", "A", "x-y", `q"t`, `b\s`, "größe", "in", "?"}

var texts = []string{"", "a", "b", "A", "1", "true", "größe", "it's", `q"t`, `b\s`, "😀", "\t", "a?b", "null", "zz", "Ä"}

var numbers = []string{"0", "1", "-1", "1.0", "1e0", "2", "0.1", "-0.0", "4503599627370495", "0.30000000000000004", "1.5e300", "5e-324", "100000000000000000000.5", "3.14159265358979323846264338327950288"}

func randomJSON(r *rand.Rand, depth int) string {
	switch n := r.IntN(12); {
	case n < 3:
		s := texts[r.IntN(len(texts))]
		if r.IntN(3) == 0 && s != "" {
			// A device may spell any character as an escape.
			first := []rune(s)[0]
			rest, _ := json.Marshal(s[len(string(first)):])
			var escape string
			for _, unit := range utf16.Encode([]rune{first}) {
				escape += fmt.Sprintf(`\u%04X`, unit)
			}
			return `"` + escape + string(rest[1:])
		}
		b, _ := json.Marshal(s)
		return string(b)
	case n < 6:
		return numbers[r.IntN(len(numbers))]
	case n < 8:
		return []string{"true", "false"}[r.IntN(2)]
	case n == 8 && depth > 0:
		list := make([]string, r.IntN(3))
		for i := range list {
			list[i] = randomJSON(r, depth-1)
			if r.IntN(4) == 0 {
				list[i] = "null"
			}
		}
		return "[" + strings.Join(list, " , ") + "]"
	case depth > 0:
		return randomObject(r, depth-1)
	}
	return `"a"`
}

func randomObject(r *rand.Rand, depth int) string {
	var members []string
	for _, i := range r.Perm(len(names))[:r.IntN(6)] {
		key, _ := json.Marshal(names[i])
		members = append(members, string(key)+":"+randomJSON(r, depth))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func randomTime(r *rand.Rand) time.Time {
	if r.IntN(3) == 0 {
		return time.Time{}
	}
	return time.Date(2024, 1, 1+r.IntN(3), 0, 0, 0, r.IntN(3)*100, time.UTC)
}

// randomFleet fills a store: devices and modules, some without a twin.
func randomFleet(t *testing.T, db state.DB, n int) *fleet {
	t.Helper()
	f := newFleet(t, db)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range n {
		i := &twin.Identity{
			ID: iot.ID{Device: fmt.Sprintf("d%03d", n)}, ETag: "e" + fmt.Sprint(r.IntN(3)), AuthType: []string{"sas", "selfSigned", "none"}[r.IntN(3)],
			Connected: r.IntN(2) == 0, LastActivity: randomTime(r), Messages: max(0, r.IntN(6)-3),
		}
		if r.IntN(3) == 0 {
			i.ID = iot.ID{Device: fmt.Sprintf("d%03d", r.IntN(n+1)), Module: fmt.Sprintf("m%d", n)}
		} else {
			i.Disabled, i.StatusSince, i.Edge = r.IntN(4) == 0, randomTime(r), r.IntN(3) == 0
			if r.IntN(2) == 0 {
				i.StatusReason = new(texts[r.IntN(len(texts))])
			}
			if r.IntN(2) == 0 {
				i.Scope, i.ParentScopes = "scope", []string{"p1", "p2"}
			}
		}
		if r.IntN(2) == 0 {
			i.PrimaryThumbprint = "AB"
		}
		f.device(i)
		if r.IntN(5) > 0 {
			reported := ""
			if r.IntN(3) > 0 {
				reported = randomObject(r, 3)
			}
			f.twin(i.ID, `{"tags":`+randomObject(r, 3)+`,"properties":{"desired":`+randomObject(r, 2)+`}}`, reported)
		}
		f.note(i)
	}
	return f
}

// generators of conditions

func pathGen() *rapid.Generator[string] {
	fixed := []string{
		"deviceId", "moduleId", "etag", "deviceEtag", "version", "status", "statusReason", "statusUpdateTime", "connectionState", "lastActivityTime",
		"cloudToDeviceMessageCount", "authenticationType", "x509Thumbprint.primaryThumbprint", "x509Thumbprint.secondaryThumbprint", "x509Thumbprint",
		"modelId", "tags", "properties", "properties.desired", "capabilities.iotEdge", "deviceScope", "parentScopes[0]", "parentScopes", "nothing", "status.x",
		"properties.desired.$version", "properties.reported.$version", "properties.desired.$metadata.a.$lastUpdatedVersion", "properties.reported.$metadata.$lastUpdated",
		"DEVICEID", "Tags.a",
	}
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 3).Draw(t, "fixed") == 0 {
			return rapid.SampledFrom(fixed).Draw(t, "member")
		}
		p := rapid.SampledFrom([]string{"tags", "properties.desired", "properties.reported"}).Draw(t, "section")
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			if rapid.IntRange(0, 5).Draw(t, "index") == 0 {
				p += fmt.Sprintf("[%d]", rapid.IntRange(0, 2).Draw(t, "position"))
				continue
			}
			p += ".[[" + rapid.SampledFrom(names).Draw(t, "name") + "]]"
		}
		return p
	})
}

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func constantGen() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1, 2:
			return literal(rapid.SampledFrom(texts).Draw(t, "text"))
		case 3, 4, 5:
			return rapid.SampledFrom(numbers).Draw(t, "number")
		case 6:
			return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "truth")
		case 7:
			return rapid.SampledFrom([]string{"null", "undefined", `'\u0000'`}).Draw(t, "nothing")
		}
		return rapid.SampledFrom([]string{
			"'d003'", "'d05'", "'enabled'", "'Connected'", "'sas'", "'self'", "'2024-01-02T00:00:00.0000001Z'", "'2024-01-02'", "'0001-01-01T00:00:00Z'", "'0001'", "'scope'", "'AB'", "3", "'m'",
		}).Draw(t, "fitting")
	})
}

func valueGen(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if n := rapid.IntRange(0, 9).Draw(t, "value"); n < 6 || depth == 0 {
			return pathGen().Draw(t, "path")
		} else if n < 8 {
			return constantGen().Draw(t, "constant")
		}
		in := func() string { return valueGen(depth-1).Draw(t, "argument") }
		switch rapid.IntRange(0, 5).Draw(t, "operation") {
		case 0:
			return "LENGTH(" + pathGen().Draw(t, "path") + ")"
		case 1:
			return "UPPER(" + pathGen().Draw(t, "path") + ")"
		case 2:
			return "SUBSTRING(" + pathGen().Draw(t, "path") + ", 1, 2)"
		case 3:
			return "AS_NUMBER(" + pathGen().Draw(t, "path") + ")"
		case 4:
			return "INDEX_OF(" + pathGen().Draw(t, "path") + ", " + literal(rapid.SampledFrom(texts).Draw(t, "text")) + ")"
		}
		return "(" + pathGen().Draw(t, "path") + rapid.SampledFrom([]string{" + ", " * ", " / ", " % ", " - "}).Draw(t, "operator") + strings.TrimPrefix(in(), "'") + ")"
	})
}

// facts lists comparisons that hold somewhere: the members of the documents
// with their values, so that conditions select something.
func (f *fleet) facts() (out [][2]string) {
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, m := range v {
				if strings.HasPrefix(k, "$") && path != "properties.[[desired]]" && path != "properties.[[reported]]" {
					continue // metadata
				}
				if path == "" {
					walk(k, m)
				} else {
					walk(path+".[["+k+"]]", m)
				}
			}
		case []any:
			for i, m := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), m)
			}
		case string:
			out = append(out, [2]string{path, literal(v)})
		default:
			text, _ := json.Marshal(v)
			out = append(out, [2]string{path, string(text)})
		}
	}
	for i, id := range f.ids {
		doc := f.docs[id].(map[string]any)
		walk("tags", doc["tags"])
		walk("properties", doc["properties"])
		if i%10 == 0 {
			walk("", doc) // the other members are alike in all
		}
	}
	slices.SortFunc(out, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return out
}

func conditionGen(facts [][2]string, depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if n := rapid.IntRange(0, 9).Draw(t, "condition"); n < 4 && depth > 0 {
			in := func() string { return conditionGen(facts, depth-1).Draw(t, "term") }
			switch rapid.IntRange(0, 2).Draw(t, "logic") {
			case 0:
				return "(" + in() + " AND " + in() + ")"
			case 1:
				return "(" + in() + " OR " + in() + ")"
			}
			return "NOT (" + in() + ")"
		}
		op := rapid.SampledFrom([]string{" = ", " != ", " < ", " <= ", " > ", " >= "}).Draw(t, "comparison")
		path := pathGen().Draw(t, "path")
		if rapid.IntRange(0, 2).Draw(t, "true somewhere") == 0 {
			fact := rapid.SampledFrom(facts).Draw(t, "fact")
			if rapid.IntRange(0, 3).Draw(t, "in") == 0 {
				return fact[0] + rapid.SampledFrom([]string{" IN ", " NOT IN "}).Draw(t, "in") + "[" + constantGen().Draw(t, "other") + ", " + fact[1] + "]"
			}
			return fact[0] + op + fact[1]
		}
		switch rapid.IntRange(0, 9).Draw(t, "leaf") {
		case 0, 1, 2:
			return path + op + constantGen().Draw(t, "constant")
		case 3:
			return constantGen().Draw(t, "constant") + op + path
		case 4:
			list := rapid.SliceOfN(constantGen(), 1, 4).Draw(t, "list")
			return path + rapid.SampledFrom([]string{" IN ", " NOT IN ", " NIN "}).Draw(t, "in") + "[" + strings.Join(list, ", ") + "]"
		case 5, 6:
			return rapid.SampledFrom([]string{"IS_ARRAY", "IS_BOOL", "IS_DEFINED", "IS_NULL", "IS_NUMBER", "IS_OBJECT", "IS_PRIMITIVE", "IS_STRING"}).Draw(t, "check") + "(" + path + ")"
		case 7:
			return rapid.SampledFrom([]string{"STARTS_WITH", "ENDS_WITH", "CONTAINS"}).Draw(t, "search") + "(" + path + ", " + literal(rapid.SampledFrom(texts).Draw(t, "text")) + ")"
		case 8:
			return path
		}
		return valueGen(1).Draw(t, "left") + op + valueGen(1).Draw(t, "right")
	})
}

// TestQueryIsEvaluation compares what queries find with what the meaning of
// their conditions selects, document by document.
func TestQueryIsEvaluation(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := randomFleet(t, db, 150)
		facts := f.facts()
		rapid.Check(t, func(t *rapid.T) {
			from := rapid.SampledFrom([]string{"devices", "devices.modules"}).Draw(t, "from")
			query := "SELECT * FROM " + from + " WHERE " + conditionGen(facts, 3).Draw(t, "condition")
			parsed, err := twinql.Parse(query)
			if err != nil {
				t.Skip(err) // a generated operation on a text
			}
			if _, err := twinql.Bind(parsed, query); err != nil {
				t.Fatal(err)
			}
			want := []string{}
			for _, id := range f.ids {
				isModule := strings.Contains(id, "/")
				if isModule == (from != "devices") && twinql.Eval(parsed.Where, decodedSource{f.docs[id]}).IsTrue() {
					want = append(want, id)
				}
			}
			slices.SortFunc(want, func(a, b string) int {
				return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
			})
			got := []string{}
			for _, row := range f.run(t, query, rapid.SampledFrom([]int{1000, 7}).Draw(t, "size")) {
				doc := row.(map[string]any)
				id := doc["deviceId"].(string)
				if m, ok := doc["moduleId"].(string); ok {
					id += "/" + m
				}
				if fmt.Sprint(doc) != fmt.Sprint(f.docs[id]) {
					t.Fatalf("%s is given as\n%v\nand not\n%v", id, doc, f.docs[id])
				}
				got = append(got, id)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s\nfinds %v\nand not %v", query, got, want)
			}
		})
	})
}
