package upload

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/lease"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Notification tells an application of a file.
type Notification struct {
	Token    iot.LockToken
	Sequence int64
	// DeliveryCount is how often it was abandoned before.
	DeliveryCount int
	Enqueued      time.Time
	Device        string
	Name          string // of the blob, which begins with the device id
	URI           string // its address, without a signature
	Size          int64  // bytes
	Modified      time.Time
}

// NotificationContentType is that of the body of a Notification.
const NotificationContentType = "application/vnd.microsoft.iothub.filenotification.json"

// Body gives the documented JSON text.
func (n *Notification) Body() ([]byte, error) {
	return json.Marshal(struct {
		Device   string `json:"deviceId"`
		URI      string `json:"blobUri"`
		Name     string `json:"blobName"`
		Modified string `json:"lastUpdatedTime"`
		Size     int64  `json:"blobSizeInBytes"`
		Enqueued string `json:"enqueuedTimeUtc"`
	}{
		n.Device, n.URI, n.Name, n.Modified.UTC().Format("2006-01-02T15:04:05") + "+00:00", n.Size,
		n.Enqueued.UTC().Format("2006-01-02T15:04:05.0000000Z"),
	})
}

// tell queues a notification.
func (r *Room) tell(ctx context.Context, tx state.Tx, device, name string, p blob.Properties, now time.Time) error {
	if _, err := tx.Exec(ctx, "UPDATE upload_counter SET value = value + 1 WHERE name = 'seq'"); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO upload_note (seq, device, name, size, modified, enqueued, expires, abandoned)
SELECT value, ?, ?, ?, ?, ?, ?, 0 FROM upload_counter WHERE name = 'seq'`,
		device, name, p.Size, p.Modified.UnixNano(), now.UnixNano(), now.Add(r.limits.NotifyTTL).UnixNano())
	return err
}

const selectNotes = "SELECT seq, device, name, size, modified, enqueued, abandoned FROM upload_note WHERE expires > ? ORDER BY seq LIMIT ?"

// ReceiveNotification hands out the oldest notification that waits, hidden
// from other receivers for a time; nil when nothing waits.
func (r *Room) ReceiveNotification(ctx context.Context) (*Notification, error) {
	var list []Notification
	token, taken, err := r.notes.Take(ctx, r.limits.NotifyLock, 1, func(n int) ([]int64, error) {
		now := time.Now().UnixNano()
		err := r.db.Read(ctx, func(tx state.Tx) error {
			list = nil
			rows, err := tx.Query(ctx, selectNotes, now, n)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var one Notification
				var modified, enqueued int64
				if err := rows.Scan(&one.Sequence, &one.Device, &one.Name, &one.Size, &modified, &enqueued, &one.DeliveryCount); err != nil {
					return err
				}
				one.Modified, one.Enqueued = time.Unix(0, modified).UTC(), time.Unix(0, enqueued).UTC()
				list = append(list, one)
			}
			return rows.Err()
		})
		seqs := make([]int64, len(list))
		for i := range list {
			seqs[i] = list[i].Sequence
		}
		return seqs, err
	})
	if err != nil {
		return nil, stored(err, "read notifications")
	}
	if taken == nil {
		return nil, nil //nolint:nilnil // nothing waits
	}
	n := &list[taken[0]]
	n.Token, n.URI = token, r.grants.URI(r.container, n.Name)
	return n, nil
}

// SettleNotification says what an application has made of a notification, and
// returns when that is durable. Abandon gives it back, as Release does without
// counting; Complete and Reject remove it.
func (r *Room) SettleNotification(ctx context.Context, token iot.LockToken, o iot.Outcome) error {
	err := r.notes.Settle(token, func(seqs []int64) error {
		if o == iot.Release {
			return nil
		}
		return r.db.Write(ctx, func(tx state.Tx) error {
			for _, seq := range seqs {
				if err := r.settle(ctx, tx, seq, o); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if errors.Is(err, lease.ErrLost) {
		return iot.Errorf(iot.MessageLockLost, "the lock of the notification is lost: its time was over, it was settled, or the hub was started again")
	}
	return stored(err, "settle a notification")
}

func (r *Room) settle(ctx context.Context, tx state.Tx, seq int64, o iot.Outcome) error {
	if o != iot.Abandon {
		_, err := tx.Exec(ctx, "DELETE FROM upload_note WHERE seq = ?", seq)
		return err
	}
	if _, err := tx.Exec(ctx, "UPDATE upload_note SET abandoned = abandoned + 1 WHERE seq = ?", seq); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "DELETE FROM upload_note WHERE seq = ? AND abandoned >= ?", seq, r.limits.NotifyMaxDelivery)
	return err
}
