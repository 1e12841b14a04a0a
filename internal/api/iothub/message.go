package iothub

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/wire/jsontext"
)

// batchType is the content type of a batch of messages.
const batchType = "application/vnd.microsoft.iothub.json"

// maxBatchBody is the largest body of a batch in bytes: base64 and the names of
// members make it larger than what it holds.
const maxBatchBody = 1 << 20

// applicationPrefix stands before the names of application properties, in
// headers and in the properties of a batch.
const applicationPrefix = "iothub-app-"

// systemHeaders are the headers of system properties, in lower case.
var systemHeaders = map[string]iot.SystemKey{
	"iothub-messageid":       iot.MessageID,
	"iothub-correlationid":   iot.CorrelationID,
	"iothub-userid":          iot.UserID,
	"iothub-expiry":          iot.Expiry,
	"iothub-contenttype":     iot.ContentType,
	"iothub-contentencoding": iot.ContentEncoding,
	"iothub-interface-id":    iot.InterfaceID,
	"iothub-message-schema":  iot.MessageSchema,
	"dt-subject":             iot.Component,
	// The time of creation comes in the clothes of an application property.
	applicationPrefix + "iothub-creation-time-utc": iot.CreationTime,
}

// put adds what a header or a property of a batch says to a message; name is in
// lower case but for what follows the prefix.
func put(m *iot.Message, name, value string) (known bool) {
	lower := strings.ToLower(name)
	if key := systemHeaders[lower]; key != 0 {
		m.System = append(m.System, iot.SystemProperty{Key: key, Value: []byte(value)})
		return true
	}
	if strings.HasPrefix(lower, applicationPrefix) {
		name = name[len(applicationPrefix):]
	} else if lower != command.AckProperty {
		return false
	}
	if name == "" {
		return false
	}
	m.Properties = append(m.Properties, iot.Property{Name: []byte(name), Value: []byte(value)})
	return true
}

// message reads a message: properties from the headers, the payload from the
// body. The door gives names behind applicationPrefix as the client spelled
// them; where nobody knows that, they are in lower case.
func (c *call) message(limit int64) (*iot.Message, error) {
	m := &iot.Message{}
	names := make([]string, 0, len(c.r.Header))
	for name := range c.r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := c.r.Header[name]
		if !strings.HasPrefix(name, applicationPrefix) {
			name = strings.ToLower(name)
		}
		put(m, name, latin1(values[len(values)-1]))
	}
	var err error
	m.Body, err = c.read(limit)
	return m, err
}

// latin1 reads a header that is not UTF-8 as what headers were first.
func latin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// read reads the body up to a limit on it.
func (c *call) read(limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, iot.Errorf(iot.MessageTooLarge, "the body is larger than %d bytes", limit)
	case err != nil:
		return nil, iot.Errorf(iot.BadRequest, "the body could not be read: %w", err)
	}
	return b, nil
}

// batchRules are textRules for batches, whose bodies may be any text.
var batchRules = jsontext.Rules{Depth: textRules.Depth, Number: textRules.Number, Opaque: []string{"body"}}

// batch reads a batch of messages.
func (c *call) batch() ([]iot.Message, error) {
	b, err := c.read(maxBatchBody)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, iot.Errorf(iot.DeserializationError, "the batch is not valid UTF-8")
	}
	if jsontext.Valid(b) {
		if err := jsontext.Check(b, batchRules); err != nil {
			return nil, iot.Errorf(iot.DeserializationError, "the batch is not acceptable JSON: %w", err)
		}
	}
	var list []*struct {
		Body          *string        `json:"body"`
		Base64Encoded *bool          `json:"base64Encoded"`
		Properties    orderedStrings `json:"properties"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, iot.Errorf(iot.DeserializationError, "the batch is not a JSON array of messages: %w", err)
	}
	if len(list) == 0 {
		return nil, iot.Errorf(iot.ArgumentInvalid, "the batch is empty")
	}
	msgs := make([]iot.Message, len(list))
	total := 0
	for i, in := range list {
		m := &msgs[i]
		switch {
		case in == nil:
			return nil, iot.Errorf(iot.NullMessage, "message %d of the batch is null", i)
		case in.Body == nil:
		case in.Base64Encoded != nil && !*in.Base64Encoded:
			m.Body = []byte(*in.Body)
		default:
			if m.Body, err = base64.StdEncoding.DecodeString(*in.Body); err != nil {
				return nil, iot.Errorf(iot.ArgumentInvalid, "the body of message %d is not valid base64: %w", i, err)
			}
		}
		for _, p := range in.Properties {
			if !put(m, p[0], p[1]) {
				m.Properties = append(m.Properties, iot.Property{Name: []byte(p[0]), Value: []byte(p[1])})
			}
		}
		total += m.Size()
	}
	if total > iot.MaxMessage {
		return nil, iot.Errorf(iot.MessageTooLarge, "the messages of the batch have %d bytes with their properties, the limit for all together is %d", total, iot.MaxMessage)
	}
	return msgs, nil
}

// orderedStrings is a JSON object of texts in the order of its members; numbers
// and truth values become text.
type orderedStrings [][2]string

// UnmarshalJSON implements json.Unmarshaler.
func (o *orderedStrings) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("properties is not an object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		value, err := d.Token()
		if err != nil {
			return err
		}
		var text string
		switch v := value.(type) {
		case string:
			text = v
		case json.Number:
			text = v.String()
		case bool:
			text = strconv.FormatBool(v)
		case nil:
		default:
			return errors.New("a property is neither a text nor a number")
		}
		*o = append(*o, [2]string{name.(string), text})
	}
	return nil
}

// writeMessage answers with a cloud-to-device message. Header names are written
// as clients look for them: there are some that tell cases apart.
func (c *call) writeMessage(in *iot.Inbound) {
	h := c.w.Header()
	set := func(name, value string) { h[name] = []string{value} }
	set("ETag", `"`+in.Token.String()+`"`)
	set("iothub-sequencenumber", strconv.FormatInt(in.Sequence, 10))
	set("iothub-enqueuedtime", in.Enqueued.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	set("iothub-deliverycount", strconv.Itoa(in.DeliveryCount))
	for _, p := range in.Message.System {
		value := headerValue(p.Value)
		switch p.Key { //nolint:exhaustive // no header for the others
		case iot.MessageID:
			set("iothub-messageid", value)
		case iot.CorrelationID:
			set("iothub-correlationid", value)
		case iot.UserID:
			set("iothub-userid", value)
		case iot.To:
			set("iothub-to", value)
		case iot.Expiry:
			set("iothub-expiry", value)
		case iot.ContentType:
			set("iothub-contenttype", value)
			set("ContentType", value)
		case iot.ContentEncoding:
			set("iothub-contentencoding", value)
			set("ContentEncoding", value)
		}
	}
	for _, p := range in.Message.Properties {
		if string(p.Name) == command.AckProperty {
			set(command.AckProperty, headerValue(p.Value))
			continue
		}
		set(applicationPrefix+headerName(p.Name), headerValue(p.Value))
	}
	h.Set("Content-Type", "application/octet-stream")
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(in.Message.Body) //nolint:errcheck // the device has gone; its lock ends
}

// headerName keeps a name that can be one, and escapes any other.
func headerName(name []byte) string {
	for _, b := range name {
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, b) >= 0 {
			return url.QueryEscape(string(name))
		}
	}
	return string(name)
}

// headerValue keeps a value that can be one, and escapes any other.
func headerValue(value []byte) string {
	for _, b := range value {
		if b < ' ' || b == 0x7f {
			return url.QueryEscape(string(value))
		}
	}
	return textproto.TrimString(string(value))
}

// lockToken reads the token of the path.
func (c *call) lockToken() (iot.LockToken, error) {
	t, ok := iot.ParseLockToken(strings.Trim(c.token, `"`))
	if !ok {
		// It is not one that was given out.
		return t, iot.Errorf(iot.MessageLockLost, "there is no message with the lock token '%.60s'", c.token)
	}
	return t, nil
}
