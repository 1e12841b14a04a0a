package script

import (
	"github.com/dop251/goja"

	"dunlin/internal/insights/stream/value"
)

// State is the state of an aggregate for one group. It belongs to its
// Instance. Errors are *scalar.Error.
type State struct {
	i    *Instance
	this *goja.Object
}

// NewState makes the state of an empty group.
func (i *Instance) NewState() (*State, error) {
	s := &State{i: i}
	err := i.run(func() error {
		this, err := i.vm.New(i.class)
		if err != nil {
			return err
		}
		s.this = this
		for _, name := range []string{"init", "accumulate", "computeResult"} {
			if s.method(name) == nil {
				return i.fail("", "an aggregate needs a method this.%s", name)
			}
		}
		_, err = s.method("init")(this)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// method finds a method; nil when there is none.
func (s *State) method(name string) goja.Callable {
	f, _ := goja.AssertFunction(s.this.Get(name))
	return f
}

// Accumulate adds a value with the timestamp of its event.
func (s *State) Accumulate(v value.Value, ticks int64) error {
	_, err := s.call("accumulate", v, ticks)
	return err
}

// Deaccumulate takes a value back. ok is false, and nothing has changed, when
// the script has no such method.
func (s *State) Deaccumulate(v value.Value, ticks int64) (ok bool, err error) {
	return s.call("deaccumulate", v, ticks)
}

func (s *State) call(name string, v value.Value, ticks int64) (ok bool, err error) {
	err = s.i.run(func() error {
		f := s.method(name)
		if f == nil {
			return nil
		}
		ok = true
		_, err := f(s.this, s.i.toScript(v), s.i.toDate(ticks))
		return err
	})
	return ok, err
}

// DeaccumulateState takes back all that another state holds, which is of the
// same instance. ok is false, and nothing has changed, when the script has no
// such method.
func (s *State) DeaccumulateState(other *State) (ok bool, err error) {
	err = s.i.run(func() error {
		f := s.method("deaccumulateState")
		if f == nil {
			return nil
		}
		ok = true
		_, err := f(s.this, other.this)
		return err
	})
	return ok, err
}

// Result computes what the state comes to.
func (s *State) Result() (result value.Value, err error) {
	err = s.i.run(func() error {
		out, err := s.method("computeResult")(s.this)
		if err != nil {
			return err
		}
		result, err = s.i.fromScript(out)
		return err
	})
	return result, err
}

// Save gives the state as JSON: numbers, texts, dates, arrays, plain objects,
// Map and Set, as deep as they go. Methods are not part of it.
func (s *State) Save() (json []byte, err error) {
	err = s.i.run(func() error {
		out, err := s.i.save(goja.Undefined(), s.this)
		if err != nil {
			return err
		}
		text, ok := out.(goja.String)
		if !ok || text.Length() > s.i.limits.Result {
			return s.i.fail("", "the state is larger than %d bytes", s.i.limits.Result)
		}
		json = []byte(text.String())
		return nil
	})
	return json, err
}

// Restore makes a state of what Save gave.
func (i *Instance) Restore(json []byte) (*State, error) {
	s, err := i.NewState()
	if err != nil {
		return nil, err
	}
	return s, i.run(func() error {
		_, err := i.load(goja.Undefined(), s.this, i.vm.ToValue(string(json)))
		return err
	})
}
