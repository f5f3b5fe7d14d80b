package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/internal/boot"
	"talos.internal/internal/containerapi"
	"talos.internal/internal/ctrl/blockctrl"
	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/proxy"
	"talos.internal/internal/server"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/child"
	"talos.internal/internal/trust"
	"talos.internal/internal/vitals"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// program is the binary of PID 1, which is all programs of ours.
const program = "/sbin/init"

// apiDrain is how long calls that are under way may take when machined's API stops.
const apiDrain = 3 * time.Second

// firstProbe is how soon after its start a daemon is looked at: it listens within a fraction of a second.
const firstProbe = 100 * time.Millisecond

// loadServices loads the services that every node has, and starts them. The others come by controllers.
func (n *node) loadServices(ctx context.Context) error {
	deps := server.Deps{
		State: n.state, Registry: n.registry, Supervisor: n.services, Logs: n.logs, Events: n.events,
		ServiceOf: n.processes.serviceOf, Configs: n.configs, Lifecycle: n.lifecycle,
		Capabilities: capabilities(n.facts.Mode), Graph: n.scheduler,
		Mode: n.mode(), Platform: string(n.facts.Mode), PlatformMode: string(n.facts.Mode),
		Maintenance: func() bool {
			_, configured := n.configs.Active(ctx)
			return !configured
		},
		Logger:     n.log.With("part", "api"),
		Etcd:       etcdMember{state: n.state, door: n.door, op: etcdop.Operator{PKI: etcdctrl.DefaultPKI}},
		Containers: containerapi.Containers{Client: n.runtime}, Images: containerapi.Images{Client: n.runtime},
		Health: vitals.Checker{Client: n.clusterClient},
		Members: discoveryctrl.Remover{
			State: n.state, Discovery: n.discovery, Etcd: etcdop.Operator{PKI: etcdctrl.DefaultPKI},
			Nodes: discoveryctrl.KubeNodes{Connect: n.kubernetes}, Settle: 5 * time.Second,
		},
	}
	if n.machine != nil {
		deps.Disks, deps.Meta = &blockctrl.Storage{Kernel: n.machine.disks, State: n.state}, n.machine.meta
		n.upgrades.serve(&deps)
	}
	api, err := server.New(deps)
	if err != nil {
		return err
	}
	l, err := listenUnix(ctx, MachineSocket, apidUser)
	if err != nil {
		return err
	}
	if err := n.services.Load(n.machined(api, l), n.apid()); err != nil {
		return err
	}
	ids := []string{"machined", "apid"}
	if n.machine != nil && wantsDashboard(n.machine.cmdline) {
		if err := n.services.Load(n.dashboard()); err != nil {
			return err
		}
		ids = append(ids, dashboardID)
	}
	return n.services.Start(ids...)
}

// kubernetes returns a client of the API server with an administrator's rights, which a control-plane node has.
func (n *node) kubernetes(ctx context.Context) (*kubeapi.Client, error) {
	r, err := state.Get[secrets.Kubernetes](ctx, n.state, secrets.KubernetesID)
	if err != nil {
		return nil, fmt.Errorf("this node has no kubeconfig of an administrator: %w", err)
	}
	config, err := kubeapi.ParseKubeconfig([]byte(r.Spec().LocalhostAdminKubeconfig), "")
	if err != nil {
		return nil, err
	}
	return kubeapi.New(config, kubeapi.Options{})
}

// machined is the API on its socket. It is this process, so it is not restarted: its end is that of the node.
func (n *node) machined(api *grpc.Server, l net.Listener) supervise.Service {
	return supervise.Service{
		ID: "machined",
		Runner: supervise.Func(func(ctx context.Context, _ io.Writer) error {
			served := make(chan error, 1)
			n.goGuarded(func() { served <- api.Serve(l) })
			select {
			case err := <-served:
				return fmt.Errorf("serve the API on %s: %w", MachineSocket, err)
			case <-ctx.Done():
			}
			cut := time.AfterFunc(apiDrain, api.Stop)
			defer cut.Stop()
			api.GracefulStop()
			return nil
		}),
		Restart: supervise.Once,
		Grace:   apiDrain + time.Second,
	}
}

// apid comes after machined, so that it is stopped before it.
//
// On a machine it begins with it, and waits for its certificates itself: until there are some, drivers and disks are waited for, and its
// own start, which takes long on a slow machine, happens meanwhile.
func (n *node) apid() supervise.Service {
	s := supervise.Service{
		ID:         "apid",
		Runner:     n.daemon("apid", apidUser, boot.GroupAPID),
		After:      []string{"machined"},
		Conditions: []supervise.Condition{n.gates.api},
		Health:     &supervise.Check{Probe: listens(proxy.Port), Delay: firstProbe},
		Grace:      2 * apiDrain,
	}
	if n.machine != nil {
		s.Conditions, s.Health.Period = nil, time.Second
	}
	return s
}

func (n *node) trustd() supervise.Service {
	return supervise.Service{
		ID:         "trustd",
		Runner:     n.daemon("trustd", trustdUser, boot.GroupTrustd),
		After:      []string{"machined"},
		Conditions: []supervise.Condition{n.gates.trustd},
		Health:     &supervise.Check{Probe: listens(trust.Port), Delay: firstProbe},
		Grace:      2 * apiDrain,
	}
}

// daemon runs the binary under another name, as a user without any capability.
func (n *node) daemon(name string, user uint32, group string) supervise.Runner {
	adj := -998
	return child.Runner{Launcher: n.processes, Spec: child.Spec{
		Path: program, Name: name,
		Env:          []string{"GODEBUG=madvdontneed=1"},
		User:         &child.User{UID: user, GID: user},
		Capabilities: []string{},
		OOMScoreAdj:  &adj,
		Cgroup:       group,
	}}
}

// listens is healthy when something accepts connections on a port of the loopback.
func listens(port int) func(context.Context) error {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// capabilities is what the mode can do, in the words of the API.
type capabilities boot.Mode

// features says which capability of a mode each feature of the API needs.
var features = map[string]boot.Capability{
	string(server.Reboot): boot.CanReboot, string(server.Shutdown): boot.CanShutdown, string(server.Reset): boot.CanReset,
	string(server.Upgrade): boot.CanUpgrade, string(server.Rollback): boot.CanRollback,
	server.CapabilityMeta: boot.CanMeta, server.CapabilityInstall: boot.CanUpgrade, server.CapabilityDisks: boot.CanDisks,
}

// Capable implements server.Capabilities.
func (c capabilities) Capable(feature string) error {
	need, ok := features[feature]
	if !ok {
		return fmt.Errorf("%s: nothing on this machine does that", feature)
	}
	err := boot.Mode(c).Check(need)
	if lack, ok := errors.AsType[*boot.LackError](err); ok {
		code := codes.FailedPrecondition
		if lack.Unimplemented {
			code = codes.Unimplemented
		}
		return status.Error(code, lack.Error())
	}
	return err
}
