package crictrl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"talos.internal/controller"
	"talos.internal/resource/cri"
)

// SeccompProfileFileController writes the filters of system calls to where kubelet looks for them. What else is in the directory
// is removed.
type SeccompProfileFileController struct{ Dir string }

// Name implements [controller.Controller].
func (*SeccompProfileFileController) Name() string { return "cri.SeccompProfileFileController" }

// Inputs implements [controller.Controller].
func (*SeccompProfileFileController) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.Weak[cri.SeccompProfile]()}
}

// Outputs implements [controller.Controller].
func (*SeccompProfileFileController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *SeccompProfileFileController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		profiles, err := all[cri.SeccompProfile](ctx, rt)
		if err != nil {
			return err
		}
		have, err := os.ReadDir(c.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for seccomp profiles: %w", err)
		}
		for _, e := range have {
			if _, ok := profiles[e.Name()]; !ok {
				if err := os.RemoveAll(filepath.Join(c.Dir, e.Name())); err != nil {
					return fmt.Errorf("remove seccomp profile %s: %w", e.Name(), err)
				}
			}
		}
		for name, p := range profiles {
			b, err := json.MarshalIndent(p.Value, "", "  ")
			if err != nil {
				return fmt.Errorf("seccomp profile %s: %w", name, err)
			}
			path := filepath.Join(c.Dir, name)
			if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
				continue
			}
			if err := replace(path, string(b), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}
