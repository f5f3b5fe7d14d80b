package config_test

import (
	"os"
	"testing"

	"talos.internal/config"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
)

func seeds(f *testing.F) [][]byte {
	f.Helper()
	out := [][]byte{[]byte("version: v1alpha1\nmachine: {type: worker}\n")}
	text, err := os.ReadFile("testdata/mistakes.yaml")
	if err != nil {
		f.Fatal(err)
	}
	out = append(out, text)
	for _, role := range []schema.Role{schema.ControlPlane, schema.Worker} {
		b, err := generated(f, documentStyle, role).Bytes()
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, b)
	}
	b, err := generated(f, rootStyle, schema.ControlPlane).Bytes()
	if err != nil {
		f.Fatal(err)
	}
	return append(out, b)
}

// FuzzExamine holds that no input makes the loader, the rules or the conversion panic, and that a config without errors
// encodes to one without errors.
func FuzzExamine(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, mode := range []schema.Mode{schema.Metal, schema.Container} {
			config.Examine("f.yaml", data, mode)
		}
		c, err := config.Load("f.yaml", data)
		if err != nil {
			return
		}
		out, err := c.Bytes()
		if err != nil {
			t.Skip() // comments in odd places can defeat the YAML encoder; it says so
		}
		if _, err := config.Load("again.yaml", out); err != nil {
			t.Errorf("a valid config is not valid any more once it is encoded: %v\n%s", err, out)
		}
	})
}

// FuzzPatch holds that no patch of a valid config panics, and that an error leaves the config as it was.
func FuzzPatch(f *testing.F) {
	for _, s := range []string{cniPatch, manifestPatch, "machine: {certSANs: [a]}", "[{op: add, path: /debug, value: true}]",
		"kind: HostnameConfig\n$patch: delete\n", "machine: {network: {interfaces: [{interface: eth0, dhcp: true}]}}",
		"cluster: {etcd: {subnet: 10.0.0.0/8}}"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	documents, root := generated(f, documentStyle, schema.ControlPlane), generated(f, rootStyle, schema.Worker)
	f.Fuzz(func(t *testing.T, text []byte, old bool) {
		c := documents
		if old {
			c = root
		}
		p, err := patch.Parse("p.yaml", text)
		if err != nil {
			return
		}
		before, err := c.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Patch(p)
		after, err := c.Bytes()
		if err != nil || string(after) != string(before) {
			t.Errorf("a patch changed the config that it was applied to: %v", err)
		}
	})
}
