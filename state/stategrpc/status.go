package stategrpc

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/resource"
	"talos.internal/state"
)

// domain marks the details of our errors (google.rpc.ErrorInfo).
const domain = "state.talos.internal"

// codeOf is the mapping of kinds to codes; kindOf is its inverse.
var codeOf = map[state.ErrorKind]codes.Code{
	state.NotFound:     codes.NotFound,
	state.Exists:       codes.AlreadyExists,
	state.Conflict:     codes.FailedPrecondition,
	state.Invalid:      codes.InvalidArgument,
	state.NotSupported: codes.Unimplemented,
	state.Busy:         codes.ResourceExhausted,
	state.Unavailable:  codes.Unavailable,
	state.Denied:       codes.PermissionDenied,
}

var kindOf = func() map[codes.Code]state.ErrorKind {
	m := make(map[codes.Code]state.ErrorKind, len(codeOf)+3)
	for k, c := range codeOf {
		m[c] = k
	}
	// What only others send.
	m[codes.Aborted] = state.Conflict
	m[codes.OutOfRange] = state.Invalid
	m[codes.Unauthenticated] = state.Denied
	return m
}()

// Status returns err as a gRPC status error: nil for nil, the end of a context and every state.Error
// as [FromStatus] understands it, a status as it is, and anything else with the code Unknown.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	var e *state.Error
	if !errors.As(err, &e) {
		return status.Error(codes.Unknown, err.Error())
	}
	code, ok := codeOf[e.Kind]
	if !ok {
		code = codes.Unknown
	}
	st := status.New(code, err.Error())
	detailed, derr := st.WithDetails(&errdetails.ErrorInfo{
		Reason: string(e.Reason),
		Domain: domain,
		Metadata: map[string]string{
			"op": e.Op, "namespace": e.Ref.Namespace, "type": e.Ref.Type, "id": e.Ref.ID, "detail": e.Detail,
		},
	})
	if derr != nil {
		return st.Err()
	}
	return detailed.Err()
}

// FromStatus returns what a gRPC call returned as an error of this side: nil for nil, the error of a
// context for its codes, a state.Error for the codes of its kinds, with its reason if the other
// side is ours, and any other error as it is.
func FromStatus(op string, ref resource.Ref, err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	kind, ok := kindOf[st.Code()]
	if !ok {
		return err
	}
	e := &state.Error{Kind: kind, Op: op, Ref: ref, Detail: st.Message()}
	if st.Code() == codes.Aborted {
		e.Reason = state.VersionConflict
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			m := info.GetMetadata()
			e.Reason, e.Op, e.Detail = state.Reason(info.GetReason()), m["op"], m["detail"]
			e.Ref = resource.Ref{Namespace: m["namespace"], Type: m["type"], ID: m["id"]}
		}
	}
	return e
}
