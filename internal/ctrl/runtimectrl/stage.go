package runtimectrl

import (
	"sync"

	"talos.internal/resource/runtime"
)

// Stage tells the controllers which end of its life the machine has come to. Use [NewStage]. It is safe for concurrent use.
type Stage struct {
	mu      sync.Mutex
	stage   runtime.MachineStage
	changed chan struct{} // closed and replaced by Set
}

// NewStage returns a Stage with nothing set.
func NewStage() *Stage { return &Stage{changed: make(chan struct{})} }

// Set says that the machine is rebooting, shutting down, resetting, upgrading or installing. runtime.StageUnknown takes it back: the
// stage then follows from the state again.
func (s *Stage) Set(stage runtime.MachineStage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage == stage {
		return
	}
	s.stage = stage
	close(s.changed)
	s.changed = make(chan struct{})
}

// get returns what is set, and a channel that is closed by the next change.
func (s *Stage) get() (runtime.MachineStage, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stage, s.changed
}
