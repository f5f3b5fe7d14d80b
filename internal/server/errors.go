package server

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/discovery"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/event"
	"talos.internal/internal/supervise"
	"talos.internal/state"
	"talos.internal/state/stategrpc"
)

// causes are the codes of errors that packages below return. The first that is in the chain decides.
var causes = []struct {
	err  error
	code codes.Code
}{
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{supervise.ErrNotFound, codes.NotFound},
	{supervise.ErrExists, codes.AlreadyExists},
	{supervise.ErrInvalid, codes.InvalidArgument},
	{supervise.ErrShutdown, codes.FailedPrecondition},
	{supervise.ErrBusy, codes.Unavailable},
	{event.ErrSlow, codes.ResourceExhausted},
	{event.ErrID, codes.InvalidArgument},
	{fs.ErrNotExist, codes.NotFound},
	{fs.ErrExist, codes.AlreadyExists},
	{fs.ErrPermission, codes.PermissionDenied},
	{syscall.EINVAL, codes.InvalidArgument},
	{syscall.ENOTDIR, codes.InvalidArgument},
	{syscall.EISDIR, codes.InvalidArgument},
	{syscall.ELOOP, codes.InvalidArgument},
	{syscall.ENAMETOOLONG, codes.InvalidArgument},
	{syscall.ENODEV, codes.NotFound},
	{syscall.ENXIO, codes.Unavailable},
	{syscall.ENETDOWN, codes.Unavailable},
	{syscall.EROFS, codes.FailedPrecondition},
	{syscall.ENOSPC, codes.ResourceExhausted},
	{syscall.EMFILE, codes.ResourceExhausted},
	{syscall.ENFILE, codes.ResourceExhausted},
	{syscall.EBUSY, codes.FailedPrecondition},
	{discoveryctrl.ErrNoMember, codes.NotFound},
	{discoveryctrl.ErrAlive, codes.FailedPrecondition},
	{discoveryctrl.ErrItself, codes.FailedPrecondition},
	{discoveryctrl.ErrNoDiscovery, codes.FailedPrecondition},
	{discovery.ErrNoServer, codes.Unavailable},
	{etcdop.ErrQuorum, codes.FailedPrecondition},
	{etcdop.ErrLastMember, codes.FailedPrecondition},
	{errors.ErrUnsupported, codes.Unimplemented},
	{io.ErrUnexpectedEOF, codes.DataLoss},
}

// statusOf returns err as a status with the code that fits its cause: nil for nil, a status as it is, in whatever it is wrapped.
// What has no known cause is Internal, since it is this node's fault and not the caller's.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		if st.Code() == codes.Unknown {
			return status.Error(codes.Internal, st.Message())
		}
		return st.Err()
	}
	if state.KindOf(err) != 0 {
		return stategrpc.Status(err)
	}
	code := codes.Internal
	for _, c := range causes {
		if errors.Is(err, c.err) {
			code = c.code
			break
		}
	}
	// The text of an error may have a name of a file in it, and a status must be UTF-8.
	return status.Error(code, strings.ToValidUTF8(err.Error(), "\uFFFD"))
}

// lacks is the error of a call for which this node has no part: why the mode lacks the capability, or that it does not have it.
func (d *Deps) lacks(capability, what string) error {
	if capability != "" {
		if err := d.Capabilities.Capable(capability); err != nil {
			return incapable(err)
		}
	}
	return status.Errorf(codes.Unimplemented, "this node has no %s", what)
}

// incapable makes an error of Capabilities a status.
func incapable(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.FailedPrecondition, err.Error())
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}
