package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

type messageCmd struct {
	Send     messageSendCmd     `cmd:"" help:"Send a message to a device; it waits until the device takes it."`
	Receive  messageReceiveCmd  `cmd:"" help:"Take messages that wait, in the place of the device."`
	Purge    messagePurgeCmd    `cmd:"" help:"Throw away all messages that wait for a device."`
	Feedback messageFeedbackCmd `cmd:"" help:"Take what is known of the fate of messages that were sent with --ack."`
}

// waitingPath is where the messages for a device wait.
func waitingPath(id, module string) string { return devicePath(id, module) + "/messages/devicebound" }

type messageSendCmd struct {
	ID              string            `arg:"" help:"Id of the device."`
	Body            string            `arg:"" optional:"" help:"The message."`
	Module          string            `name:"module" placeholder:"ID" help:"For this module of the device."`
	File            string            `name:"file" placeholder:"FILE" help:"Read the message from this file; - is standard input."`
	Property        map[string]string `name:"property" mapsep:"none" placeholder:"NAME=VALUE" help:"An application property. May be repeated."`
	MessageID       string            `name:"message-id" placeholder:"ID" help:"Its id."`
	CorrelationID   string            `name:"correlation-id" placeholder:"ID" help:"Id of what it belongs to."`
	UserID          string            `name:"user-id" placeholder:"ID" help:"Who sends it."`
	ContentType     string            `name:"content-type" placeholder:"TYPE" help:"Such as application/json."`
	ContentEncoding string            `name:"content-encoding" placeholder:"NAME" help:"Such as utf-8."`
	Expires         time.Duration     `name:"expires" placeholder:"TIME" help:"How long it may wait, such as 10m; the hub's default is an hour."`
	Ack             string            `name:"ack" enum:",none,positive,negative,full" default:"" placeholder:"none|positive|negative|full" help:"When to be told of its fate; needs --message-id."`
}

// Run sends a message.
func (c *messageSendCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if c.Body != "" && c.File != "" {
		return usagef("give the message either as an argument or with --file")
	}
	if c.Expires < 0 {
		return usagef("--expires: a time from now, such as 10m")
	}
	if c.Ack != "" && c.Ack != "none" && c.MessageID == "" {
		return usagef("--ack needs --message-id: the feedback names the message by it")
	}
	body := []byte(c.Body)
	if c.File != "" {
		var err error
		if body, err = s.readFile(c.File); err != nil {
			return err
		}
	}
	header := map[string]string{"Iothub-To": waitingPath(c.ID, c.Module), "Content-Type": "application/octet-stream"}
	for name, value := range map[string]string{
		"Iothub-Messageid": c.MessageID, "Iothub-Correlationid": c.CorrelationID, "Iothub-Userid": c.UserID,
		"Iothub-Contenttype": c.ContentType, "Iothub-Contentencoding": c.ContentEncoding, "Iothub-Ack": c.Ack,
	} {
		if value != "" {
			header[name] = value
		}
	}
	if c.Expires > 0 {
		header["Iothub-Expiry"] = time.Now().Add(c.Expires).UTC().Format(time.RFC3339Nano)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Property)) {
		if strings.ToLower(name) != name {
			s.notef("Note: %s becomes %s, as HTTP does not keep the case of names.\n", name, strings.ToLower(name))
		}
		header["Iothub-App-"+name] = c.Property[name]
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	err = cl.hub(s.ctx, http.MethodPost, "/messages/devicebound", header, bytes.NewReader(body), nil)
	if hasCode(err, "DeviceMaximumQueueDepthExceeded") {
		return fmt.Errorf("%w; dunlin message purge %s throws them away", err, c.ID)
	}
	if err != nil {
		return notFound(err)
	}
	if s.JSON {
		return s.printJSON(map[string]string{"deviceId": c.ID, "messageId": c.MessageID})
	}
	s.printf("Waiting for %s.\n", strings.TrimSuffix(c.ID+"/"+c.Module, "/"))
	return nil
}

type messageReceiveCmd struct {
	ID      string        `arg:"" help:"Id of the device."`
	Module  string        `name:"module" placeholder:"ID" help:"Of this module of the device."`
	Outcome string        `name:"outcome" enum:"complete,reject,abandon,lock" default:"complete" placeholder:"complete|reject|abandon|lock" help:"What becomes of each (${default}): done, refused, back in the queue, or locked until its time is over."`
	Count   int           `name:"count" placeholder:"N" help:"End after so many; all that wait when left out."`
	Lock    time.Duration `name:"lock" placeholder:"TIME" help:"How long a message stays locked, 10s to 300s; 60s when left out."`
	Out     string        `name:"out" placeholder:"FILE" help:"Write the body of the last message to this file."`
}

// waiting is a message that was received.
type waiting struct {
	LockToken        string            `json:"lockToken"`
	SequenceNumber   string            `json:"sequenceNumber"`
	EnqueuedTime     string            `json:"enqueuedTime"`
	DeliveryCount    json.Number       `json:"deliveryCount"`
	SystemProperties map[string]string `json:"systemProperties"`
	Properties       map[string]string `json:"properties"`
	Body             json.RawMessage   `json:"body,omitempty"`
	Base64           *[]byte           `json:"bodyBase64,omitempty"`
	bytes            []byte
}

// Run receives until nothing waits.
func (c *messageReceiveCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if c.Count < 0 {
		return usagef("--count: a number of messages, not %d", c.Count)
	}
	header := map[string]string{}
	if c.Lock != 0 {
		if c.Lock < 0 || c.Lock%time.Second != 0 {
			return usagef("--lock: whole seconds, such as 30s")
		}
		header["Iothub-Messagelocktimeout"] = fmt.Sprint(int(c.Lock / time.Second))
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	path, n := waitingPath(c.ID, c.Module), 0
	var held []string // abandoned at the end, else they would come again
	for ; c.Count == 0 || n < c.Count; n++ {
		m, err := cl.receive(s, path, header)
		if err != nil {
			return notFound(err)
		}
		if m == nil {
			break
		}
		// It is shown before it is settled: a message that is gone was seen.
		if err := c.show(s, m); err != nil {
			return err
		}
		if c.Outcome == "abandon" {
			held = append(held, m.LockToken)
			continue
		}
		if err := cl.settle(s, path, m.LockToken, c.Outcome); err != nil {
			return err
		}
	}
	for _, token := range held {
		if err := cl.settle(s, path, token, c.Outcome); err != nil {
			return err
		}
	}
	if n == 0 && !s.JSON {
		s.printf("Nothing waits for %s.\n", strings.TrimSuffix(c.ID+"/"+c.Module, "/"))
	}
	return nil
}

func (c *messageReceiveCmd) show(s *session, m *waiting) error {
	if c.Out != "" {
		if err := os.WriteFile(c.Out, m.bytes, 0o600); err != nil {
			return err
		}
	}
	if s.JSON {
		return s.printJSON(m)
	}
	s.printf("%s", parseTime(m.EnqueuedTime).Local().Format("15:04:05.000"))
	if id := m.SystemProperties["message-id"]; id != "" {
		s.printf("  #%s", printable(id))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		s.printf("  %s=%s", printable(name), printable(m.Properties[name]))
	}
	s.printf("  %s", bodyText(m.bytes))
	if c.Outcome == "lock" {
		s.printf("  (locked, token %s)", m.LockToken)
	}
	s.printf("\n")
	return nil
}

// systemHeaders are the headers of system properties, and their names.
var systemHeaders = map[string]string{
	"iothub-messageid": "message-id", "iothub-correlationid": "correlation-id", "iothub-userid": "user-id", "iothub-to": "to",
	"iothub-expiry": "absolute-expiry-time", "iothub-contenttype": "content-type", "iothub-contentencoding": "content-encoding",
	"iothub-ack": "iothub-ack",
}

// receive takes one message; nil when none waits.
func (c *client) receive(s *session, path string, header map[string]string) (*waiting, error) {
	resp, err := c.openHub(s.ctx, http.MethodGet, path, header, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil, nil //nolint:nilnil // nothing waits
	}
	h := resp.Header
	m := &waiting{
		LockToken: strings.Trim(h.Get("ETag"), `"`), SequenceNumber: h.Get("iothub-sequencenumber"),
		EnqueuedTime: h.Get("iothub-enqueuedtime"), DeliveryCount: json.Number(h.Get("iothub-deliverycount")),
		SystemProperties: map[string]string{}, Properties: map[string]string{},
	}
	if m.DeliveryCount == "" {
		m.DeliveryCount = "0"
	}
	for name, values := range h {
		name = strings.ToLower(name)
		if to := systemHeaders[name]; to != "" {
			m.SystemProperties[to] = values[0]
		} else if property, ok := strings.CutPrefix(name, "iothub-app-"); ok {
			m.Properties[property] = values[0]
		}
	}
	if m.bytes, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if strings.HasPrefix(strings.ToLower(m.SystemProperties["content-type"]), "application/json") && json.Valid(m.bytes) {
		m.Body = m.bytes
	} else {
		m.Base64 = &m.bytes
	}
	return m, nil
}

// settle says what becomes of a message, or of a batch of feedback.
func (c *client) settle(s *session, path, token, outcome string) error {
	path += "/" + url.PathEscape(token)
	switch outcome {
	case "complete":
		return c.hub(s.ctx, http.MethodDelete, path, nil, nil, nil)
	case "reject":
		return c.hub(s.ctx, http.MethodDelete, path+"?reject=true", nil, nil, nil)
	case "abandon":
		return c.hub(s.ctx, http.MethodPost, path+"/abandon", nil, nil, nil)
	}
	return nil
}

type messagePurgeCmd struct {
	ID string `arg:"" help:"Id of the device."`
}

// Run empties a queue.
func (c *messagePurgeCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodDelete, devicePath(c.ID, "")+"/commands", nil, nil, &raw); err != nil {
		return notFound(err)
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	var out struct {
		Total int `json:"totalMessagesPurged"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	s.printf("%s thrown away.\n", count(out.Total, "message", "messages"))
	return nil
}

type messageFeedbackCmd struct{}

// feedback is what became of a message.
type feedback struct {
	Message    string    `json:"originalMessageId"`
	Time       time.Time `json:"enqueuedTimeUtc"`
	Status     string    `json:"statusCode"`
	Device     string    `json:"deviceId"`
	Generation string    `json:"deviceGenerationId"`
	Text       string    `json:"description"`
}

// Run takes all feedback that there is.
func (c *messageFeedbackCmd) Run(s *session) error {
	const path = "/messages/serviceBound/feedback"
	cl, err := s.connect()
	if err != nil {
		return err
	}
	all := []feedback{}
	var tokens []string
	for {
		m, err := cl.receive(s, path, nil)
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		var list []feedback
		if err := json.Unmarshal(m.bytes, &list); err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		all, tokens = append(all, list...), append(tokens, m.LockToken)
	}
	if err := s.printFeedback(all); err != nil {
		return err
	}
	for _, token := range tokens {
		if err := cl.settle(s, path, token, "complete"); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) printFeedback(all []feedback) error {
	if s.JSON {
		return s.printJSON(all)
	}
	if len(all) == 0 {
		s.printf("There is no feedback.\n")
		return nil
	}
	rows := make([][]string, len(all))
	for i, f := range all {
		rows[i] = []string{f.Time.Local().Format(time.DateTime), f.Device, printable(f.Message), f.Status}
	}
	return table(s.out, []string{"TIME", "DEVICE", "MESSAGE", "WHAT BECAME OF IT"}, rows)
}
