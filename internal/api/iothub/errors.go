package iothub

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
)

// errorBody has the shape that the SDKs take apart: the code stands between
// the first ":" and the first ";" of Message, the text after it.
type errorBody struct {
	Message          string `json:"Message"`
	ExceptionMessage string `json:"ExceptionMessage"`
}

// fail ends a call with an error: the one place where the domain's errors
// become those of this protocol.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error, id string) {
	code := iot.CodeOf(err)
	text := "The server could not do this, its log has the reason under the tracking id."
	if domain, ok := errors.AsType[*iot.Error](err); ok {
		text = domain.Message
	}
	if code.Status() >= http.StatusInternalServerError && code != iot.BadDeviceResponse && code != iot.GatewayTimeout {
		if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return // nobody is there to hear it
		}
		s.logger.Error("service call failed", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.String("request_id", id), slog.Any("error", cause(err)))
	}
	if code.Status() == http.StatusServiceUnavailable || code.Status() == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryAfter(err))
	}
	now := time.Now().UTC()
	out := errorBody{
		Message:          "ErrorCode:" + code.Name() + ";" + strings.ReplaceAll(text, ";", ","),
		ExceptionMessage: "Tracking ID:" + id + "-G:0-TimeStamp:" + now.Format("01/02/2006 15:04:05"),
	}
	var merr error
	if o, ok := errors.AsType[*outcome](err); ok {
		out.ExceptionMessage = ""
		out.Message, merr = o.message(id, now)
	}
	body, berr := json.Marshal(out)
	if merr = errors.Join(merr, berr); merr != nil {
		s.logger.Error("error not written", slog.Any("error", merr))
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("iothub-errorcode", code.Name())
	w.WriteHeader(code.Status())
	w.Write(body) //nolint:errcheck // the caller has gone
}

// retryAfter gives the whole seconds after which a caller may come again.
func retryAfter(err error) string {
	const usual = 5 * time.Second
	after := usual
	if domain, ok := errors.AsType[*iot.Error](err); ok && domain.After > 0 {
		after = domain.After
	}
	return strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10)
}

// cause prefers what lies behind a text that is meant for callers.
func cause(err error) error {
	var domain *iot.Error
	if errors.As(err, &domain) && domain.Err != nil {
		return domain.Err
	}
	return err
}
