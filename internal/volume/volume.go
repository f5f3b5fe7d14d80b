// Package volume tells whether the volumes of a machine that others build on can be used yet.
//
// What it says follows from block.MountStatus and block.VolumeStatus, which the controllers of disks write. In a container
// volumes are directories, which are always there: whoever runs in both passes that on as a flag.
//
// Controllers and the composition of the node may import it.
package volume

import (
	"context"
	"slices"
	"strings"

	"talos.internal/controller"
	"talos.internal/resource/block"
	"talos.internal/state"
)

// The volumes, by their ids.
const (
	State     = "STATE"
	Ephemeral = "EPHEMERAL"
)

// Where is what is known of a volume.
type Where int

// What can be known.
const (
	Unknown Where = iota // the disks are still looked at, or it is being prepared
	Mounted              // it can be read and written
	Missing              // no disk of this machine has it
	Failed               // it is there and cannot be used
)

// String says it in a word.
func (w Where) String() string {
	return [...]string{"not known yet", "mounted", "missing", "failed"}[w]
}

// Inputs are what Look reads of a volume.
func Inputs(id string) []controller.Input {
	return []controller.Input{
		controller.Weak[block.MountStatus]().Named(id),
		controller.Weak[block.VolumeStatus]().Named(id),
	}
}

// Look returns what is known of a volume, and why it failed or what it waits for.
func Look(ctx context.Context, st state.Reader, id string) (w Where, why string, err error) {
	m, err := state.Lookup[block.MountStatus](ctx, st, id)
	if err != nil {
		return Unknown, "", err
	}
	if m != nil && m.Target != "" && !m.Detached {
		return Mounted, "", nil
	}
	v, err := state.Lookup[block.VolumeStatus](ctx, st, id)
	if err != nil || v == nil {
		return Unknown, "", err
	}
	switch v.Phase {
	case block.PhaseMissing:
		return Missing, "", nil
	case block.PhaseFailed:
		return Failed, v.ErrorMessage, nil
	}
	return Unknown, v.ErrorMessage, nil
}

// Closed names the volumes whose keys the TPM has and that may still be opened at this start.
func Closed(ctx context.Context, st state.Reader) (string, error) {
	volumes, err := state.List[block.VolumeStatus](ctx, st)
	if err != nil {
		return "", err
	}
	var out []string
	for _, v := range volumes {
		over := []block.VolumePhase{block.PhasePrepared, block.PhaseReady, block.PhaseFailed, block.PhaseMissing}
		if s := v.Spec(); s.TPMEncryptionOptions != nil && !slices.Contains(over, s.Phase) {
			out = append(out, v.Metadata().ID())
		}
	}
	return strings.Join(out, " "), nil
}
