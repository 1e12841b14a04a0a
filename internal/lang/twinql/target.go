package twinql

import (
	"errors"
	"strings"

	"dunlin/internal/lang/diag"
)

// Target is what a job or a configuration is for: devices or modules that
// meet a condition.
type Target struct {
	From  Collection // Devices or Modules
	Where Expr       // nil is all of them
	Notes []*Error   // hints at members that no document has
}

// ParseTarget reads what jobs and configurations are aimed with: "*" for all
// devices, a condition on devices, or a collection with a condition, such as
// "FROM devices.modules WHERE moduleId = 'camera'". It is bound already. Errors
// are of type *Error and count in text.
func ParseTarget(text string) (Target, error) {
	var t Target
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return t, &Error{Column: 1, Message: "the condition is empty", Hint: "* selects all devices"}
	case trimmed == "*":
		return t, nil
	case !startsWithFrom(trimmed):
		e, err := ParseCondition(text)
		if err != nil {
			return t, err
		}
		t.Where = e
		t.Notes, err = BindCondition(e, Devices, text)
		return t, err
	}
	const prefix = "SELECT * "
	q, err := Parse(prefix + text)
	if err == nil {
		t.From, t.Where = q.From, q.Where
		t.Notes, err = Bind(q, prefix+text)
	}
	for _, n := range t.Notes {
		n.Back(len(prefix))
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.Back(len(prefix))
	}
	switch {
	case err != nil:
		return t, err
	case q.From == Jobs:
		return t, &Error{Column: 1, Message: "devices.jobs cannot be aimed at", Hint: "use FROM devices or FROM devices.modules"}
	case q.GroupBy != nil:
		return t, diag.At(text, q.GroupBy[0].Pos()-len(prefix), "", "groups cannot be aimed at")
	}
	return t, nil
}

// startsWithFrom reports whether the first word is FROM.
func startsWithFrom(s string) bool {
	const word = "from"
	return len(s) > len(word) && strings.EqualFold(s[:len(word)], word) && strings.IndexByte(" \t\r\n", s[len(word)]) >= 0
}
