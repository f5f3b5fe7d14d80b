package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"talos.internal/internal/trust"
	"talos.internal/resource"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

var (
	osRootRef = state.RefOf[secrets.OSRoot](secrets.OSRootID)
	trustdRef = state.RefOf[secrets.Trustd](secrets.TrustdID)
)

func trustdTypes() []*resource.Type {
	return []*resource.Type{resource.TypeOf[secrets.OSRoot](), resource.TypeOf[secrets.Trustd]()}
}

// TrustdRefs are the resources that trustd may read.
func TrustdRefs() []resource.Ref { return []resource.Ref{osRootRef, trustdRef} }

// Trustd issues certificates to the nodes that join, on address ("" is every address, at trust.Port), until ctx ends, which is no
// error. Until PID 1 has made its own certificate, handshakes fail.
func Trustd(ctx context.Context, s Sockets, address string, log *slog.Logger) error {
	st, conn, err := dialState(s.State, trustdTypes()...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.State, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var current trust.Current
	server, err := trust.NewServer(trust.Options{Source: &current, Log: log})
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

	v := follow(ctx, st, log, TrustdRefs()...)
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
