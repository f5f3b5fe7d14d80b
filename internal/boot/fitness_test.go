package boot

import (
	"strings"
	"testing"

	"talos.internal/internal/sys/proc"
)

func TestAMachineThatIsNotFitDoesNotStart(t *testing.T) {
	level2 := strings.Fields("fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3")
	line := func(text string) []proc.Param {
		t.Helper()
		p, err := proc.ParseCmdline(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	hardened := line("slab_nomerge pti=on")
	for _, tc := range []struct {
		name, arch string
		flags      []string
		cmdline    []proc.Param
		want       string // in the error; "" for none
	}{
		{"as it should be", "amd64", level2, hardened, ""},
		{"the processor of 2004", "amd64", strings.Fields("fpu cx16 lahf_lm pni"), hardened, "the processor has no popcnt sse4_1 sse4_2 ssse3,"},
		{"features that are not known", "amd64", nil, hardened, ""},
		{"another architecture", "arm64", []string{"fp", "asimd"}, hardened, ""},
		{"slabs are merged", "amd64", level2, line("pti=on"), "no slab_nomerge"},
		{"page tables are shared", "amd64", level2, line("slab_nomerge pti=off"), "no pti=on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := fit(tc.arch, tc.flags, tc.cmdline)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("fit() = %v; want an error with %q", err, tc.want)
			}
		})
	}
	f := machine(t)
	f.Cmdline = nil
	if _, err := Plan(f); err == nil || !strings.HasPrefix(err.Error(), "plan the boot: ") {
		t.Errorf("Plan() = %v; want an error", err)
	}
}
