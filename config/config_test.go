package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config"
	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
	"talos.internal/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// input returns what the configs of these tests are generated from. Its secrets are made once: an RSA key takes seconds.
func input(tb testing.TB, contract generate.Contract) generate.Input {
	tb.Helper()
	in := generate.Input{ClusterName: "demo", Secrets: bundle(tb), Contract: contract, InstallDisk: "/dev/vda", Discovery: true}
	if err := in.Endpoint.UnmarshalText([]byte("https://10.5.0.2:6443")); err != nil {
		tb.Fatal(err)
	}
	return in
}

var shared *secret.Bundle

func bundle(tb testing.TB) *secret.Bundle {
	tb.Helper()
	if shared == nil {
		b, err := secret.NewBundle(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), nil)
		if err != nil {
			tb.Fatal(err)
		}
		shared = b
	}
	return shared
}

func generated(tb testing.TB, contract generate.Contract, role schema.Role) *config.Config {
	tb.Helper()
	c, err := input(tb, contract).Config(role)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

var (
	rootStyle     = generate.Contract{Major: 1, Minor: 13}
	documentStyle = generate.Contract{Major: 1, Minor: 15}
)

func mustPatch(tb testing.TB, c *config.Config, texts ...string) *config.Config {
	tb.Helper()
	out, err := applyPatches(c, texts...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func applyPatches(c *config.Config, texts ...string) (*config.Config, error) {
	var list []patch.Patch
	for _, text := range texts {
		p, err := patch.Parse("p.yaml", []byte(text))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return c.Patch(list...)
}

// titles returns the documents of s by kind and name.
func titles(s schema.Set) []string {
	var out []string
	for _, e := range s {
		out = append(out, e.Title())
	}
	slices.Sort(out)
	return out
}

func TestExamineReportsEveryMistakeAtOnce(t *testing.T) {
	const in, golden = "testdata/mistakes.yaml", "testdata/mistakes.golden"
	data, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	report := config.Examine("mistakes.yaml", data, schema.Metal)
	got := report.Of(schema.Error).String()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("Examine (-want +got), -update accepts it:\n%s", diff)
	}
	if n := strings.Count(got, "\n"); n < 10 {
		t.Errorf("Examine found %d mistakes; want at least the ten that are there", n)
	}
}

func TestGeneratedConfigsAreValidInEveryMode(t *testing.T) {
	for minor := 0; minor <= 15; minor++ {
		contract := generate.Contract{Major: 1, Minor: minor}
		for _, role := range []schema.Role{schema.ControlPlane, schema.Worker} {
			c := generated(t, contract, role)
			modes := []schema.Mode{schema.Metal, schema.Cloud, schema.Container}
			if minor == 7 {
				// v1.7 turns host DNS on and cannot forward to it; only a container needs that.
				modes = modes[:2]
			}
			for _, mode := range modes {
				if err := c.Check(mode).Err(); err != nil {
					t.Errorf("%s %s in %s mode: %v", contract, role, mode, err)
				}
			}
		}
	}
}

func TestTheSameSecretsGiveTheSameBytes(t *testing.T) {
	for _, contract := range []generate.Contract{rootStyle, documentStyle} {
		for _, role := range []schema.Role{schema.ControlPlane, schema.Worker} {
			a, err := generated(t, contract, role).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			text, err := bundle(t).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			again, err := secret.LoadBundle(text)
			if err != nil {
				t.Fatal(err)
			}
			in := input(t, contract)
			in.Secrets = again
			c, err := in.Config(role)
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("%s %s: two configs from one secrets.yaml differ:\n%s", contract, role, cmp.Diff(string(a), string(b)))
			}
		}
	}
}

func TestSecretsComeBackFromEitherStyle(t *testing.T) {
	want, err := bundle(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, contract := range []generate.Contract{rootStyle, documentStyle} {
		b, err := generate.Secrets(generated(t, contract, schema.ControlPlane))
		if err != nil {
			t.Fatalf("%s: %v", contract, err)
		}
		got, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: secrets (-want +got):\n%s", contract, diff)
		}
	}
	if _, err := generate.Secrets(generated(t, documentStyle, schema.Worker)); err == nil {
		t.Error("Secrets of a worker's config = nil; want an error")
	}
}

const (
	cniPatch      = "cluster: {network: {cni: {name: none}}, proxy: {disabled: true}}"
	manifestPatch = "cluster: {inlineManifests: [{name: cilium, contents: \"apiVersion: v1\\nkind: Namespace\\nmetadata: {name: a}\\n\"}]}"
)

func TestOldStylePatchesChangeTheDocumentsThatSucceedThem(t *testing.T) {
	c := generated(t, documentStyle, schema.ControlPlane)
	before := titles(c.Documents())
	got := titles(mustPatch(t, c, cniPatch, manifestPatch).Documents())
	want := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return s == "KubeFlannelCNIConfig" })
	want = append(want, "KubeInlineManifestConfig cilium")
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	for _, tc := range []struct{ name, patch, old, new string }{
		{"a field of a document", "machine: {kubelet: {extraArgs: {v: '4'}}}",
			"config: {}\ndefaultRuntimeSeccompProfileEnabled: true\n",
			"config: {}\ndefaultRuntimeSeccompProfileEnabled: true\nextraArgs:\n    v: \"4\"\n"},
		{"an image is not replaced by the default", "cluster: {proxy: {disabled: true}}",
			"image: registry.k8s.io/kube-proxy:v1.37.2\nconfig: {}\n", "image: registry.k8s.io/kube-proxy:v1.37.2\nconfig: {}\nenabled: false\n"},
		{"what an old config implies goes away", "cluster: {allowSchedulingOnControlPlanes: true}",
			"    node.kubernetes.io/exclude-from-external-load-balancers: \"\"\ntaints:\n    node-role.kubernetes.io/control-plane: NoSchedule\n",
			"    node.kubernetes.io/exclude-from-external-load-balancers: \"\"\n"},
		{"a new document", "machine: {sysctls: {net.ipv4.ip_forward: '1'}}", "kind: KubeCoreDNSConfig\nenabled: true\n",
			"kind: KubeCoreDNSConfig\nenabled: true\n---\napiVersion: v1alpha1\nkind: SysctlConfig\nparams:\n    net.ipv4.ip_forward: \"1\"\n"},
		{"a list that is replaced", "cluster: {network: {podSubnets: [10.1.0.0/16]}}", "    - 10.244.0.0/16\n", "    - 10.1.0.0/16\n"},
		{"the endpoint", "cluster: {controlPlane: {endpoint: 'https://lb.example.com'}}",
			"endpoint: https://10.5.0.2:6443\n---", "endpoint: https://lb.example.com\n---"},
		{"current fields stay where they are", "machine: {certSANs: [a.example.com], sysctls: {a.b: '1'}}", "", ""},
		{"a successor inside the root document", "cluster: {etcd: {subnet: 10.5.0.0/24}}", "", "        advertisedSubnets:\n            - 10.5.0.0/24\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			patched := mustPatch(t, c, tc.patch)
			b, err := patched.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			a, err := c.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.old == "" && !strings.Contains(string(b), tc.new):
				t.Errorf("the result has no %q:\n%s", tc.new, cmp.Diff(string(a), string(b)))
			case tc.old != "" && !strings.Contains(string(a), tc.old):
				t.Fatalf("the case replaces %q, which the config does not have", tc.old)
			case tc.old != "":
				if !strings.Contains(string(b), tc.new) || tc.new != tc.old+tc.new && strings.Contains(string(b), tc.old) && !strings.Contains(tc.new, tc.old) {
					t.Errorf("patched (-before +after):\n%s", cmp.Diff(string(a), string(b)))
				}
			}
			if err := patched.Check(schema.Metal).Err(); err != nil {
				t.Errorf("the result is not valid: %v", err)
			}
			if successor.OldStyle(patched.Root()) {
				t.Errorf("the result has old-style fields:\n%s", b)
			}
		})
	}
}

// A value that the conversion of an old config implies is said all the same.
func TestOldStylePatchesSayDefaultsToo(t *testing.T) {
	c := generated(t, documentStyle, schema.ControlPlane)
	for _, tc := range []struct{ name, first, then, want, not string }{
		{"an image", "cluster: {apiServer: {image: 'example.com/api:v1.37.2'}}", "cluster: {apiServer: {image: 'registry.k8s.io/kube-apiserver:v1.37.2'}}",
			"image: registry.k8s.io/kube-apiserver:v1.37.2\n", "example.com"},
		{"a list", "cluster: {network: {podSubnets: [10.1.0.0/16]}}", "cluster: {network: {podSubnets: [10.244.0.0/16]}}", "    - 10.244.0.0/16\n", "10.1.0.0"},
		{"a name", "cluster: {network: {dnsDomain: example.org}}", "cluster: {network: {dnsDomain: cluster.local}}", "cluster.local", "example.org"},
		{"on after off", "cluster: {proxy: {disabled: true}}", "cluster: {proxy: {disabled: false}}", "kind: KubeProxyConfig", "enabled: false"},
		{"nothing else comes with it", "cluster: {proxy: {disabled: true, image: 'example.com/proxy:v1.37.2'}}", "cluster: {proxy: {disabled: false}}",
			"image: example.com/proxy:v1.37.2\n", "enabled: false"},
		{"what is not said stays", "cluster: {apiServer: {image: 'example.com/api:v1.37.2'}}", "cluster: {apiServer: {certSANs: [a.example.com]}}",
			"image: example.com/api:v1.37.2\n", "kube-apiserver:v"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			once := mustPatch(t, c, tc.first)
			b, err := mustPatch(t, once, tc.then).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), tc.want) || strings.Contains(string(b), tc.not) {
				before, err := once.Bytes()
				t.Errorf("the result has to have %q and not %q (%v); first patch -, second +:\n%s", tc.want, tc.not, err, cmp.Diff(string(before), string(b)))
			}
		})
	}
}

func TestOldStylePatchesOfAnOldStyleConfigStayInTheRootDocument(t *testing.T) {
	c := mustPatch(t, generated(t, rootStyle, schema.ControlPlane), cniPatch, manifestPatch)
	if got := titles(c.Documents()); !slices.Equal(got, []string{"v1alpha1"}) {
		t.Errorf("documents = %v; want the root document alone", got)
	}
	if err := c.Check(schema.Metal).Err(); err != nil {
		t.Error(err)
	}
	effective := titles(c.Effective())
	if slices.Contains(effective, "KubeFlannelCNIConfig") || !slices.Contains(effective, "KubeInlineManifestConfig cilium") {
		t.Errorf("effective documents = %v; want no flannel and the manifest", effective)
	}
}

func TestPatchKeepsComments(t *testing.T) {
	const text = "# the hostname\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a # for now\n"
	c, err := config.Load("c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := mustPatch(t, c, "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: b\n").Bytes()
	if want := strings.Replace(text, "hostname: a", "hostname: b", 1); err != nil || string(out) != want {
		t.Errorf("patched = %q, %v; want %q", out, err, want)
	}
}

func TestPatchErrors(t *testing.T) {
	c := generated(t, documentStyle, schema.ControlPlane)
	for _, tc := range []struct{ name, patch, want string }{
		{"unknown key", "machine: {certSAN: [a]}", `p.yaml:1: machine.certSAN: unknown key; did you mean "certSANs"?`},
		{"unknown kind", "kind: HostnamConfig", `p.yaml:1: HostnamConfig: kind: unknown kind "HostnamConfig"`},
		{"a result that is not valid", "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n", "after patch p.yaml: invalid config: "},
		{"a delete of an old-style field", "cluster: {proxy: {$patch: delete}}",
			"cluster.proxy: the patch matches nothing: there is no such key to delete; the config is made of documents: change the document instead"},
		{"JSON patch", `[{"op": "remove", "path": "/debug"}]`, "a JSON patch needs a config of one document and this one has"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := applyPatches(c, tc.patch)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Patch = %v; want %q in it", err, tc.want)
			}
		})
	}
	if _, err := applyPatches(c, "kind: BondConfig\nname: x\n$patch: delete\n"); !errors.Is(err, patch.ErrNoMatch) {
		t.Errorf("Patch = %v; want ErrNoMatch", err)
	}
}

func TestLoadErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "invalid config: c.yaml: the config is empty; expected at least one document"},
		{"comments alone", "# nothing\n", "invalid config: c.yaml: the config is empty; expected at least one document"},
		{"binary", "\x00\x01\x02", "invalid config: c.yaml: not valid YAML: control characters are not allowed; what follows this place was not read"},
		{"a list", "- a\n", "invalid config: c.yaml:1: expected a document with apiVersion and kind, or the root document with version: v1alpha1"},
		{"a word", "hello", "invalid config: c.yaml:1: expected a document with apiVersion and kind, or the root document with version: v1alpha1"},
		{"no kind", "apiVersion: v1alpha1\nname: a\n", `invalid config: c.yaml:1: the key "kind" is required`},
		{"no apiVersion", "kind: HostnameConfig\nauto: stable\n", `invalid config: c.yaml:1: HostnameConfig: the key "apiVersion" is required; write apiVersion: v1alpha1`},
		{"another apiVersion", "apiVersion: v1beta1\nkind: HostnameConfig\nauto: stable\n",
			`invalid config: c.yaml:1: apiVersion: HostnameConfig: expected v1alpha1, got "v1beta1"`},
		{"no name", "apiVersion: v1alpha1\nkind: BondConfig\nlinks: [a]\nbondMode: 802.3ad\n", `invalid config: c.yaml:1: BondConfig: the key "name" is required`},
		{"Kubernetes manifest", "apiVersion: v1\nkind: Pod\n", `invalid config: c.yaml:2: kind: unknown kind "Pod"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := config.Load("c.yaml", []byte(tc.text))
			if err == nil || err.Error() != tc.want {
				t.Errorf("Load = %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestWorkersMustNotHaveDocumentsOfTheControlPlane(t *testing.T) {
	c := mustPatch(t, generated(t, documentStyle, schema.Worker), "apiVersion: v1alpha1\nkind: KubeCoreDNSConfig\nenabled: true\n")
	err := c.Check(schema.Metal).Err()
	if err == nil || !strings.Contains(err.Error(), "only control-plane nodes have a KubeCoreDNSConfig") {
		t.Errorf("Check = %v; want the document refused", err)
	}
}

func TestFieldAndSuccessorConflict(t *testing.T) {
	c, err := config.Load("c.yaml", []byte("version: v1alpha1\nmachine:\n    type: worker\n    network:\n        hostname: a\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: b\n"))
	if err != nil {
		t.Fatal(err)
	}
	report := c.Check("").String()
	want := "c.yaml:5: machine.network.hostname: the document HostnameConfig says the same thing; keep one, preferably the document\n"
	if !strings.Contains(report, want) {
		t.Errorf("Check = %s\nwant in it %s", report, want)
	}
}

func TestPendingNamesWhatExists(t *testing.T) {
	report := generated(t, documentStyle, schema.ControlPlane).Check(schema.Metal)
	notes := report.Of(schema.Note).String()
	for name, pending := range map[string]bool{"FilesystemTrimConfig": true, "SecurityProfileConfig": true, "machine.token": false, "KubeletConfig": false} {
		if strings.Contains(notes, name) != pending {
			t.Errorf("the notes name %s: %t; want %t:\n%s", name, !pending, pending, notes)
		}
	}
	old := generated(t, rootStyle, schema.ControlPlane).Check(schema.Metal).Of(schema.Note).String()
	if !strings.Contains(old, "machine.features") {
		t.Errorf("the notes on an old-style config do not name a field that is pending:\n%s", old)
	}
}

func TestRulesForSignaturesWarnOfWhatTheyDoNotDo(t *testing.T) {
	const rules = `apiVersion: v1alpha1
kind: ImageVerificationConfig
rules:
    - image: registry.k8s.io/*
      keyless: {issuer: "https://accounts.example.com", subject: jane}
`
	const auth = `---
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: registry.example.com
username: jane
password: secret
`
	for text, want := range map[string][]string{
		rules:                             {"signatures by identity are not verified"},
		rules + auth:                      {"signatures by identity are not verified", "not for those of pods"},
		strings.TrimPrefix(auth, "---\n"): nil,
	} {
		var got []string
		for _, p := range config.Examine("config.yaml", []byte(text), schema.Container).Of(schema.Warning) {
			got = append(got, p.Message)
		}
		if len(got) != len(want) {
			t.Errorf("warnings of\n%s\n%q; want %q", text, got, want)
			continue
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("warning %q; want %q", got[i], want[i])
			}
		}
	}
}
