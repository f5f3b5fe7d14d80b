// Package defaults has, in one place, what a config has when nobody says otherwise: versions, images, addresses, ports.
//
// A version here is what this tree builds (components/versions); a test holds the two together. Names of images are
// those of their publishers, so that the same config works with a network and, from the image cache, without. What only we
// build is named below talos.internal: that top-level domain is reserved for private use, so nobody else can serve it.
package defaults

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Versions of what a cluster runs, without a leading "v".
const (
	Kubernetes = "1.37.2"
	Etcd       = "3.7.3"
	CoreDNS    = "1.15.0"
	Flannel    = "0.28.10"
)

// supportedMinors is how many minor versions of Kubernetes, the newest first, a config may ask for.
const supportedMinors = 6

// Names, addresses and times.
const (
	DNSDomain         = "cluster.local"
	PodSubnet4        = "10.244.0.0/16"
	PodSubnet6        = "fc00:db8:10::/56"
	ServiceSubnet4    = "10.96.0.0/12"
	ServiceSubnet6    = "fc00:db8:20::/112"
	InstallDisk       = "/dev/sda"
	DiscoveryEndpoint = "https://discovery.talos.dev/" // the published service; used only by configs that say so
	TimeServer        = "time.cloudflare.com"
	FlannelBackend    = "vxlan"

	APIServerPort = 6443
	KubePrismPort = 7445
	FlannelPort   = 4789

	TrimInterval             = 168 * time.Hour
	AdminKubeconfigLifetime  = 8760 * time.Hour
	AdminTalosconfigLifetime = 8760 * time.Hour
)

// Repositories of images, without tags.
const (
	APIServerRepository         = "registry.k8s.io/kube-apiserver"
	ControllerManagerRepository = "registry.k8s.io/kube-controller-manager"
	SchedulerRepository         = "registry.k8s.io/kube-scheduler"
	ProxyRepository             = "registry.k8s.io/kube-proxy"
	EtcdRepository              = "registry.k8s.io/etcd"
	CoreDNSRepository           = "registry.k8s.io/coredns/coredns"
	FlannelRepository           = "ghcr.io/flannel-io/flannel"
	FlannelCNIRepository        = "ghcr.io/flannel-io/flannel-cni-plugin"
	KubeletRepository           = "talos.internal/kubelet"
	InstallerRepository         = "talos.internal/installer"
	NodeRepository              = "talos.internal/talos"
)

// Pause is the image that holds the namespaces of a pod. containerd starts it, whatever the version of Kubernetes.
const Pause = "registry.k8s.io/pause:3.10.2"

// Images are the images of one version of Kubernetes, and of what goes with it.
type Images struct {
	APIServer, ControllerManager, Scheduler, Proxy, Kubelet string
	Etcd, CoreDNS, Flannel                                  string
}

// ImagesOf returns the images for a version of Kubernetes such as "1.37.2".
func ImagesOf(kubernetes string) Images {
	tag := ":v" + kubernetes
	return Images{
		APIServer:         APIServerRepository + tag,
		ControllerManager: ControllerManagerRepository + tag,
		Scheduler:         SchedulerRepository + tag,
		Proxy:             ProxyRepository + tag,
		Kubelet:           KubeletRepository + tag,
		Etcd:              EtcdRepository + ":v" + Etcd,
		CoreDNS:           CoreDNSRepository + ":v" + CoreDNS,
		Flannel:           FlannelRepository + ":v" + Flannel,
	}
}

// Installer returns the image that installs a version of the system such as "v1.15.0".
func Installer(version string) string { return InstallerRepository + ":" + version }

// CheckKubernetes returns why a version of Kubernetes, without a leading "v", cannot be asked for: it has not three numbers
// (and optionally "-alpha.1" and so on), or is not the default's minor version or one of the five before it.
func CheckKubernetes(version string) error {
	minor, err := kubernetesMinor(version)
	if err != nil {
		return err
	}
	newest, err := kubernetesMinor(Kubernetes)
	if err != nil {
		return err
	}
	oldest := newest - supportedMinors + 1
	if minor < oldest || minor > newest {
		return fmt.Errorf("expected a version of Kubernetes from 1.%d to 1.%d, got %q", oldest, newest, version)
	}
	return nil
}

func kubernetesMinor(version string) (int, error) {
	bad := fmt.Errorf("expected a version of Kubernetes such as %s, got %q", Kubernetes, version)
	core, pre, isPre := strings.Cut(version, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || parts[0] != "1" || isPre && pre == "" {
		return 0, bad
	}
	var numbers [3]int
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || strconv.Itoa(n) != p || n < 0 {
			return 0, bad
		}
		numbers[i] = n
	}
	return numbers[1], nil
}
