package iothub

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/wire/jsontext"
)

// Largest bodies in bytes. A bulk call has up to 100 entries, each with tags
// and properties of up to 72 KB.
const (
	maxBody     = 256 << 10
	maxBulkBody = 8 << 20
)

// textRules are what every body keeps to. Payloads of methods are passed on to
// devices and may hold what they like; queries may compare with any text.
var textRules = jsontext.Rules{Depth: 64, Number: 128, Opaque: []string{"payload", "query", "queryCondition"}}

// decode reads the body as one JSON value. Members that are not known are
// passed over, as newer SDKs send more.
func (c *call) decode(limit int64, v any) error {
	b, err := c.body(limit)
	if err != nil {
		return err
	}
	if jsontext.Valid(b) {
		if err := jsontext.Check(b, textRules); err != nil {
			return iot.Errorf(iot.DeserializationError, "the body is not acceptable JSON: %w", err)
		}
	}
	if err := json.Unmarshal(b, v); err != nil {
		if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			where := typ.Field
			if where == "" {
				where = "the body"
			}
			return iot.Errorf(iot.ArgumentInvalid, "%s has the wrong JSON type: %s", where, typ.Value)
		}
		return iot.Errorf(iot.DeserializationError, "the body is not valid JSON: %w", err)
	}
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return iot.Errorf(iot.ArgumentNull, "the body is null")
	}
	return nil
}

// body reads the body as text that is meant to be JSON.
func (c *call) body(limit int64) ([]byte, error) {
	if ct := c.r.Header.Get("Content-Type"); ct != "" {
		if kind, _, err := mime.ParseMediaType(ct); err != nil || !isJSON(kind) {
			return nil, iot.Errorf(iot.UnsupportedMediaType, "the Content-Type '%.80s' is not supported, use application/json", ct)
		}
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, iot.Errorf(iot.MessageTooLarge, "the body is larger than %d bytes", limit)
	case err != nil:
		return nil, iot.Errorf(iot.BadRequest, "the body could not be read: %w", err)
	}
	b = bytes.TrimPrefix(b, byteOrderMark)
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return nil, iot.Errorf(iot.ArgumentNull, "the body is empty, JSON is needed")
	case !utf8.Valid(b):
		return nil, iot.Errorf(iot.DeserializationError, "the body is not valid UTF-8")
	}
	return b, nil
}

// byteOrderMark begins the text of some writers of files. It says nothing.
var byteOrderMark = []byte("\ufeff") // never changed

// isJSON takes the forms that are JSON by their name as well, such as
// application/json-patch+json.
func isJSON(kind string) bool {
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

// twinMatch reads the precondition of a change of a twin: the ETag that it must
// have, nil for any. A twin is always there, so that If-None-Match never holds.
func (c *call) twinMatch() (*string, error) {
	match, err := c.match()
	if err == nil && c.r.Header.Get("If-None-Match") != "" {
		err = iot.Errorf(iot.PreconditionFailed, "If-None-Match does not hold: a device has its twin from the beginning")
	}
	return match.ETag(), err
}

// match reads If-Match and If-None-Match in the forms that SDKs send: "*", *,
// "etag", etag and W/"etag".
func (c *call) match() (registry.Match, error) {
	values, present := c.r.Header["If-Match"]
	if none := c.r.Header.Get("If-None-Match"); none != "" {
		if strings.Trim(none, `"`) != "*" {
			return registry.Match{}, iot.Errorf(iot.ArgumentInvalid, `If-None-Match can only be "*"`)
		}
		if present {
			return registry.Match{}, iot.Errorf(iot.ArgumentInvalid, "If-Match and If-None-Match cannot be used together")
		}
		if c.op.method == http.MethodDelete {
			return registry.Match{}, iot.Errorf(iot.ArgumentInvalid, "If-None-Match means nothing for DELETE")
		}
	}
	if !present {
		return registry.Match{}, nil
	}
	if len(values) != 1 {
		return registry.Match{}, iot.Errorf(iot.ArgumentInvalid, "If-Match is given %d times", len(values))
	}
	return parseMatch(values[0]), nil
}

func parseMatch(s string) registry.Match {
	s = strings.TrimSpace(s)
	s = strings.TrimPrefix(s, "W/")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "*" {
		return registry.Any()
	}
	return registry.IfETag(s)
}

// same checks that an id in the body, when there is one, is that of the path.
func same(what, path string, body *string) error {
	if body != nil && *body != path {
		return iot.Errorf(iot.ArgumentInvalid, "%s is '%.140s' in the body and '%.140s' in the path", what, *body, path)
	}
	return nil
}
