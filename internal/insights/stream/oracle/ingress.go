package oracle

import (
	"slices"
	"strings"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// source gives the rows of a source of a query: of an input after the policies
// of sections 6.2 and 6.3. n is its place among the sources.
func (r *run) source(in *asa.Input, n int) []row {
	if in.Relation.Kind != asa.StreamInput {
		return r.relation(in.Relation)
	}
	if len(in.Relation.Declare) > 0 {
		panic(unsupported("CREATE TABLE"))
	}
	type progress struct {
		begun     bool
		highest   int64 // application time accepted so far
		watermark int64
	}
	keys := map[string]*progress{}
	var rows []row
	for _, ev := range r.events {
		if !strings.EqualFold(ev.Input, in.Relation.Name) {
			continue
		}
		payload, err := value.FromJSON(ev.JSON)
		if err != nil || payload.Kind() != value.Record {
			continue // not readable
		}
		x := row{time: ev.Arrival, value: payload, meta: ev.Metadata}
		if in.Timestamp == nil {
			rows = append(rows, x)
			continue
		}
		e := &env{time: ev.Arrival, sources: map[int]item{n: {here: true, row: payload, time: ev.Arrival, meta: ev.Metadata}}}
		t, err := scalar.ToTime(e.value(in.Timestamp))
		if err != nil || t.IsNull() {
			continue // InvalidInputTimeStamp
		}
		var over []value.Value
		for _, k := range in.Over {
			if f, ok := k.(*asa.Field); ok && strings.EqualFold(f.Path[0], "PartitionId") {
				panic(unsupported("partitions"))
			}
			over = append(over, e.value(k))
		}
		if slices.ContainsFunc(over, value.Value.IsNull) {
			continue // InvalidInputTimeStampKey
		}
		p := keys[key(over)]
		if p == nil {
			p = new(progress)
			keys[key(over)] = p
		}
		et := t.Ticks()
		if r.policy.Early >= 0 && et > ev.Arrival+r.policy.Early {
			continue
		}
		if r.policy.Late >= 0 && ev.Arrival-et > r.policy.Late {
			if r.policy.Drop {
				continue
			}
			et = ev.Arrival - r.policy.Late
		}
		if p.begun && et < p.watermark {
			if r.policy.Drop {
				continue
			}
			et = p.watermark
		}
		if !p.begun || et > p.highest {
			p.highest = et
		}
		if w := p.highest - r.policy.OutOfOrder; !p.begun || w > p.watermark {
			p.watermark = w
		}
		p.begun = true
		x.time = et
		rows = append(rows, x)
	}
	byTime(rows)
	return rows
}
