package configuration

import (
	"errors"
	"strings"

	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// condition says which twins a configuration is for.
type condition struct {
	twinql.Target
	none bool

	// what it is about, of what changes
	tags     bool
	reported map[string]bool // first names below properties.reported
}

// matches reports whether a twin is meant.
func (c *condition) matches(doc twinql.Source) bool {
	return !c.none && (c.Where == nil || twinql.Eval(c.Where, doc).IsTrue())
}

// readCondition understands a target condition: nothing or ” is none, * is
// all, else it is what stands behind WHERE, for modules after FROM
// devices.modules.
func readCondition(text string, kind Kind) (condition, error) {
	var c condition
	if kind == Modules {
		c.From = twinql.Modules
	}
	switch strings.TrimSpace(text) {
	case "":
		c.none = true
		return c, nil
	case "*":
		return c, nil
	}
	t, err := twinql.ParseTarget(text)
	if err == nil && len(t.Notes) > 0 {
		err = t.Notes[0] // it would select nothing, for ever
	}
	switch {
	case err != nil:
		return c, badTarget("the target condition is not valid %w", err)
	case t.From != c.From && kind == Modules:
		return c, badTarget("a target condition over modules begins with FROM devices.modules WHERE")
	case t.From != c.From:
		return c, badTarget("only the target condition of moduleContent begins with FROM devices.modules: write what stands behind WHERE")
	}
	c.Target = t
	return c, c.about()
}

// about checks that the condition is about what changes with an event, and
// notes about what. What a configuration writes itself must not count: it
// could contradict its own condition and would never come to rest.
func (c *condition) about() error {
	var err error
	c.reported = map[string]bool{}
	if c.Where == nil {
		return nil
	}
	twinql.Walk(c.Where, func(e twinql.Expr) bool {
		p, ok := e.(*twinql.Path)
		if !ok {
			return true
		}
		switch s := p.Steps; {
		case s[0].Name == "deviceId", s[0].Name == "moduleId", s[0].Name == "capabilities":
		case s[0].Name == "tags":
			c.tags = true
		case s[0].Name == "properties" && len(s) > 2 && s[1].Name == "reported":
			c.reported[s[2].Name] = true
		default:
			err = badTarget("the target condition is about %.100s: it can be about deviceId, moduleId, tags, properties.reported and capabilities.iotEdge", twinql.Print(p))
		}
		return true
	})
	return err
}

func badTarget(format string, args ...any) error {
	return iot.Errorf(iot.InvalidConfigurationTarget, format, args...)
}

// metric is the number of rows of a query.
type metric struct {
	count string // the query that counts them
	top   int    // they are never more; 0 is no limit
}

// readMetric checks a metric.
func readMetric(name, text string) (metric, error) {
	bad := func(err error) (metric, error) {
		return metric{}, iot.Errorf(iot.InvalidConfigurationMetrics, "the metric '%.128s' is not valid %w", name, err)
	}
	q, err := twinql.Parse(text)
	if err != nil {
		return bad(err)
	}
	if _, err := twinql.Bind(q, text); err != nil {
		return bad(err)
	}
	aggregate := q.GroupBy != nil
	for i := range q.Columns {
		if _, ok := q.Columns[i].Expr.(*twinql.Aggregate); ok {
			aggregate = true
		}
	}
	if aggregate {
		return bad(errors.New("as a metric is the number of rows of its query: select deviceId instead of an aggregate, without GROUP BY"))
	}
	if q.From == twinql.Jobs {
		return bad(errors.New("as a metric: it is a query over devices or devices.modules"))
	}
	m := metric{count: "SELECT COUNT() AS n FROM " + q.From.String(), top: q.Top}
	if q.Where != nil {
		m.count += " WHERE " + twinql.Print(q.Where)
	}
	return m, nil
}
