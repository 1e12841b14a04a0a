package iothub

import (
	"net/http"

	"dunlin/internal/iot"
	"dunlin/internal/things/upload"
)

// receiveNotification answers GET /messages/servicebound/filenotifications:
// 204 when there is none.
func receiveNotification(c *call) error {
	n, err := c.hub.ReceiveNotification(c.r.Context())
	if err != nil {
		return err
	}
	if n == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	body, err := n.Body()
	if err != nil {
		return err
	}
	c.writeLocked(upload.NotificationContentType, n.Token, n.Sequence, n.DeliveryCount, n.Enqueued, body)
	return nil
}

// completeNotification answers DELETE
// /messages/servicebound/filenotifications/{token}.
func completeNotification(c *call) error { return c.settleNotification(iot.Complete) }

// abandonNotification answers POST
// /messages/servicebound/filenotifications/{token}/abandon.
func abandonNotification(c *call) error { return c.settleNotification(iot.Abandon) }

func (c *call) settleNotification(o iot.Outcome) error {
	token, err := c.lockToken()
	if err != nil {
		return err
	}
	if err := c.hub.SettleNotification(c.r.Context(), token, o); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
