package volume

import (
	"testing"

	"talos.internal/resource/block"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

func TestClosedNamesVolumesWhoseKeysTheTPMHas(t *testing.T) {
	ctx, st := t.Context(), memstate.New(memstate.Options{})
	byTPM := &block.TPMEncryptionOptions{PCRs: []int64{7}}
	for id, s := range map[string]block.VolumeStatus{
		"EPHEMERAL": {Phase: block.PhaseReady, TPMEncryptionOptions: byTPM},
		"u-gone":    {Phase: block.PhaseFailed, TPMEncryptionOptions: byTPM},
		"u-clear":   {Phase: block.PhaseWaiting},
		"u-late":    {Phase: block.PhaseWaiting, TPMEncryptionOptions: byTPM},
	} {
		if err := state.Put(ctx, st, id, s); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Closed(ctx, st); err != nil || got != "u-late" {
		t.Errorf("Closed = %q, %v; want u-late", got, err)
	}
}
