package command

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"dunlin/internal/iot"
)

// window is how many messages a connection holds unsettled.
const window = 10

// lane is what is known of one queue beyond the store: who receives from it and
// what is out. Queues that nobody receives from have none. The fields are
// under Room.mu.
type lane struct {
	id         iot.ID
	generation uint64
	refs       int // callers that hold on to it

	// Whoever has set busy reads the store and hands out messages; others go
	// away, and the lane is looked at again, or wait for free.
	busy bool
	free chan struct{}
	// gone are the sequence numbers of what was settled meanwhile: whoever is
	// busy may have read them before.
	gone []int64

	want    bool   // a connection wants messages
	conn    uint64 // its number
	earlier uint64 // a connection with a lower number that wants them too; 0 for none
	queued  bool   // waits for a worker
	drained bool   // the store holds nothing that is not out
	last    int64  // highest sequence number handed out
	// delivered is the highest sequence number that connections before were
	// sent and did not settle.
	delivered int64
	locks     []*lock
}

// lock is a message that is out.
type lock struct {
	lane     *lane
	token    iot.LockToken
	m        *message // without its content
	conn     uint64   // the connection that holds it, when until is 0
	until    int64    // Unix nanoseconds; 0 when a connection holds it
	settling bool     // the journal has it
	orphan   bool     // its connection has ended while the journal had it
}

// enter gives the lane of an identity, made when there is none, to hold on to.
// Under mu.
func (r *Room) enter(id iot.ID) *lane {
	l := r.lanes[id]
	if l == nil {
		l = &lane{id: id}
		r.lanes[id] = l
	}
	l.refs++
	return l
}

// leave is the end of enter. Under mu.
func (r *Room) leave(l *lane) {
	l.refs--
	r.drop(l)
}

// drop forgets a lane that holds nothing. Under mu.
func (r *Room) drop(l *lane) {
	if l.refs == 0 && !l.busy && !l.want && !l.queued && l.delivered == 0 && len(l.locks) == 0 && r.lanes[l.id] == l {
		delete(r.lanes, l.id)
	}
}

// begin waits for the turn to hand out messages of a lane.
func (r *Room) begin(ctx context.Context, l *lane) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l.busy {
		if l.free == nil {
			l.free = make(chan struct{})
		}
		free := l.free
		r.mu.Unlock()
		var err error
		select {
		case <-free:
		case <-ctx.Done():
			err = ctx.Err()
		}
		r.mu.Lock()
		if err != nil {
			return err
		}
	}
	l.busy = true
	return nil
}

// end is the end of a turn. Under mu.
func (r *Room) end(l *lane) {
	l.busy = false
	l.gone = l.gone[:0]
	if l.free != nil {
		close(l.free)
		l.free = nil
	}
	r.schedule(l)
	r.drop(l)
}

// schedule lets a worker look after a lane when that is worth it. Under mu.
func (r *Room) schedule(l *lane) {
	if !l.want || l.drained || l.queued || l.busy || l.held() > window/2 {
		return
	}
	l.queued = true
	r.pumps = append(r.pumps, l)
	r.pumpWake.Signal()
}

// held counts what the connection holds.
func (l *lane) held() int {
	n := 0
	for _, k := range l.locks {
		if k.until == 0 {
			n++
		}
	}
	return n
}

// out reports whether somebody holds a message.
func (l *lane) out(seq int64) bool {
	for _, k := range l.locks {
		if k.m.seq == seq {
			return true
		}
	}
	return false
}

// waits reports whether a message that was read from the store may go out.
func (l *lane) waits(m *message, now int64) bool {
	return !l.out(m.seq) && !slices.Contains(l.gone, m.seq) && m.expires > now
}

// Pump says that a connection of id takes messages from now on: it is sent what
// waits, in order, up to a small number that it holds unsettled, and more as
// it settles them. conn is a number that rises from connection to connection
// of an identity: one with a lower number gets its turn when the other has
// ended. generation is that of the identity. It may be called again and does
// not block.
func (r *Room) Pump(id iot.ID, conn, generation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.enter(id)
	defer r.leave(l)
	switch {
	case conn < l.conn && l.want:
		l.earlier = conn
		return
	case conn != l.conn:
		r.release(l)
	}
	if !l.want || l.generation != generation {
		l.drained = false
	}
	l.want, l.conn, l.generation = true, conn, generation
	r.schedule(l)
}

// Release says that a connection of id has ended, or takes no messages any
// more: what it has not settled goes back into the queue.
func (r *Room) Release(id iot.ID, conn uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[id]
	switch {
	case l == nil:
		return
	case conn == l.earlier:
		l.earlier = 0
		return
	case conn != l.conn:
		return // taken over
	}
	r.release(l)
	l.want = l.earlier != 0
	if l.want {
		l.conn, l.earlier, l.drained = l.earlier, 0, false
		r.schedule(l)
	}
	r.drop(l)
}

// release takes back what a lane's connection holds. Under mu.
func (r *Room) release(l *lane) {
	kept := l.locks[:0]
	for _, k := range l.locks {
		switch {
		case k.until != 0:
			kept = append(kept, k)
			continue
		case k.settling:
			k.orphan = true
			kept = append(kept, k)
		default:
			r.freed(k)
		}
		l.delivered = max(l.delivered, k.m.seq)
	}
	clear(l.locks[len(kept):])
	l.locks = kept
}

// freed notes that a message is in the queue again. Under mu.
func (r *Room) freed(k *lock) {
	k.lane.drained = false
	r.expiresAt(k.m.expires)
}

// unlock takes a lock from its lane; false when it was taken before. Under mu.
func (l *lane) unlock(k *lock) bool {
	i := slices.Index(l.locks, k)
	if i >= 0 {
		l.locks = slices.Delete(l.locks, i, i+1)
	}
	return i >= 0
}

// claim makes m a message that is out. Under mu.
func (l *lane) claim(m *message, until int64) (*lock, *iot.Inbound, error) {
	k := &lock{lane: l, m: m, conn: l.conn, until: until}
	rand.Read(k.token[:])
	in, err := m.inbound(k.token, m.seq <= l.delivered)
	if err != nil {
		return nil, nil, err
	}
	row := *m
	row.content = nil // the device's copy is all that is needed of it
	k.m = &row
	l.locks = append(l.locks, k)
	l.last = max(l.last, m.seq)
	return k, in, nil
}

// offer hands a message that was just written to a connection that waits for
// it, without reading it back.
func (r *Room) offer(m *message) {
	r.mu.Lock()
	r.expiresAt(m.expires)
	l := r.lanes[m.id]
	switch {
	case l == nil:
		r.mu.Unlock()
		return
	case m.seq <= l.last: // a worker was faster
		r.mu.Unlock()
		return
	case l.busy, !l.want, !l.drained, l.generation != m.generation, l.held() >= window, m.expires <= time.Now().UnixNano():
		l.drained = false
		r.schedule(l)
		r.mu.Unlock()
		return
	}
	k, in, err := l.claim(m, 0)
	if err != nil {
		r.mu.Unlock()
		r.logger.Error("message not readable right after it was written", slog.String("device", m.id.Device), slog.Any("error", err))
		return
	}
	l.busy = true
	r.mu.Unlock()
	taken := r.deliver(m.id, in)
	r.mu.Lock()
	if !taken {
		r.refused(k)
	}
	r.end(l)
	r.mu.Unlock()
	if taken {
		r.metrics.delivered.Inc()
	}
}

// refused takes back a message that the connection did not take: there is none
// any more, or it has not asked. Under mu.
func (r *Room) refused(k *lock) {
	if k.lane.unlock(k) {
		k.lane.want = k.lane.want && k.lane.conn != k.conn // else there is another connection by now
		r.freed(k)
	}
}

// servePumps hands out messages of lanes that have been scheduled.
func (r *Room) servePumps(ctx context.Context) {
	for {
		r.mu.Lock()
		for r.pumpHead == len(r.pumps) && !r.stopped {
			r.pumpWake.Wait()
		}
		if r.stopped {
			r.mu.Unlock()
			return
		}
		l := r.nextPump()
		l.queued = false
		if l.busy { // whoever it is looks again
			r.mu.Unlock()
			continue
		}
		l.busy = true
		r.mu.Unlock()
		r.pump(ctx, l)
		r.mu.Lock()
		r.end(l)
		r.mu.Unlock()
	}
}

// nextPump takes the lane that was scheduled first. Under mu.
func (r *Room) nextPump() *lane {
	l := r.pumps[r.pumpHead]
	r.pumps[r.pumpHead] = nil
	r.pumpHead++
	if r.pumpHead == len(r.pumps) {
		r.pumps, r.pumpHead = r.pumps[:0], 0
	}
	return l
}

// pump reads what waits in a lane and hands it to the connection.
func (r *Room) pump(ctx context.Context, l *lane) {
	r.mu.Lock()
	room, generation, conn := window-l.held(), l.generation, l.conn
	limit := room + len(l.locks)
	wanted := l.want && room > 0 && !l.drained
	if wanted {
		l.drained = true // until something comes in, or more is found
	}
	r.mu.Unlock()
	if !wanted {
		return
	}
	list, damaged, err := r.readQueue(ctx, l.id, generation, time.Now().UnixNano(), limit)
	if err == nil {
		err = r.discard(damaged)
	}
	if err != nil {
		r.logger.Error("queue not read", slog.String("device", l.id.Device), slog.String("module", l.id.Module), slog.Any("error", err))
		r.mu.Lock()
		r.retryAt(l)
		r.mu.Unlock()
		return
	}
	var out []delivery
	var broken []*message
	r.mu.Lock()
	now := time.Now().UnixNano()
	full := len(list)+len(damaged) == limit
	if !l.want || l.conn != conn {
		l.drained = false
		r.mu.Unlock()
		return
	}
	for _, m := range list {
		if !l.waits(m, now) {
			continue
		}
		if l.held() >= window {
			full = true
			break
		}
		k, in, err := l.claim(m, 0)
		if err != nil {
			broken = append(broken, m)
			continue
		}
		out = append(out, delivery{k, in})
	}
	if full {
		l.drained = false
	} else if len(l.locks) == 0 {
		l.delivered = 0 // all of that is gone
	}
	r.mu.Unlock()
	r.handOut(l, out)
	if err := r.discard(broken); err != nil {
		r.mu.Lock()
		r.retryAt(l)
		r.mu.Unlock()
	}
}

type delivery struct {
	k  *lock
	in *iot.Inbound
}

// handOut gives messages to the connection, in order.
func (r *Room) handOut(l *lane, out []delivery) {
	for i, d := range out {
		r.mu.Lock()
		held := slices.Contains(l.locks, d.k)
		r.mu.Unlock()
		if !held {
			continue // taken over: the next connection is sent it
		}
		if r.deliver(l.id, d.in) {
			r.metrics.delivered.Inc()
			continue
		}
		r.mu.Lock()
		for _, d := range out[i:] {
			r.refused(d.k)
		}
		r.mu.Unlock()
		return
	}
}

// discard removes messages that have been altered on the disk, and returns
// when they are gone: else they would be read again.
func (r *Room) discard(list []*message) error {
	if len(list) == 0 {
		return nil
	}
	for _, m := range list {
		r.logger.Error("a cloud-to-device message is damaged in the store and was dropped", slog.String("device", m.id.Device),
			slog.String("module", m.id.Module), slog.Int64("sequence", m.seq), slog.String("message_id", m.messageID))
	}
	return r.write(&change{run: func(_ context.Context, w *work) error {
		for _, m := range list {
			w.end(m, statusRejected)
		}
		return nil
	}})
}

// Receive hands out the oldest message that waits, hidden from other receivers
// for a time; nil when none waits. hide 0 is the usual time.
func (r *Room) Receive(ctx context.Context, id iot.ID, generation uint64, hide time.Duration) (*iot.Inbound, error) {
	if hide == 0 {
		hide = r.limits.Lock
	}
	r.mu.Lock()
	l := r.enter(id)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.leave(l)
		r.mu.Unlock()
	}()
	if err := r.begin(ctx, l); err != nil {
		return nil, err
	}
	defer func() {
		r.mu.Lock()
		r.end(l)
		r.mu.Unlock()
	}()
	// Messages that were settled while they were read are in the way of others:
	// then it reads again.
	for range 10 {
		r.mu.Lock()
		l.gone = l.gone[:0]
		limit := 1 + len(l.locks)
		r.mu.Unlock()
		list, damaged, err := r.readQueue(ctx, id, generation, time.Now().UnixNano(), limit)
		if err != nil {
			return nil, err
		}
		if err := r.discard(damaged); err != nil {
			return nil, err
		}
		in, err := r.claimFirst(l, list, hide)
		if in != nil || err != nil || len(list)+len(damaged) < limit {
			return in, err
		}
	}
	return nil, nil //nolint:nilnil // nothing waits
}

// claimFirst hands out the first message that waits.
func (r *Room) claimFirst(l *lane, list []*message, hide time.Duration) (*iot.Inbound, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now().UnixNano()
	for _, m := range list {
		if !l.waits(m, now) {
			continue
		}
		k, in, err := l.claim(m, now+int64(hide))
		if err != nil {
			return nil, fmt.Errorf("command: message %d is damaged: %w", m.seq, err)
		}
		r.lockEnds(k.until, func() { r.lockEnded(k) })
		r.metrics.delivered.Inc()
		return in, nil
	}
	return nil, nil //nolint:nilnil // none of these
}

// Settle says what a device has made of a message. It does not block: done is
// called, from another goroutine or at once, when the outcome is durable or
// cannot be. The code MessageLockLost means that the device may be sent the
// message again, or that it is gone.
func (r *Room) Settle(id iot.ID, token iot.LockToken, o iot.Outcome, done func(error)) {
	r.mu.Lock()
	var k *lock
	if l := r.lanes[id]; l != nil {
		for _, have := range l.locks {
			if have.token == token {
				k = have
			}
		}
	}
	if k == nil || k.settling || (k.until != 0 && k.until <= time.Now().UnixNano()) {
		r.mu.Unlock()
		done(errLockLost())
		return
	}
	if o == iot.Release {
		k.lane.unlock(k)
		r.freed(k)
		r.schedule(k.lane)
		r.drop(k.lane)
		r.mu.Unlock()
		done(nil)
		return
	}
	k.settling = true
	r.mu.Unlock()
	if !r.journal.put(&change{lock: k, outcome: o, done: done}) {
		done(errClosing())
	}
}

// lockEnded puts a message back that nobody has settled in time. Under mu.
func (r *Room) lockEnded(k *lock) {
	if k.settling || !k.lane.unlock(k) {
		return
	}
	r.freed(k)
	r.schedule(k.lane)
	r.drop(k.lane)
}

func errLockLost() error {
	return iot.Errorf(iot.MessageLockLost, "the lock on the message is lost: it was settled before, or the time to settle it is over and it was put back into the queue")
}

// settled follows what the journal has made of a lock, before its caller hears
// of it.
func (r *Room) settled(k *lock, o iot.Outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := k.lane
	if l.busy && err == nil {
		l.gone = append(l.gone, k.m.seq)
	}
	switch {
	case err == nil && o == iot.Abandon:
		k.lane.unlock(k)
		r.freed(k)
	case err == nil:
		k.lane.unlock(k)
	case k.orphan || (k.until != 0 && k.until <= time.Now().UnixNano()):
		k.lane.unlock(k)
		r.freed(k)
	default:
		k.settling = false // may be tried again
	}
	if err == nil {
		r.metrics.settled.WithLabelValues(outcomeName(o)).Inc()
		if k.m.seq == l.delivered && o != iot.Abandon {
			l.delivered = 0 // the last one that was sent before
		}
	}
	r.schedule(l)
	r.drop(l)
}

func outcomeName(o iot.Outcome) string {
	return [...]string{"complete", "abandon", "reject", "release"}[min(o, iot.Release)]
}
