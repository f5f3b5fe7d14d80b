package rootdoc_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The authorities and the certificate of a client in the fixtures: values to break rules with.
type material struct{ osCert, osKey, k8sCert, k8sKey, leafCert string }

func readMaterial(t testing.TB) material {
	t.Helper()
	c := read(t, "legacy-controlplane.yaml")
	text := func(v interface{ MarshalText() ([]byte, error) }) string {
		b, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return material{
		osCert: text(c.Machine.CA.Cert), osKey: text(c.Machine.CA.Key),
		k8sCert: text(c.Cluster.CA.Cert), k8sKey: text(c.Cluster.CA.Key),
		leafCert: text(c.Machine.Registries.Config["registry.lab.example"].TLS.ClientIdentity.Cert),
	}
}

func TestValidate(t *testing.T) {
	m := readMaterial(t)
	replace := strings.NewReplacer("@OSCERT", m.osCert, "@OSKEY", m.osKey, "@K8SCERT", m.k8sCert, "@K8SKEY", m.k8sKey,
		"@LEAF", m.leafCert)
	for _, tc := range []struct {
		name string
		text string // the root document without its version, in flow or block style
		want []string
	}{
		{
			"unknown key",
			`machine: {kubelt: {}}`,
			[]string{
				`machine.kubelt: unknown key; did you mean "kubelet"?`,
			},
		},
		{
			"version",
			`version: v1`,
			[]string{
				`version: expected one of v1alpha1, got "v1"`,
			},
		},
		{
			"type",
			`machine: {type: master}`,
			[]string{
				`machine.type: expected one of controlplane, worker, init, join, got "master"`,
			},
		},
		{
			"legacy types",
			`machine: {type: join}`,
			nil,
		},
		{
			"machine token",
			`machine: {token: ABC.def}`,
			[]string{
				"machine.token: expected a token: 6 and 16 lower-case letters and digits with a dot between them",
			},
		},
		{
			"bootstrap token",
			`cluster: {token: abcdef-0123456789abcdef}`,
			[]string{
				"cluster.token: expected a token: 6 and 16 lower-case letters and digits with a dot between them",
			},
		},
		{
			"CA not base64",
			`machine: {ca: {crt: "no"}}`,
			[]string{
				`machine.ca.crt: expected certificates in PEM, encoded in base64, got "no": it is not base64`,
			},
		},
		{
			"CA not an authority",
			`machine: {ca: {crt: @LEAF}}`,
			[]string{
				"machine.ca.crt: certificate 1 is not that of an authority; it is the certificate of a client or server",
			},
		},
		{
			"CA of a client among the accepted",
			`machine: {acceptedCAs: [{crt: @LEAF}]}`,
			[]string{
				"machine.acceptedCAs[0].crt: certificate 1 is not that of an authority; it is the certificate of a client or server",
			},
		},
		{
			"key of another CA",
			`machine: {ca: {crt: @OSCERT, key: @K8SKEY}}`,
			[]string{
				"machine.ca.key: the key does not belong to the certificate in crt; take both from the same secrets",
			},
		},
		{
			"key alone",
			`cluster: {ca: {key: @K8SKEY}}`,
			[]string{
				`cluster.ca.crt: the key "crt" is required beside key; a key alone is of no use`,
			},
		},
		{
			"Ed25519 pair",
			`machine: {ca: {crt: @OSCERT, key: @OSKEY}}`,
			nil,
		},
		{
			"SANs",
			`machine: {certSANs: [ok.example.com, "*.example.com", "fd00::1", "https://a", "a_b"]}`,
			[]string{
				`machine.certSANs[3]: expected a DNS name such as node1.example.com or *.example.com, or an IP address, got "https://a"; leave scheme and port out`,
				`machine.certSANs[4]: expected a DNS name such as node1.example.com or *.example.com, or an IP address, got "a_b"`,
			},
		},
		{
			"worker with the machine CA key",
			`machine: {type: worker, ca: {crt: @OSCERT, key: @OSKEY}}`,
			[]string{
				"machine.ca.key: a worker must not have the key of the machine CA; remove it: only control-plane nodes have it",
			},
		},
		{
			"worker with control-plane settings",
			`machine: {type: worker}
cluster: {ca: {crt: @K8SCERT, key: @K8SKEY}, aggregatorCA: {crt: @K8SCERT, key: @K8SKEY}, serviceAccount: {key: @K8SKEY}, aescbcEncryptionSecret: z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=, secretboxEncryptionSecret: z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=, etcd: {subnet: 10.0.0.0/8}}`,
			[]string{
				"cluster.ca.key: a worker must not have the key of the Kubernetes CA; remove it: only control-plane nodes have it",
				"cluster.aggregatorCA: a worker must not have the aggregator CA; remove it: only control-plane nodes have it",
				"cluster.serviceAccount: a worker must not have the service account key; remove it: only control-plane nodes have it",
				"cluster.aescbcEncryptionSecret: a worker must not have an etcd encryption secret; remove it: only control-plane nodes have it",
				"cluster.secretboxEncryptionSecret: a worker must not have an etcd encryption secret; remove it: only control-plane nodes have it",
				"cluster.etcd: a worker must not have settings of etcd; remove it: only control-plane nodes have it",
			},
		},
		{
			"worker with empty control-plane settings",
			`machine: {type: join, ca: {crt: @OSCERT, key: ""}}
cluster: {serviceAccount: {key: ""}, etcd: {}}`,
			nil,
		},
		{
			"worker with virtual IPs",
			`machine: {type: worker, network: {interfaces: [{interface: eth0, vip: {ip: 10.0.0.1}, vlans: [{vlanId: 1, vip: {ip: 10.0.0.1}}]}]}}`,
			[]string{
				"machine.network.interfaces[0].vip: a worker must not have a virtual IP; remove it: only control-plane nodes have it",
				"machine.network.interfaces[0].vlans[0].vip: a worker must not have a virtual IP; remove it: only control-plane nodes have it",
			},
		},
		{
			"endpoint not https",
			`cluster: {controlPlane: {endpoint: "http://10.0.0.1"}}`,
			[]string{
				`cluster.controlPlane.endpoint: expected an https URL such as https://10.5.0.2:6443, got "http://10.0.0.1": the scheme is "http"`,
			},
		},
		{
			"encryption secret",
			`cluster: {secretboxEncryptionSecret: abcd}`,
			[]string{
				"cluster.secretboxEncryptionSecret: expected 32 bytes in base64",
			},
		},
		{
			"id without secret",
			`cluster: {id: z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=}`,
			[]string{
				"cluster: id and secret go together; generated configs have both",
			},
		},
		{
			"discovery without identity",
			`cluster: {discovery: {enabled: true}}`,
			[]string{
				"warning: cluster.discovery: discovery needs the cluster's identity; write id and secret, or a DiscoveryIdentityConfig",
			},
		},
		{
			"kubelet arguments",
			`machine: {kubelet: {extraArgs: {--v: "4", cert-dir: /x, kubeconfig: /x, node-ip: 10.0.0.1}}}`,
			[]string{
				`machine.kubelet.extraArgs.--v: expected an argument's name such as v, got "--v"; leave the leading hyphens out`,
				"machine.kubelet.extraArgs.cert-dir: the system sets cert-dir itself; remove it",
				"machine.kubelet.extraArgs.kubeconfig: the system sets kubeconfig itself; remove it",
			},
		},
		{
			"API server arguments",
			`cluster: {apiServer: {extraArgs: {etcd-servers: x, service-account-signing-key-file: x, tls-cipher-suites: x}}}`,
			[]string{
				"cluster.apiServer.extraArgs.etcd-servers: the system sets etcd-servers itself; remove it",
				"cluster.apiServer.extraArgs.service-account-signing-key-file: the system sets service-account-signing-key-file itself; remove it",
			},
		},
		{
			"controller manager arguments",
			`cluster: {controllerManager: {extraArgs: {cluster-signing-cert-file: x, authentication-kubeconfig: x, v: 4}}}`,
			[]string{
				"cluster.controllerManager.extraArgs.cluster-signing-cert-file: the system sets cluster-signing-cert-file itself; remove it",
				"cluster.controllerManager.extraArgs.authentication-kubeconfig: the system sets authentication-kubeconfig itself; remove it",
			},
		},
		{
			"scheduler arguments",
			`cluster: {scheduler: {extraArgs: {config: x, kubeconfig: x, v: 4}}}`,
			[]string{
				"cluster.scheduler.extraArgs.config: the system sets config itself; remove it",
				"cluster.scheduler.extraArgs.kubeconfig: the system sets kubeconfig itself; remove it",
			},
		},
		{
			"etcd arguments",
			`cluster: {etcd: {extraArgs: {name: x, peer-key-file: x, quota-backend-bytes: 1}}}`,
			[]string{
				"cluster.etcd.extraArgs.name: the system sets name itself; remove it",
				"cluster.etcd.extraArgs.peer-key-file: the system sets peer-key-file itself; remove it",
			},
		},
		{
			"image",
			`machine: {kubelet: {image: "a b"}}`,
			[]string{
				`machine.kubelet.image: expected an image reference with a tag or a digest such as registry.k8s.io/kube-proxy:v1.37.2, got "a b": invalid reference format`,
			},
		},
		{
			"file outside of /var",
			`machine: {files: [{path: /etc/foo, op: create}, {path: /var/../etc/foo, op: create}, {path: /var/foo, op: create}]}`,
			[]string{
				`machine.files[0].path: create makes files below /var only, got "/etc/foo"; for a file below /etc write an EtcFileConfig`,
				`machine.files[1].path: create makes files below /var only, got "/var/../etc/foo"; for a file below /etc write an EtcFileConfig`,
			},
		},
		{
			"file of containerd",
			`machine: {files: [{path: /etc/cri/conf.d/20-customization.part, op: create}]}`,
			nil,
		},
		{
			"file operation",
			`machine: {files: [{path: /var/foo, op: delete}]}`,
			[]string{
				`machine.files[0].op: expected one of create, append, overwrite, got "delete"`,
			},
		},
		{
			"file without operation",
			`machine: {files: [{path: /var/bar}]}`,
			[]string{
				`machine.files[0]: the key "op" is required: create, append or overwrite`,
			},
		},
		{
			"file path relative",
			`machine: {files: [{path: foo, op: append}]}`,
			[]string{
				`machine.files[0].path: expected an absolute path, got "foo"`,
			},
		},
		{
			"file twice",
			`machine: {files: [{path: /var/foo, op: create}, {path: /var/foo, op: create}]}`,
			[]string{
				`machine.files[1].path: "/var/foo" is there twice; it is in item 0 too`,
			},
		},
		{
			"file appended to twice",
			`machine: {files: [{path: /etc/hosts, op: append}, {path: /etc/hosts, op: append}]}`,
			nil,
		},
		{
			"file mode",
			`machine: {files: [{path: /var/a, op: create, permissions: 644}, {path: /var/b, op: create, permissions: 0644}, {path: /var/c, op: create, permissions: "0644"}, {path: /var/d, op: create, permissions: 0o17777}]}`,
			[]string{
				"warning: machine.files[0].permissions: 644 is decimal: the mode 01204; write 0o644 for octal",
				`machine.files[2].permissions: expected a mode in octal digits such as 0o644, got "0644"`,
			},
		},
		{
			"disk mountpoints",
			`machine: {disks: [{device: sdb, partitions: [{size: 1GB, mountpoint: /mnt/a}, {mountpoint: /var/b}, {mountpoint: /var/c}]}]}`,
			[]string{
				`machine.disks[0].device: expected a device such as /dev/sdb, got "sdb"`,
				`machine.disks[0].partitions[0].mountpoint: expected a path below /var, got "/mnt/a"; only /var can be written to`,
				`machine.disks[0].partitions[1]: the key "size" is required; only the last partition may have the rest of the disk`,
			},
		},
		{
			"install disk and selector",
			`machine: {install: {disk: sda, diskSelector: {type: ssd}}}`,
			[]string{
				`machine.install.disk: expected a device such as /dev/sda, got "sda"`,
				"machine.install.diskSelector: disk and diskSelector exclude each other; keep one",
			},
		},
		{
			"install selector empty",
			`machine: {install: {diskSelector: {}}}`,
			[]string{
				"machine.install.diskSelector: the selector is empty; give at least one of size, name, model, serial, modalias, uuid, wwid, type, busPath",
			},
		},
		{
			"install size",
			`machine: {install: {diskSelector: {size: "=> 4GB"}}}`,
			[]string{
				`machine.install.diskSelector.size: expected a size or a comparison such as 4GB or '>= 100GB', got "=> 4GB": the operators are <, <=, ==, >= and >`,
			},
		},
		{
			"install without effect",
			`machine: {install: {disk: /dev/sda, extraKernelArgs: [a, " "], extensions: [{image: x}]}}`,
			[]string{
				"warning: machine.install.extraKernelArgs: a signed command line takes no extra arguments; use an installer image that has them",
				`machine.install.extraKernelArgs[1]: expected an argument such as console=ttyS0, got " "`,
				"warning: machine.install.extensions: extensions are not installed from here; use an installer image that holds them",
			},
		},
		{
			"taints",
			`machine: {nodeTaints: {a: NoSchedule, b: "x:NoExecute", c: Never, "d e": NoSchedule}}`,
			[]string{
				`machine.nodeTaints.c: expected an effect such as NoSchedule, or a value and an effect such as storage:NoSchedule, got "Never"; the effects are NoSchedule, PreferNoSchedule and NoExecute`,
				`machine.nodeTaints["d e"]: expected a key such as rack or example.com/rack, got "d e"`,
			},
		},
		{
			"labels",
			`machine: {nodeLabels: {a/b: c, A.example/b: c, b: "c d"}, nodeAnnotations: {a/b/c: d}}`,
			[]string{
				`machine.nodeLabels["A.example/b"]: expected a key such as rack or example.com/rack, got "A.example/b"`,
				`machine.nodeLabels.b: expected at most 63 letters, digits, dots, hyphens and underscores, got "c d"`,
				`machine.nodeAnnotations["a/b/c"]: expected a key such as rack or example.com/rack, got "a/b/c"`,
			},
		},
		{
			"sysctls",
			`machine: {sysctls: {"net..ipv4": 1, "../x": 1, net/ipv4/ip_forward: 1}, sysfs: {"a b": 1}}`,
			[]string{
				`machine.sysctls["net..ipv4"]: expected a name such as net.ipv4.ip_forward, got "net..ipv4"`,
				`machine.sysctls["../x"]: expected a name such as net.ipv4.ip_forward, got "../x"`,
				`machine.sysfs["a b"]: expected a name such as devices.system.cpu.cpu0.cpufreq.scaling_governor, got "a b"`,
			},
		},
		{
			"environment",
			`machine: {env: {"A=B": c}}`,
			[]string{
				`machine.env["A=B"]: expected a variable's name such as https_proxy, got "A=B"`,
			},
		},
		{
			"mirror names",
			`machine: {registries: {mirrors: {"https://docker.io": {endpoints: [https://a]}, "10.0.0.1:5000": {}, "*": {}, "[fd00::1]:5000": {}}, config: {"a/b": {}}}}`,
			[]string{
				`machine.registries.mirrors["https://docker.io"]: expected a registry such as docker.io or 10.5.0.1:5000, got "https://docker.io"; leave scheme and path out`,
				`machine.registries.config["a/b"]: expected a registry such as docker.io or 10.5.0.1:5000, got "a/b"; leave scheme and path out`,
			},
		},
		{
			"mirror endpoints",
			`machine: {registries: {mirrors: {a: {endpoints: [ftp://a]}}}}`,
			[]string{
				`machine.registries.mirrors.a.endpoints[0]: expected an http or https URL such as https://example.com/manifest.yaml, got "ftp://a": the scheme is "ftp"`,
			},
		},
		{
			"registry access",
			`machine: {registries: {config: {docker.io: {auth: {username: a}}}}}`,
			[]string{
				`machine.registries.config["docker.io"].auth: username and password go together`,
			},
		},
		{
			"logging",
			`machine: {logging: {destinations: [{endpoint: "tcp://1.2.3.4", format: json_lines}, {endpoint: "udp://1.2.3.4:5", format: text}]}}`,
			[]string{
				`machine.logging.destinations[0].endpoint: expected a tcp or udp URL with a port such as tcp://10.5.0.1:5000, got "tcp://1.2.3.4": the port is missing`,
				`machine.logging.destinations[1].format: expected one of json_lines, got "text"`,
			},
		},
		{
			"kernel modules",
			`machine: {kernel: {modules: [{name: "a b", parameters: [""]}, {name: nbd}]}}`,
			[]string{
				`machine.kernel.modules[0].name: expected a module's name such as br_netfilter, got "a b"`,
				`machine.kernel.modules[0].parameters[0]: expected a parameter such as nbds_max=16, got ""`,
			},
		},
		{
			"encryption keys",
			`machine: {systemDiskEncryption: {state: {provider: luks2, keys: [{slot: 0}, {slot: 0, nodeID: {}, tpm: {options: {pcrs: [24]}}}, {slot: 32, static: {}}, {slot: 4, kms: {}}, {slot: 5, nodeID: {}, lockToState: true}]}, ephemeral: {blockSize: 7}}}`,
			[]string{
				"machine.systemDiskEncryption.state.keys[0]: expected one of static, nodeID, kms, tpm, got none",
				"machine.systemDiskEncryption.state.keys[1]: expected one of static, nodeID, kms, tpm, got nodeID and tpm; write each as a key of its own",
				"machine.systemDiskEncryption.state.keys[1].slot: slot 0 is there twice",
				"machine.systemDiskEncryption.state.keys[1].tpm.options.pcrs[0]: expected a register from 0 to 23, got 24",
				"machine.systemDiskEncryption.state.keys[2].slot: expected a slot from 0 to 31, got 32",
				"machine.systemDiskEncryption.state.keys[2].static.passphrase: the passphrase is empty",
				`machine.systemDiskEncryption.state.keys[3].kms: the key "endpoint" is required`,
				"machine.systemDiskEncryption.state.keys[4].lockToState: the volume STATE cannot be locked to itself",
				"machine.systemDiskEncryption.ephemeral: expected at least one key in keys; without a key nothing opens the volume",
				"machine.systemDiskEncryption.ephemeral.blockSize: expected 512, 1024, 2048 or 4096, got 7",
			},
		},
		{
			"admission plugins",
			`cluster: {apiServer: {admissionControl: [{name: A}, {name: A}]}}`,
			[]string{
				`cluster.apiServer.admissionControl[1].name: "A" is there twice; it is in item 0 too`,
			},
		},
		{
			"authorizers",
			`cluster: {apiServer: {authorizationConfig: [{name: a, type: Webhook}, {name: b, type: RBAC, webhook: {x: y}}, {name: b}]}}`,
			[]string{
				`cluster.apiServer.authorizationConfig[0]: the key "webhook" is required for the type Webhook`,
				"cluster.apiServer.authorizationConfig[1].webhook: the authorizer RBAC takes no webhook; remove it, or write type: Webhook",
				`cluster.apiServer.authorizationConfig[2].name: "b" is there twice; it is in item 1 too`,
			},
		},
		{
			"manifests twice",
			`cluster: {inlineManifests: [{name: a}, {name: a}]}`,
			[]string{
				`cluster.inlineManifests[1].name: "a" is there twice; it is in item 0 too`,
			},
		},
		{
			"seccomp profiles",
			`machine: {seccompProfiles: [{name: ../a}, {name: b}, {name: b}]}`,
			[]string{
				`machine.seccompProfiles[0].name: expected a file name such as audit.json, got "../a"`,
				`machine.seccompProfiles[2].name: "b" is there twice; it is in item 1 too`,
			},
		},
		{
			"subnets",
			`cluster: {network: {podSubnets: [10.0.0.0/8, 11.0.0.0/8], serviceSubnets: [10.96.0.0/12, "fd00::/112"]}}`,
			[]string{
				"cluster.network.podSubnets[0]: 10.0.0.0/8 overlaps with the service subnet 10.96.0.0/12",
				"cluster.network.podSubnets[1]: 11.0.0.0/8 is a second subnet of the family of 10.0.0.0/8",
			},
		},
		{
			"CNI",
			`cluster: {network: {cni: {name: custom, flannel: {}}}}`,
			[]string{
				"cluster.network.cni: custom needs urls; write none if you apply it yourself",
				"cluster.network.cni.flannel: the CNI is custom; remove it",
			},
		},
		{
			"CNI urls",
			`cluster: {network: {cni: {urls: [https://a/b]}}}`,
			[]string{
				"cluster.network.cni.urls: urls are for custom; write name: custom",
			},
		},
		{
			"both names of a setting",
			`cluster: {allowSchedulingOnMasters: true, allowSchedulingOnControlPlanes: true, etcd: {subnet: 10.0.0.0/8, advertisedSubnets: [10.0.0.0/8]}}`,
			[]string{
				"cluster.allowSchedulingOnMasters: allowSchedulingOnMasters and allowSchedulingOnControlPlanes are the same setting; keep allowSchedulingOnControlPlanes",
				"cluster.etcd.subnet: subnet and advertisedSubnets are the same setting; keep advertisedSubnets",
			},
		},
		{
			"certificate lifetime",
			`cluster: {adminKubeconfig: {certLifetime: -1h}}`,
			[]string{
				"cluster.adminKubeconfig.certLifetime: expected a duration of zero or more, got -1h0m0s",
			},
		},
		{
			"duration without a unit",
			`machine: {time: {bootTimeout: 90}}`,
			[]string{
				"machine.time.bootTimeout: expected a duration such as 90s or 1h30m, got 90: the unit is missing; write 90s for seconds",
			},
		},
		{
			"time servers",
			`machine: {time: {servers: [/dev/ptp0, a b, x.example]}}`,
			[]string{
				"machine.time.servers: NTP servers and PTP devices exclude each other; keep one kind",
				`machine.time.servers[1]: expected a host such as time.cloudflare.com or a device such as /dev/ptp0, got "a b"`,
			},
		},
		{
			"static pods",
			`machine: {pods: [{kind: Job}, {metadata: {name: a}}, {metadata: {name: a, namespace: default}}]}`,
			[]string{
				"machine.pods[0].metadata: metadata.name is required; give the pod a name",
				"machine.pods[0].kind: expected Pod, got Job",
				`machine.pods[2].metadata: "default/a" is there twice; it is in item 1 too`,
			},
		},
		{
			"API access",
			`machine: {features: {kubernetesTalosAPIAccess: {allowedRoles: [admin]}}}`,
			[]string{
				`machine.features.kubernetesTalosAPIAccess.allowedRoles[0]: expected a role such as os:reader, got "admin"; roles are os:reader, os:operator, os:etcd:backup, os:admin`,
			},
		},
		{
			"host name",
			`machine: {network: {hostname: a_b, searchDomains: [a b], extraHostEntries: [{ip: 10.0.0.1, aliases: ["*"]}]}}`,
			[]string{
				`machine.network.hostname: expected a host name of letters, digits, hyphens and dots, got "a_b"`,
				`machine.network.searchDomains[0]: expected a domain such as example.com, got "a b"`,
				`machine.network.extraHostEntries[0].aliases[0]: expected a host name, got "*"`,
			},
		},
		{
			"kubespan",
			`machine: {network: {kubespan: {mtu: 1000}}}`,
			[]string{
				"machine.network.kubespan.mtu: expected at least 1280, which IPv6 needs, got 1000",
			},
		},
		{
			"interface without a name",
			`machine: {network: {interfaces: [{dhcp: true}]}}`,
			[]string{
				"machine.network.interfaces[0]: the link is not named; write interface: eth0, or a deviceSelector",
			},
		},
		{
			"interface with name and selector",
			`machine: {network: {interfaces: [{interface: eth0, deviceSelector: {busPath: x}}]}}`,
			[]string{
				"machine.network.interfaces[0].deviceSelector: interface and deviceSelector exclude each other; keep one",
			},
		},
		{
			"interface name",
			`machine: {network: {interfaces: [{interface: a/b}]}}`,
			[]string{
				`machine.network.interfaces[0].interface: expected a link name of at most 15 characters without / and spaces, got "a/b"`,
			},
		},
		{
			"interface twice",
			`machine: {network: {interfaces: [{interface: eth0}, {interface: eth0}]}}`,
			[]string{
				`machine.network.interfaces[1].interface: "eth0" is there twice; it is in item 0 too`,
			},
		},
		{
			"interface of two kinds",
			`machine: {network: {interfaces: [{interface: a, dummy: true, bond: {interfaces: [b]}}]}}`,
			[]string{
				"machine.network.interfaces[0].dummy: bond and dummy exclude each other; keep one",
			},
		},
		{
			"selected bond",
			`machine: {network: {interfaces: [{deviceSelector: {busPath: x}, bond: {interfaces: [b]}}]}}`,
			[]string{
				"machine.network.interfaces[0].deviceSelector: a bond is made, not selected; name the link with interface",
			},
		},
		{
			"selector of several links",
			`machine: {network: {interfaces: [{deviceSelector: {hardwareAddr: "*:01"}}, {deviceSelector: {hardwareAddr: "02:00:00:00:00:01"}}]}}`,
			[]string{
				"note: machine.network.interfaces[0].deviceSelector: it must match one link only: of several, none is configured",
			},
		},
		{
			"install selector by name",
			`machine: {install: {diskSelector: {name: sda}}}`,
			[]string{
				"warning: machine.install.diskSelector.name: a disk has no name of its own any more: it is compared with the model; use model",
			},
		},
		{
			"selector empty",
			`machine: {network: {interfaces: [{deviceSelector: {}}]}}`,
			[]string{
				"machine.network.interfaces[0].deviceSelector: the selector is empty; give at least one of busPath, hardwareAddr, permanentAddr, pciID, driver, physical",
			},
		},
		{
			"link in two bonds",
			`machine: {network: {interfaces: [{interface: a, bond: {interfaces: [eth0]}}, {interface: b, bridge: {interfaces: [eth0]}}, {interface: eth0, bridgePort: {master: c}}]}}`,
			[]string{
				"machine.network.interfaces[1].bridge.interfaces[0]: eth0 is part of a already",
				"machine.network.interfaces[2].bridgePort: eth0 is part of a already",
			},
		},
		{
			"bond mode",
			`machine: {network: {interfaces: [{interface: a, bond: {interfaces: [b], mode: rr}}]}}`,
			[]string{
				`machine.network.interfaces[0].bond.mode: expected one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb, got "rr"`,
			},
		},
		{
			"bond options",
			`machine: {network: {interfaces: [{interface: a, bond: {miimon: 1, arpInterval: 1, resendIgmp: 1, resendIGMP: 1}}, {interface: b, bond: {interfaces: ["c d"]}}]}}`,
			[]string{
				"machine.network.interfaces[0].bond: the bond has no links; write interfaces or deviceSelectors",
				"machine.network.interfaces[0].bond.arpInterval: miimon and arpInterval exclude each other; keep one",
				"machine.network.interfaces[0].bond.resendIgmp: resendIgmp and resendIGMP are the same option; keep resendIGMP",
				`machine.network.interfaces[1].bond.interfaces[0]: expected a link name, got "c d"`,
			},
		},
		{
			"address",
			`machine: {network: {interfaces: [{interface: a, addresses: [10.0.0.1, 10.0.0.300/24, 10.0.0.1/33]}]}}`,
			[]string{
				`machine.network.interfaces[0].addresses[1]: expected an address with its prefix length such as 10.5.0.2/24, got "10.0.0.300/24": the address is neither IPv4 nor IPv6`,
				`machine.network.interfaces[0].addresses[2]: expected an address with its prefix length such as 10.5.0.2/24, got "10.0.0.1/33": "33" is no prefix length for that address`,
			},
		},
		{
			"route",
			`machine: {network: {interfaces: [{interface: a, routes: [{metric: 1}, {network: 10.0.0.0/8, gateway: "fd00::1"}, {gateway: "fd00::1", source: 10.0.0.1}]}]}}`,
			[]string{
				"machine.network.interfaces[0].routes[0]: the route leads nowhere; write network, gateway or both",
				"machine.network.interfaces[0].routes[1].gateway: fd00::1 is not of the same family as 10.0.0.0",
				"machine.network.interfaces[0].routes[2].source: 10.0.0.1 is not of the same family as fd00::1",
			},
		},
		{
			"VLAN",
			`machine: {network: {interfaces: [{interface: a, vlans: [{vlanId: 0}, {vlanId: 4095}, {vlanId: 7}, {vlanId: 7}]}]}}`,
			[]string{
				"machine.network.interfaces[0].vlans[0].vlanId: expected a number from 1 to 4094, got 0",
				"machine.network.interfaces[0].vlans[1].vlanId: expected a number from 1 to 4094, got 4095",
				"machine.network.interfaces[0].vlans[3].vlanId: VLAN 7 is there twice",
			},
		},
		{
			"DUID",
			`machine: {network: {interfaces: [{interface: a, dhcpOptions: {duidv6: abc}}]}}`,
			[]string{
				`machine.network.interfaces[0].dhcpOptions.duidv6: expected pairs of hexadecimal digits, got "abc"`,
			},
		},
		{
			"wireguard",
			`machine: {network: {interfaces: [{interface: a, wireguard: {privateKey: abc, peers: [{publicKey: abc}]}}]}}`,
			[]string{
				"machine.network.interfaces[0].wireguard.privateKey: expected 32 bytes in base64; wg genkey makes one",
				`machine.network.interfaces[0].wireguard.peers[0].publicKey: expected 32 bytes in base64, got "abc"; wg pubkey makes it of the private key`,
			},
		},
		{
			"virtual IP",
			`machine: {type: controlplane, network: {interfaces: [{interface: a, vip: {ip: 10.0.0.1, equinixMetal: {}}}, {interface: b, vip: {ip: 10.0.0.1, equinixMetal: {}, hcloud: {}}}]}}`,
			[]string{
				"warning: machine.network.interfaces[0].vip.equinixMetal: that cloud is closed: the address is not set up; remove the virtual IP",
				"machine.network.interfaces[1].vip.hcloud: equinixMetal and hcloud exclude each other; keep one",
			},
		},
		{
			"extra mounts",
			`machine: {kubelet: {extraMounts: [{destination: a}, {destination: /b}, {destination: /b}]}}`,
			[]string{
				`machine.kubelet.extraMounts[0].destination: expected an absolute path, got "a"`,
				`machine.kubelet.extraMounts[2].destination: "/b" is there twice; it is in item 1 too`,
			},
		},
		{
			"extra volumes",
			`cluster: {scheduler: {extraVolumes: [{hostPath: a, mountPath: b}]}}`,
			[]string{
				`cluster.scheduler.extraVolumes[0].hostPath: expected an absolute path, got "a"`,
				`cluster.scheduler.extraVolumes[0].mountPath: expected an absolute path, got "b"`,
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := replace.Replace(tc.text)
			if !strings.HasPrefix(text, "version:") {
				text = "version: v1alpha1\n" + text
			}
			_, _, report := decode(t, text)
			var got []string
			for _, p := range report {
				p.Line = 0
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("decode and validate (-want +got):\n%s", diff)
			}
		})
	}
}
