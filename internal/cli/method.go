package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

type methodCmd struct {
	Invoke methodInvokeCmd `cmd:"" help:"Call a direct method and print its answer."`
}

type methodInvokeCmd struct {
	ID             string        `arg:"" help:"Id of the device."`
	Name           string        `arg:"" help:"Name of the method."`
	Payload        string        `arg:"" optional:"" help:"What it is called with, JSON; null when left out."`
	Module         string        `name:"module" placeholder:"ID" help:"Call it of this module of the device."`
	File           string        `name:"file" placeholder:"FILE" help:"Read the payload from this file; - is standard input."`
	Timeout        time.Duration `name:"timeout" default:"30s" placeholder:"TIME" help:"How long the device may take to answer, 5s to 300s (${default})."`
	ConnectTimeout time.Duration `name:"connect-timeout" default:"0s" placeholder:"TIME" help:"How long to wait for a device that is not connected, up to 300s (${default})."`
}

// Run calls a method.
func (c *methodInvokeCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	payload, err := s.methodPayload(c.Payload, c.File)
	if err != nil {
		return err
	}
	if c.Timeout%time.Second != 0 || c.ConnectTimeout%time.Second != 0 {
		return usagef("--timeout and --connect-timeout are whole seconds")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	err = cl.hub(s.ctx, http.MethodPost, twinPath(c.ID, c.Module)+"/methods", nil, map[string]any{
		"methodName": c.Name, "payload": payload,
		"responseTimeoutInSeconds": int(c.Timeout / time.Second), "connectTimeoutInSeconds": int(c.ConnectTimeout / time.Second),
	}, &raw)
	switch {
	case hasCode(err, "DeviceNotOnline"):
		return fmt.Errorf("%w; the device is not connected or has no methods, see dunlin device show %s; --connect-timeout waits for it", err, c.ID)
	case err != nil:
		return notFound(err)
	case s.JSON:
		return s.printJSON(raw)
	}
	var answer struct {
		Status  int             `json:"status"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	list := [][2]string{{"status", strconv.Itoa(answer.Status)}}
	if text := string(answer.Payload); text != "null" {
		list = append(list, [2]string{"payload", printable(text)})
	}
	return pairs(s.out, list)
}

// methodPayload gives what a method is called with: an argument, or a file.
func (s *session) methodPayload(text, file string) (json.RawMessage, error) {
	payload := json.RawMessage("null")
	switch {
	case text != "" && file != "":
		return nil, usagef("give the payload either as an argument or with --file")
	case text != "":
		payload = json.RawMessage(text)
	case file != "":
		b, err := s.readFile(file)
		if err != nil {
			return nil, err
		}
		payload = b
	}
	if !json.Valid(payload) {
		return nil, usagef("the payload is not JSON; a text needs its quotes: '\"text\"'")
	}
	return payload, nil
}
