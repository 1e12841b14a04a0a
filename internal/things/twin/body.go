package twin

import (
	"dunlin/internal/iot"
)

// given is what a caller wants of one section.
type given struct {
	is    bool // the section was in the body
	clear bool // as null: everything is to go
	tree  node
}

// body is a change by the back end.
type body struct {
	tags, desired given
}

// readBody reads the JSON of a change or a replacement: tags and
// properties.desired. Everything else that a twin has may be there and is
// passed over, as callers send back what they were given.
func readBody(lim *Limits, id iot.ID, text string) (body, error) {
	var b body
	if int64(len(text)) > lim.MaxBody() {
		return b, iot.Errorf(iot.MessageTooLarge, "the body has %d bytes, at most %d are read (%s)", len(text), lim.MaxBody(), lim.source("twin-..."))
	}
	s := scanner{s: text, lim: lim, syntax: iot.DeserializationError}
	s.skip()
	if s.pos == len(s.s) {
		return b, iot.Errorf(iot.ArgumentNull, "the body is empty, a JSON object is needed")
	}
	if err := s.needObject(); err != nil {
		return b, err
	}
	err := s.members(func(key string, _ int) error {
		switch key {
		case "tags":
			return s.given(&b.tags)
		case "properties":
			if s.pos < len(s.s) && s.s[s.pos] == 'n' {
				break // null says nothing about either section
			}
			if err := s.needObject(); err != nil {
				return err
			}
			return s.members(func(key string, _ int) error {
				if key == "desired" {
					return s.given(&b.desired)
				}
				return s.pass()
			})
		case "deviceId":
			return s.same(id.Device)
		case "moduleId":
			return s.same(id.Module)
		}
		return s.pass()
	})
	if err == nil {
		err = s.end()
	}
	return b, err
}

func (s *scanner) pass() error {
	_, err := s.value(0, false)
	return err
}

func (s *scanner) needObject() error {
	if s.pos < len(s.s) && s.s[s.pos] == '{' {
		return nil
	}
	at := s.pos
	if err := s.pass(); err != nil {
		return err
	}
	return s.breaks(at, "a JSON object is needed")
}

func (s *scanner) given(g *given) error {
	g.is = true
	if s.pos < len(s.s) && s.s[s.pos] == 'n' {
		g.clear = true
		return s.pass()
	}
	if err := s.needObject(); err != nil {
		return err
	}
	var err error
	g.tree, err = s.section()
	return err
}

// same checks an id of the body against that of the path.
func (s *scanner) same(want string) error {
	at := s.pos
	if s.pos < len(s.s) && s.s[s.pos] == '"' {
		t, err := s.text()
		if err != nil {
			return err
		}
		if have := t.decoded(s.s); have != want {
			return s.breaks(at, "the id is '%s' in the body and '%s' in the path", clip(have, 140), clip(want, 140))
		}
		return nil
	}
	if s.pos < len(s.s) && s.s[s.pos] == 'n' {
		return s.pass()
	}
	if err := s.pass(); err != nil {
		return err
	}
	return s.breaks(at, "the id must be a text")
}

// readReport reads the reported properties that a device sends. Errors in the
// JSON are bad arguments there.
func readReport(lim *Limits, text string) (node, error) {
	if len(text) > maxText(lim.Reported) {
		return node{}, iot.Errorf(iot.ArgumentInvalid, "the patch has %d bytes, at most %d are read (%s)", len(text), maxText(lim.Reported), lim.source("twin-reported"))
	}
	s := scanner{s: text, lim: lim, syntax: iot.ArgumentInvalid, where: "reported"}
	n, err := s.section()
	if err == nil {
		err = s.end()
	}
	return n, err
}
