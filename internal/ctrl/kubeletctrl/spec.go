package kubeletctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"talos.internal/config/kubedoc"
	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// SpecController makes what kubelet is started with.
type SpecController struct{ deps Deps }

// Name implements [controller.Controller].
func (SpecController) Name() string { return "k8s.KubeletSpecController" }

// Inputs implements [controller.Controller].
func (SpecController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.Weak[kube.KubeletConfig]().Named(kube.KubeletID),
		controller.Weak[kube.NodeIP]().Named(kube.KubeletID),
		controller.Weak[kube.Nodename]().Named(kube.NodenameID),
		controller.DestroyReady[kube.KubeletSpec](),
	}
}

// Outputs implements [controller.Controller].
func (SpecController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubeletSpec]()}
}

// Run implements [controller.Controller].
func (c SpecController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	lacks := ""
	if c.deps.Container {
		if lacks = c.deps.Lacks(); lacks != "" {
			log.Info("kubelet runs as in a user namespace", "because", lacks)
		}
	}
	noQuotas := false
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, ok, err := state.Find[kube.KubeletConfig](ctx, rt, kube.KubeletID)
		if err != nil {
			return err
		}
		if !ok {
			return remove(ctx, rt)
		}
		if quotas := config.EnableFSQuotaMonitoring && c.deps.Container; quotas != noQuotas {
			if noQuotas = quotas; noQuotas {
				log.Warn("project quotas are not available in a container: the file system is the host's", "option", "machine.features.diskQuotaSupport")
			}
		}
		name, ok1, err := state.Find[kube.Nodename](ctx, rt, kube.NodenameID)
		if err != nil {
			return err
		}
		ip, ok2, err := state.Find[kube.NodeIP](ctx, rt, kube.KubeletID)
		if err != nil {
			return err
		}
		t, ok3, err := state.Find[machineconfig.Type](ctx, rt, machineconfig.TypeID)
		if err != nil || !ok1 || !ok2 || !ok3 {
			return err
		}
		spec, err := specOf(facts{
			config: config, name: name.Name, ip: ip, container: c.deps.Container, unprivileged: lacks != "",
			controlPlane: t.Type == machineconfig.TypeControlPlane || t.Type == machineconfig.TypeInit,
		}, c.deps)
		if err != nil {
			return err
		}
		return state.Put(ctx, rt, kube.KubeletID, spec)
	})
}

// facts are what a spec is made from.
type facts struct {
	config                                kube.KubeletConfig
	name                                  string
	ip                                    kube.NodeIP
	controlPlane, container, unprivileged bool
}

// specOf decides what kubelet is started with. It refuses arguments that the system relies on.
func specOf(f facts, d Deps) (kube.KubeletSpec, error) {
	line, err := commandLine(f, d)
	if err != nil {
		return kube.KubeletSpec{}, err
	}
	return kube.KubeletSpec{
		Image: f.config.Image, Args: line, ExtraMounts: f.config.ExtraMounts, ExpectedNodename: f.name,
		Config: configuration(f, d), CredentialProviderConfig: f.config.CredentialProviderConfig,
	}, nil
}

// commandLine has what a KubeletConfiguration cannot say.
func commandLine(f facts, d Deps) ([]string, error) {
	var ips []string
	for _, a := range f.ip.Addresses {
		ips = append(ips, a.String())
	}
	all := map[string][]string{
		"bootstrap-kubeconfig": {d.bootstrapFile()},
		"cert-dir":             {d.pki()},
		"config":               {d.configFile()},
		"hostname-override":    {f.name},
		"kubeconfig":           {d.kubeconfigFile()},
		"node-ip":              {strings.Join(ips, ",")},
		"root-dir":             {d.Root},
	}
	if f.config.CloudProviderExternal {
		all["cloud-provider"] = []string{"external"}
	}
	if len(f.config.CredentialProviderConfig) > 0 {
		all["image-credential-provider-config"] = []string{d.credentialsFile()}
		all["image-credential-provider-bin-dir"] = []string{credentialPlugins}
	}
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(f.config.ExtraArgs)) {
		if err := kubedoc.DeniedArg("kubelet", name); err != nil {
			refused = append(refused, err)
			continue
		}
		all[strings.ReplaceAll(name, "_", "-")] = f.config.ExtraArgs[name].Values
	}
	if err := errors.Join(refused...); err != nil {
		return nil, err
	}
	line := []string{"/usr/local/bin/kubelet"}
	for _, flag := range slices.Sorted(maps.Keys(all)) {
		for _, v := range all[flag] {
			line = append(line, "--"+flag+"="+v)
		}
	}
	return line, nil
}

type (
	object = map[string]any
	list   = []any
)

// configuration is the KubeletConfiguration (contract.md, section 6.2): what the system prefers, over it what the config says, and
// over that what the system relies on, which the config has been refused already.
func configuration(f facts, d Deps) object {
	memory := "384Mi"
	if f.controlPlane {
		memory = "512Mi"
	}
	out := object{
		"failCgroupV1":          false,
		"failSwapOn":            false,
		"logging":               object{"format": "json"},
		"oomScoreAdj":           oomScore,
		"protectKernelDefaults": !f.container,
		"seccompDefault":        f.config.DefaultRuntimeSeccompEnabled,
		"serializeImagePulls":   false,
		// The pause between two questions for the static pods. The answer waits until there is something new.
		"httpCheckFrequency": "100ms",
		"systemReserved":     object{"cpu": "50m", "pid": "100", "ephemeral-storage": "256Mi", "memory": memory},
		"tlsMinVersion":      "VersionTLS13",
		"featureGates":       object{},
	}
	if f.container {
		// The disk is the host's. What fills it is mostly not ours, and pods that are evicted would not make it emptier.
		out["imageGCHighThresholdPercent"] = 100
		out["evictionHard"] = object{
			"memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%",
		}
	}
	lay(out, f.config.Config)
	gates, ok := out["featureGates"].(object)
	if !ok {
		gates = object{} // the config has something there that is none
		out["featureGates"] = gates
	}
	if f.unprivileged {
		gates["KubeletInUserNamespace"] = true
	}
	if f.config.EnableFSQuotaMonitoring && !f.container {
		gates["LocalStorageCapacityIsolationFSQuotaMonitoring"] = true
	}
	maps.Copy(out, object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": d.caFile()},
		},
		"authorization":            object{"mode": "Webhook"},
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/",
		"clusterDNS":               texts(f.config.ClusterDNS),
		"clusterDomain":            f.config.ClusterDomain,
		"containerRuntimeEndpoint": "unix://" + container.DefaultSocket,
		"kubeletCgroups":           cgroup,
		"port":                     10250,
		"registerNode":             !f.config.SkipNodeRegistration,
		"resolvConf":               d.resolvConf(),
		"rotateCertificates":       true,
		"staticPodURL":             f.config.StaticPodListURL,
	})
	if t := taints(f.config.RegisterWithTaints); len(t) > 0 {
		out["registerWithTaints"] = t
	}
	return out
}

// lay puts over into the mapping under it: mappings are merged, everything else is replaced. It changes nothing of over, now or
// later.
func lay(under, over object) {
	for k, v := range over {
		o, isMap := v.(object)
		if !isMap {
			under[k] = v
			continue
		}
		u, ok := under[k].(object)
		if !ok {
			u = object{}
			under[k] = u
		}
		lay(u, o)
	}
}

func texts(values []string) list {
	out := list{}
	for _, v := range values {
		out = append(out, v)
	}
	return out
}

// taints parses "effect" and "value:effect" by key.
func taints(by map[string]string) list {
	var out list
	for _, key := range slices.Sorted(maps.Keys(by)) {
		value, effect, ok := strings.Cut(by[key], ":")
		if !ok {
			value, effect = "", by[key]
		}
		t := object{"key": key, "effect": effect}
		if value != "" {
			t["value"] = value
		}
		out = append(out, t)
	}
	return out
}

// credentialPlugins is where system extensions put the programs that get credentials for registries.
const credentialPlugins = "/usr/local/lib/kubelet/credentialproviders"

// Where kubelet runs, and how late the kernel kills it for memory.
const (
	cgroup   = "/podruntime/kubelet"
	oomScore = -450
)

// containerOf describes kubelet's container. What it mounts for pods has to reach containerd, and what others mount has to reach it.
func containerOf(s kube.KubeletSpec, d Deps) (container.Spec, error) {
	bind := func(path string, options ...string) container.Mount {
		return container.Mount{Source: path, Target: path, Options: append([]string{"rbind"}, options...)}
	}
	out := container.Spec{
		ID: ServiceID, Image: s.Image, Args: s.Args, Privileged: true, HostNetwork: true, HostPID: true, HostIPC: true, HostSys: true,
		Cgroup: cgroup, OOMScoreAdj: oomScore, RootfsPropagation: "rshared", User: &container.User{},
		Mounts: []container.Mount{
			bind("/dev", "rslave", "rw"),
			bind("/run", "rshared", "rw"),
			bind("/etc/cni", "rslave", "rw"),
			bind("/opt/cni", "rslave", "rw"),
			bind(d.Etc, "rslave", "rw"),
			bind(d.Root, "rshared", "rw"),
			bind(d.Resolved, "rslave", "ro"),
			bind("/var/lib/cni", "rslave", "rw"),
			bind("/var/lib/containerd", "rslave", "ro"), // how full it is
			bind("/var/log", "rslave", "rw"),
			bind("/var/mnt", "rslave", "rw"),
			bind("/etc/hosts", "ro"), // for pods on the host's network
			bind("/etc/machine-id", "ro"),
			bind("/etc/os-release", "ro"), // what the Node says of the system
			bind("/etc/resolv.conf", "ro"),
		},
	}
	if d.Garbage != "" {
		out.Env = []string{"GOGC=" + d.Garbage}
	}
	if len(s.CredentialProviderConfig) > 0 {
		out.Mounts = append(out.Mounts, bind(credentialPlugins, "ro"))
	}
	for _, m := range s.ExtraMounts {
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
			return container.Spec{}, fmt.Errorf("mount %s in kubelet's container: mapped ids are not supported; leave uidMappings and gidMappings out", m.Destination)
		}
		out.Mounts = append(out.Mounts, container.Mount{Source: m.Source, Target: m.Destination, Type: m.Type, Options: m.Options})
	}
	return out, nil
}
