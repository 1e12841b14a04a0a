package iothub

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/command"
)

// maxC2DBody is the largest payload that is read at all; what a message may
// have is for the hub to say.
const maxC2DBody = 256 << 10

// sendMessage answers POST /messages/devicebound, whose header iothub-to names
// the device or module.
func sendMessage(c *call) error {
	id, err := destination(c.r.Header.Get("iothub-to"))
	if err != nil {
		return err
	}
	m, err := c.message(maxC2DBody)
	if err != nil {
		return err
	}
	if err := c.hub.SendMessage(c.r.Context(), id, m); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// destination reads /devices/{device}[/modules/{module}]/messages/devicebound;
// ids may be percent-encoded.
func destination(to string) (id iot.ID, err error) {
	if to == "" {
		return id, iot.Errorf(iot.ArgumentNull, "the header iothub-to is missing, such as /devices/d1/messages/devicebound")
	}
	bad := iot.Errorf(iot.ArgumentInvalid, "iothub-to is '%.300s', it must be like /devices/d1/messages/devicebound or /devices/d1/modules/m1/messages/devicebound", strings.ToValidUTF8(to, "?"))
	s := strings.Split(strings.TrimPrefix(to, "/"), "/")
	fixed := func(i int, want string) bool { return strings.EqualFold(s[i], want) }
	switch {
	case len(s) == 4 && fixed(0, "devices") && fixed(2, "messages") && fixed(3, "devicebound"):
	case len(s) == 6 && fixed(0, "devices") && fixed(2, "modules") && fixed(4, "messages") && fixed(5, "devicebound"):
		if id.Module, err = url.PathUnescape(s[3]); err != nil {
			return id, bad
		}
	default:
		return id, bad
	}
	if id.Device, err = url.PathUnescape(s[1]); err != nil {
		return id, bad
	}
	return id, nil
}

// purgeMessages answers DELETE /devices/{device}/commands.
func purgeMessages(c *call) error {
	n, err := c.hub.PurgeMessages(c.r.Context(), iot.ID{Device: c.device})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, struct {
		Total  int     `json:"totalMessagesPurged"`
		Device string  `json:"deviceId"`
		Module *string `json:"moduleId"`
	}{n, c.device, nil})
}

// receiveFeedback answers GET /messages/servicebound/feedback: 204 when there
// is none.
func receiveFeedback(c *call) error {
	f, err := c.hub.ReceiveFeedback(c.r.Context())
	if err != nil {
		return err
	}
	if f == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	body, err := f.Body()
	if err != nil {
		return err
	}
	c.writeLocked(command.FeedbackContentType, f.Token, f.Sequence, f.DeliveryCount, f.Enqueued, body)
	return nil
}

// writeLocked answers a message of a queue for applications, under its lock.
func (c *call) writeLocked(contentType string, token iot.LockToken, seq int64, deliveries int, enqueued time.Time, body []byte) {
	h := c.w.Header()
	h["ETag"] = []string{`"` + token.String() + `"`}
	h["iothub-sequencenumber"] = []string{strconv.FormatInt(seq, 10)}
	h["iothub-enqueuedtime"] = []string{enqueued.UTC().Format("2006-01-02T15:04:05.0000000Z")}
	h["iothub-deliverycount"] = []string{strconv.Itoa(deliveries)}
	h.Set("Content-Type", contentType)
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(body) //nolint:errcheck // the caller has gone; its lock ends
}

// completeFeedback answers DELETE /messages/servicebound/feedback/{token}.
func completeFeedback(c *call) error { return c.settleFeedback(iot.Complete) }

// abandonFeedback answers POST /messages/servicebound/feedback/{token}/abandon.
func abandonFeedback(c *call) error { return c.settleFeedback(iot.Abandon) }

func (c *call) settleFeedback(o iot.Outcome) error {
	token, err := c.lockToken()
	if err != nil {
		return err
	}
	if err := c.hub.SettleFeedback(c.r.Context(), token, o); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
