package crictrl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"talos.internal/internal/container"
	"talos.internal/resource/cri"
)

// hostsPrefix is where the files are that containerd reads at each pull.
const hostsPrefix = "conf.d/hosts/"

// Sources are what the files of the CRI are made of.
type Sources struct {
	Registries     cri.RegistryConfig
	Customizations map[string]cri.CustomizationConfig
	// Base and Overrides are the runtime specification of pods and what changes it; nil if nothing does.
	Base, Overrides map[string]any
	// Verify has images for pods verified.
	Verify bool
}

// Files returns the files of the CRI by their path below Deps.Dir.
func Files(d Deps, h container.Host, s Sources) (map[string]string, error) {
	out := map[string]string{"containerd.toml": containerdTOML(d, h, s.Registries.Auths, s.Overrides != nil, s.Verify)}
	for name, c := range s.Customizations {
		out["conf.d/20-"+name+".part"] = c.Content
	}
	if s.Overrides != nil {
		b, err := json.MarshalIndent(merge(s.Base, s.Overrides), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("make the runtime specification of pods: %w", err)
		}
		out["conf.d/base-spec.json"] = string(b) + "\n"
	}
	for name, content := range hostFiles(s.Registries, filepath.Join(d.Dir, hostsPrefix)) {
		out[hostsPrefix+name] = content
	}
	return out, nil
}

// merge returns base with what over has: mappings are merged, all else is replaced, null takes away (RFC 7396).
func merge(base, over map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range base {
		out[k] = v
	}
	for k, v := range over {
		b, isMap := out[k].(map[string]any)
		o, both := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && both:
			out[k] = merge(b, o)
		default:
			out[k] = v
		}
	}
	return out
}

// syncFiles brings the files below dir to what they should be. It reports whether one changed that containerd reads only at its start.
// Parts that somebody else laid into conf.d stay: known are the files of the last sync, and only those of them are removed that are
// not wanted any more. Below conf.d/hosts there is nothing else.
func syncFiles(dir string, want map[string]string, known map[string]bool) (restart bool, err error) {
	for name := range known {
		if _, ok := want[name]; ok {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return restart, err
		}
		delete(known, name)
		restart = restart || !strings.HasPrefix(name, hostsPrefix)
		if strings.HasPrefix(name, hostsPrefix) {
			// A directory without a file would keep containerd from the default.
			_ = os.Remove(filepath.Dir(filepath.Join(dir, name)))
		}
	}
	for name, content := range want {
		known[name] = true
		path := filepath.Join(dir, name)
		if have, err := os.ReadFile(path); err == nil && string(have) == content {
			continue
		}
		if err := replace(path, content, 0o600); err != nil {
			return restart, err
		}
		restart = restart || !strings.HasPrefix(name, hostsPrefix)
	}
	return restart, nil
}

// replace writes a file, and the directories above it, such that a reader sees the old content or the new one.
func replace(path, content string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// The name has no ending that containerd would import.
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(temporary, []byte(content), mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
