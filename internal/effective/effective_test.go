package effective

import (
	"strings"
	"testing"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

const text = "apiVersion: v1alpha1\nkind: EnvironmentConfig\nvariables:\n  A: b\n"

func TestParseSharesWhatItParsed(t *testing.T) {
	a, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(strings.Clone(text))
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Error("the same text was parsed twice")
	}
	for i := range kept {
		if _, err := Parse(text + "# " + strings.Repeat("x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := Parse(text); err != nil || c == a {
		t.Errorf("Parse after %d other texts = %p, %v; want a new config: the cache is bounded", kept, c, err)
	}
}

func TestGetFindsTheActiveConfig(t *testing.T) {
	ctx, st := t.Context(), memstate.New(memstate.Options{})
	if c, err := Get(ctx, st); c != nil || err != nil {
		t.Errorf("Get without a config = %v, %v; want nil, nil", c, err)
	}
	if _, err := state.Create(ctx, st, machineconfig.Active, machineconfig.Config{Text: text}); err != nil {
		t.Fatal(err)
	}
	c, err := Get(ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	env, ok := schema.Find[*sysdoc.EnvironmentConfig](c.Set)
	if !ok || env.Variables["A"] != "b" {
		t.Errorf("documents = %v; want the EnvironmentConfig", c.Set)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	if _, err := Parse("version: v1alpha1\nmachin: {}\n"); err == nil || !strings.Contains(err.Error(), "machin") {
		t.Errorf("Parse(misspelt) = %v; want an error that names the field", err)
	}
}
