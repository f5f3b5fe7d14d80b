package config_test

import (
	"fmt"
	"strings"
	"testing"

	"talos.internal/config"
	"talos.internal/config/schema"
)

// large returns a control-plane config of about 1 MB: a generated one with manifests of a CNI and its like inline.
func large(b *testing.B, old bool) []byte {
	b.Helper()
	contract := documentStyle
	if old {
		contract = rootStyle
	}
	c := generated(b, contract, schema.ControlPlane)
	for i := range 5 {
		var manifest strings.Builder
		for j := 0; manifest.Len() < 200_000; j++ {
			fmt.Fprintf(&manifest, "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cm-%d\n  namespace: kube-system\ndata:\n", j)
			for k := range 10 {
				fmt.Fprintf(&manifest, "  key-%d: %q\n", k, strings.Repeat("value ", 10))
			}
		}
		p := fmt.Sprintf("cluster:\n  inlineManifests:\n    - name: m%d\n      contents: |\n%s", i, indent(manifest.String()))
		c = mustPatch(b, c, p)
	}
	data, err := c.Bytes()
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("        " + line)
	}
	return b.String()
}

// each runs a benchmark for both styles of a config of 1 MB.
func each(b *testing.B, f func(b *testing.B, data []byte)) {
	for _, style := range []struct {
		name string
		old  bool
	}{{"documents", false}, {"root", true}} {
		b.Run(style.name, func(b *testing.B) {
			data := large(b, style.old)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			f(b, data)
		})
	}
}

func load(b *testing.B, data []byte) *config.Config {
	b.Helper()
	c, err := config.Load("c.yaml", data)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkExamine(b *testing.B) {
	each(b, func(b *testing.B, data []byte) {
		for b.Loop() {
			if err := config.Examine("c.yaml", data, schema.Metal).Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	each(b, func(b *testing.B, data []byte) {
		for b.Loop() {
			load(b, data)
		}
	})
}

func BenchmarkEffective(b *testing.B) {
	each(b, func(b *testing.B, data []byte) {
		c := load(b, data)
		for b.Loop() {
			c.Effective()
		}
	})
}

func BenchmarkPatch(b *testing.B) {
	each(b, func(b *testing.B, data []byte) {
		c := load(b, data)
		for b.Loop() {
			mustPatch(b, c, "machine: {certSANs: [a.example.com]}", "cluster: {proxy: {disabled: true}}")
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	each(b, func(b *testing.B, data []byte) {
		c := load(b, data)
		for b.Loop() {
			if _, err := c.Bytes(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
