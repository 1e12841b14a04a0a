package httpd

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
)

// spelled is a connection of HTTP/1.1 that remembers the header of the request
// that is being read. Names of headers do not tell cases apart, and net/http
// keeps only one spelling. But devices send the names of application properties
// in headers, and consumers look for them as the device spelled them.
type spelled struct {
	*tls.Conn

	mu   sync.Mutex
	head []byte
	done bool // all of the header is here, or too much
}

// keepHead is the largest buffer that a connection keeps between requests.
const keepHead = 2 << 10

// Read implements net.Conn.
func (c *spelled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(p[:n])
	return n, err
}

// note takes in what was read.
func (c *spelled) note(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	from := max(0, len(c.head)-len(headEnd)+1)
	c.head = append(c.head, p...)
	if i := bytes.Index(c.head[from:], headEnd); i >= 0 {
		c.head, c.done = c.head[:from+i], true
	}
	c.done = c.done || len(c.head) > maxHeader
}

var headEnd = []byte("\r\n\r\n") // never changed

// next forgets the header: what comes now is of another request, or of none
// when the connection changes hands.
func (c *spelled) next(more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = !more
	if c.head = c.head[:0]; cap(c.head) > keepHead || !more {
		c.head = nil
	}
}

// Application properties stand behind this prefix, as net/http spells it and
// as handlers are given it.
const (
	propertyHeader = "Iothub-App-"
	propertyPrefix = "iothub-app-"
)

// spell gives the headers of application properties the names that the client
// wrote, behind the prefix in lower case. Where they are not known, as with
// HTTP/2, they are in lower case as a whole.
func spell(c *spelled, h http.Header) {
	var found map[string][]string
	for name, values := range h {
		if !strings.HasPrefix(name, propertyHeader) {
			continue
		}
		if found == nil {
			found = c.names()
		}
		delete(h, name)
		spellings := found[name]
		for i, v := range values {
			as := strings.ToLower(name)
			if len(spellings) == len(values) {
				as = propertyPrefix + spellings[i][len(propertyPrefix):]
			}
			h[as] = append(h[as], v)
		}
	}
}

// names gives the spellings of the names of application properties, in their
// order, by the name that net/http makes of them.
func (c *spelled) names() map[string][]string {
	found := map[string][]string{}
	if c == nil {
		return found
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range bytes.SplitSeq(c.head, []byte("\n")) {
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) <= len(propertyPrefix) || !strings.EqualFold(string(name[:len(propertyPrefix)]), propertyPrefix) {
			continue
		}
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		found[key] = append(found[key], string(name))
	}
	return found
}
