package kubeletctrl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/kube"
	"talos.internal/resource/network"
)

// lookPeriod is how often the files of kubelet are looked at. They are few and small, and kubelet writes them seldom.
const lookPeriod = time.Second

// KubeconfigController says that kubelet has joined the cluster, and has a certificate.
type KubeconfigController struct{ deps Deps }

// Name implements [controller.Controller].
func (KubeconfigController) Name() string { return "k8s.KubeletKubeconfigController" }

// Inputs implements [controller.Controller].
func (KubeconfigController) Inputs() []controller.Input {
	return []controller.Input{controller.DestroyReady[kube.KubeletKubeconfig]()}
}

// Outputs implements [controller.Controller].
func (KubeconfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubeletKubeconfig]()}
}

// Run implements [controller.Controller].
func (c KubeconfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-ticker.C:
		}
		hash, err := c.deps.joined()
		if err == nil && hash == "" {
			err = remove(ctx, rt)
		} else if err == nil {
			err = put(ctx, rt, kube.KubeletID, kube.KubeletKubeconfig{Hash: hash})
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rt.ResetBackoff()
	}
}

// joined returns a hash of kubelet's kubeconfig and its certificate; empty if it has not both. kubelet writes the kubeconfig before
// it has the certificate that is named in it.
func (d *Deps) joined() (string, error) {
	h := sha256.New()
	for _, name := range []string{d.kubeconfigFile(), d.clientCertFile()} {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("look at the credentials of kubelet: %w", err)
		}
		_, _ = h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ResolvConfController writes the resolv.conf that pods get which ask for the node's, such as the cluster's DNS. It is not that of
// the node: a resolver on loopback is another one in a pod.
type ResolvConfController struct{ deps Deps }

// Name implements [controller.Controller].
func (ResolvConfController) Name() string { return "k8s.KubeletResolvConfController" }

// Inputs implements [controller.Controller].
func (ResolvConfController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.ResolverStatus]().Named(network.ResolverStatusID),
		controller.Weak[network.HostDNSConfig]().Named(network.HostDNSConfigID),
	}
}

// Outputs implements [controller.Controller].
func (ResolvConfController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c ResolvConfController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		resolvers, _, err := find[network.ResolverStatus](ctx, rt, network.ResolverStatusID)
		if err != nil {
			return err
		}
		dns, _, err := find[network.HostDNSConfig](ctx, rt, network.HostDNSConfigID)
		if err != nil {
			return err
		}
		text := resolvConf(resolvers, dns)
		if have, err := os.ReadFile(c.deps.resolvConf()); err == nil && bytes.Equal(have, text) {
			return nil
		}
		if err := os.MkdirAll(c.deps.Resolved, 0o755); err != nil {
			return fmt.Errorf("write the resolv.conf of pods: %w", err)
		}
		if err := replace(c.deps.resolvConf(), text, 0o644); err != nil {
			return fmt.Errorf("write the resolv.conf of pods: %w", err)
		}
		return nil
	})
}

// maxServers is how many servers a resolver library looks at (MAXNS of resolv.conf(5)).
const maxServers = 3

func resolvConf(r network.ResolverStatus, dns network.HostDNSConfig) []byte {
	var servers []netip.Addr
	for _, a := range []netip.Addr{dns.ServiceHostDNSAddress, dns.ServiceHostDNSAddressV6} {
		if dns.Enabled && a.IsValid() {
			servers = append(servers, a)
		}
	}
	if len(servers) == 0 {
		for _, n := range r.NameServers {
			if n.Protocol == network.DNSDo53 && !n.Addr.IsLoopback() {
				servers = append(servers, n.Addr)
			}
		}
	}
	var b bytes.Buffer
	for _, a := range servers[:min(len(servers), maxServers)] {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(r.SearchDomains) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.SearchDomains, " "))
	}
	return b.Bytes()
}
