package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Explain is the text of an error for people: what failed, and what to do where that is known. Of a status of gRPC it
// leaves out the wrapping of codes and keeps what the server said; what other errors were wrapped in stays. It is empty
// for nil.
func Explain(err error) string {
	if err == nil {
		return ""
	}

	var (
		connection *ConnectionError
		late       *TimeoutError
		withStatus interface{ GRPCStatus() *status.Status }
	)

	switch {
	case errors.As(err, &connection), errors.As(err, &late):
		return err.Error()
	case errors.Is(err, context.Canceled):
		return "canceled"
	case !errors.As(err, &withStatus) || withStatus.GRPCStatus() == nil:
		return err.Error()
	}

	s := withStatus.GRPCStatus()
	if s.Code() == codes.OK {
		return err.Error()
	}

	text := explainStatus(s)

	// status.FromError makes a status of a wrapped one whose message is the whole text. If the error is wrapped, what is
	// around says which step failed.
	if inner, ok := withStatus.(error); ok && inner.Error() != err.Error() {
		return replaceLast(err.Error(), inner.Error(), text)
	}

	return text
}

func explainStatus(s *status.Status) string {
	message := s.Message()
	if message == "" {
		message = "no reason is given"
	}

	switch s.Code() {
	case codes.Canceled:
		return "canceled"
	case codes.DeadlineExceeded:
		return "the node did not answer in time: " + message
	case codes.PermissionDenied:
		return fmt.Sprintf("not allowed: %s; a role of your client certificate has to permit it", message)
	case codes.Unauthenticated:
		return fmt.Sprintf("not authenticated: %s; is the client certificate of this cluster?", message)
	case codes.Unimplemented:
		return fmt.Sprintf("not supported: %s; the node may be of another version, or in a mode without it", message)
	case codes.ResourceExhausted:
		// gRPC has one code for a message that is too large and for all else there may be too much of.
		if !strings.Contains(message, "larger than max") {
			return "too much: " + message
		}

		return fmt.Sprintf("too much: %s; a message may have at most %d MiB", message, MaxMessage>>20)
	case codes.Unavailable:
		// The endpoint has answered: it is the way from there to the node, or a service on it.
		return "not available: " + message
	case codes.Unknown, codes.Internal:
		return message
	default:
		return fmt.Sprintf("%s: %s", s.Code(), message)
	}
}

// replaceLast replaces the last old in s, where the innermost error is.
func replaceLast(s, old, text string) string {
	i := strings.LastIndex(s, old)
	if i < 0 {
		return s
	}

	return s[:i] + text + s[i+len(old):]
}
