package bag

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"dunlin/internal/iot"
)

// indexFrom is the number of application properties from which on repeated
// names are found through an index: a topic has room for thousands.
const indexFrom = 32

// SyntaxError says what is wrong with a bag and where.
type SyntaxError struct {
	Offset int // in bytes from the beginning of the bag
	Detail string
}

func (e *SyntaxError) Error() string {
	return "property bag: " + e.Detail + " at byte " + strconv.Itoa(e.Offset)
}

// Parse adds the properties of a bag to m, which keeps views of b and of
// scratch; decoded text is appended to scratch. It allocates only when the
// slices have to grow, or for bags of more than 32 application properties.
//
// A bag is everything behind the slash of the telemetry topic and may begin
// with a question mark. It may hold raw slashes; a slash at the very end is
// dropped when it stands alone or when the bag names a module output ($.on),
// whose topics clients end with one. A name without "=" has the value nil. Of
// a repeated name the last value counts. A plus is a plus. After an error m
// holds some of the properties. Errors are *SyntaxError.
func Parse(m *iot.Message, scratch, b []byte) ([]byte, error) {
	p := parser{m: m, scratch: scratch, bag: b, system: len(m.System), properties: len(m.Properties)}
	if !utf8.Valid(b) {
		return scratch, &SyntaxError{invalidAt(b), "text is not UTF-8"}
	}
	if i := bytes.IndexByte(b, 0); i >= 0 { // no text of MQTT may hold it [MQTT-1.5.3-2]
		return scratch, &SyntaxError{i, "character U+0000, which must be encoded"}
	}
	start, end := 0, len(b)
	if end > 0 && b[0] == '?' {
		start = 1
	}
	if end > start && b[end-1] == '/' && (end == start+1 || hasOutput(b[start:end-1])) {
		end--
	}
	for start < end {
		next := end
		if i := bytes.IndexByte(b[start:end], '&'); i >= 0 {
			next = start + i
		}
		if next > start {
			if err := p.pair(start, next); err != nil {
				return p.scratch, err
			}
		}
		start = next + 1
	}
	return p.scratch, nil
}

type parser struct {
	m       *iot.Message
	scratch []byte
	bag     []byte
	// Where the properties of this bag begin in m.
	system, properties int
	index              map[string]int // place in m.Properties by name, once there are many
}

// pair reads bag[start:end], which is not empty.
func (p *parser) pair(start, end int) error {
	nameEnd := end
	if i := bytes.IndexByte(p.bag[start:end], '='); i >= 0 {
		nameEnd = start + i
	}
	if nameEnd == start {
		return &SyntaxError{start, "property without a name"}
	}
	var value []byte
	if nameEnd < end {
		var err error
		if value, err = p.text(nameEnd+1, end); err != nil {
			return err
		}
	}
	if key := systemKey(p.bag[start:nameEnd]); key != 0 {
		p.setSystem(key, value)
		return nil
	}
	name, err := p.text(start, nameEnd)
	if err != nil {
		return err
	}
	if name[0] == '$' { // encoded in another way
		if key := iot.BagKey(name); key != 0 {
			p.setSystem(key, value)
			return nil
		}
	}
	p.setProperty(name, value)
	return nil
}

func (p *parser) setSystem(key iot.SystemKey, value []byte) {
	if value == nil {
		value = p.bag[:0:0] // system properties know no missing value
	}
	for i := p.system; i < len(p.m.System); i++ {
		if p.m.System[i].Key == key {
			p.m.System[i].Value = value
			return
		}
	}
	p.m.System = append(p.m.System, iot.SystemProperty{Key: key, Value: value})
}

func (p *parser) setProperty(name, value []byte) {
	if i, ok := p.find(name); ok {
		p.m.Properties[i].Value = value
		return
	}
	p.m.Properties = append(p.m.Properties, iot.Property{Name: name, Value: value})
	if p.index != nil {
		p.index[string(name)] = len(p.m.Properties) - 1
	}
}

// find gives the place of an application property of this bag.
func (p *parser) find(name []byte) (i int, ok bool) {
	if p.index == nil && len(p.m.Properties)-p.properties >= indexFrom {
		p.index = make(map[string]int)
		for i := p.properties; i < len(p.m.Properties); i++ {
			p.index[string(p.m.Properties[i].Name)] = i
		}
	}
	if p.index != nil {
		i, ok = p.index[string(name)]
		return i, ok
	}
	for i := p.properties; i < len(p.m.Properties); i++ {
		if bytes.Equal(p.m.Properties[i].Name, name) {
			return i, true
		}
	}
	return 0, false
}

// text decodes bag[start:end]: a view of the bag when nothing is encoded, of
// scratch otherwise. It never gives nil without an error.
func (p *parser) text(start, end int) ([]byte, error) {
	raw := p.bag[start:end:end]
	i := bytes.IndexByte(raw, '%')
	if i < 0 {
		return raw, nil
	}
	begin, at, high := len(p.scratch), start, byte(0)
	for ; i >= 0; i = bytes.IndexByte(raw, '%') {
		if len(raw)-i < 3 {
			return nil, &SyntaxError{at + i, "percent sign without two hexadecimal digits"}
		}
		hi, lo := unhex[raw[i+1]], unhex[raw[i+2]]
		if hi|lo > 15 {
			return nil, &SyntaxError{at + i, "percent sign without two hexadecimal digits"}
		}
		c := hi<<4 | lo
		high |= c
		p.scratch = append(append(p.scratch, raw[:i]...), c)
		raw, at = raw[i+3:], at+i+3
	}
	p.scratch = append(p.scratch, raw...)
	v := p.scratch[begin:len(p.scratch):len(p.scratch)]
	// The bag is UTF-8: only what was encoded can have spoiled it.
	if high >= utf8.RuneSelf && !utf8.Valid(v) {
		return nil, &SyntaxError{start, "decoded text is not UTF-8"}
	}
	return v, nil
}

// hasOutput reports whether a bag holds the system property $.on. It is asked
// only for bags that end with a slash.
func hasOutput(b []byte) bool {
	for len(b) > 0 {
		pair, rest, _ := bytes.Cut(b, []byte{'&'})
		name, _, _ := bytes.Cut(pair, []byte{'='})
		if systemKey(name) == iot.OutputName {
			return true
		}
		b = rest
	}
	return false
}

// systemKey finds the system property behind a name as it stands in the bag,
// in the spellings that clients use; 0 when it is none or spelled otherwise.
func systemKey(raw []byte) iot.SystemKey {
	switch {
	case len(raw) > 2 && raw[0] == '$' && raw[1] == '.':
		raw = raw[2:]
	case len(raw) > 4 && raw[0] == '%' && raw[1] == '2' && raw[2] == '4' && raw[3] == '.':
		raw = raw[4:]
	default:
		return 0
	}
	// The same names as iot.BagKey, which a test compares.
	switch string(raw) {
	case "mid":
		return iot.MessageID
	case "cid":
		return iot.CorrelationID
	case "uid":
		return iot.UserID
	case "to":
		return iot.To
	case "exp":
		return iot.Expiry
	case "ct":
		return iot.ContentType
	case "ce":
		return iot.ContentEncoding
	case "ctime":
		return iot.CreationTime
	case "sub":
		return iot.Component
	case "ifid":
		return iot.InterfaceID
	case "on":
		return iot.OutputName
	case "schema":
		return iot.MessageSchema
	case "diagid":
		return iot.DiagnosticID
	case "diagctx":
		return iot.DiagnosticContext
	case "cdid":
		return iot.OriginalDevice
	case "cmid":
		return iot.OriginalModule
	default:
		return 0
	}
}

// invalidAt gives the offset of the first byte that is not UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// unhex gives the value of a hexadecimal digit, 255 for anything else.
var unhex = func() (values [256]byte) {
	for i := range values {
		values[i] = 255
	}
	for i, c := range []byte("0123456789abcdef") {
		values[c] = byte(i)
	}
	for i, c := range []byte("ABCDEF") {
		values[c] = byte(i + 10)
	}
	return values
}()
