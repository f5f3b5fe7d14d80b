package clusters

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/provision"
	"talos.internal/secret"
)

// varied makes the configs of a cluster with flags.
func varied(t *testing.T, own string, flags ...string) (configs, error) {
	t.Helper()
	secrets, err := secret.NewBundle(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ask(1, 1, "10.6.0.0/24").request()
	if err != nil {
		t.Fatal(err)
	}
	in, err := input(r, secrets, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	in.InstallDisk = "/dev/vda" // without one nothing says what installs
	var v variants
	fl := pflag.NewFlagSet("create", pflag.ContinueOnError)
	v.bind(fl)
	if err := fl.Parse(flags); err != nil {
		t.Fatal(err)
	}
	if err := v.input(&in); err != nil {
		return configs{}, err
	}
	all, err := v.patches()
	if err != nil {
		return configs{}, err
	}
	if own != "" {
		p, err := patch.Parse("own", []byte(own))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return makeConfigs(in, patches{all: all}, false, schema.Container)
}

// In both styles of configs the flags have the same effect.
func TestVariantsChangeTheConfigs(t *testing.T) {
	const network = "https://example.org/network.yaml"
	for _, style := range []string{"--talos-version=v1.6", "--talos-version=v1.15"} {
		for _, tc := range []struct {
			name      string
			own       string
			flags     []string
			want, not string // in both configs, unless they are about the control plane
			only      string
		}{
			{name: "none", want: "7445", not: "custom"},
			{name: "an installer", flags: []string{"--install-image", "example.org/installer:v9"}, want: "example.org/installer:v9"},
			{name: "another network", flags: []string{"--custom-cni-url", network}, want: network, only: provision.ControlPlane},
			{name: "another port of KubePrism", flags: []string{"--kubeprism-port", "7446"}, want: "7446", not: "7445"},
			{name: "a patch has the last word", own: "machine: {features: {kubePrism: {enabled: true, port: 7447}}}", flags: []string{"--kubeprism-port", "7446"}, want: "7447", not: "7446"},
			{name: "a registry without a check", flags: []string{"--registry-insecure-skip-verify", "registry.example.org:5000"}, want: "insecureSkipVerify: true"},
		} {
			t.Run(style+" "+tc.name, func(t *testing.T) {
				c, err := varied(t, tc.own, append(tc.flags, style)...)
				if err != nil {
					t.Fatal(err)
				}
				for kind, text := range c.of {
					if tc.only != "" && tc.only != kind {
						continue
					}
					if !strings.Contains(string(text), tc.want) || tc.not != "" && strings.Contains(string(text), tc.not) {
						t.Errorf("the config of a %s:\n%s\nwant %q and not %q", kind, text, tc.want, tc.not)
					}
				}
				if c.noNetwork {
					t.Error("it is taken for a cluster without a network for pods")
				}
			})
		}
	}
}

func TestVariantsThatAreWrongAreRefused(t *testing.T) {
	for flag, want := range map[string]string{
		"--custom-cni-url=network.yaml":    "expected --custom-cni-url",
		"--custom-cni-url=file:///x":       "expected --custom-cni-url",
		"--kubeprism-port=-1":              "expected --kubeprism-port",
		"--kubeprism-port=70000":           "expected --kubeprism-port",
		"--registry-mirror=nothing":        "--registry-mirror",
		"--talos-version=next":             "--talos-version",
		"--registry-insecure-skip-verify=": "",
	} {
		_, err := varied(t, "", flag)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", flag, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", flag, err, want)
		}
	}
}
