package clusters

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/client/talosconfig"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
	"talos.internal/secret"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"2048": 2 << 30, "2GiB": 2 << 30, "1.5 GiB": 3 << 29, "512MiB": 512 << 20, "2GB": 2e9, "2.0GB": 2e9, "100MB": 1e8, "0": 0,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "lots", "-1", "NaN", "Inf", "9e99", "1TiB", "GiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d; want an error", text, got)
		}
	}
}

// ask is a wish of the default size.
func ask(controlPlane, workers int, cidr string) wish {
	both := func(text string) map[string]string {
		return map[string]string{provision.ControlPlane: text, provision.Worker: text}
	}
	return wish{name: "lab", controlPlane: controlPlane, workers: workers, cidr: cidr, mtu: 1500, cpus: both("2"), memory: both("2GiB"), image: "i"}
}

func TestRequestGivesNamesAndAddressesInOrder(t *testing.T) {
	w := ask(2, 1, "10.6.0.7/24")
	w.cpus[provision.Worker], w.memory[provision.Worker] = "0", "0"
	r, err := w.request()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range r.Nodes {
		got = append(got, n.Name+" "+n.Address.String())
	}
	if want := []string{"lab-controlplane-1 10.6.0.2", "lab-controlplane-2 10.6.0.3", "lab-worker-1 10.6.0.4"}; !slices.Equal(got, want) {
		t.Errorf("nodes %q; want %q", got, want)
	}
	if n := r.Nodes[2]; n.CPUs != 0 || n.Memory != 0 {
		t.Errorf("the worker has limits: %+v", n)
	}
	if r.KubernetesEndpoint != "https://10.6.0.2:6443" || r.Network.CIDR.String() != "10.6.0.0/24" {
		t.Errorf("request %+v", r)
	}
	for _, tc := range []struct {
		name string
		w    wish
		want string
	}{
		{"no control plane", ask(0, 1, "10.6.0.0/24"), "--controlplanes"},
		{"fewer than none", ask(1, -1, "10.6.0.0/24"), "--workers"},
		{"far too many", ask(1, 101, "10.6.0.0/16"), "--workers"},
		{"no network", ask(1, 1, "10.6.0.0"), "--cidr"},
		{"no room", ask(3, 3, "10.6.0.0/29"), "no room for 6 nodes"},
	} {
		if _, err := tc.w.request(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: request = %v; want %q", tc.name, err, tc.want)
		}
	}
}

func TestConfigsOfACluster(t *testing.T) {
	secrets, err := secret.NewBundle(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ask(3, 1, "10.6.0.0/24").request()
	if err != nil {
		t.Fatal(err)
	}
	in, err := input(r, secrets, "", []string{"lab.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"10.6.0.3", "10.6.0.4", "127.0.0.1", "lab.example.org"}; !slices.Equal(in.ExtraSANs, want) {
		t.Errorf("names in certificates %q; want %q", in.ExtraSANs, want)
	}
	p, err := patch.Parse("p", []byte("apiVersion: v1alpha1\nkind: KubeFlannelCNIConfig\n$patch: delete\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name        string
		patches     patches
		schedulable bool
		noNetwork   bool
	}{
		{name: "as it is"},
		{name: "without workers", schedulable: true},
		{name: "without a network plugin", patches: patches{controlPlane: []patch.Patch{p}}, noNetwork: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := makeConfigs(in, tc.patches, tc.schedulable, schema.Container)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(c.of[provision.ControlPlane]), "NoSchedule"); got == tc.schedulable {
				t.Errorf("the control plane has a taint: %v; want %v", got, !tc.schedulable)
			}
			var skipped []string
			if tc.noNetwork {
				skipped = []string{vitals.NodesReady, vitals.DNSReady}
			}
			if got := slices.Sorted(maps.Keys(c.skips())); !slices.Equal(got, skipped) {
				t.Errorf("skipped checks %q; want %q", got, skipped)
			}
		})
	}
}

func TestSurplusTakesTheLastOnes(t *testing.T) {
	var all []provision.Node
	for _, n := range []string{"c1", "w1", "c2", "w2", "w3", "c3"} {
		kind := provision.Worker
		if n[0] == 'c' {
			kind = provision.ControlPlane
		}
		all = append(all, provision.Node{Name: n, Type: kind})
	}
	for _, tc := range []struct {
		controlPlane, workers int
		want                  []string
	}{{-1, -1, nil}, {1, -1, []string{"c3", "c2"}}, {3, 1, []string{"w3", "w2"}}, {2, 0, []string{"c3", "w3", "w2", "w1"}}, {9, 9, nil}} {
		var got []string
		for _, n := range surplus(all, map[string]int{provision.ControlPlane: tc.controlPlane, provision.Worker: tc.workers}) {
			got = append(got, n.Name)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("surplus for %d and %d = %q; want %q", tc.controlPlane, tc.workers, got, tc.want)
		}
	}
}

func TestFirstLayoutIsBesideTheProgramOrInTheCheckout(t *testing.T) {
	for _, tc := range []struct{ there, want string }{
		{"/src/_out/images", "/src/_out/images"}, {"/bin/images", "/bin/images"}, {"/images", "/images"}, {"/elsewhere/images", ""},
	} {
		got := firstLayout([]string{"/bin", "/src/cmd", "/src", "/"}, func(path string) bool { return path == filepath.Join(tc.there, "oci-layout") })
		if got != tc.want {
			t.Errorf("with a layout in %s: %q; want %q", tc.there, got, tc.want)
		}
	}
}

func TestDropContextsGoesByTheAuthority(t *testing.T) {
	c := &talosconfig.Config{Context: "lab-1", Contexts: map[string]*talosconfig.Context{
		"lab": {CA: "b"}, "lab-1": {CA: "a"}, "renamed": {CA: "a"},
	}}
	if diff := cmp.Diff([]string{"lab-1", "renamed"}, dropContexts(c, "a")); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if c.Context != "lab" || len(c.Contexts) != 1 {
		t.Errorf("left: %v, current %q; want lab as the only one and current", c.Names(), c.Context)
	}
}
