package command

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"dunlin/internal/iot"
)

// Call is one direct method call.
type Call struct {
	Method string
	// Payload is JSON text, nil for none, which the device is sent as null. The
	// room keeps it; it must not be changed any more.
	Payload []byte
	// Connect is how long to wait for the device when it is not there to take
	// calls; Response how long to wait for its answer from then on. A zero
	// Response means DefaultResponse.
	Connect, Response time.Duration
}

// Result is what the device answered.
type Result struct {
	Status  int    // chosen by the device, may be any number
	Payload []byte // JSON text, nil for none
}

// DefaultResponse is how long a caller waits who does not say.
const DefaultResponse = 30 * time.Second

// maxMethodName is the largest number of characters of a method's name.
const maxMethodName = 100

// returnGrace is how long a call outlives the connection that took it: SDKs
// connect anew whenever a token ends, and answer over the new connection.
const returnGrace = 5 * time.Second

// calls are the direct method calls under way.
type calls struct {
	mu        sync.Mutex
	next      uint64
	byRequest map[string]*pending
	byID      map[iot.ID][]*pending
	count     int
}

// pending is one call that somebody waits for.
type pending struct {
	id      iot.ID
	request string
	answer  chan answer   // room for one: a call is answered once
	online  chan struct{} // room for one: the device may take calls now
	gone    chan struct{} // room for one: the device's connection has ended
	failed  chan error    // room for one: there will be no answer
}

type answer struct {
	status   int
	payload  []byte
	tooLarge int // size of a payload that was not kept
}

func (c *calls) init() {
	// Numbers of an earlier run must not come back: late answers would match.
	c.next = rand.Uint64() >> 16
	c.byRequest = map[string]*pending{}
	c.byID = map[iot.ID][]*pending{}
}

func (c *calls) begin(id iot.ID, l *Limits) (*pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= l.Calls {
		return nil, iot.Errorf(iot.Throttled, "%d direct methods are under way, which is the limit of the hub: try again later", l.Calls)
	}
	here := c.byID[id]
	if len(here) >= l.CallsPerDevice {
		return nil, iot.Errorf(iot.MethodsInFlightExceeded, "%d direct methods of %s are under way, which is the limit for one device (hub.limits.calls): wait for answers", l.CallsPerDevice, id)
	}
	c.next++
	p := &pending{
		id: id, request: strconv.FormatUint(c.next, 16),
		answer: make(chan answer, 1), online: make(chan struct{}, 1), gone: make(chan struct{}, 1),
		failed: make(chan error, 1),
	}
	c.byRequest[p.request] = p
	c.byID[id] = append(here, p)
	c.count++
	return p, nil
}

func (c *calls) end(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byRequest, p.request)
	here := c.byID[p.id]
	for i := range here {
		if here[i] == p {
			last := len(here) - 1
			here[i], here[last] = here[last], nil
			here = here[:last]
			break
		}
	}
	if len(here) == 0 {
		delete(c.byID, p.id)
	} else {
		c.byID[p.id] = here
	}
	c.count--
}

// Invoke calls a method of a device or module and waits for its answer. That
// the identity exists is for the caller to know. Errors carry the documented
// codes: DeviceNotOnline, GatewayTimeout, BadDeviceResponse,
// DeviceConnectionClosed, MethodsInFlightExceeded, Throttled, ArgumentInvalid,
// or are that of ctx. Where the code is not DeviceNotOnline, the device may
// have done what it was asked for.
func (r *Room) Invoke(ctx context.Context, id iot.ID, c Call) (Result, error) {
	start := time.Now()
	res, err := r.invoke(ctx, id, c)
	r.metrics.call(time.Since(start), err)
	return res, err
}

func (r *Room) invoke(ctx context.Context, id iot.ID, c Call) (Result, error) {
	if c.Response == 0 {
		c.Response = DefaultResponse
	}
	if err := r.checkCall(&c); err != nil {
		return Result{}, err
	}
	p, err := r.calls.begin(id, &r.limits)
	if err != nil {
		return Result{}, err
	}
	defer r.calls.end(p)
	if len(c.Payload) == 0 {
		// Device SDKs read what comes as JSON, which an empty text is not: some
		// refuse such a call before their application sees it, others drop it.
		c.Payload = noPayload
	}
	in := &iot.Inbound{Kind: iot.KindMethod, Request: p.request, Method: c.Method, Payload: c.Payload}
	if !r.deliver(id, in) {
		if err := r.awaitDevice(ctx, p, in, c.Connect); err != nil {
			return Result{}, err
		}
	}
	return r.awaitAnswer(ctx, p, c.Response)
}

var noPayload = []byte("null") // never changed

// awaitDevice delivers the call as soon as the device takes calls.
func (r *Room) awaitDevice(ctx context.Context, p *pending, in *iot.Inbound, limit time.Duration) error {
	if limit <= 0 {
		return errNotOnline()
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		select {
		case <-p.online:
			if r.deliver(p.id, in) {
				return nil
			}
		case <-t.C:
			if r.deliver(p.id, in) {
				return nil
			}
			return errNotOnline()
		case err := <-p.failed:
			return err
		case <-r.closing:
			return errClosing()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func errNotOnline() error {
	return iot.Errorf(iot.DeviceNotOnline, "Timed out waiting for device to connect.")
}

func errClosing() error {
	return iot.Errorf(iot.ServiceUnavailable, "the server is stopping: try again later")
}

func (r *Room) awaitAnswer(ctx context.Context, p *pending, limit time.Duration) (Result, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	var grace <-chan time.Time
	for {
		select {
		case a := <-p.answer:
			return r.result(a)
		case <-t.C:
			return Result{}, iot.Errorf(iot.GatewayTimeout, "Timed out waiting for the response from device.")
		case err := <-p.failed:
			return Result{}, err
		case <-p.gone:
			if grace == nil {
				g := time.NewTimer(returnGrace)
				defer g.Stop()
				grace = g.C
			}
		case <-grace:
			grace = nil
			if !r.connected(p.id) {
				return Result{}, iot.Errorf(iot.DeviceConnectionClosed, "The connection of the device ended before it answered. It may have done what it was asked for.")
			}
		case <-r.closing:
			return Result{}, errClosing()
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
}

func (r *Room) result(a answer) (Result, error) {
	if a.tooLarge > 0 {
		return Result{}, iot.Errorf(iot.BadDeviceResponse, "The device answered with %d bytes, the limit is %d (hub.limits.method).", a.tooLarge, r.limits.MethodPayload)
	}
	payload := bytes.TrimSpace(a.payload)
	if len(payload) == 0 {
		return Result{Status: a.status}, nil
	}
	if !json.Valid(payload) {
		return Result{}, iot.Errorf(iot.BadDeviceResponse, "The device answered with a payload that is not valid JSON.")
	}
	return Result{Status: a.status, Payload: payload}, nil
}

// Check says what Invoke would refuse in a call, whatever the device is.
func (r *Room) Check(c Call) error {
	if c.Response == 0 {
		c.Response = DefaultResponse
	}
	return r.checkCall(&c)
}

func (r *Room) checkCall(c *Call) error {
	l := &r.limits
	switch {
	case c.Method == "":
		return iot.Errorf(iot.ArgumentInvalid, "methodName is missing")
	case len(c.Method) > maxMethodName:
		return iot.Errorf(iot.ArgumentInvalid, "methodName has %d characters, the limit is %d", len(c.Method), maxMethodName)
	case !validMethodName(c.Method):
		return iot.Errorf(iot.ArgumentInvalid, "methodName '%s' is not valid: it is of printable ASCII characters without blanks, / ? # and +", strings.ToValidUTF8(c.Method, "?"))
	case len(c.Payload) > l.MethodPayload:
		return iot.Errorf(iot.MessageTooLarge, "the payload has %d bytes, the limit is %d (hub.limits.method)", len(c.Payload), l.MethodPayload)
	case c.Response < l.ResponseMin || c.Response > l.ResponseMax:
		return errSeconds("responseTimeoutInSeconds", c.Response, l.ResponseMin, l.ResponseMax)
	case c.Connect < 0 || c.Connect > l.ConnectMax:
		return errSeconds("connectTimeoutInSeconds", c.Connect, 0, l.ConnectMax)
	}
	return nil
}

func errSeconds(name string, have, least, most time.Duration) error {
	return iot.Errorf(iot.ArgumentInvalid, "%s is %v, it must be from %v to %v", name, have.Seconds(), least.Seconds(), most.Seconds())
}

// validMethodName takes what can be one level of a topic and of a path.
func validMethodName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/?#+", c) >= 0 {
			return false
		}
	}
	return true
}

// Reply takes the answer of a device to a call. It copies what it keeps, does
// not block, and answers false when nobody waits: the caller has gone, the time
// was up, or the call was that of another device.
func (r *Room) Reply(id iot.ID, request []byte, status int, payload []byte) bool {
	c := &r.calls
	c.mu.Lock()
	p := c.byRequest[string(request)]
	if p == nil || p.id != id {
		c.mu.Unlock()
		r.metrics.late.Inc()
		return false
	}
	delete(c.byRequest, p.request)
	c.mu.Unlock()
	a := answer{status: status}
	if len(payload) > r.limits.MethodPayload {
		a.tooLarge = len(payload)
	} else {
		a.payload = bytes.Clone(payload)
	}
	p.answer <- a // its first and only one
	return true
}

// Online says that a connection of id takes calls from now on.
func (r *Room) Online(id iot.ID) {
	r.calls.signal(id, func(p *pending) chan struct{} { return p.online })
}

// Gone says that a connection of id has ended. When another one has taken
// over, or does so soon, calls wait on for their answer.
func (r *Room) Gone(id iot.ID) { r.calls.signal(id, func(p *pending) chan struct{} { return p.gone }) }

// End ends the calls of id under way with err: it was deleted or disabled, and
// its answers will not come.
func (r *Room) End(id iot.ID, err error) {
	r.calls.mu.Lock()
	defer r.calls.mu.Unlock()
	for _, p := range r.calls.byID[id] {
		select {
		case p.failed <- err:
		default: // it has ended already
		}
	}
}

func (c *calls) signal(id iot.ID, which func(p *pending) chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.byID[id] {
		select {
		case which(p) <- struct{}{}:
		default: // it was told and has not looked yet
		}
	}
}
