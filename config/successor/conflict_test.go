package successor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/blockdoc"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
	"talos.internal/config/sysdoc"
)

func TestConflicts(t *testing.T) {
	for _, tc := range []struct {
		name string
		text string
		docs []schema.Document
		want []string
	}{
		{
			"a section and its document",
			"machine:\n  type: worker\n  kubelet:\n    image: a:v1\n    extraArgs: {v: 4}\n",
			[]schema.Document{&kubedoc.KubeletConfig{}},
			[]string{"line 4: machine.kubelet: the document KubeletConfig says the same thing; keep one, preferably the document"},
		},
		{
			"fields of a section that another document succeeds",
			"machine:\n  kubelet:\n    registerWithFQDN: false\n    extraMounts: [{destination: /a}]\n",
			[]schema.Document{&kubedoc.KubeletConfig{}, &kubedoc.KubeNodeConfig{}},
			[]string{
				"line 4: machine.kubelet.registerWithFQDN: the document KubeNodeConfig says the same thing; " +
					"keep one, preferably the document",
			},
		},
		{
			"two fields of one document",
			"machine:\n  network:\n    hostname: a\n  features:\n    stableHostname: true\n",
			[]schema.Document{&netdoc.HostnameConfig{}},
			[]string{
				"line 4: machine.network.hostname: the document HostnameConfig says the same thing; " +
					"keep one, preferably the document",
				"line 6: machine.features.stableHostname: the document HostnameConfig says the same thing; " +
					"keep one, preferably the document",
			},
		},
		{
			"a field that becomes no document",
			"machine:\n  features:\n    kubePrism: {enabled: false}\n",
			[]schema.Document{&kubedoc.KubePrismConfig{Port: 7445}},
			[]string{
				"line 4: machine.features.kubePrism: the document KubePrismConfig says the same thing; " +
					"keep one, preferably the document",
			},
		},
		{
			"empty sections",
			"machine: {network: {}, kubelet: {}, features: {kubePrism: {}}}\ncluster: {proxy: {}, etcd: {}}\n",
			[]schema.Document{&kubedoc.KubeletConfig{}, &kubedoc.KubePrismConfig{}, &kubedoc.KubeProxyConfig{}, &netdoc.ResolverConfig{}},
			nil,
		},
		{
			"what the old style implies",
			"cluster: {controlPlane: {endpoint: 'https://a:6443'}}\n",
			[]schema.Document{
				&kubedoc.KubeFlannelCNIConfig{}, &kubedoc.KubeNodeConfig{}, &kubedoc.KubeAuthorizerConfig{Name: "node", Type: "Node"},
			},
			nil,
		},
		{
			"names that differ",
			"machine:\n  network: {interfaces: [{interface: eth0, dhcp: true}]}\n  registries: {mirrors: {docker.io: {}}}\n" +
				"cluster:\n  inlineManifests: [{name: a, contents: 'kind: A'}]\n",
			[]schema.Document{
				&netdoc.LinkConfig{Name: "eth1"}, &netdoc.DHCPv6Config{CommonDHCP: netdoc.CommonDHCP{Name: "eth0"}},
				&sysdoc.RegistryMirrorConfig{Name: "ghcr.io"}, &kubedoc.KubeInlineManifestConfig{Name: "b"},
			},
			nil,
		},
		{
			"names that are equal",
			"machine:\n  network:\n    interfaces:\n      - interface: eth0\n        dhcp: true\n  registries: {mirrors: {docker.io: {}}}\n" +
				"  systemDiskEncryption: {state: {keys: [{nodeID: {}}]}}\ncluster:\n  inlineManifests: [{name: a, contents: 'kind: A'}]\n",
			[]schema.Document{
				&netdoc.LinkConfig{Name: "eth0"}, &netdoc.DHCPv4Config{CommonDHCP: netdoc.CommonDHCP{Name: "eth0"}},
				&sysdoc.RegistryMirrorConfig{Name: "docker.io"}, &blockdoc.VolumeConfig{Name: "STATE"},
				&blockdoc.VolumeConfig{Name: "EPHEMERAL"}, &kubedoc.KubeInlineManifestConfig{Name: "a"},
			},
			[]string{
				"line 5: machine.network.interfaces[0]: the document LinkConfig eth0 says the same thing; " +
					"keep one, preferably the document",
				"line 5: machine.network.interfaces[0]: the document DHCPv4Config eth0 says the same thing; " +
					"keep one, preferably the document",
				`line 7: machine.registries.mirrors["docker.io"]: the document RegistryMirrorConfig docker.io ` +
					"says the same thing; keep one, preferably the document",
				"line 8: machine.systemDiskEncryption.state: the document VolumeConfig STATE says the same thing; " +
					"keep one, preferably the document",
				"line 10: cluster.inlineManifests[0]: the document KubeInlineManifestConfig a says the same thing; " +
					"keep one, preferably the document",
			},
		},
		{"no root document", "", []schema.Document{&kubedoc.KubeletConfig{}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var set schema.Set
			for _, d := range tc.docs {
				set = append(set, schema.Entry{Value: d})
			}
			if tc.text != "" {
				c, node, report := decode(t, "version: v1alpha1\n"+tc.text)
				if err := report.Err(); err != nil {
					t.Fatal(err)
				}
				set = append(set, schema.Entry{Value: c, Node: node})
			}
			var report schema.Report
			successor.Conflicts(&schema.Check{Set: set, Report: &report})
			report.Sort()
			var got []string
			for _, p := range report {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Conflicts (-want +got):\n%s", diff)
			}
		})
	}
}
