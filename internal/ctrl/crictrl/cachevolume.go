package crictrl

import (
	"context"
	"log/slog"

	"talos.internal/config/blockdoc"
	"talos.internal/controller"
	"talos.internal/resource/block"
	"talos.internal/state"
)

// ImageCacheVolumeController shows the image caches that the machine's disk and medium have, once it is known what is on the disk, and
// then says that there are no others. What a config wants of them is for those that serve them.
type ImageCacheVolumeController struct {
	// Show mounts that of a partition, empty if the disk has none, and that of the medium.
	Show func(ctx context.Context, partition string)
	// Known is closed when all are shown. It is what CachesKnown of [Deps] is.
	Known chan struct{}
}

// Name implements [controller.Controller].
func (*ImageCacheVolumeController) Name() string { return "cri.ImageCacheVolumeController" }

// Inputs implements [controller.Controller].
func (*ImageCacheVolumeController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[block.VolumeStatus]().Named(blockdoc.ImageCache)}
}

// Outputs implements [controller.Controller].
func (*ImageCacheVolumeController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *ImageCacheVolumeController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	shown := false
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		v, there, err := state.Find[block.VolumeStatus](ctx, rt, blockdoc.ImageCache)
		if err != nil || !there || shown {
			return err
		}
		switch v.Phase {
		case block.PhaseReady:
			c.Show(ctx, v.MountLocation)
		case block.PhaseFailed:
			log.Warn("the image cache of the disk cannot be used", "reason", v.ErrorMessage)
			c.Show(ctx, "")
		case block.PhaseMissing:
			c.Show(ctx, "")
		default:
			return nil
		}
		shown = true
		close(c.Known)
		return nil
	})
}
