package filesctrl

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/files"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// etcFileConfig wishes for the files of the machine config. A file that someone else writes stays that one's: which of them
// a config may not name is checked when it is read.
type etcFileConfig struct{}

// Name implements [controller.Controller].
func (etcFileConfig) Name() string { return "files.EtcFileConfigController" }

// Inputs implements [controller.Controller].
func (etcFileConfig) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Active), controller.DestroyReady[files.EtcFileSpec]()}
}

// Outputs implements [controller.Controller].
func (etcFileConfig) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[files.EtcFileSpec]()}
}

// Run implements [controller.Controller].
func (etcFileConfig) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		var docs []*sysdoc.EtcFileConfig
		if c != nil {
			docs = schema.All[*sysdoc.EtcFileConfig](c.Set)
		}
		rt.TrackOutputs()
		for _, doc := range docs {
			_, err := state.Modify(ctx, rt, doc.Name, func(_ *resource.Metadata, s *files.EtcFileSpec) error {
				*s = files.EtcFileSpec{Contents: files.Contents(doc.Contents), Mode: fs.FileMode(doc.ModeOrDefault())}
				return nil
			})
			switch {
			case errors.Is(err, state.OwnerConflict):
				log.Warn("the machine config names a file that the system writes; it is left as it is", "name", doc.Name)
			case errors.Is(err, state.PhaseConflict):
				// It goes, and is put again when it is gone.
				if err := rt.Destroy(ctx, state.RefOf[files.EtcFileSpec](doc.Name), state.DestroyOptions{}); err == nil {
					rt.Wake()
				} else if !errors.Is(err, state.FinalizersConflict) {
					return err
				}
			case err != nil:
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}
