package command

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// status is what became of a message; the numbers are stored.
type status uint8

const (
	statusSuccess status = iota
	statusExpired
	statusDeliveryCount
	statusRejected
	statusPurged
)

// String gives the documented name.
func (s status) String() string {
	return [...]string{"Success", "Expired", "DeliveryCountExceeded", "Rejected", "Purged"}[min(s, statusPurged)]
}

// feedbackBatch is the largest number of records that go out together.
const feedbackBatch = 64

// Feedback tells an application what became of messages.
type Feedback struct {
	Token    iot.LockToken
	Sequence int64 // of the first record
	// DeliveryCount is how often the first record was abandoned before.
	DeliveryCount int
	Enqueued      time.Time // of the last record
	Records       []FeedbackRecord
}

// FeedbackRecord is what became of one message.
type FeedbackRecord struct {
	MessageID  string
	At         time.Time
	Status     string // Success, Expired, DeliveryCountExceeded, Rejected or Purged
	ID         iot.ID
	Generation uint64
}

// FeedbackContentType is that of the body of Feedback.
const FeedbackContentType = "application/vnd.microsoft.iothub.feedback.json"

// Body gives the records as the documented JSON text.
func (f *Feedback) Body() ([]byte, error) {
	type entry struct {
		MessageID   string `json:"originalMessageId"`
		At          string `json:"enqueuedTimeUtc"`
		StatusCode  string `json:"statusCode"`
		Description string `json:"description"`
		Device      string `json:"deviceId"`
		Module      string `json:"moduleId,omitempty"`
		Generation  string `json:"deviceGenerationId"`
	}
	list := make([]entry, len(f.Records))
	for i, r := range f.Records {
		list[i] = entry{
			r.MessageID, r.At.UTC().Format("2006-01-02T15:04:05.0000000Z"), r.Status, r.Status, r.ID.Device, r.ID.Module,
			strconv.FormatUint(r.Generation, 10),
		}
	}
	return json.Marshal(list)
}

// desk is what is known of feedback beyond the store; the maps are under
// Room.mu.
type desk struct {
	turn chan struct{} // holds a token while nobody reads
	out  map[iot.LockToken]*feedbackLock
	seqs map[int64]bool // records that are out
}

type feedbackLock struct {
	token    iot.LockToken
	seqs     []int64
	until    int64
	settling bool
}

func (d *desk) init() {
	d.turn = make(chan struct{}, 1)
	d.turn <- struct{}{}
	d.out, d.seqs = map[iot.LockToken]*feedbackLock{}, map[int64]bool{}
}

const selectFeedback = "SELECT seq, device, module, generation, message_id, status, at, abandoned FROM c2d_feedback WHERE expires > ? ORDER BY seq LIMIT ?"

// ReceiveFeedback hands out what waits, up to 64 records, hidden from other
// receivers for a time; nil when nothing waits.
func (r *Room) ReceiveFeedback(ctx context.Context) (*Feedback, error) {
	d := &r.desk
	select {
	case <-d.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { d.turn <- struct{}{} }()
	r.mu.Lock()
	limit := feedbackBatch + len(d.seqs)
	r.mu.Unlock()
	now := time.Now().UnixNano()
	type row struct {
		FeedbackRecord
		seq       int64
		abandoned int
	}
	var list []row
	err := r.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		rows, err := tx.Query(ctx, selectFeedback, now, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one row
			var generation, at int64
			var s status
			if err := rows.Scan(&one.seq, &one.ID.Device, &one.ID.Module, &generation, &one.MessageID, &s, &at, &one.abandoned); err != nil {
				return err
			}
			one.Generation, one.At, one.Status = uint64(generation), time.Unix(0, at).UTC(), s.String()
			list = append(list, one)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, stored(err, "read feedback")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &feedbackLock{until: now + int64(r.limits.FeedbackLock)}
	f := &Feedback{}
	for _, one := range list {
		if d.seqs[one.seq] || len(f.Records) == feedbackBatch {
			continue
		}
		if len(f.Records) == 0 {
			f.Sequence, f.DeliveryCount = one.seq, one.abandoned
		}
		f.Enqueued = one.At
		f.Records = append(f.Records, one.FeedbackRecord)
		k.seqs = append(k.seqs, one.seq)
		d.seqs[one.seq] = true
	}
	if len(f.Records) == 0 {
		return nil, nil //nolint:nilnil // nothing waits
	}
	rand.Read(k.token[:])
	f.Token = k.token
	d.out[k.token] = k
	r.lockEnds(k.until, func() {
		if !k.settling {
			d.unlock(k)
		}
	})
	return f, nil
}

func (d *desk) unlock(k *feedbackLock) {
	delete(d.out, k.token)
	for _, seq := range k.seqs {
		delete(d.seqs, seq)
	}
}

// SettleFeedback says what an application has made of feedback, and returns
// when that is durable. Abandon gives it back, Complete and Reject remove it.
func (r *Room) SettleFeedback(_ context.Context, token iot.LockToken, o iot.Outcome) error {
	r.mu.Lock()
	k := r.desk.out[token]
	if k == nil || k.settling || k.until <= time.Now().UnixNano() {
		r.mu.Unlock()
		return errLockLost()
	}
	k.settling = true
	r.mu.Unlock()
	var err error
	if o != iot.Release {
		err = r.write(&change{run: func(ctx context.Context, w *work) error { return w.settleFeedback(ctx, k.seqs, o) }})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && k.until > time.Now().UnixNano() {
		k.settling = false
		return err
	}
	r.desk.unlock(k)
	return err
}

func (w *work) settleFeedback(ctx context.Context, seqs []int64, o iot.Outcome) error {
	args := make([]any, len(seqs))
	for i, seq := range seqs {
		args[i] = seq
	}
	if o != iot.Abandon {
		return deleteFeedback.exec(ctx, w.tx, args)
	}
	if err := abandonFeedback.exec(ctx, w.tx, args); err != nil {
		return err
	}
	_, err := w.tx.Exec(ctx, "DELETE FROM c2d_feedback WHERE seq >= ? AND seq <= ? AND abandoned >= ?", seqs[0], seqs[len(seqs)-1], w.limits.FeedbackMaxDelivery)
	return err
}
