package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"talos.internal/internal/proxy/authz"
	"talos.internal/internal/sys/peercred"
	"talos.internal/resource/meta"
	"talos.internal/state"
)

// keyRoles is the metadata in which apid passes on the roles of its caller.
const keyRoles = "talos-role"

// anyRole in grants lets a service speak for whoever it says.
const anyRole = "*"

// grants are the roles that a service may ask for. A service that is not here may ask for none.
var grants = map[string][]string{
	"apid":       {anyRole},
	"dashboard":  {"os:reader", "os:meta:writer"},
	"containerd": {"os:image:verifier"},
	"cri":        {"os:image:verifier"},
}

// roles returns those of the asked roles that a service may have.
func roles(service string, asked []string) []string {
	granted := grants[service]
	if slices.Contains(granted, anyRole) {
		return asked
	}
	var out []string
	for _, r := range asked {
		if slices.Contains(granted, r) {
			out = append(out, r)
		}
	}
	return out
}

// process is who made a connection.
type process struct {
	credentials.CommonAuthInfo
	pid     int32
	service string // empty if it is none
}

// AuthType implements credentials.AuthInfo.
func (process) AuthType() string { return "process" }

// peerCredentials finds out which process made a connection. Bytes are not touched.
type peerCredentials struct {
	serviceOf func(int32, uint32) (string, bool)
}

// ServerHandshake implements credentials.TransportCredentials.
func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, errPeer
	}
	cred, err := peercred.Of(unix)
	if err != nil {
		return nil, nil, err
	}
	p := process{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, pid: cred.PID}
	if service, ok := c.serviceOf(cred.PID, cred.UID); ok {
		p.service = service
	}
	return conn, p, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "process"}
}

// Clone implements credentials.TransportCredentials.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (peerCredentials) OverrideServerName(string) error { return nil }

type rolesKey struct{}

// rolesOf returns the roles of the caller, as the gate found them.
func rolesOf(ctx context.Context) []string {
	r, _ := ctx.Value(rolesKey{}).([]string)
	return r
}

// gate is before every call: who, whether, for how long, and what becomes of its errors and panics.
type gate struct {
	log         *slog.Logger
	maintenance func() bool
}

// admit returns the context of a call that is allowed.
func (g *gate) admit(ctx context.Context, method string) (context.Context, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, errPeer.Error())
	}
	who, ok := p.AuthInfo.(process)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, errPeer.Error())
	}
	if who.service == "" {
		return nil, status.Errorf(codes.PermissionDenied, "process %d is no service of this machine, and only services may use this socket", who.pid)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	has := roles(who.service, md.Get(keyRoles))
	mode := authz.Running
	if g.maintenance() {
		mode = authz.Maintenance
	}
	if !mode.Allowed(method, has) {
		return nil, status.Errorf(codes.PermissionDenied, "%s needs one of the roles %s; the caller has %s here",
			method, strings.Join(mode.Needs(method), ", "), list(has))
	}
	return context.WithValue(ctx, rolesKey{}, has), nil
}

// list names roles. Those that this program does not know are somebody's text, and are not repeated.
func list(roles []string) string {
	var known []string
	for _, r := range roles {
		if strings.HasPrefix(r, "os:") && len(r) < 40 {
			known = append(known, r)
		}
	}
	if len(known) == 0 {
		return "none of them"
	}
	return strings.Join(known, ", ")
}

// recovered turns a panic into an error, after the stack is in the log.
func (g *gate) recovered(method string, err *error) {
	if v := recover(); v != nil {
		g.log.Error("a call of the API panicked", "method", method, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "%s: internal error; the log of machined says more", method)
	}
}

// gated registers services whose calls all go through a gate, before anything of a request is decoded. gRPC's own interceptors
// come after that.
type gated struct {
	to grpc.ServiceRegistrar
	*gate
}

// RegisterService implements grpc.ServiceRegistrar.
func (r gated) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods, d.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i, m := range desc.Methods {
		method := "/" + desc.ServiceName + "/" + m.MethodName
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return r.unary(ctx, method, func(ctx context.Context) (any, error) {
				return m.Handler(srv, ctx, func(in any) error { return take(decode, in) }, nil)
			})
		}
	}
	for i, m := range desc.Streams {
		method := "/" + desc.ServiceName + "/" + m.StreamName
		d.Streams[i].Handler = func(srv any, s grpc.ServerStream) error { return r.stream(srv, s, method, m.Handler) }
	}
	r.to.RegisterService(&d, impl)
}

func (g *gate) unary(ctx context.Context, method string, handle func(context.Context) (any, error)) (out any, err error) {
	defer g.recovered(method, &err)
	ctx, err = g.admit(ctx, method)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(method))
	defer cancel()
	out, err = handle(ctx)
	err = statusOf(err)
	g.note(ctx, method, err)
	return out, err
}

func (g *gate) stream(srv any, s grpc.ServerStream, method string, handle grpc.StreamHandler) (err error) {
	defer g.recovered(method, &err)
	ctx, err := g.admit(s.Context(), method)
	if err != nil {
		return err
	}
	err = statusOf(handle(srv, &admitted{s, ctx}))
	g.note(ctx, method, err)
	return err
}

// admitted is a stream whose context knows the caller's roles.
type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *admitted) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *admitted) RecvMsg(m any) error { return take(s.ServerStream.RecvMsg, m) }

// note writes calls that readers may not make to the log, and of the others those that failed because of the node.
func (g *gate) note(ctx context.Context, method string, err error) {
	code := status.Code(err)
	switch {
	case code == codes.Internal || code == codes.DataLoss:
		g.log.Error("a call of the API failed", "method", method, "roles", rolesOf(ctx), "error", err)
	case !authz.Allowed(method, []string{"os:reader"}):
		g.log.Info("call of the API", "method", method, "roles", rolesOf(ctx), "code", code.String())
	}
}

// defaultTimeout bounds a unary call; timeouts has those that may take longer.
const defaultTimeout = time.Minute

var timeouts = map[string]time.Duration{
	// They answer only after a download.
	"/machine.MachineService/Upgrade":   30 * time.Minute,
	"/machine.MachineService/ImagePull": 30 * time.Minute,
	// They wait for services to stop, each for its grace time.
	"/machine.MachineService/ServiceStop":      5 * time.Minute,
	"/machine.MachineService/ServiceRestart":   5 * time.Minute,
	"/machine.MachineService/EtcdLeaveCluster": 5 * time.Minute,
	// It reads and writes the whole database.
	"/machine.MachineService/EtcdDefragment":  10 * time.Minute,
	"/machine.MachineService/Bootstrap":       5 * time.Minute,
	"/storage.StorageService/BlockDeviceWipe": time.Hour,
}

func timeoutOf(method string) time.Duration {
	if t, ok := timeouts[method]; ok {
		return t
	}
	return defaultTimeout
}

// guarded puts the policy of the API before a state: nothing is written, and what is sensitive is for administrators. The policy
// is asked before the state is, so an error cannot tell whether there is such a resource.
func guarded(st state.State) state.State {
	open := state.APIPolicy(st)
	return state.Guard(st, func(ctx context.Context, a state.Access) error {
		if err := open(ctx, a); err != nil {
			return err
		}
		def, err := state.Definition(ctx, st, a.Ref.Type)
		if err != nil {
			return err
		}
		if def.Sensitivity == meta.Sensitive && !authz.Sensitive(rolesOf(ctx)) {
			return &state.Error{Kind: state.Denied, Op: string(a.Verb), Ref: a.Ref, Detail: "resources of this type hold secrets and are for administrators"}
		}
		return nil
	})
}
