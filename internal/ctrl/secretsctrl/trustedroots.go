package secretsctrl

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/files"
	"talos.internal/state"
)

// trustedRootsFile is where programs look for the authorities that they trust, below /etc.
const trustedRootsFile = "ssl/certs/ca-certificates.crt"

// TrustedRootsController lays a file over the image's list of trusted authorities: that list, and those of the config after it.
type TrustedRootsController struct {
	// SystemRoots returns the list as the image has it.
	SystemRoots func() ([]byte, error)

	system []byte // the list, once it has been read: afterwards ours is in its place
}

// Name implements [controller.Controller].
func (*TrustedRootsController) Name() string { return "secrets.TrustedRootsController" }

// Inputs implements [controller.Controller].
func (*TrustedRootsController) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.DestroyReady[files.EtcFileSpec]()}
}

// Outputs implements [controller.Controller].
func (*TrustedRootsController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[files.EtcFileSpec]()}
}

// Run implements [controller.Controller].
func (c *TrustedRootsController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		var docs []*sysdoc.TrustedRootsConfig
		if config != nil {
			docs = schema.All[*sysdoc.TrustedRootsConfig](config.Set)
		}
		if len(docs) == 0 {
			return remove[files.EtcFileSpec](ctx, rt)
		}
		if c.system == nil {
			if c.system, err = c.SystemRoots(); err != nil {
				return fmt.Errorf("read the authorities that the image trusts: %w", err)
			}
		}
		return state.Put(ctx, rt, trustedRootsFile, files.EtcFileSpec{Contents: trustedRoots(c.system, docs), Mode: 0o644})
	})
}

// trustedRoots joins the lists, each under a line that says whose it is.
func trustedRoots(system []byte, docs []*sysdoc.TrustedRootsConfig) []byte {
	var b bytes.Buffer
	b.Write(system)
	for _, d := range docs {
		if n := b.Len(); n > 0 && b.Bytes()[n-1] != '\n' {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\n# %s\n%s", d.Name, d.Certificates)
	}
	return b.Bytes()
}
