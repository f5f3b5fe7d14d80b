package generate_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config"
	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// images matches the values that differ on purpose: our versions, and our names for kubelet and the installer.
var images = regexp.MustCompile(`(?m)^(\s*image: ).*$`)

// TestGeneratedConfigsAreWhatThePublicClientGenerates takes the secrets out of a config of the public client and generates the
// configs anew: but for the images they must be the same, byte for byte where the layout is ours to choose, else by value. What
// the public client generates it also validates, so this is as near as we come to asking it.
func TestGeneratedConfigsAreWhatThePublicClientGenerates(t *testing.T) {
	for _, tc := range []struct {
		version string
		bytes   bool
	}{{"v1.14", true}, {"v1.6", false}} {
		t.Run(tc.version, func(t *testing.T) {
			in := inputOf(t, tc.version)
			for role, name := range map[schema.Role]string{schema.ControlPlane: "controlplane", schema.Worker: "worker"} {
				want := sample(t, tc.version, name)
				c, err := in.Config(role)
				if err != nil {
					t.Fatal(err)
				}
				got, err := c.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				wantText, gotText := images.ReplaceAllString(string(want), "${1}X"), images.ReplaceAllString(string(got), "${1}X")
				if tc.bytes {
					if diff := cmp.Diff(wantText, gotText); diff != "" {
						t.Errorf("%s (-public +ours):\n%s", name, diff)
					}
					continue
				}
				if diff := cmp.Diff(values(t, wantText), values(t, gotText)); diff != "" {
					t.Errorf("%s (-public +ours):\n%s", name, diff)
				}
			}
		})
	}
}

// inputOf returns what the samples of a version were generated from.
func inputOf(t *testing.T, version string) generate.Input {
	t.Helper()
	c, err := config.Load(version, sample(t, version, "controlplane"))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := generate.Secrets(c)
	if err != nil {
		t.Fatal(err)
	}
	contract, err := generate.ParseContract(version)
	if err != nil {
		t.Fatal(err)
	}
	in := generate.Input{
		ClusterName: "lab", Secrets: secrets, Contract: contract, InstallDisk: "/dev/vda", InstallImage: defaults.Installer("v1"),
		ExtraSANs: []string{"k8s.lab.example"}, Discovery: true, DiscoveryService: new(scalar.Endpoint),
	}
	if err := in.Endpoint.UnmarshalText([]byte("https://192.168.1.100:6443")); err != nil {
		t.Fatal(err)
	}
	if err := in.DiscoveryService.UnmarshalText([]byte(defaults.DiscoveryEndpoint)); err != nil {
		t.Fatal(err)
	}
	return in
}

func sample(t *testing.T, version, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../rootdoc/testdata/" + version + "-" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// values returns what a reader of a config gets, without what means the same: the order of keys, and a discovery endpoint
// that is the default.
func values(t *testing.T, text string) map[string]any {
	t.Helper()
	var report schema.Report
	docs := schema.Parse("", []byte(text), &report)
	if err := report.Err(); err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v; want one", len(docs), err)
	}
	var v map[string]any
	if err := docs[0].Decode(&v); err != nil {
		t.Fatal(err)
	}
	cluster, _ := v["cluster"].(map[string]any)
	discovery, _ := cluster["discovery"].(map[string]any)
	registries, _ := discovery["registries"].(map[string]any)
	service, _ := registries["service"].(map[string]any)
	delete(service, "endpoint")
	return v
}

func TestParseContract(t *testing.T) {
	for text, want := range map[string]string{
		"v1.14": "v1.14", "1.6": "v1.6", "v1.14.2": "v1.14", "v1.15.0-alpha.0": "v1.15",
		"v1.16": "", "v0.14": "", "v2.0": "", "1": "", "v1.x": "", "": "", "v1.014": "", "v1.2.3.4": "",
	} {
		got, err := generate.ParseContract(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("ParseContract(%q) = %s, %v; want %q", text, got, err, want)
		}
	}
}

func TestInputThatIsNotComplete(t *testing.T) {
	for name, change := range map[string]func(*generate.Input){
		"the name of the cluster is missing":                               func(in *generate.Input) { in.ClusterName = "" },
		"the endpoint of the cluster is missing":                           func(in *generate.Input) { in.Endpoint = scalar.HTTPSURL{} },
		"the secrets of the cluster are missing":                           func(in *generate.Input) { in.Secrets = nil },
		"KubeSpan needs discovery: machines learn each other's keys by it": func(in *generate.Input) { in.KubeSpan, in.Discovery = true, false },
	} {
		in := inputOf(t, "v1.14")
		change(&in)
		if _, err := in.Config(schema.Worker); err == nil || err.Error() != "generate config: "+name {
			t.Errorf("Config = %v; want %q", err, name)
		}
	}
}
