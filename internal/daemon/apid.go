package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"talos.internal/internal/proxy"
	"talos.internal/internal/proxy/authz"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// Sockets says where the programs meet PID 1.
type Sockets struct {
	// State is the socket of the part of the state that the program may see.
	State string
	// Machine is the socket of the machine API; only apid uses it.
	Machine string
}

// drain is how long calls that are under way may take to end when apid has to serve in another mode.
const drain = 5 * time.Second

var (
	apiRef      = state.RefOf[secrets.API](secrets.APIID)
	serviceRef  = state.RefOf[runtime.APIServiceConfig](runtime.APIServiceConfigID)
	addressRef  = state.RefOf[network.NodeAddress](network.NodeAddressAccumulative)
	hostnameRef = state.RefOf[network.HostnameStatus](network.HostnameStatusID)
)

// apidTypes are the types of what apid watches.
func apidTypes() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[secrets.API](), resource.TypeOf[runtime.APIServiceConfig](),
		resource.TypeOf[network.NodeAddress](), resource.TypeOf[network.HostnameStatus](),
	}
}

// APIDRefs are the resources that apid may read.
func APIDRefs() []resource.Ref { return []resource.Ref{apiRef, serviceRef, addressRef, hostnameRef} }

// APID serves the machine API on the network until ctx ends, which is no error.
//
// It waits for its certificates and its config without end: PID 1 makes them. While certificates are renewed, connections
// stay; when the node leaves maintenance mode, or the address to listen on changes, calls that are under way have five
// seconds to end.
func APID(ctx context.Context, s Sockets, log *slog.Logger) error {
	st, conn, err := dialState(s.State, apidTypes()...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.State, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := follow(ctx, st, log, APIDRefs()...)

	a := &apid{sockets: s, view: v, log: log}
	defer a.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-a.failed():
			return fmt.Errorf("serve the API on %s: %w", a.serving.listen, err)
		case <-v.changed:
			if err := a.update(ctx); err != nil {
				return err
			}
		}
	}
}

// serving is all for which a server has to be made anew.
type serving struct {
	listen     string
	mode       authz.Mode
	forwarding bool
}

type apid struct {
	sockets  Sockets
	view     *view
	log      *slog.Logger
	identity proxy.Current
	taken    uint64 // the arrival of the certificates in identity

	serving serving
	server  *proxy.Server
	end     chan error
}

func (a *apid) failed() <-chan error { return a.end }

// update brings the server to what is in the view.
func (a *apid) update(ctx context.Context) error {
	certs, number, ok := get[secrets.API](a.view, apiRef)
	if !ok {
		return nil // not yet, or between two: what serves goes on
	}
	if number != a.taken {
		id, err := identityOf(certs)
		if err != nil {
			// The old certificates are better than none, and PID 1 hears of it by the log.
			a.log.Error("certificates cannot be used", "error", err)
			return nil
		}
		a.identity.Set(id)
		a.taken = number
		a.log.Info("certificates taken")
	}
	cfg, _, ok := get[runtime.APIServiceConfig](a.view, serviceRef)
	if !ok {
		return nil
	}
	want := servingOf(cfg, certs)
	if a.server != nil && want == a.serving {
		return nil
	}
	a.stop()
	return a.start(ctx, want)
}

// servingOf decides how to serve.
func servingOf(cfg runtime.APIServiceConfig, certs secrets.API) serving {
	s := serving{listen: cfg.ListenAddress, mode: authz.Running}
	if s.listen == "" {
		s.listen = net.JoinHostPort("", strconv.Itoa(proxy.Port))
	}
	if cfg.SkipVerifyingClientCert || certs.SkipVerifyingClientCert {
		s.mode = authz.Maintenance
	}
	s.forwarding = s.mode == authz.Running && !cfg.NodeRoutingDisabled && certs.Client != nil
	return s
}

func identityOf(certs secrets.API) (*proxy.Identity, error) {
	server, err := secret.ParsePair(certs.Server.Crt, certs.Server.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the server: %w", err)
	}
	var client secret.Pair
	if certs.Client != nil {
		if client, err = secret.ParsePair(certs.Client.Crt, certs.Client.Key); err != nil {
			return nil, fmt.Errorf("certificate for other nodes: %w", err)
		}
	}
	authorities, err := certificatesOf(certs.AcceptedCAs)
	if err != nil {
		return nil, err
	}
	return proxy.NewIdentity(server, client, authorities...)
}

// names are the addresses and names of this node, by which calls for it are told from those for others.
func (a *apid) names() []string {
	var names []string
	if addrs, _, ok := get[network.NodeAddress](a.view, addressRef); ok {
		for _, p := range addrs.Addresses {
			names = append(names, p.Addr().String())
		}
	}
	if host, _, ok := get[network.HostnameStatus](a.view, hostnameRef); ok {
		names = append(names, host.Hostname)
		if fqdn := host.FQDN(); fqdn != host.Hostname {
			names = append(names, fqdn)
		}
	}
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

// name is what this node is called. It may change while calls are under way.
func (a *apid) name() string {
	host, _, _ := get[network.HostnameStatus](a.view, hostnameRef)
	return host.Hostname
}

func (a *apid) start(ctx context.Context, want serving) error {
	server, err := proxy.New(proxy.Options{
		Identities: &a.identity,
		Local: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", a.sockets.Machine)
		},
		Names:      a.names,
		Forwarding: want.forwarding,
		Name:       a.name,
		Mode:       want.mode,
		Logger:     a.log,
	})
	if err != nil {
		return fmt.Errorf("make the proxy: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", want.listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for the API: %w", err), server.Stop(ctx))
	}
	end := make(chan error, 1)
	go func() { end <- server.Serve(l) }()
	a.server, a.serving, a.end = server, want, end
	a.log.Info("serving", "address", l.Addr().String(), "maintenance", want.mode == authz.Maintenance, "forwarding", want.forwarding)
	return nil
}

func (a *apid) stop() {
	if a.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := a.server.Stop(ctx); err != nil {
		a.log.Warn("calls were cut off", "error", err)
	}
	a.server, a.end = nil, nil
}
