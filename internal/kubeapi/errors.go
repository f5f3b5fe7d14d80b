package kubeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Kinds of errors, for errors.Is.
var (
	// ErrNotFound is when there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrConflict is when the object changed in between, or another manager has a field.
	ErrConflict = errors.New("conflict")
	// ErrForbidden is when the caller may not do it.
	ErrForbidden = errors.New("forbidden")
	// ErrNoKind is when the server does not know the kind (yet).
	ErrNoKind = errors.New("unknown kind")
	// ErrExpired is when a watch cannot go on from where it was: list again.
	ErrExpired = errors.New("expired")
	// ErrBudget is when a budget for disruptions forbids an eviction for now, or the server has too much to do.
	ErrBudget = errors.New("too many requests")
)

// StatusError is what an API server said.
type StatusError struct {
	// Code is of HTTP.
	Code int
	// Reason is of Kubernetes, such as "Forbidden"; empty if the server gave none.
	Reason string
	// Message is the server's own.
	Message string
}

// Error returns the server's reason and its message.
func (e *StatusError) Error() string {
	what := e.Reason
	if what == "" {
		what = http.StatusText(e.Code)
	}
	if e.Message == "" {
		return fmt.Sprintf("%d %s", e.Code, what)
	}
	return fmt.Sprintf("%d %s: %s", e.Code, what, e.Message)
}

// Is reports whether the error is of the kind.
func (e *StatusError) Is(kind error) bool {
	switch kind {
	case ErrNotFound:
		return e.Code == http.StatusNotFound
	case ErrConflict:
		return e.Code == http.StatusConflict
	case ErrForbidden:
		return e.Code == http.StatusForbidden
	case ErrExpired:
		return e.Code == http.StatusGone
	case ErrBudget:
		return e.Code == http.StatusTooManyRequests
	}
	return false
}

// statusError reads the body of an answer that is no success: a Status, or plain text.
func statusError(code int, body []byte) *StatusError {
	out := &StatusError{Code: code}
	var s struct {
		Kind, Reason, Message string
		Code                  int
	}
	if json.Unmarshal(body, &s) == nil && s.Kind == "Status" {
		out.Reason, out.Message = s.Reason, s.Message
		if s.Code != 0 {
			out.Code = s.Code
		}
		return out
	}
	const most = 512
	out.Message = string(body[:min(len(body), most)])
	return out
}
