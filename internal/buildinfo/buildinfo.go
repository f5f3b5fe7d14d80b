// Package buildinfo tells what a binary was built from: the version of the system, the commit, the Go version, the platform.
//
// The commit comes from what the Go linker records, so that a plain "go build" in a checkout stamps it.
package buildinfo

import (
	"runtime"
	"runtime/debug"
)

// Name is the name of the system, as in a node's OS-IMAGE.
const Name = "Talos"

// Version is the version of the system that this source builds (Semantic Versioning 2.0.0). Clients compare it.
const Version = "v1.15.0-alpha.0"

// ConfigFormat is up to which format of the machine config this source understands what a machine has kept. It is raised with a change
// after which the version before might not, so that an upgrade to that is refused. An image says it in its os-release by the key
// ConfigFormatKey; one that does not say it is of format 1.
const (
	ConfigFormat    = 1
	ConfigFormatKey = "TALOS_CONFIG_FORMAT"
)

// Info is what a binary was built from.
type Info struct {
	Tag       string // [Version]
	SHA       string // the commit, with "-dirty" if the tree had changes; "unknown" outside a checkout
	Built     string // the commit's time, RFC 3339; empty if unknown. The time of the build is not recorded: builds are reproducible
	GoVersion string
	OS, Arch  string
}

// Read returns what the running binary was built from.
func Read() Info {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		bi = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return from(bi)
}

func from(bi *debug.BuildInfo) Info {
	info := Info{Tag: Version, SHA: "unknown", GoVersion: bi.GoVersion, OS: runtime.GOOS, Arch: runtime.GOARCH}
	dirty := false
	for _, s := range bi.Settings {
		switch s.Key {
		case "vcs.revision":
			info.SHA = s.Value
		case "vcs.time":
			info.Built = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && info.SHA != "unknown" {
		info.SHA += "-dirty"
	}
	return info
}
