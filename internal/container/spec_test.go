package container

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/google/go-cmp/cmp"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// small is a host that lacks CAP_SYS_RESOURCE; big is one that has all.
var (
	small = Host{Capabilities: []string{"CAP_CHOWN", "CAP_NET_ADMIN"}, OOMScoreAdj: -5, NoFile: 4096}
	big   = Host{Capabilities: []string{"CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_RESOURCE"}, NoFile: 4096, UnifiedCgroups: true}
)

func TestRenderIsWhatTheGoldenFilesSay(t *testing.T) {
	img := imagespec.ImageConfig{User: "60:60", Entrypoint: []string{"/etcd"}, Cmd: []string{"--help"}, Env: []string{"A=image"}, WorkingDir: "/work"}
	for _, tc := range []struct {
		name string
		spec Spec
		host Host
	}{
		{"zero", Spec{ID: "zero"}, big},
		{"etcd", Spec{ID: "etcd", Args: []string{"/usr/local/bin/etcd", "--name=a"}, Env: []string{"B=spec"}, User: &User{UID: 60, GID: 60},
			Mounts:      []Mount{{Source: "/var/lib/etcd", Target: "/var/lib/etcd"}, {Source: "/system/secrets/etcd", Target: "/pki", Options: []string{"rbind", "ro"}}},
			HostNetwork: true, Cgroup: "podruntime/etcd", OOMScoreAdj: -998, ReadonlyRootfs: true, Capabilities: []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}}, small},
		{"kubelet", Spec{ID: "kubelet", Args: []string{"/kubelet"}, User: &User{}, Privileged: true, HostNetwork: true, HostPID: true, HostIPC: true,
			HostSys: true, Cgroup: "/podruntime/kubelet", OOMScoreAdj: -450, RootfsPropagation: "rshared",
			Mounts: []Mount{{Source: "/dev", Target: "/dev", Options: []string{"rbind", "rshared", "rw"}}, {Type: "tmpfs", Target: "/tmp", Options: []string{"size=64m"}}}}, big},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Render(System, tc.spec, img, tc.host)
			if err != nil {
				t.Fatal(err)
			}
			if s.Linux.Seccomp != nil {
				t.Error("there is a filter of system calls on a host that has none")
			}
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := filepath.Join("testdata", tc.name+".json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("Render differs from %s (-want +got):\n%s", golden, d)
			}
		})
	}
}

func TestSeccompIsOnUnlessItIsTurnedOff(t *testing.T) {
	img := imagespec.ImageConfig{Entrypoint: []string{"/x"}}
	h := big
	h.Seccomp = true
	for _, tc := range []struct {
		name string
		spec Spec
		want bool
	}{
		{"default", Spec{}, true},
		{"turned off", Spec{NoSeccomp: true}, false},
		{"privileged", Spec{Privileged: true}, false},
	} {
		s, err := Render(System, tc.spec, img, h)
		if err != nil || (s.Linux.Seccomp != nil) != tc.want {
			t.Errorf("%s: a filter %v, %v; want %v", tc.name, s.Linux.Seccomp != nil, err, tc.want)
		}
	}
}

func TestRenderRefusesWhatCannotRun(t *testing.T) {
	ok := imagespec.ImageConfig{Entrypoint: []string{"/x"}}
	named := ok
	named.User = "etcd"
	group := ok
	group.User = "60:etcd"
	for _, tc := range []struct {
		name string
		spec Spec
		img  imagespec.ImageConfig
		want string
	}{
		{"nothing to run", Spec{ID: "a", Image: "i"}, imagespec.ImageConfig{}, "neither the container nor image i says what to run"},
		{"a user by name", Spec{ID: "a"}, named, `"etcd" is not a number`},
		{"a group by name", Spec{ID: "a"}, group, `group "etcd" is not a number`},
		{"a relative target", Spec{Mounts: []Mount{{Source: "/x", Target: "y"}}}, ok, "an absolute target is needed"},
		{"a mount of nothing", Spec{Mounts: []Mount{{Target: "/y"}}}, ok, "a source or a type"},
	} {
		if _, err := Render(System, tc.spec, tc.img, big); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Render = %v; want %q", tc.name, err, tc.want)
		}
	}
	// A user of the specification makes that of the image irrelevant.
	if _, err := Render(System, Spec{User: &User{UID: 1}}, named, big); err != nil {
		t.Errorf("Render with a user = %v", err)
	}
}

func TestExitErrorsReadAsPeopleKnowThem(t *testing.T) {
	for code, want := range map[uint32]string{1: "exit status 1", 137: "signal: killed", 143: "signal: terminated", 128: "exit status 128", 255: "exit status 255"} {
		if got := (&ExitError{Code: code}).Error(); got != want {
			t.Errorf("ExitError{%d} = %q; want %q", code, got, want)
		}
	}
}

func TestPodsAreNamedAsPublished(t *testing.T) {
	labels := map[string]string{labelPod: "dns-1", labelPodNamespace: "kube-system", labelPodUID: "u1", labelKind: "sandbox"}
	want := Info{Namespace: Pods, ID: "kube-system/dns-1", InternalID: "0f", UID: "u1", PodID: "kube-system/dns-1", Image: "pause", Status: "UNKNOWN", Sandbox: true}
	if d := cmp.Diff(want, describe(Pods, containers.Container{ID: "0f", Labels: labels, Image: "pause"})); d != "" {
		t.Errorf("sandbox (-want +got):\n%s", d)
	}
	labels[labelKind], labels[labelContainer] = "container", "dns"
	want.ID, want.Name, want.Sandbox = "kube-system/dns-1:dns", "dns", false
	if d := cmp.Diff(want, describe(Pods, containers.Container{ID: "0f", Labels: labels, Image: "pause"})); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
}

func TestTheNewestLogOfAContainerIsTaken(t *testing.T) {
	logs := t.TempDir()
	dir := filepath.Join(logs, "kube-system_dns-1_u1", "dns")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"2.log", "10.log", "9.log", "11.log.gz", "x.log"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i := Info{ID: "kube-system/dns-1:dns", PodID: "kube-system/dns-1", UID: "u1", Name: "dns"}
	if got, err := newestLog(logs, i); err != nil || got != filepath.Join(dir, "10.log") {
		t.Errorf("newestLog = %s, %v; want 10.log", got, err)
	}
	for _, bad := range []Info{
		{PodID: "kube-system/dns-1", UID: "u2", Name: "dns"},
		{PodID: "kube-system/dns-1", UID: "u1", Name: "../../x"},
		{PodID: "../x/dns-1", UID: "u1", Name: "dns"},
		{PodID: "a/dns-1", UID: "u/../../..", Name: "dns"},
	} {
		if got, err := newestLog(logs, bad); err == nil {
			t.Errorf("newestLog(%+v) = %s; want an error", bad, got)
		}
	}
}
