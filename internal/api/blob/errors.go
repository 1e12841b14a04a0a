package blob

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/trust/grant"
)

// refusal is an error with a code that the public interface documents.
type refusal struct {
	status int
	code   string
	text   string
	detail [][2]string // further elements
}

func (e *refusal) Error() string { return e.code + ": " + e.text }

func errorf(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, text: fmt.Sprintf(format, args...)}
}

func badHeader(name, value, what string) *refusal {
	e := errorf(http.StatusBadRequest, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format: %s", what)
	e.detail = [][2]string{{"HeaderName", name}, {"HeaderValue", clip(value)}}
	return e
}

func badParameter(name, value, what string) *refusal {
	e := errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid: %s", what)
	e.detail = [][2]string{{"QueryParameterName", name}, {"QueryParameterValue", clip(value)}, {"Reason", what}}
	return e
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 200)], "?") }

// drainAtMost is how much of a request that is refused is read all the same:
// clients look for the answer only when they have sent a block.
const (
	drainAtMost = 16 << 20
	drainTime   = 10 * time.Second
)

// fail ends a call with an error: the one place where errors of the store
// become those of this interface.
func (c *call) fail(err error, id string) {
	if c.body.err != nil || c.r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		// The caller did not send what it promised. Most have gone.
		err = errorf(http.StatusBadRequest, "IncompleteBody", "the body of the request ended too early")
	}
	e := c.translate(err)
	if e.status >= http.StatusInternalServerError {
		c.deps.Logger.Error("blob call failed", slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path),
			slog.String("request_id", id), slog.Any("error", err))
	}
	if c.body.err == nil && (c.body.read || !strings.EqualFold(c.r.Header.Get("Expect"), "100-continue")) {
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(drainTime)) // tests have no deadlines
		io.CopyN(io.Discard, c.r.Body, drainAtMost)                                    //nolint:errcheck // as far as it goes
	}
	h := c.w.Header()
	h.Set("x-ms-error-code", e.code)
	if e.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	if c.r.Method == http.MethodHead || e.status == http.StatusNotModified {
		c.w.WriteHeader(e.status)
		return
	}
	var b strings.Builder
	b.WriteString(xml.Header + "<Error>")
	element(&b, "Code", e.code)
	element(&b, "Message", e.text+"\nRequestId:"+id+"\nTime:"+time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"))
	for _, d := range e.detail {
		element(&b, d[0], d[1])
	}
	b.WriteString("</Error>")
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	c.w.WriteHeader(e.status)
	io.WriteString(c.w, b.String()) //nolint:errcheck // the caller has gone
}

// element writes an element of XML.
func element(b *strings.Builder, name, text string) {
	if text == "" {
		b.WriteString("<" + name + " />")
		return
	}
	b.WriteString("<" + name + ">")
	xml.EscapeText(b, []byte(text)) //nolint:errcheck // a Builder takes all
	b.WriteString("</" + name + ">")
}

func (c *call) translate(err error) *refusal {
	var known *refusal
	var refused *grant.RefusedError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refused):
		e := errorf(http.StatusForbidden, refused.Code, "This request is not authorized: %s", refused.Detail)
		if refused.Code == "AuthenticationFailed" {
			e.text = "Server failed to authenticate the request. Make sure the value of the signature in the address is formed correctly."
			e.detail = [][2]string{{"AuthenticationErrorDetail", refused.Detail}}
		}
		return e
	case errors.Is(err, blob.ErrNotFound):
		return errorf(http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.")
	case errors.Is(err, blob.ErrNoContainer):
		return errorf(http.StatusNotFound, "ContainerNotFound", "The specified container does not exist.")
	case errors.Is(err, blob.ErrCondition):
		return errorf(http.StatusPreconditionFailed, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
	case errors.Is(err, blob.ErrNoBlock):
		return errorf(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid: it names a block that was not uploaded, or that has been dropped since.")
	case errors.Is(err, blob.ErrBlockID):
		return errorf(http.StatusBadRequest, "InvalidBlobOrBlock", "The specified blob or block content is invalid: all block ids of a blob have the same length, 1 to %d bytes before base64.", blob.MaxBlockID)
	case errors.Is(err, blob.ErrTooMany):
		return errorf(http.StatusConflict, "BlockCountExceedsLimit", "The uncommitted block count cannot exceed the maximum limit of %d blocks.", blob.MaxBlocks)
	case errors.Is(err, blob.ErrTooLarge):
		return c.tooLarge()
	case errors.Is(err, blob.ErrName):
		return errorf(http.StatusBadRequest, "InvalidUri", "the name of the blob is not valid")
	case errors.Is(err, blob.ErrFull):
		return errorf(http.StatusServiceUnavailable, "ServerBusy", "The disk of the server has no space left for blobs, nothing was changed: try again once there is space.")
	case errors.Is(err, blob.ErrClosed):
		return errorf(http.StatusServiceUnavailable, "ServerBusy", "The server is stopping: try again later.")
	case errors.Is(err, blob.ErrDamaged):
		return errorf(http.StatusInternalServerError, "InternalError", "The blob is damaged on the disk of the server, whose log has the details: upload it anew.")
	}
	return errorf(http.StatusInternalServerError, "InternalError", "The server encountered an internal error; its log has the reason under the request id.")
}

func (c *call) tooLarge() *refusal {
	e := errorf(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The blob is larger than %d bytes, the limit of this server (hub.files.max-size).", c.deps.MaxBlob)
	e.detail = [][2]string{{"MaxLimit", strconv.FormatInt(c.deps.MaxBlob, 10)}}
	return e
}
