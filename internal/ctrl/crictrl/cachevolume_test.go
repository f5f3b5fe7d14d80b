package crictrl

import (
	"context"
	"testing"

	"talos.internal/config/blockdoc"
	"talos.internal/controller/controllertest"
	"talos.internal/resource/block"
)

func TestImageCachesAreKnownWhenTheDiskIs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		phase block.VolumePhase
		want  string // what is shown; "-" for nothing yet
	}{
		{"the disk is looked at", block.PhaseWaiting, "-"},
		{"the disk has one", block.PhaseReady, "/dev/vda5"},
		{"the disk has none", block.PhaseMissing, ""},
		{"that of the disk is damaged", block.PhaseFailed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			controllertest.Run(t, func(h *controllertest.Harness) {
				shown := "-"
				c := &ImageCacheVolumeController{Known: make(chan struct{}), Show: func(_ context.Context, partition string) { shown = partition }}
				if err := h.Scheduler.Register(c); err != nil {
					t.Fatal(err)
				}
				controllertest.Create(h, blockdoc.ImageCache, block.VolumeStatus{Phase: tc.phase, MountLocation: "/dev/vda5"})
				h.Settle()
				known := false
				select {
				case <-c.Known:
					known = true
				default:
				}
				if shown != tc.want || known != (tc.want != "-") {
					t.Errorf("shown %q, known %t; want %q", shown, known, tc.want)
				}
			})
		})
	}
}
