package exec

import (
	"slices"
	"strings"

	"dunlin/internal/lang/asa"
)

// pattern is a regular expression over events as a machine: from a state it
// takes an event as one of the variables and is in another state.
type pattern struct {
	variables []string
	states    []patternState
}

// patternState says how it can go on, what is preferred first.
type patternState struct {
	options []patternOption
	accept  bool // it may end here
}

type patternOption struct {
	variable int // -1: any event, as none
	to       int
}

// patternNode is a place in the pattern before choices are resolved.
type patternNode struct {
	variable int
	next     int   // behind the variable
	choices  []int // nil: a variable, or the end
	end      bool
}

type patternMaker struct {
	*pattern
	nodes []patternNode
}

// newPattern makes the machine; it begins in state 0.
func newPattern(p *asa.Pattern) *pattern {
	m := &patternMaker{pattern: new(pattern)}
	end := m.node(patternNode{end: true})
	start := m.times(p, end)
	// A state for the start and one for what is behind each variable.
	numbers := map[int]int{}
	var todo []int
	state := func(node int) int {
		n, ok := numbers[node]
		if !ok {
			n = len(numbers)
			numbers[node] = n
			todo = append(todo, node)
		}
		return n
	}
	state(start)
	for len(todo) > 0 {
		node := todo[0]
		todo = todo[1:]
		var s patternState
		m.reach(node, map[int]bool{}, func(n *patternNode) {
			if n.end {
				s.accept = true
				return
			}
			s.options = append(s.options, patternOption{n.variable, state(n.next)})
		})
		m.states = append(m.states, s)
	}
	return m.pattern
}

func (m *patternMaker) node(n patternNode) int {
	m.nodes = append(m.nodes, n)
	return len(m.nodes) - 1
}

// reach calls f for the variables, and the end, that can come next.
func (m *patternMaker) reach(node int, seen map[int]bool, f func(*patternNode)) {
	if seen[node] {
		return
	}
	seen[node] = true
	n := &m.nodes[node]
	if n.choices == nil {
		f(n)
		return
	}
	for _, c := range n.choices {
		m.reach(c, seen, f)
	}
}

// times makes a part of the pattern as often as it may be, with next behind it.
func (m *patternMaker) times(p *asa.Pattern, next int) int {
	switch {
	case p.Min == 1 && p.Max == 1:
		return m.once(p, next)
	case p.Max == 1:
		return m.node(patternNode{choices: []int{m.once(p, next), next}})
	}
	again := m.node(patternNode{choices: []int{}})
	body := m.once(p, again)
	m.nodes[again].choices = []int{body, next}
	if p.Min == 0 {
		return again
	}
	return body
}

func (m *patternMaker) once(p *asa.Pattern, next int) int {
	switch p.Kind {
	case asa.PatternVariable:
		return m.node(patternNode{variable: m.variable(p.Name.Text), next: next})
	case asa.PatternAny:
		return m.node(patternNode{variable: -1, next: next})
	case asa.PatternSequence:
		for _, v := range slices.Backward(p.Subs) {
			next = m.times(v, next)
		}
		return next
	case asa.PatternChoice:
	}
	var choices []int
	for _, s := range p.Subs {
		choices = append(choices, m.times(s, next))
	}
	return m.node(patternNode{choices: choices})
}

func (m *patternMaker) variable(name string) int {
	if n := m.find(name); n >= 0 {
		return n
	}
	m.variables = append(m.variables, name)
	return len(m.variables) - 1
}

// find gives the number of a variable; -1 when there is none of the name.
func (p *pattern) find(name string) int {
	for i, v := range p.variables {
		if strings.EqualFold(v, name) {
			return i
		}
	}
	return -1
}
