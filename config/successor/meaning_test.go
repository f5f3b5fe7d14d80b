package successor_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/expr"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
	"talos.internal/config/sysdoc"
)

// object is a document as plain values.
type object = map[string]any

// TestSamplesMeanTheSame compares the configs that the public client generates for one cluster in the old style (v1.6)
// and in the new one (v1.14). Both go the same way: what the old one converts to must be the documents that the new one
// has, but for what is listed: what only the new client writes, and where the two versions chose other values.
func TestSamplesMeanTheSame(t *testing.T) {
	newOnly := []string{"FilesystemTrimConfig", "ResolverConfig", "SecurityProfileConfig", "VolumeConfig EPHEMERAL"}
	for _, role := range []string{"controlplane", "worker"} {
		t.Run(role, func(t *testing.T) {
			old := map[string]object{}
			for _, d := range successor.Documents(read(t, "v1.6-"+role+".yaml")) {
				old[schema.Title(d.Doc)] = plain(t, d.Doc)
			}
			now := sampleDocuments(t, "v1.14-"+role+".yaml")
			for _, title := range newOnly {
				if _, both := old[title]; both {
					t.Errorf("%s is in both; it is listed as one that only the new style has", title)
				}
				delete(now, title)
			}
			differ := map[string][]string{ // keys of the old document
				"KubeAPIServerConfig":      {"certExtraSANs"}, // v1.6 lists the endpoint, v1.14 knows it
				"KubeEtcdEncryptionConfig": {"config"},        // identity comes last, for what was written in clear
			}
			differ["KubeCoreDNSConfig"] = []string{"enabled"} // v1.14 writes the default
			if role == "worker" {
				differ["KubeClusterConfig"] = []string{"clusterName"} // v1.6 does not write it
			} else {
				differ["KubeNodeConfig"] = []string{"labels"} // v1.14 adds exclude-from-external-load-balancers
			}
			for title, keys := range differ {
				for _, key := range keys {
					if old[title] == nil && now[title] == nil {
						continue
					}
					if cmp.Equal(old[title][key], now[title][key]) {
						t.Errorf("%s: %s is the same in both; it is listed as one that differs", title, key)
					}
					delete(old[title], key)
					delete(now[title], key)
				}
			}
			if diff := cmp.Diff(now, old); diff != "" {
				t.Errorf("the documents of v1.14 and those that v1.6 converts to differ (-v1.14 +v1.6):\n%s", diff)
			}
		})
	}
}

// sampleDocuments returns the documents beside the root document in a fixture, by title.
func sampleDocuments(t *testing.T, name string) map[string]object {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtureDir, name))
	if err != nil {
		t.Fatal(err)
	}
	r := schema.NewRegistry(kubedoc.Kinds(), netdoc.Kinds(), blockdoc.Kinds(), sysdoc.Kinds())
	out := map[string]object{}
	var report schema.Report
	for _, n := range schema.Parse(name, data, &report) {
		kind := schema.Child(n, "kind")
		if kind == nil {
			continue
		}
		k, ok := r.Kind(kind.Value)
		if !ok {
			t.Fatalf("%s has a %s, which is no kind", name, kind.Value)
		}
		d := k.New()
		schema.Decode(n, d, schema.NewReporter(&report, name, "", n), "apiVersion", "kind")
		out[schema.Title(d)] = plain(t, d)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// plain returns d without empty values, and with what differs between any two clusters or versions made equal: secrets,
// certificates and the tags of images.
func plain(t *testing.T, d schema.Document) object {
	t.Helper()
	n := schema.EncodeValue(d)
	scrub(n, "")
	var out object
	if err := n.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func scrub(n *yaml.Node, key string) {
	secrets := []string{"cert", "key", "privateKey", "acceptedCAs", "clusterID", "clusterSecret", "image"}
	switch {
	case slices.Contains(secrets, key):
		*n = *schema.StringNode("some " + key)
	case n.Kind == yaml.MappingNode:
		var rest []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			v := n.Content[i+1]
			scrub(v, n.Content[i].Value)
			if v.Kind == yaml.ScalarNode || len(v.Content) > 0 {
				rest = append(rest, n.Content[i], v)
			}
		}
		n.Content = rest
	default:
		for _, item := range n.Content {
			scrub(item, "")
		}
	}
}

func TestDeviceSelectors(t *testing.T) {
	nic := expr.Link{
		Name: "enp3s0", Type: "ether", HardwareAddr: []byte{0x02, 0, 0, 0, 0xf0, 0xab}, PermanentAddr: []byte{0, 0x1b, 0x21, 0xaa, 0xf0, 0xab},
		BusPath: "0000:03:00.0", PCIID: "8086:1533", Driver: "igb",
	}
	bond := expr.Link{Name: "bond0", Type: "ether", Kind: "bond", HardwareAddr: nic.HardwareAddr}
	for _, tc := range []struct {
		selector  string
		nic, bond bool
	}{
		{"busPath: 0000:03:00.0", true, false},
		{"busPath: '0000:03:*'", true, false},
		{"busPath: '0000:04:*'", false, false},
		{"hardwareAddr: '*:F0:AB'", true, true},
		{"{hardwareAddr: '*:F0:AB', physical: true}", true, false},
		{"{hardwareAddr: '*:F0:AB', physical: false}", false, true},
		{"permanentAddr: 00:1B:21:aa:f0:ab", true, false},
		{"pciID: '8086:*'", true, false},
		{"{pciID: '8086:*', driver: e1000}", false, false},
		{"driver: 'i[g]b*'", false, false}, // only asterisks mean more than themselves
		{`driver: "ig\"b"`, false, false},
	} {
		t.Run(tc.selector, func(t *testing.T) {
			c, _, report := decode(t, "version: v1alpha1\nmachine: {network: {interfaces: [{deviceSelector: "+flow(tc.selector)+"}]}}")
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			alias, ok := successor.Documents(c)[0].Doc.(*netdoc.LinkAliasConfig)
			if !ok {
				t.Fatalf("Documents()[0] = %T; want a LinkAliasConfig", successor.Documents(c)[0].Doc)
			}
			for _, link := range []struct {
				expr.Link
				want bool
			}{{nic, tc.nic}, {bond, tc.bond}} {
				got, err := alias.Selector.Match.Match(link.Link)
				if err != nil || got != link.want {
					t.Errorf("%s on %s = %t, %v; want %t", alias.Selector.Match, link.Name, got, err, link.want)
				}
			}
		})
	}
}

func flow(s string) string {
	if s[0] == '{' {
		return s
	}
	return "{" + s + "}"
}

func TestInstallSelectors(t *testing.T) {
	ssd := expr.Disk{
		Size: 100e9, Model: "WDC WD100", Serial: "S.1", Transport: "sata", BusPath: "/pci0000:00/0000:00:17.0/ata1/host0",
		DevPath: "/dev/sda", Symlinks: []string{"/dev/disk/by-id/wwn-1"}, WWID: "naa.5", UUID: "u", Modalias: "m",
	}
	hdd, nvme, cd, card := ssd, ssd, ssd, ssd
	hdd.Rotational, hdd.Size = true, 4e12
	nvme.Transport, nvme.DevPath, nvme.Symlinks = "nvme", "/dev/nvme0n1", nil
	cd.CDROM = true
	card.Transport = "mmc"
	for _, tc := range []struct {
		install                  string
		ssd, hdd, nvme, cd, card bool
	}{
		{"disk: /dev/sda", true, true, false, true, true},
		{"disk: /dev/disk/by-id/wwn-1", true, true, false, true, true},
		{"diskSelector: {size: 100GB}", true, false, true, false, true},
		{"diskSelector: {size: '== 100 GB'}", true, false, true, false, true},
		{"diskSelector: {size: '>= 100GB'}", true, true, true, false, true},
		{"diskSelector: {size: '> 100GB'}", false, true, false, false, false},
		{"diskSelector: {size: '< 0.5TB'}", true, false, true, false, true},
		{"diskSelector: {size: '<=4TB', type: hdd}", false, true, false, false, false},
		{"diskSelector: {type: ssd}", true, false, false, false, false},
		{"diskSelector: {type: nvme}", false, false, true, false, false},
		{"diskSelector: {type: sd}", false, false, false, false, true},
		{"diskSelector: {model: WDC*}", true, true, true, false, true},
		{"diskSelector: {model: WDC}", false, false, false, false, false},
		{"diskSelector: {serial: 'S?1*'}", false, false, false, false, false},
		{"diskSelector: {serial: 'S.*', uuid: u, wwid: 'naa.*', modalias: m, name: '*WD*'}", true, true, true, false, true},
		{"diskSelector: {busPath: '/pci*/ata1/*'}", true, true, true, false, true},
	} {
		t.Run(tc.install, func(t *testing.T) {
			c, _, report := decode(t, "version: v1alpha1\nmachine: {install: {"+tc.install+"}}")
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			match := successor.Documents(c)[0].Doc.(*sysdoc.UnattendedInstallConfig).Provisioning.DiskSelector.Match
			for _, disk := range []struct {
				name string
				expr.Disk
				want bool
			}{{"ssd", ssd, tc.ssd}, {"hdd", hdd, tc.hdd}, {"nvme", nvme, tc.nvme}, {"cd", cd, tc.cd}, {"card", card, tc.card}} {
				got, err := match.Match(disk.Disk, false)
				if err != nil || got != disk.want {
					t.Errorf("%s on %s = %t, %v; want %t", match, disk.name, got, err, disk.want)
				}
			}
		})
	}
}

// titles returns the titles of what text converts to, with a mark for what is implied.
func titles(t *testing.T, text string) []string {
	t.Helper()
	c, _, report := decode(t, "version: v1alpha1\n"+text)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return titlesOf(c)
}

func titlesOf(c *rootdoc.Config) []string {
	var out []string
	for _, d := range successor.Documents(c) {
		title := schema.Title(d.Doc)
		if d.Implied {
			title += " (implied)"
		}
		out = append(out, title)
	}
	return out
}

func TestDocumentsOf(t *testing.T) {
	const old = "controlPlane: {endpoint: 'https://a:6443'}"
	implied := []string{
		"KubeNodeConfig (implied)", "KubeletConfig (implied)", "KubeNetworkConfig (implied)", "KubeAPIServerConfig (implied)",
		"KubeAuditPolicyConfig (implied)", "KubeAuthenticationConfig (implied)", "KubeAuthorizerConfig node (implied)",
		"KubeAuthorizerConfig rbac (implied)", "KubeControllerManagerConfig (implied)", "KubeSchedulerConfig (implied)",
		"KubeProxyConfig (implied)", "KubeFlannelCNIConfig (implied)", "KubeCoreDNSConfig (implied)",
	}
	all := append([]string{"KubeClusterConfig"}, implied...)
	without := func(title ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(title, s) })
	}
	for _, tc := range []struct {
		name string
		text string
		want []string
	}{
		{"nothing", "", nil},
		{"no old style, nothing implied", "machine: {type: controlplane, kubelet: {extraArgs: {v: 4}}}", []string{"KubeletConfig"}},
		{"old style of a control-plane node", "machine: {type: controlplane}\ncluster: {" + old + "}", all},
		{"old style of a worker", "machine: {type: worker}\ncluster: {" + old + "}", []string{
			"KubeClusterConfig", "KubeNodeConfig (implied)", "KubeletConfig (implied)", "KubeNetworkConfig (implied)",
		}},
		{"a worker with settings of the control plane", "machine: {type: worker}\n" +
			"cluster: {apiServer: {image: a}, proxy: {disabled: true}, inlineManifests: [{name: a, contents: 'a: b'}]}", nil},
		{"no CNI", "cluster: {" + old + ", network: {cni: {name: none}}}", without("KubeFlannelCNIConfig (implied)")},
		{"flags instead of the file for authorization", "cluster: {" + old + ", apiServer: {extraArgs: {authorization-mode: 'Node,RBAC'}}}",
			replace(without("KubeAuthorizerConfig node (implied)", "KubeAuthorizerConfig rbac (implied)"), "KubeAPIServerConfig")},
		{"flags instead of the file for authentication", "cluster: {" + old + ", apiServer: {extraArgs: {oidc-issuer-url: 'https://a'}}}",
			replace(without("KubeAuthenticationConfig (implied)"), "KubeAPIServerConfig")},
		{"KubePrism off", "machine: {features: {kubePrism: {enabled: false}}}", nil},
		{"access off", "machine: {features: {kubernetesTalosAPIAccess: {enabled: false, allowedRoles: ['os:reader']}}}", nil},
		{"stable host name off", "machine: {features: {stableHostname: false}}", nil},
		{"host name and stable host name", "machine: {network: {hostname: a}, features: {stableHostname: true}}", []string{"HostnameConfig"}},
		{"discovery off", "cluster: {discovery: {enabled: false}}", nil},
		{"discovery", "cluster: {discovery: {enabled: true}}", []string{"DiscoveryServiceConfig default"}},
		{"discovery without the service", "cluster: {discovery: {enabled: true, registries: {service: {disabled: true}}}}", nil},
		{"port of a bridge that no interface is", "machine: {network: {interfaces: [{interface: a, bridgePort: {master: br9}}, " +
			"{interface: b, bridgePort: {master: br9}}]}}", []string{"LinkConfig a", "BridgeConfig br9", "LinkConfig b"}},
		{"port before its bridge", "machine: {network: {interfaces: [{interface: a, bridgePort: {master: br0}}, " +
			"{interface: br0, bridge: {interfaces: [c]}}]}}", []string{"LinkConfig a", "BridgeConfig br0"}},
		{"aliases keep clear of names", "machine: {network: {interfaces: [{interface: sel0}, {deviceSelector: {busPath: a}}]}}",
			[]string{"LinkConfig sel0", "LinkAliasConfig sel1", "LinkConfig sel1"}},
		{"VLAN of a long name", "machine: {network: {interfaces: [{interface: enx001122334455, vlans: [{vlanId: 4094}, {vlanId: 1}]}]}}",
			[]string{"LinkConfig enx001122334455", "VLANConfig enx0010114.4094", "VLANConfig enx0011220114.1"}},
		{"two pods of one name", "machine: {pods: [{metadata: {name: a}}, {metadata: {name: a, namespace: b}}]}",
			[]string{"KubeStaticPodConfig a", "KubeStaticPodConfig b.a"}},
		{"one manifest twice", "cluster: {extraManifests: ['https://a/b?c', 'https://a/b?d']}",
			[]string{"KubeExternalManifestConfig a-b", "KubeExternalManifestConfig a-b-2"}},
		{"empty manifest", "cluster: {inlineManifests: [{name: a}]}", nil},
		{"files", "machine: {files: [{path: /etc/a, op: overwrite}, {path: /etc/resolv.conf, op: overwrite}, {path: /var/a, op: create}, " +
			"{path: /etc/cri/conf.d/x.part, op: create, content: 'a = 1'}, {path: /etc/cri/conf.d/y.part, op: create}, " +
			"{path: /etc/cri/conf.d/z.part, op: append, content: 'a = 1'}]}",
			[]string{"EtcFileConfig a", "CRICustomizationConfig x"}},
		{"disks", "machine: {disks: [{device: /dev/sdb, partitions: [{size: 1GB, mountpoint: /var/mnt/a}, " +
			"{size: 1GB, mountpoint: /var/mnt/a/b}, {size: 1GB, mountpoint: /var/lib/c}]}]}", []string{"UserVolumeConfig a"}},
		{"modules twice", "machine: {kernel: {modules: [{name: a}, {name: a, parameters: [b=c]}]}}", []string{"KernelModuleConfig a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, titles(t, tc.text)); diff != "" {
				t.Errorf("Documents (-want +got):\n%s", diff)
			}
		})
	}
}

// A port joins its bridge whether it stands before or after it, or the bridge is no interface of its own.
func TestBridgePorts(t *testing.T) {
	for _, tc := range []struct {
		name, interfaces string
		want             []string
	}{
		{"before", "{interface: a, bridgePort: {master: br0}}, {interface: br0, bridge: {interfaces: [c]}}", []string{"c", "a"}},
		{"after", "{interface: br0, bridge: {interfaces: [c]}}, {interface: a, bridgePort: {master: br0}}", []string{"c", "a"}},
		{"alone", "{interface: a, bridgePort: {master: br0}}, {interface: b, bridgePort: {master: br0}}", []string{"a", "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, report := decode(t, "version: v1alpha1\nmachine: {network: {interfaces: ["+tc.interfaces+"]}}")
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range successor.Documents(c) {
				if b, ok := d.Doc.(*netdoc.BridgeConfig); ok {
					got = append(got, b.Links...)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("links of the bridge = %v; want %v", got, tc.want)
			}
		})
	}
}

// replace takes the mark of an implied document off title.
func replace(list []string, title string) []string {
	list[slices.Index(list, title+" (implied)")] = title
	return list
}
