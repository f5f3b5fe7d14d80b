// Command flanneld connects the pods of this node to those of the others, over VXLAN or direct routes.
//
// It is flannel's own packages with a main of ours, for two reasons. Upstream's main links every
// backend, among them a cloud provider's SDK that the module proxy does not serve; a node of ours
// needs vxlan and host-gw. And upstream can keep leases in etcd, which nothing here does: leases are
// the pod CIDRs of the Kubernetes nodes.
//
// Flags, their defaults, the FLANNELD_ environment variables, the network configuration file and
// the subnet file are those of upstream, so its manifests run unchanged. Flags for etcd are unknown.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/flannel-io/flannel/pkg/version"
	"k8s.io/klog/v2"
)

// options is what the command line and the environment ask for. Field by field as upstream's flags.
type options struct {
	version bool

	kubeSubnetMgr             bool
	kubeAPIURL                string
	kubeconfigFile            string
	kubeAnnotationPrefix      string
	setNodeNetworkUnavailable bool

	iface         list
	ifaceRegex    list
	ifaceCanReach string
	publicIP      string
	publicIPv6    string

	netConfPath string
	subnetFile  string

	ipMasq                   bool
	ipMasqFullyRandomDisable bool
	forwardRules             bool
	resyncSeconds            int

	healthzIP   string
	healthzPort int
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// parse reads the arguments, then for each flag not among them the variable FLANNELD_NAME of env.
// It returns flag.ErrHelp after printing the usage to w when help was asked for.
func parse(args []string, env func(string) (string, bool), w io.Writer) (options, error) {
	var o options
	set := flag.NewFlagSet("flanneld", flag.ContinueOnError)
	set.SetOutput(w)
	set.BoolVar(&o.version, "version", false, "print the version and exit")
	set.BoolVar(&o.kubeSubnetMgr, "kube-subnet-mgr", true, "take leases from the Kubernetes API; the only kind there is")
	set.StringVar(&o.kubeAPIURL, "kube-api-url", "", "URL of the Kubernetes API server; not needed in a pod")
	set.StringVar(&o.kubeconfigFile, "kubeconfig-file", "", "kubeconfig file; not needed in a pod")
	set.StringVar(&o.kubeAnnotationPrefix, "kube-annotation-prefix", "flannel.alpha.coreos.com", "prefix of the annotations on the Node")
	set.BoolVar(&o.setNodeNetworkUnavailable, "set-node-network-unavailable", true, "set the Node's condition NetworkUnavailable when ready")
	set.Var(&o.iface, "iface", "interface (name or IP) for traffic between nodes; the first match of several is taken")
	set.Var(&o.ifaceRegex, "iface-regex", "regular expression for the interface, tried after --iface")
	set.StringVar(&o.ifaceCanReach, "iface-can-reach", "", "take the interface with the route to this IP")
	set.StringVar(&o.publicIP, "public-ip", "", "IPv4 address at which other nodes reach this one")
	set.StringVar(&o.publicIPv6, "public-ipv6", "", "IPv6 address at which other nodes reach this one")
	set.StringVar(&o.netConfPath, "net-config-path", "/etc/kube-flannel/net-conf.json", "network configuration file")
	set.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env", "file to write the node's subnet to, for the CNI plugin")
	set.BoolVar(&o.ipMasq, "ip-masq", false, "masquerade traffic that leaves the pod network")
	set.BoolVar(&o.ipMasqFullyRandomDisable, "ip-masq-fully-random-disable", false, "masquerade without fully random ports")
	set.BoolVar(&o.forwardRules, "iptables-forward-rules", true, "accept forwarded traffic of the pod network")
	set.IntVar(&o.resyncSeconds, "iptables-resync", 5, "seconds between two looks at the rules")
	set.StringVar(&o.healthzIP, "healthz-ip", "0.0.0.0", "address of the health server")
	set.IntVar(&o.healthzPort, "healthz-port", 0, "port of the health server; 0 is none")

	// klog names its flags itself; of those only the ones about what is logged make sense in a pod.
	var logging flag.FlagSet
	klog.InitFlags(&logging)
	for _, name := range []string{"v", "vmodule", "log_backtrace_at"} {
		f := logging.Lookup(name)
		set.Var(f.Value, f.Name, f.Usage)
	}
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}

	given := make(map[string]bool)
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var bad error
	set.VisitAll(func(f *flag.Flag) {
		name := "FLANNELD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := env(name); ok && !given[f.Name] && bad == nil {
			if err := set.Set(f.Name, value); err != nil {
				bad = fmt.Errorf("%s=%q: %w", name, value, err)
			}
		}
	})
	if bad == nil && !o.kubeSubnetMgr {
		bad = fmt.Errorf("--kube-subnet-mgr=false: leases in etcd are not supported")
	}
	return o, bad
}

func main() {
	o, err := parse(os.Args[1:], os.LookupEnv, os.Stderr)
	switch {
	case err == flag.ErrHelp:
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "flanneld:", err)
		os.Exit(2)
	case o.version:
		fmt.Println(version.Version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		klog.ErrorS(err, "flanneld stops")
		klog.Flush()
		os.Exit(1)
	}
}
