package exec

import (
	"fmt"
	"strings"

	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/script"
	"dunlin/internal/insights/stream/window"
	"dunlin/internal/lang/asa"
)

// scripts are the user-defined functions of a job. Each that is called is
// there once, whatever calls it: the job belongs to one goroutine.
type scripts struct {
	functions []*script.Function
	limits    script.Limits
	made      map[*script.Function]*script.Instance
}

func newScripts(o Options) *scripts {
	return &scripts{functions: o.Functions, limits: o.Scripts, made: map[*script.Function]*script.Instance{}}
}

func (s *scripts) instance(name string, kind script.Kind) (*script.Instance, error) {
	for _, f := range s.functions {
		if !strings.EqualFold(f.Name(), name) || f.Kind() != kind {
			continue
		}
		if i := s.made[f]; i != nil {
			return i, nil
		}
		i, err := f.New(s.limits)
		if err == nil {
			s.made[f] = i
		}
		return i, err
	}
	if kind == script.Aggregate {
		return nil, fmt.Errorf("there is no user-defined aggregate '%s'", name)
	}
	return nil, fmt.Errorf("there is no user-defined function '%s'", name)
}

// script compiles a call of a function.
func (c *columns) script(call *asa.Call, compiler eval.Compiler) (eval.Value, error) {
	i, err := c.scripts.instance(call.Name, script.Scalar)
	if err != nil {
		return nil, err
	}
	args := make([]eval.Value, len(call.Args))
	for n, a := range call.Args {
		if args[n], err = c.argument(a, compiler); err != nil {
			return nil, err
		}
	}
	return eval.Rowwise(args, i.Call), nil
}

// argument compiles an argument of a function, which may be a whole row.
func (c *columns) argument(e asa.Expr, compiler eval.Compiler) (eval.Value, error) {
	if f, ok := e.(*asa.Field); ok && len(f.Path) == 0 {
		return c.row(f.Source), nil
	}
	return compiler.Value(e)
}

// aggregate finds an aggregate.
func (s *scripts) aggregate(name string) (window.User, error) {
	i, err := s.instance(name, script.Aggregate)
	if err != nil {
		return nil, err
	}
	return userAggregate{i}, nil
}

type userAggregate struct{ *script.Instance }

// Init implements window.User.
func (u userAggregate) Init() (window.UserState, error) { return u.NewState() }
