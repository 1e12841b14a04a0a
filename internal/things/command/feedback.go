package command

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"dunlin/internal/engine/lease"
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

const selectFeedback = "SELECT seq, device, module, generation, message_id, status, at, abandoned FROM c2d_feedback WHERE expires > ? ORDER BY seq LIMIT ?"

// ReceiveFeedback hands out what waits, up to 64 records, hidden from other
// receivers for a time; nil when nothing waits.
func (r *Room) ReceiveFeedback(ctx context.Context) (*Feedback, error) {
	type row struct {
		FeedbackRecord
		abandoned int
	}
	var (
		list []row
		seqs []int64
	)
	token, taken, err := r.feedback.Take(ctx, r.limits.FeedbackLock, feedbackBatch, func(n int) ([]int64, error) {
		now := time.Now().UnixNano()
		err := r.db.Read(ctx, func(tx state.Tx) error {
			list, seqs = nil, nil
			rows, err := tx.Query(ctx, selectFeedback, now, n)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var one row
				var seq, generation, at int64
				var s status
				if err := rows.Scan(&seq, &one.ID.Device, &one.ID.Module, &generation, &one.MessageID, &s, &at, &one.abandoned); err != nil {
					return err
				}
				one.Generation, one.At, one.Status = uint64(generation), time.Unix(0, at).UTC(), s.String()
				list, seqs = append(list, one), append(seqs, seq)
			}
			return rows.Err()
		})
		return seqs, err
	})
	if err != nil {
		return nil, stored(err, "read feedback")
	}
	if taken == nil {
		return nil, nil //nolint:nilnil // nothing waits
	}
	first := taken[0]
	f := &Feedback{Token: token, Sequence: seqs[first], DeliveryCount: list[first].abandoned}
	for _, i := range taken {
		f.Enqueued = list[i].At
		f.Records = append(f.Records, list[i].FeedbackRecord)
	}
	return f, nil
}

// SettleFeedback says what an application has made of feedback, and returns
// when that is durable. Abandon gives it back, Complete and Reject remove it.
func (r *Room) SettleFeedback(_ context.Context, token iot.LockToken, o iot.Outcome) error {
	err := r.feedback.Settle(token, func(seqs []int64) error {
		if o == iot.Release {
			return nil
		}
		return r.write(&change{run: func(ctx context.Context, w *work) error { return w.settleFeedback(ctx, seqs, o) }})
	})
	if errors.Is(err, lease.ErrLost) {
		return errLockLost()
	}
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
