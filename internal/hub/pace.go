package hub

import (
	"context"
	"sync"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// pace is what one connection has only on a hub that limits how much may be
// done. It holds off its device until both the log and the limits have room.
type pace struct {
	limits  *quota.Limiter
	sender  *quota.Sender
	conn    Conn
	line    line
	refused bool // of Send: the connection is being closed

	mu       sync.Mutex
	byLog    bool        // the log has answered false
	early    bool        // its Ready came before its answer was seen
	byLimits bool        // timer runs
	timer    *time.Timer // nil until the first time
	closed   bool
}

// Durable implements eventlog.Waiter.
func (p *pace) Durable(n int, err error) { p.conn.Durable(n, err) }

// Ready implements eventlog.Waiter.
func (p *pace) Ready() {
	p.mu.Lock()
	if !p.byLog {
		p.early = true
		p.mu.Unlock()
		return
	}
	p.byLog = false
	held := p.byLimits
	p.mu.Unlock()
	if !held {
		p.conn.Ready()
	}
}

// sent notes that messages were handed to the log, with its answer, and how
// long the device is to wait. It answers whether the device may go on.
func (p *pace) sent(ok bool, wait time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !ok {
		if p.early {
			p.early = false
		} else {
			p.byLog = true
		}
	}
	if wait > 0 && !p.byLimits && !p.closed {
		p.byLimits = true
		if p.timer == nil {
			p.timer = time.AfterFunc(wait, p.waited)
		} else {
			p.timer.Reset(wait)
		}
	}
	return !p.byLog && !p.byLimits
}

// waited ends the wait of the limits.
func (p *pace) waited() {
	p.mu.Lock()
	p.byLimits = false
	held := p.byLog || p.closed
	p.mu.Unlock()
	if !held {
		p.conn.Ready()
	}
}

func (p *pace) close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.line.close()
}

// ask runs a request of the device as soon as the limits let it. fail hears why
// they do not.
func (p *pace) ask(k quota.Kind, run func(), fail func(error)) {
	err := p.limits.Left()
	var wait time.Duration
	if err == nil {
		wait, err = p.limits.Reserve(k, 1)
	}
	if err != nil {
		// In its turn too: answers keep the order of their requests.
		p.line.add(0, func() { fail(err) })
		return
	}
	p.line.add(wait, run)
}

// line runs what has to wait, in order. Its zero value is ready.
type line struct {
	mu      sync.Mutex
	waiting []turn
	timer   *time.Timer
	busy    bool // somebody runs the first
	closed  bool
}

type turn struct {
	due time.Time
	run func()
}

// add runs what need not wait at once, unless others wait.
func (l *line) add(wait time.Duration, run func()) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	if wait <= 0 && len(l.waiting) == 0 && !l.busy {
		l.mu.Unlock()
		run()
		return
	}
	l.waiting = append(l.waiting, turn{time.Now().Add(wait), run})
	if len(l.waiting) == 1 && !l.busy {
		l.arm()
	}
	l.mu.Unlock()
}

// arm sets the timer to the first turn; mu is held.
func (l *line) arm() {
	wait := time.Until(l.waiting[0].due)
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.serve)
	} else {
		l.timer.Reset(wait)
	}
}

// serve runs everything that is due.
func (l *line) serve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 && !l.busy && !l.closed {
		if time.Until(l.waiting[0].due) > 0 {
			l.arm()
			return
		}
		run := l.waiting[0].run
		if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
			l.waiting = nil
		}
		l.busy = true
		l.mu.Unlock()
		run()
		l.mu.Lock()
		l.busy = false
	}
}

// close drops what waits: nobody is there to hear the answer.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.waiting = true, nil
	if l.timer != nil {
		l.timer.Stop()
	}
}

// reading asks whether the principal may read identities, and takes one
// registry operation.
func (s *Service) reading(ctx context.Context, what string) error {
	if err := s.read(what); err != nil {
		return err
	}
	return s.deps.Quota.Take(ctx, quota.Registry, 1)
}

// writing is reading for n changes of identities.
func (s *Service) writing(ctx context.Context, what string, n int) error {
	if err := s.write(what); err != nil {
		return err
	}
	return s.deps.Quota.Take(ctx, quota.Registry, n)
}

// take takes one operation that counts as messages of the day.
func (s *Service) take(ctx context.Context, k quota.Kind, n int) error {
	q := s.deps.Quota
	if q == nil {
		return nil
	}
	if err := q.Offers(k); err != nil {
		return err
	}
	if err := q.Left(); err != nil {
		return err
	}
	return q.Take(ctx, k, n)
}

// paced makes an operation on twins one that is limited; size is that of what
// the application sends.
func (s *Service) paced(k quota.Kind, size int, do twinOperation) twinOperation {
	if s.deps.Quota == nil {
		return do
	}
	return func(ctx context.Context, key twin.Key) (twin.Doc, error) {
		if err := s.take(ctx, k, 1); err != nil {
			return twin.Doc{}, err
		}
		s.deps.Quota.Note(size)
		return do(ctx, key)
	}
}

type twinOperation = func(ctx context.Context, k twin.Key) (twin.Doc, error)

// room asks whether n more devices may be registered.
func (s *Service) room(ctx context.Context, n int) error {
	return s.deps.Quota.Admit(ctx, n, func(ctx context.Context) (int, error) {
		c, err := s.deps.Registry.Count(ctx)
		return int(c.Total), err
	})
}

// blocks is what a payload takes of quota.Methods.
func blocks(size int) int { return max(1, (size+quota.MethodBlock-1)/quota.MethodBlock) }

// limitReason names refusals of the limits among the problems of devices.
func limitReason(err error) (string, bool) {
	switch iot.CodeOf(err) { //nolint:exhaustive // the others are not of the limits
	case iot.Throttled, iot.DeviceThrottled:
		return "throttled", true
	case iot.QuotaExceeded:
		return "quota_exceeded", true
	}
	return "", false
}
