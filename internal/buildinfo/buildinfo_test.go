package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFromSaysWhatWasBuilt(t *testing.T) {
	settings := func(kv ...string) []debug.BuildSetting {
		var out []debug.BuildSetting
		for i := 0; i < len(kv); i += 2 {
			out = append(out, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return out
	}
	for _, tc := range []struct {
		name     string
		settings []debug.BuildSetting
		sha      string
		built    string
	}{
		{"clean", settings("vcs.revision", "abc", "vcs.time", "2026-11-23T00:00:00Z", "vcs.modified", "false"), "abc", "2026-11-23T00:00:00Z"},
		{"changed", settings("vcs.revision", "abc", "vcs.modified", "true"), "abc-dirty", ""},
		{"no checkout", nil, "unknown", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := from(&debug.BuildInfo{GoVersion: "go1.26.8", Settings: tc.settings})
			want := Info{Tag: Version, SHA: tc.sha, Built: tc.built, GoVersion: "go1.26.8", OS: runtime.GOOS, Arch: runtime.GOARCH}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("from (-want +got):\n%s", diff)
			}
		})
	}
}
