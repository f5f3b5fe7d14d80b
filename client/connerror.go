package client

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Cause is why there is no connection to an endpoint.
type Cause string

// The causes that are told apart.
const (
	CauseNotTried    Cause = "not tried yet"
	CauseRefused     Cause = "refused"               // nothing listens on the port
	CauseTimeout     Cause = "timeout"               // no answer, to TCP or to TLS
	CauseUnreachable Cause = "unreachable"           // no route to the address
	CauseUnknownName Cause = "unknown name"          // the name has no address
	CauseClosed      Cause = "closed"                // the peer hung up before it had said anything
	CauseNotTLS      Cause = "not TLS"               // the peer speaks something else
	CauseMaintenance Cause = "maintenance"           // the server is a node without a config
	CauseAuthority   Cause = "unknown authority"     // somebody else signed the server's certificate
	CauseExpired     Cause = "expired"               // the server's certificate
	CauseNotYetValid Cause = "not yet valid"         // the server's certificate, or a clock is wrong
	CauseWrongName   Cause = "wrong name"            // the server's certificate is for other names
	CauseFingerprint Cause = "wrong fingerprint"     // the server has another certificate than the pinned ones
	CauseCredentials Cause = "credentials refused"   // the server refused the client's certificate, or wanted one
	CauseConnected   Cause = "connected by now"      // the connection came too late for the call
	CauseLost        Cause = "connection lost"       // the connection ended during the call
	CauseOther       Cause = "failed in another way" // see the error
)

// EndpointError is why one endpoint could not be used.
type EndpointError struct {
	// Endpoint has the form host:port.
	Endpoint string
	Cause    Cause
	// Problem is what was seen, and Advice what may be done about it, which may be empty. Both are parts of a sentence.
	Problem, Advice string
	// Err is the error underneath; nil if there was none, such as while an attempt still runs.
	Err error
}

// Error is the endpoint, the problem and the advice, in one line.
func (e EndpointError) Error() string {
	text := e.Endpoint + ": " + e.Problem
	if e.Advice != "" {
		text += "; " + e.Advice
	}

	return text
}

// Unwrap returns Err.
func (e EndpointError) Unwrap() error { return e.Err }

// ConnectionError is a call that no server answered, because there was no connection or because it was lost. Whether a
// call on a lost connection has been carried out is not known.
//
// Its gRPC status has the code Unavailable, or DeadlineExceeded if the call's time was over first.
type ConnectionError struct {
	// Method is the full name of the method that was called.
	Method string
	// Endpoints are all endpoints in the order in which they are tried, or the one whose connection was lost.
	Endpoints []EndpointError

	code  codes.Code
	cause error
}

// Error is one line for one endpoint; for more, a line about all and one for each.
func (e *ConnectionError) Error() string {
	if len(e.Endpoints) == 1 {
		return "machine API at " + e.Endpoints[0].Error()
	}

	var b strings.Builder

	fmt.Fprintf(&b, "none of %d endpoints of the machine API can be used:", len(e.Endpoints))

	for _, one := range e.Endpoints {
		b.WriteString("\n  " + one.Error())
	}

	return b.String()
}

// GRPCStatus is the status of the failed call.
func (e *ConnectionError) GRPCStatus() *status.Status { return status.New(e.code, e.Error()) }

// Unwrap returns gRPC's own error and the EndpointErrors, so that [errors.Is] and [errors.As] find what is underneath.
func (e *ConnectionError) Unwrap() []error {
	errs := []error{e.cause}
	for _, one := range e.Endpoints {
		errs = append(errs, one)
	}

	return errs
}

// Is reports whether every endpoint has that cause, which is what a caller that waits or changes its mode wants to know:
// [errors.Is](err, client.CauseMaintenance).
func (e *ConnectionError) Is(target error) bool {
	cause, ok := target.(Cause)
	if !ok || len(e.Endpoints) == 0 {
		return false
	}

	for _, one := range e.Endpoints {
		if one.Cause != cause {
			return false
		}
	}

	return true
}

// Error makes a Cause usable as the target of [errors.Is].
func (c Cause) Error() string { return string(c) }
