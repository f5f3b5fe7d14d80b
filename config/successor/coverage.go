package successor

import (
	"reflect"
	"strings"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
)

// succession says which documents succeed a field of the root document, or all fields below it that are in no row of
// their own.
type succession struct {
	path  string // without item numbers
	kinds []string
}

// converted are the fields that documents succeed. Of a kind that has no name, the first row of the table that is set is
// where its document comes from.
var converted = []succession{
	{"machine.controlPlane.controllerManager", []string{"KubeControllerManagerConfig"}},
	{"machine.controlPlane.scheduler", []string{"KubeSchedulerConfig"}},
	{"machine.kubelet", []string{"KubeletConfig"}},
	{"machine.kubelet.credentialProviderConfig", []string{"KubeCredentialProviderConfig"}},
	{"machine.kubelet.registerWithFQDN", []string{"KubeNodeConfig"}},
	{"machine.kubelet.nodeIP", []string{"KubeNodeConfig"}},
	{"machine.kubelet.skipNodeRegistration", []string{"KubeNodeConfig"}},
	{"machine.nodeLabels", []string{"KubeNodeConfig"}},
	{"machine.nodeAnnotations", []string{"KubeNodeConfig"}},
	{"machine.nodeTaints", []string{"KubeNodeConfig"}},
	{"machine.pods", []string{"KubeStaticPodConfig"}},
	{"machine.network.hostname", []string{"HostnameConfig"}},
	{"machine.features.stableHostname", []string{"HostnameConfig"}},
	{"machine.network.interfaces", []string{
		"LinkConfig", "LinkAliasConfig", "BondConfig", "BridgeConfig", "VLANConfig", "DummyLinkConfig", "WireguardConfig",
		"DHCPv4Config", "DHCPv6Config", "Layer2VIPConfig", "HCloudVIPConfig",
	}},
	{"machine.network.nameservers", []string{"ResolverConfig"}},
	{"machine.network.searchDomains", []string{"ResolverConfig"}},
	{"machine.network.disableSearchDomain", []string{"ResolverConfig"}},
	{"machine.features.hostDNS", []string{"ResolverConfig"}},
	{"machine.network.extraHostEntries", []string{"StaticHostConfig"}},
	{"machine.network.kubespan", []string{"KubeSpanConfig"}},
	{"machine.disks", []string{"UserVolumeConfig"}}, // in part: see volumeOf
	{"machine.install", []string{"UnattendedInstallConfig"}},
	{"machine.files", []string{"CRICustomizationConfig", "EtcFileConfig"}}, // in part: see fileOf
	{"machine.env", []string{"EnvironmentConfig"}},
	{"machine.time", []string{"TimeSyncConfig"}},
	{"machine.sysctls", []string{"SysctlConfig"}},
	{"machine.sysfs", []string{"SysfsConfig"}},
	{"machine.registries.mirrors", []string{"RegistryMirrorConfig"}},
	{"machine.registries.config", []string{"RegistryTLSConfig", "RegistryAuthConfig"}},
	{"machine.systemDiskEncryption", []string{"VolumeConfig"}},
	{"machine.udev", []string{"UdevRulesConfig"}},
	{"machine.kernel", []string{"KernelModuleConfig"}},
	{"machine.baseRuntimeSpecOverrides", []string{"CRIBaseRuntimeSpecConfig"}},
	{"machine.features.kubernetesTalosAPIAccess", []string{"KubeTalosAPIAccessConfig"}},
	{"machine.features.kubePrism", []string{"KubePrismConfig"}},
	{"machine.features.imageCache", []string{"ImageCacheConfig"}},
	{"cluster.id", []string{"DiscoveryIdentityConfig"}},
	{"cluster.secret", []string{"DiscoveryIdentityConfig"}},
	{"cluster.discovery", []string{"DiscoveryServiceConfig"}},
	{"cluster.controlPlane.endpoint", []string{"KubeClusterConfig"}},
	{"cluster.clusterName", []string{"KubeClusterConfig"}},
	{"cluster.network.cni", []string{"KubeFlannelCNIConfig"}},
	{"cluster.network.cni.urls", []string{"KubeExternalManifestConfig"}},
	{"cluster.network.dnsDomain", []string{"KubeNetworkConfig"}},
	{"cluster.network.podSubnets", []string{"KubeNetworkConfig"}},
	{"cluster.network.serviceSubnets", []string{"KubeNetworkConfig"}},
	{"cluster.aescbcEncryptionSecret", []string{"KubeEtcdEncryptionConfig"}},
	{"cluster.secretboxEncryptionSecret", []string{"KubeEtcdEncryptionConfig"}},
	{"cluster.ca", []string{"KubeAPIServerCAConfig"}},
	{"cluster.acceptedCAs", []string{"KubeAPIServerCAConfig"}},
	{"cluster.aggregatorCA", []string{"KubeAggregatorCAConfig"}},
	{"cluster.serviceAccount", []string{"KubeServiceAccountConfig"}},
	{"cluster.apiServer", []string{"KubeAPIServerConfig"}},
	{"cluster.controlPlane.localAPIServerPort", []string{"KubeAPIServerConfig"}},
	{"cluster.apiServer.admissionControl", []string{"KubeAdmissionControlConfig"}},
	{"cluster.apiServer.auditPolicy", []string{"KubeAuditPolicyConfig"}},
	{"cluster.apiServer.authorizationConfig", []string{"KubeAuthorizerConfig"}},
	{"cluster.controllerManager", []string{"KubeControllerManagerConfig"}},
	{"cluster.scheduler", []string{"KubeSchedulerConfig"}},
	{"cluster.proxy", []string{"KubeProxyConfig"}},
	{"cluster.coreDNS", []string{"KubeCoreDNSConfig"}},
	{"cluster.extraManifests", []string{"KubeExternalManifestConfig"}},
	{"cluster.extraManifestHeaders", []string{"KubeExternalManifestConfig"}},
	{"cluster.inlineManifests", []string{"KubeInlineManifestConfig"}},
	{"cluster.allowSchedulingOnMasters", []string{"KubeNodeConfig"}},
	{"cluster.allowSchedulingOnControlPlanes", []string{"KubeNodeConfig"}},
	{"cluster.etcd.subnet", nil}, // becomes cluster.etcd.advertisedSubnets
}

// kept are the deprecated fields that no document succeeds: they stay in the root document, where their controllers
// read them.
var kept = []string{
	"machine.kubelet.extraMounts",
	"cluster.apiServer.extraVolumes",
	"cluster.controllerManager.extraVolumes",
	"cluster.scheduler.extraVolumes",
}

// ignored are the deprecated fields that have no effect, because what they say always holds or does not exist any more.
var ignored = []string{
	"persist",
	"machine.kubelet.disableManifestsDirectory",
	"machine.network.interfaces.bond.adActorSystem",
	"machine.network.interfaces.vip.equinixMetal",
	"machine.network.interfaces.vlans.vip.equinixMetal",
	"machine.install.extraKernelArgs",
	"machine.install.extensions",
	"machine.install.bootloader",
	"machine.install.legacyBIOSSupport",
	"machine.install.grubUseUKICmdline",
	"machine.features.rbac",
	"cluster.discovery.registries.kubernetes",
	"cluster.apiServer.disablePodSecurityPolicy",
}

// fate is what becomes of a field when the root document is converted.
type fate int

const (
	stays     fate = iota // current or kept: it is in the reduced root document
	succeeded             // a document has it
	dropped               // it has no effect
)

// fateOf returns the fate of the field at path, without item numbers, and the row that says so: the longest that path is
// or lies below.
func fateOf(path string) (fate, string) {
	best, row := stays, ""
	look := func(f fate, candidate string) {
		if len(candidate) > len(row) && under(path, candidate) {
			best, row = f, candidate
		}
	}
	for _, c := range converted {
		look(succeeded, c.path)
	}
	for _, k := range kept {
		look(stays, k)
	}
	for _, i := range ignored {
		look(dropped, i)
	}
	return best, row
}

// under reports whether the field at path is row or lies below it.
func under(path, row string) bool {
	return strings.HasPrefix(path, row) && (len(path) == len(row) || path[len(row)] == '.')
}

// setRows returns the rows of converted of which a field is set in c, in the table's order.
func setRows(c *rootdoc.Config) []succession {
	set := map[string]bool{}
	visit(reflect.ValueOf(c), "", func(path string) {
		if f, row := fateOf(path); f == succeeded {
			set[row] = true
		}
	})
	var rows []succession
	for _, row := range converted {
		if set[row.path] {
			rows = append(rows, row)
		}
	}
	return rows
}

// visit calls f with the path, without item numbers, of each field below v that is set; some paths come several times.
func visit(v reflect.Value, path string, f func(path string)) {
	t := schema.TypeOf(v.Type())
	for v.Kind() == reflect.Pointer && t.Class == schema.Struct && len(t.Fields) > 0 {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch {
	case t.Class == schema.Struct && len(t.Fields) > 0:
		for _, field := range t.Fields {
			visit(v.FieldByName(field.GoName), strings.TrimPrefix(path+"."+field.Name, "."), f)
		}
	case t.Class == schema.List && t.Elem.Class == schema.Struct:
		for i := range v.Len() {
			visit(v.Index(i), path, f)
		}
	case t.Class == schema.Map && t.Elem.Class == schema.Struct:
		for it := v.MapRange(); it.Next(); {
			visit(it.Value(), path, f)
		}
	case rootdoc.IsSet(v.Interface()):
		f(path)
	}
}

// Conflicts reports where the root document and another document of the same config say the same thing. Documents of a
// kind with names only do so if their names are equal: a user's manifests may stand beside those of the root document.
func Conflicts(c *schema.Check) {
	root, entry, ok := rootdoc.Find(c.Set)
	if !ok {
		return
	}
	there := map[string]schema.Entry{}
	for _, e := range c.Set {
		there[e.Title()] = e
	}
	report := func(path, title string) {
		e := entry
		e.From = path
		c.Reporter(e).Hintf("keep one, preferably the document", "the document %s says the same thing", title)
	}
	for _, row := range setRows(root) {
		for _, kind := range row.kinds {
			if _, twice := there[kind]; twice { // a kind without names is its own title
				report(row.path, kind)
			}
		}
	}
	for _, d := range Documents(root) {
		if _, named := d.Doc.(schema.NamedDocument); !named || d.Implied {
			continue
		}
		if _, twice := there[schema.Title(d.Doc)]; twice {
			report(d.Path, schema.Title(d.Doc))
		}
	}
}
