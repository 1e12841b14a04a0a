package run

import (
	"errors"
	"fmt"
	"strings"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/script"
	"dunlin/internal/insights/stream/value"
)

// Function compiles a JavaScript function that a query calls. kind says what
// it is for, in the words of the service ("Scalar", "JavaScript UDF", "udf", or
// "Aggregate", "JavaScript UDA", "uda"); when it is empty, a script with the
// method computeResult is an aggregate.
func Function(name, kind, source string) (*script.Function, error) {
	k := script.Scalar
	switch words := strings.ToLower(kind); {
	case words == "":
		if strings.Contains(source, "computeResult") {
			k = script.Aggregate
		}
	case strings.Contains(words, "uda"), strings.Contains(words, "aggregate"):
		k = script.Aggregate
	case strings.Contains(words, "udf"), strings.Contains(words, "scalar"), words == "javascript", words == "function":
	default:
		return nil, fmt.Errorf("'%s' is no kind of function: Scalar or Aggregate", kind)
	}
	f, err := script.Compile(name, k, source)
	if err != nil {
		return nil, fmt.Errorf("function '%s': %w", name, err)
	}
	return f, nil
}

// functions reads the member of a case: scripts by name, each a text or an
// object with the members type and script.
func (c *Case) functions(v value.Value) error {
	if v.IsNull() {
		return nil
	}
	if v.Kind() != value.Record {
		return errors.New("functions: an object with a script for each function")
	}
	t := v.Tree()
	for i, name := range t.Names {
		source, kind := t.Values[i], value.Value{}
		if source.Kind() == value.Record {
			kind = scalar.Member(source, "type")
			source = scalar.Member(source, "script")
		}
		if source.Kind() != value.Text {
			return fmt.Errorf("functions: '%s' has no script", name)
		}
		f, err := Function(name, scalar.ToText(kind), source.Text())
		if err != nil {
			c.broken = &CompileError{err}
			return nil //nolint:nilerr // Verify answers it
		}
		c.script.Functions = append(c.script.Functions, f)
	}
	return nil
}
