package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/discoverypb"
	"talos.internal/internal/discovery/rendezvous"
	"talos.internal/internal/trust"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

var (
	osRootRef = state.RefOf[secrets.OSRoot](secrets.OSRootID)
	trustdRef = state.RefOf[secrets.Trustd](secrets.TrustdID)
	infoRef   = state.RefOf[cluster.Info](cluster.InfoID)
)

func trustdTypes() []*resource.Type {
	return []*resource.Type{resource.TypeOf[secrets.OSRoot](), resource.TypeOf[secrets.Trustd](), resource.TypeOf[cluster.Info]()}
}

// TrustdRefs are the resources that trustd may read.
func TrustdRefs() []resource.Ref { return []resource.Ref{osRootRef, trustdRef, infoRef} }

// Trustd issues certificates to the nodes that join, and is where the machines of the cluster find each other, on address ("" is every
// address, at trust.Port), until ctx ends, which is no error. Until PID 1 has made its own certificate, handshakes fail.
func Trustd(ctx context.Context, s Sockets, address string, log *slog.Logger) error {
	st, conn, err := dialState(s.State, trustdTypes()...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.State, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	v := follow(ctx, st, log, TrustdRefs()...)
	var current trust.Current
	meeting := rendezvous.New(rendezvous.Config{Authorize: func(ctx context.Context, clusterID string) error {
		return mayMeet(ctx, v, &current, clusterID)
	}})
	// Machines watch without end; the server would wait for them before it stops.
	defer context.AfterFunc(ctx, meeting.Close)()
	server, err := trust.NewServer(trust.Options{Source: &current, Log: log, Register: func(s *grpc.Server) {
		discoverypb.RegisterClusterServer(s, meeting)
	}})
	if err != nil {
		return err
	}
	if address == "" {
		address = net.JoinHostPort("", strconv.Itoa(trust.Port))
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for nodes that join: %w", err)
	}
	end := make(chan error, 1)
	go func() { end <- server.Serve(ctx, l) }()

	for {
		select {
		case err := <-end:
			return err
		case <-v.changed:
			if m, err := materialOf(v); err != nil {
				// What there was goes on: a half-written change is followed by the other half.
				log.Warn("authority, token or certificate cannot be used", "error", err)
			} else if m != nil {
				current.Set(m)
			}
		}
	}
}

// mayMeet lets in who shows the machine token and asks for this cluster. What others find in the service is sealed, but whoever may
// write to it could take the sign of life of every machine away.
func mayMeet(ctx context.Context, v *view, source trust.Source, clusterID string) error {
	info, _, ok := get[cluster.Info](v, infoRef)
	m, err := source.Material()
	if err != nil || !ok || info.ClusterID == "" {
		return status.Error(codes.Unavailable, "this node does not know its cluster yet; try again later")
	}
	if !trust.TokenOf(ctx).Equal(m.Token) {
		return status.Error(codes.Unauthenticated,
			"the machine token is missing or is not that of this cluster; compare machine.token of both configs")
	}
	if clusterID != info.ClusterID {
		return status.Error(codes.PermissionDenied,
			"this node belongs to another cluster; compare cluster.id of both configs")
	}
	return nil
}

// materialOf returns what trustd works with, nil as long as a part of it is missing.
func materialOf(v *view) (*trust.Material, error) {
	root, _, ok := get[secrets.OSRoot](v, osRootRef)
	if !ok || root.IssuingCA == nil {
		return nil, nil
	}
	own, _, ok := get[secrets.Trustd](v, trustdRef)
	if !ok {
		return nil, nil
	}
	return trust.ParseMaterial(trust.Parts{
		IssuingCert: root.IssuingCA.Crt, IssuingKey: root.IssuingCA.Key,
		ServerCert: own.Server.Crt, ServerKey: own.Server.Key,
		Token: root.Token,
	})
}
