package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw" // registers the backend host-gw
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"  // registers the backend vxlan
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	"k8s.io/klog/v2"
)

// run sets up the node's part of the pod network and keeps it until ctx ends, which is no error.
// Rules, routes and the subnet file stay when it returns: pods keep their network while flanneld
// is replaced.
//
// Upstream also checks that br_netfilter is loaded when it manages iptables. Here the node sets
// that, as sysctls net.bridge.bridge-nf-call-ip(6)tables, before a kubelet runs.
func run(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	defer func() {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = nil
		}
	}()

	var ready atomic.Bool
	if o.healthzPort > 0 {
		if err := serveHealth(ctx, &tasks, net.JoinHostPort(o.healthzIP, strconv.Itoa(o.healthzPort)), &ready); err != nil {
			return err
		}
	}
	leases, err := kube.NewSubnetManager(ctx, o.kubeAPIURL, o.kubeconfigFile, o.kubeAnnotationPrefix, o.netConfPath, o.setNodeNetworkUnavailable)
	if err != nil {
		return fmt.Errorf("watch the nodes: %w", err)
	}
	config, err := leases.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("network configuration %s: %w", o.netConfPath, err)
	}
	network, err := join(ctx, &tasks, o, leases, config)
	if err != nil {
		return err
	}
	if err := allowTraffic(ctx, o, config, network); err != nil {
		return err
	}
	lease := network.Lease()
	if err := leases.HandleSubnetFile(o.subnetFile, config, o.ipMasq, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		// Not fatal, as upstream: pods that exist keep their network, and a restart writes it again.
		klog.ErrorS(err, "subnet file not written, no new pod gets an address", "file", o.subnetFile)
	} else {
		ready.Store(true)
		klog.InfoS("ready", "backend", config.BackendType, "subnet", lease.Subnet, "subnetV6", lease.IPv6Subnet, "mtu", network.MTU())
	}

	tasks.Go(func() { network.Run(ctx) })
	if err := leases.CompleteLease(ctx, lease, &tasks); err != nil {
		return fmt.Errorf("lease of %v: %w", lease.Subnet, err)
	}
	// CompleteLease returns at once when the lease needs no renewal, as with Kubernetes.
	<-ctx.Done()
	return nil
}

// join picks the interface towards the other nodes and registers the node with the backend.
func join(ctx context.Context, tasks *sync.WaitGroup, o options, leases subnet.Manager, config *subnet.Config) (backend.Network, error) {
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, fmt.Errorf("network configuration %s: %w", o.netConfPath, err)
	}
	// An address that was set on the Node by annotation wins over the flags.
	if v4, v6 := leases.GetStoredPublicIP(ctx); v4 != "" || v6 != "" {
		if v4 != "" {
			o.publicIP = v4
		}
		if v6 != "" {
			o.publicIPv6 = v6
		}
	}
	external, err := chooseInterface(o, family, ipmatch.LookupExtIface)
	if err != nil {
		return nil, err
	}
	be, err := backend.NewManager(ctx, leases, external).GetBackend(config.BackendType)
	if err != nil {
		return nil, fmt.Errorf("backend %q (known: vxlan, host-gw): %w", config.BackendType, err)
	}
	network, err := be.RegisterNetwork(ctx, tasks, config)
	if err != nil {
		return nil, fmt.Errorf("register with backend %s: %w", config.BackendType, err)
	}
	return network, nil
}

// lookup is ipmatch.LookupExtIface: by name or IP, by regular expression, or by reachability.
type lookup func(name, regex, canReach string, family int, public ipmatch.PublicIPOpts) (*backend.ExternalInterface, error)

// chooseInterface tries what the flags name, in order: --iface, --iface-regex, --iface-can-reach.
// With none of them it takes the interface of the public address, or of the default route.
// Its error names the cause of each try.
func chooseInterface(o options, family int, find lookup) (*backend.ExternalInterface, error) {
	public := ipmatch.PublicIPOpts{PublicIP: o.publicIP, PublicIPv6: o.publicIPv6}
	type try struct{ name, regex, canReach string }
	var tries []try
	for _, name := range o.iface {
		tries = append(tries, try{name: name})
	}
	for _, regex := range o.ifaceRegex {
		tries = append(tries, try{regex: regex})
	}
	if o.ifaceCanReach != "" {
		tries = append(tries, try{canReach: o.ifaceCanReach})
	}
	if len(tries) == 0 {
		name := o.publicIP
		if name == "" {
			name = o.publicIPv6
		}
		tries = append(tries, try{name: name})
	}
	var causes []error
	for _, t := range tries {
		found, err := find(t.name, t.regex, t.canReach, family, public)
		if err == nil && found != nil {
			return found, nil
		}
		if err == nil {
			err = errors.New("no match")
		}
		causes = append(causes, fmt.Errorf("%q: %w", t.name+t.regex+t.canReach, err))
	}
	return nil, fmt.Errorf("no interface towards the other nodes: %w", errors.Join(causes...))
}

// allowTraffic installs the masquerading and forwarding rules, with nftables or iptables as config
// says, and removes those that an earlier run made with the other one.
func allowTraffic(ctx context.Context, o options, config *subnet.Config, network backend.Network) error {
	var rules, unused trafficmngr.TrafficManager = &iptables.IPTablesManager{}, &nftables.NFTablesManager{}
	if config.EnableNFTables {
		rules, unused = unused, rules
	}
	// Upstream stops here when the other tool is not installed. An image with only one of the two
	// programs is a good image, and rules of the other kind are not there to be removed.
	if err := unused.CleanUp(ctx); err != nil {
		klog.InfoS("rules of the unused kind not removed", "cause", err)
	}
	if err := rules.Init(ctx); err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	if o.ipMasq {
		old := readSubnetFile(o.subnetFile)
		err := rules.SetupAndEnsureMasqRules(ctx,
			config.Network, old.subnet, old.network,
			config.IPv6Network, old.subnetV6, old.networkV6,
			network.Lease(), o.resyncSeconds, o.ipMasqFullyRandomDisable)
		if err != nil {
			return fmt.Errorf("masquerading rules: %w", err)
		}
	}
	if o.forwardRules {
		rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, o.resyncSeconds)
	}
	return nil
}

// serveHealth answers /healthz always and /readyz by ready, until ctx ends.
// It returns once the address is bound.
func serveHealth(ctx context.Context, tasks *sync.WaitGroup, address string, ready *atomic.Bool) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("health server: %w", err)
	}
	server := &http.Server{Handler: healthHandler(ready), ReadHeaderTimeout: 5 * time.Second}
	tasks.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "health server stopped", "address", address)
		}
	})
	tasks.Go(func() {
		<-ctx.Done()
		server.Close() //nolint:errcheck // the process ends
	})
	return nil
}

func healthHandler(ready *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "flanneld is running")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "flanneld is not ready yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "flanneld is ready")
	})
	return mux
}
