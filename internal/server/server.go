package server

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"talos.internal/api/clusterpb"
	"talos.internal/api/inspectpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/membershippb"
	"talos.internal/api/statepb"
	"talos.internal/api/storagepb"
	"talos.internal/api/timepb"
	"talos.internal/internal/server/hostinfo"
	"talos.internal/state/stategrpc"
)

// The limits of the socket.
const (
	// MaxMessage is the size of the largest request and reply in bytes, as apid has it.
	MaxMessage = 32 << 20

	// maxStreams is per connection. apid makes one connection for all of its callers.
	maxStreams = 4096

	// maxHeader in bytes: the names and roles that apid passes on, of up to a thousand nodes.
	maxHeader = 512 << 10

	handshakeTimeout = 5 * time.Second

	// Peers are on this machine: a ping is of use only against one that hangs.
	minPing     = 5 * time.Second
	pingAfter   = time.Minute
	pingTimeout = 20 * time.Second
)

// New makes the server of the machine API. It serves on unix sockets alone: a connection of another kind is closed. The error names
// a required part that is missing.
func New(d Deps) (*grpc.Server, error) {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"State", d.State == nil}, {"Registry", d.Registry == nil}, {"Supervisor", d.Supervisor == nil}, {"Logs", d.Logs == nil},
		{"Events", d.Events == nil}, {"ServiceOf", d.ServiceOf == nil}, {"Configs", d.Configs == nil}, {"Lifecycle", d.Lifecycle == nil},
		{"Capabilities", d.Capabilities == nil}, {"Graph", d.Graph == nil}, {"Mode", d.Mode == ""},
	} {
		if part.missing {
			return nil, fmt.Errorf("make the machine API: Deps.%s is missing", part.name)
		}
	}
	d.complete()
	gate := &gate{log: d.Logger, maintenance: d.Maintenance}
	s := grpc.NewServer(
		grpc.Creds(peerCredentials{d.ServiceOf}), grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxHeaderListSize(maxHeader), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: math.MaxInt64, Time: pingAfter, Timeout: pingTimeout}),
	)
	register(gated{s, gate}, &d)
	return s, nil
}

// complete fills in what need not be given.
func (d *Deps) complete() {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Maintenance == nil {
		d.Maintenance = func() bool { return false }
	}
	if d.QueryTime == nil {
		d.QueryTime = queryNTP
	}
}

// register offers all services. Their handlers say why if the node cannot do what a call wants.
func register(s grpc.ServiceRegistrar, d *Deps) {
	host := hostinfo.New(d.Root)
	machinepb.RegisterMachineServiceServer(s, &machineService{Host: host, d: d, applying: make(chan struct{}, 1)})
	machinepb.RegisterImageServiceServer(s, &imageService{d: d})
	machinepb.RegisterLifecycleServiceServer(s, &lifecycleService{d: d})
	machinepb.RegisterDebugServiceServer(s, &debugService{d: d})
	machinepb.RegisterStorageServiceServer(s, &fileSystemService{Host: host})
	machinepb.RegisterLVMServiceServer(s, &lvmService{d: d})
	machinepb.RegisterMDServiceServer(s, &mdService{d: d})
	clusterpb.RegisterClusterServiceServer(s, &clusterService{d: d})
	membershippb.RegisterMembershipServiceServer(s, &membershipService{d: d})
	inspectpb.RegisterInspectServiceServer(s, &inspectService{d: d})
	storagepb.RegisterStorageServiceServer(s, &diskService{d: d})
	timepb.RegisterTimeServiceServer(s, &timeService{d: d})
	statepb.RegisterStateServer(s, stategrpc.NewServer(guarded(d.State), d.Registry))
}

// machineService is machine.MachineService. Its methods are in one file for each subject; those that only look at the host are
// those of hostinfo.Host. It embeds the Unsafe interface so that a method which is missing does not compile.
type machineService struct {
	machinepb.UnsafeMachineServiceServer
	*hostinfo.Host
	d *Deps
	// applying has room for one change of the config at a time.
	applying chan struct{}
}

type fileSystemService struct {
	machinepb.UnsafeStorageServiceServer
	*hostinfo.Host
}

var errPeer = errors.New("the connection is not one of a unix socket")
