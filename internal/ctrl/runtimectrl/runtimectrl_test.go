package runtimectrl

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/clock"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/secret"
)

var (
	netReady = network.Status{AddressReady: true, ConnectivityReady: true, HostnameReady: true, EtcFilesReady: true}
	up       = service.Service{Running: true, HealthUnknown: true}
	healthy  = service.Service{Running: true, Healthy: true}
	sick     = service.Service{Running: true}
	down     = service.Service{HealthUnknown: true}
)

func pod(name string) map[string]any {
	return map[string]any{"metadata": map[string]any{"name": name, "namespace": "kube-system"}}
}

func podStatus(ready string) map[string]any {
	return map[string]any{"conditions": []any{
		map[string]any{"type": "Initialized", "status": "True"}, map[string]any{"type": "Ready", "status": ready},
	}}
}

func TestJudge(t *testing.T) {
	worker := func(change func(f *facts)) facts {
		f := facts{
			machine: machineconfig.TypeWorker, time: &clock.TimeStatus{Synced: true}, network: new(netReady),
			required: []string{"apid", "kubelet"}, services: map[string]service.Service{"apid": healthy, "kubelet": up},
		}
		if change != nil {
			change(&f)
		}
		return f
	}
	for _, tt := range []struct {
		name  string
		facts facts
		stage runtime.MachineStage
		unmet string // "name: reason" lines
	}{
		{"all is well", worker(nil), runtime.StageRunning, ""},
		{"nothing is known", facts{}, runtime.StageBooting,
			"network: waiting on: address, connectivity, hostname, etc files\ntime: time is not synced"},
		{"a required service is not there", worker(func(f *facts) { delete(f.services, "kubelet") }), runtime.StageBooting,
			"services: kubelet not running"},
		{"services that are not well", worker(func(f *facts) { f.services["apid"], f.services["x"] = sick, down }), runtime.StageBooting,
			"services: apid not healthy, x not running"},
		{"once it ran it stays so", worker(func(f *facts) { f.services["apid"], f.ran = sick, true }), runtime.StageRunning,
			"services: apid not healthy"},
		{"time and network", worker(func(f *facts) { f.time, f.network = &clock.TimeStatus{}, &network.Status{AddressReady: true} }), runtime.StageRunning,
			"network: waiting on: connectivity, hostname, etc files\ntime: time is not synced"},
		{"maintenance", worker(func(f *facts) { f.machine, f.maintenance, f.ran = machineconfig.TypeUnknown, true, true }), runtime.StageMaintenance, ""},
		{"the end goes first", worker(func(f *facts) { f.told, f.maintenance = runtime.StageResetting, true }), runtime.StageResetting, ""},
		{"no type yet", worker(func(f *facts) { f.machine = machineconfig.TypeUnknown }), runtime.StageBooting, ""},
		{"a node that is not known", worker(func(f *facts) { f.nodename = &kube.Nodename{Name: "n1"} }), runtime.StageRunning,
			`nodeReady: node "n1" status is not available yet`},
		{"a node that is not ready", worker(func(f *facts) { f.nodename, f.node = &kube.Nodename{Name: "n1"}, &kube.NodeStatus{} }), runtime.StageRunning,
			`nodeReady: node "n1" is not ready`},
		{"a node that is ready", worker(func(f *facts) { f.nodename, f.node = &kube.Nodename{Name: "n1"}, &kube.NodeStatus{NodeReady: true} }), runtime.StageRunning, ""},
		{"no node by intent", worker(func(f *facts) { f.nodename = &kube.Nodename{Name: "n1", SkipNodeRegistration: true} }), runtime.StageRunning, ""},
		{"static pods", worker(func(f *facts) {
			f.pods, f.podsReady = []string{"kube-system/b", "kube-system/a", "kube-system/c"}, map[string]bool{"kube-system/c": true, "kube-system/a": false}
		}), runtime.StageRunning, "staticPods: kube-system/a not ready, kube-system/b not ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := judge(tt.facts)
			var lines []string
			for _, u := range got.Status.UnmetConditions {
				lines = append(lines, u.Name+": "+u.Reason)
			}
			if text := strings.Join(lines, "\n"); got.Stage != tt.stage || text != tt.unmet || got.Status.Ready != (tt.unmet == "") {
				t.Errorf("judge = %v, ready %v,\n%s\nwant %v,\n%s", got.Stage, got.Status.Ready, text, tt.stage, tt.unmet)
			}
		})
	}
}

func TestPodReady(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status map[string]any
		want   bool
	}{
		{"ready", podStatus("True"), true}, {"not ready", podStatus("False"), false}, {"unknown", podStatus("Unknown"), false},
		{"nothing", nil, false}, {"other shapes", map[string]any{"conditions": []any{"Ready", nil, map[string]any{"type": 1}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := podReady(tt.status); got != tt.want {
				t.Errorf("podReady = %v; want %v", got, tt.want)
			}
		})
	}
	if got := podID(map[string]any{"metadata": map[string]any{"name": "p"}}, "n"); got != "default/p-n" {
		t.Errorf("podID = %s; want default/p-n", got)
	}
}

// TestLifeOfAMachine follows a control-plane machine from its start to its end, with the events that tell of it.
func TestLifeOfAMachine(t *testing.T) {
	var mu sync.Mutex
	var events []proto.Message
	stage := NewStage()
	controllers := Controllers(Deps{Root: t.TempDir(), Mode: schema.Container, Proc: proc.Reader{Root: t.TempDir()}, Stage: stage,
		Publish: func(m proto.Message, _ string) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, m)
		}})
	controllertest.Run(t, func(h *controllertest.Harness) {
		stage.changed = make(chan struct{}) // of the bubble
		for _, c := range controllers {
			if slices.Contains([]string{"runtime.MachineStatusController", "runtime.MachineStatusPublisherController"}, c.Name()) {
				if err := h.Scheduler.Register(c); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := func(stage runtime.MachineStage, ready bool) {
			t.Helper()
			controllertest.WantThat(h, runtime.MachineStatusID, "be "+stage.String(), func(r *resource.Typed[runtime.MachineStatus]) bool {
				return r.Spec().Stage == stage && r.Spec().Status.Ready == ready
			})
			h.Settle() // until the event is out: of changes in quick succession only the last is told
		}
		want(runtime.StageBooting, false)
		controllertest.Create(h, runtime.MaintenanceServiceID, runtime.MaintenanceServiceRequest{})
		want(runtime.StageMaintenance, false)
		controllertest.Create(h, clock.TimeStatusID, clock.TimeStatus{Synced: true})
		controllertest.Create(h, network.StatusID, netReady)
		controllertest.Create(h, "apid", healthy)
		want(runtime.StageMaintenance, true)

		h.Remove(resource.RefOf[runtime.MaintenanceServiceRequest](runtime.MaintenanceServiceID))
		controllertest.Create(h, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeControlPlane})
		want(runtime.StageBooting, false)
		for _, id := range []string{"containerd", "etcd", "kubelet", "trustd"} {
			controllertest.Create(h, id, up)
		}
		want(runtime.StageRunning, true)
		controllertest.Create(h, kube.NodenameID, kube.Nodename{Name: "n1"})
		controllertest.Create(h, "kube-apiserver", kube.StaticPod{Pod: pod("kube-apiserver")})
		want(runtime.StageRunning, false)
		controllertest.Create(h, "n1", kube.NodeStatus{Nodename: "n1", NodeReady: true})
		controllertest.Create(h, "kube-system/kube-apiserver-n1", kube.StaticPodStatus{PodStatus: podStatus("True")})
		want(runtime.StageRunning, true)
		controllertest.Modify(h, "etcd", func(s *service.Service) { *s = sick })
		want(runtime.StageRunning, false)

		stage.Set(runtime.StageShuttingDown)
		want(runtime.StageShuttingDown, false)
		h.Settle()
	})
	var stages []string
	for _, e := range events {
		if s := e.(*machinepb.MachineStatusEvent).GetStage().String(); len(stages) == 0 || stages[len(stages)-1] != s {
			stages = append(stages, s)
		}
	}
	if diff := cmp.Diff([]string{"BOOTING", "MAINTENANCE", "BOOTING", "RUNNING", "SHUTTING_DOWN"}, stages); diff != "" {
		t.Errorf("stages of the events (-want +got):\n%s", diff)
	}
	for i := 1; i < len(events); i++ {
		if proto.Equal(events[i-1], events[i]) {
			t.Errorf("event %d is the same as the one before: %v", i, events[i])
		}
	}
}

func TestAPIService(t *testing.T) {
	pair := new(secrets.CertificateAndKey)
	for _, tt := range []struct {
		name        string
		api         secrets.API
		maintenance *runtime.MaintenanceServiceConfig
		want        runtime.APIServiceConfig
	}{
		{"control plane", secrets.API{Client: pair}, nil, runtime.APIServiceConfig{ListenAddress: ":50000"}},
		{"worker", secrets.API{}, nil, runtime.APIServiceConfig{ListenAddress: ":50000", NodeRoutingDisabled: true}},
		{"maintenance", secrets.API{SkipVerifyingClientCert: true}, &runtime.MaintenanceServiceConfig{ListenAddress: "[fd00::1]:50000"},
			runtime.APIServiceConfig{ListenAddress: "[fd00::1]:50000", NodeRoutingDisabled: true, ReadonlyRoleMode: true, SkipVerifyingClientCert: true}},
		{"the certificates are still those of maintenance", secrets.API{Client: pair, SkipVerifyingClientCert: true}, nil,
			runtime.APIServiceConfig{ListenAddress: ":50000", NodeRoutingDisabled: true, ReadonlyRoleMode: true, SkipVerifyingClientCert: true}},
		{"the config is gone, the certificates are there", secrets.API{Client: pair}, &runtime.MaintenanceServiceConfig{ListenAddress: ":50000"},
			runtime.APIServiceConfig{ListenAddress: ":50000"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := apiService(tt.api, tt.maintenance); got != tt.want {
				t.Errorf("apiService = %+v; want %+v", got, tt.want)
			}
		})
	}
}

func TestThePersonAtTheConsoleIsTold(t *testing.T) {
	ca, err := secret.NewAuthority(secret.OS, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	crt, shown := ca.CertificatePEM(), ca.Fingerprint().String()
	api := &secrets.API{SkipVerifyingClientCert: true, Server: secrets.CertificateAndKey{Crt: crt}}
	at := &runtime.MaintenanceServiceConfig{ReachableAddresses: []netip.Addr{netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("fd00::2")}}
	for _, tt := range []struct {
		name   string
		config *runtime.MaintenanceServiceConfig
		api    *secrets.API
		want   []string
	}{
		{"nothing is known", nil, nil, nil},
		{"the certificates are the cluster's", at, &secrets.API{}, nil},
		{"no address", &runtime.MaintenanceServiceConfig{}, nil, []string{"this machine is in maintenance mode and has no address yet: is a cable plugged in, and is there a DHCP server? an address can be given by the kernel argument ip="}},
		{"no address, and a certificate", &runtime.MaintenanceServiceConfig{}, api, []string{
			"this machine is in maintenance mode and has no address yet: is a cable plugged in, and is there a DHCP server? an address can be given by the kernel argument ip=",
			"its certificate has the fingerprint " + shown,
		}},
		{"all", at, api, []string{
			"this machine is in maintenance mode and can be reached at 10.5.0.2, fd00::2",
			"its certificate has the fingerprint " + shown,
			"give it a config: talosctl apply-config --insecure --nodes 10.5.0.2 --cert-fingerprint " + shown + " --file FILE",
		}},
	} {
		got, err := invitation(tt.config, tt.api)
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: invitation (-want +got):\n%s, %v", tt.name, d, err)
		}
	}
	api.Server.Crt = []byte("x")
	if _, err := invitation(at, api); err == nil {
		t.Error("invitation(no certificate) = nil; want an error")
	}
}

func TestAPIServiceFollowsMaintenance(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, network.NodeAddressRouted, network.NodeAddress{Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}})
		controllertest.Want(h, runtime.MaintenanceServiceID, runtime.MaintenanceServiceConfig{
			ListenAddress: ":50000", ReachableAddresses: []netip.Addr{netip.MustParseAddr("10.5.0.2")},
		})
		controllertest.Create(h, runtime.MaintenanceServiceID, runtime.MaintenanceServiceRequest{})
		controllertest.WantNever[runtime.APIServiceConfig](h, runtime.APIServiceConfigID) // there are no certificates
		controllertest.Create(h, secrets.APIID, secrets.API{SkipVerifyingClientCert: true})
		controllertest.WantThat(h, runtime.APIServiceConfigID, "ask nobody for a certificate", func(r *resource.Typed[runtime.APIServiceConfig]) bool { return r.Spec().SkipVerifyingClientCert })
		h.Remove(resource.RefOf[runtime.MaintenanceServiceRequest](runtime.MaintenanceServiceID))
		controllertest.Modify(h, secrets.APIID, func(a *secrets.API) { *a = secrets.API{Client: new(secrets.CertificateAndKey)} })
		controllertest.Want(h, runtime.APIServiceConfigID, runtime.APIServiceConfig{ListenAddress: ":50000"})
		h.Remove(resource.RefOf[secrets.API](secrets.APIID))
		controllertest.WantGone[runtime.APIServiceConfig](h, runtime.APIServiceConfigID)
	}, MaintenanceConfigController{}, MaintenanceServiceInformController{}, APIServiceConfigController{})
}

func TestFacts(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/sys/kernel/random/boot_id": "0f8e7c5a-6a0b-4a4e-9f53-6a1f0e0a1b2c\n",
		"proc/cmdline":                   "talos.platform=metal quiet\n",
		"sys/fs/selinux/enforce":         "0",
		"usr/share/spdx/image.spdx.json": `{"packages":[
			{"name":"","versionInfo":"1"},
			{"name":"golang.org/x/net","versionInfo":"v0.61.0","licenseDeclared":"BSD-3-Clause","externalRefs":[
				{"referenceType":"purl","referenceLocator":"pkg:golang/golang.org/x/net@v0.61.0"},
				{"referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:golang:net:0.61.0:*:*:*:*:*:*:*"},
				{"referenceType":"other","referenceLocator":"x"}]},
			{"name":"golang.org/x/net","versionInfo":"v0.60.0","licenseDeclared":"NOASSERTION","licenseConcluded":"BSD-3-Clause"}]}`,
		"usr/share/spdx/broken.spdx.json":        "{",
		"usr/local/share/spdx/drivers.spdx.json": `{"packages":[{"name":"driver","versionInfo":"1","licenseDeclared":"NONE"}]}`,
		"etc/extensions.yaml":                    "layers:\n  - image: 000.sqsh\n    metadata:\n      name: driver\n      version: v1\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := proc.Reader{Root: root}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, runtime.VersionID, runtime.Version{Name: "Talos", Version: "v1.15.0"})
		controllertest.Want(h, runtime.BootIDID, runtime.BootID{Value: "0f8e7c5a-6a0b-4a4e-9f53-6a1f0e0a1b2c"})
		controllertest.Want(h, runtime.KernelCmdlineID, runtime.KernelCmdline{Text: "talos.platform=metal quiet"})
		controllertest.WantThat(h, runtime.SecurityStateID, "have SELinux permissive", func(r *resource.Typed[runtime.SecurityState]) bool {
			return r.Spec().SELinuxState == runtime.SELinuxPermissive && !r.Spec().SecureBoot
		})
		controllertest.Want(h, "0", runtime.ExtensionStatus{Image: "000.sqsh", Metadata: runtime.ExtensionMetadata{Name: "driver", Version: "v1"}})
		controllertest.Want(h, "golang.org/x/net", runtime.SBOMItem{
			Name: "golang.org/x/net", Version: "v0.61.0", License: "BSD-3-Clause",
			CPEs: []string{"cpe:2.3:a:golang:net:0.61.0:*:*:*:*:*:*:*"}, PURLs: []string{"pkg:golang/golang.org/x/net@v0.61.0"},
		})
		controllertest.Want(h, "golang.org/x/net@v0.60.0", runtime.SBOMItem{Name: "golang.org/x/net", Version: "v0.60.0", License: "BSD-3-Clause"})
		controllertest.Want(h, "driver", runtime.SBOMItem{Name: "driver", Version: "1", Extension: true})
	}, versionController(runtime.Version{Name: "Talos", Version: "v1.15.0"}), bootIDController(r), kernelCmdlineController(r), &SecurityStateController{Root: root, Proc: r},
		extensionStatusController(root), sbomItemController(root))
}

func TestSecurityState(t *testing.T) {
	for _, tt := range []struct {
		name         string
		in           proc.Security
		fips, strict bool
		want         runtime.SecurityState
	}{
		{"nothing", proc.Security{}, false, false, runtime.SecurityState{}},
		{"all", proc.Security{SELinux: true, Enforcing: true, ModuleSignatures: true, SecureBoot: true, UKI: true}, true, true,
			runtime.SecurityState{SecureBoot: true, BootedWithUKI: true, SELinuxState: runtime.SELinuxEnforcing, ModuleSignatureEnforced: true, FIPSState: runtime.FIPSStrict}},
		{"less", proc.Security{SELinux: true}, true, false,
			runtime.SecurityState{SELinuxState: runtime.SELinuxPermissive, FIPSState: runtime.FIPSEnabled}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := securityState(tt.in, tt.fips, tt.strict); got != tt.want {
				t.Errorf("securityState = %+v; want %+v", got, tt.want)
			}
		})
	}
}

const networkConfig = `apiVersion: v1alpha1
kind: KubeNetworkConfig
podSubnets: [10.244.0.0/16]
serviceSubnets: [10.96.0.0/12]
---
apiVersion: v1alpha1
kind: EnvironmentConfig
variables: {B: "2", A: "1"}
`

func TestWhatFollowsFromTheConfig(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, EnvironmentID, runtime.Environment{})
		controllertest.Create(h, network.NodeAddressDefault, network.NodeAddress{Addresses: []netip.Prefix{netip.MustParsePrefix("10.100.0.7/24")}})
		controllertest.WantNever[runtime.Diagnostic](h, AddressOverlapID)
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: networkConfig})
		controllertest.Want(h, EnvironmentID, runtime.Environment{Variables: []string{"A=1", "B=2"}})
		controllertest.WantThat(h, AddressOverlapID, "name the subnet", func(r *resource.Typed[runtime.Diagnostic]) bool {
			return slices.Equal(r.Spec().Details, []string{"address 10.100.0.7/24 overlaps with the service subnet 10.96.0.0/12"})
		})
		controllertest.Modify(h, network.NodeAddressDefault, func(a *network.NodeAddress) { a.Addresses = []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")} })
		controllertest.WantGone[runtime.Diagnostic](h, AddressOverlapID)
	}, EnvironmentController{}, DiagnosticsController{}, &DiagnosticsLoggerController{})
}

func TestDevices(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, runtime.DevicesStatusID, runtime.DevicesStatus{Ready: true})
	}, DevicesStatusController{})
	controllertest.Run(t, func(h *controllertest.Harness) {
		settled := make(chan struct{})
		if err := h.Scheduler.Register(DevicesStatusController{Settled: settled}); err != nil {
			t.Fatal(err)
		}
		controllertest.Want(h, runtime.DevicesStatusID, runtime.DevicesStatus{})
		close(settled)
		controllertest.Want(h, runtime.DevicesStatusID, runtime.DevicesStatus{Ready: true})
	})
}

func TestMountsInTheirOldForm(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "EPHEMERAL", block.MountStatus{
			Source: "/dev/vda6", Target: "/var", Filesystem: block.FilesystemXFS, EncryptionProvider: block.EncryptionLUKS2, ReadOnly: true,
		})
		controllertest.Want(h, "EPHEMERAL", runtime.MountStatus{
			Source: "/dev/vda6", Target: "/var", FilesystemType: "xfs", Options: []string{"ro"}, Encrypted: true, EncryptionProviders: []string{"luks2"},
		})
	}, mountStatusController())
}

func TestBillsAndListsThatAreWrong(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `{"packages":{}}`} {
		if items, err := parseBill(strings.NewReader(text), false); err == nil {
			t.Errorf("parseBill(%q) = %v; want an error", text, items)
		}
	}
	for text, bad := range map[string]bool{"": false, "layers: []": false, "layers: 1": true, "\t": false, "a: [": true} {
		if _, err := parseExtensions(strings.NewReader(text)); (err != nil) != bad {
			t.Errorf("parseExtensions(%q) = %v; want an error: %v", text, err, bad)
		}
	}
}

func FuzzBill(f *testing.F) {
	f.Add(`{"packages":[{"name":"a","externalRefs":[{"referenceType":"purl"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		items, err := parseBill(strings.NewReader(text), true)
		if err != nil && items != nil {
			t.Errorf("parseBill(%q) = %v with error %v", text, items, err)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	f.Add("layers:\n  - image: a\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseExtensions(strings.NewReader(text)) })
}

func TestNamesAreTaken(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Controllers(Deps{}) {
		if !strings.HasPrefix(c.Name(), "runtime.") || !strings.HasSuffix(c.Name(), "Controller") || seen[c.Name()] {
			t.Errorf("controller name %q; want runtime.…Controller, once", c.Name())
		}
		seen[c.Name()] = true
	}
}
