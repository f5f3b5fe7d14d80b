package node

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/internal/boot"
	"talos.internal/internal/server"
	"talos.internal/resource/runtime"
)

// lifecycle takes the first cause to end, and no other: an end that has begun is not stopped for a second one.
type lifecycle struct {
	causes chan server.Cause // holds the one that was taken

	mu    sync.Mutex
	taken *server.Cause
}

func newLifecycle() *lifecycle { return &lifecycle{causes: make(chan server.Cause, 1)} }

// Request implements server.Lifecycle.
func (l *lifecycle) Request(_ context.Context, c server.Cause) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken != nil {
		return status.Errorf(codes.FailedPrecondition, "%s: %s (actor %s) is under way already", c.Action, l.taken.Action, l.taken.Actor)
	}
	l.taken = &c
	l.causes <- c
	return nil
}

// ending is what a cause comes to in the words of the parts that carry it out.
type ending struct {
	cause    boot.Cause
	stage    runtime.MachineStage
	sequence string // in events
}

// endingOf decides what a cause comes to. A cause without an action is a signal.
func endingOf(c server.Cause) ending {
	switch c.Action {
	case server.Reboot:
		return ending{boot.Cause{Kind: boot.Reboot}, runtime.StageRebooting, "reboot"}
	case server.Shutdown:
		return ending{boot.Cause{Kind: boot.Shutdown}, runtime.StageShuttingDown, "shutdown"}
	case server.Upgrade, server.Rollback:
		return ending{boot.Cause{Kind: boot.Reboot}, runtime.StageUpgrading, "upgrade"}
	case server.Reset:
		state, ephemeral := wiped(c.Reset)
		return ending{boot.Cause{Kind: boot.Reset, WipeState: state, WipeEphemeral: ephemeral}, runtime.StageResetting, "reset"}
	}
	return ending{boot.Cause{Kind: boot.Terminated}, runtime.StageShuttingDown, "shutdown"}
}

// wiped says which volumes a reset removes: those that it names, or all of the system if it names none.
func wiped(r *machinepb.ResetRequest) (state, ephemeral bool) {
	if r.GetMode() == machinepb.ResetRequest_USER_DISKS {
		return false, false
	}
	named := r.GetSystemPartitionsToWipe()
	if len(named) == 0 {
		return true, true
	}
	for _, p := range named {
		switch p.GetLabel() {
		case "STATE":
			state = state || p.GetWipe()
		case "EPHEMERAL":
			ephemeral = ephemeral || p.GetWipe()
		}
	}
	return state, ephemeral
}

// announce tells everybody that the end has begun: the stage of the machine, and an event with the actor's id.
func (n *node) announce(c server.Cause, e ending) {
	n.stage.Set(e.stage)
	n.publish(&machinepb.SequenceEvent{Sequence: e.sequence, Action: machinepb.SequenceEvent_START}, c.Actor)
}

// tell reports an error of the end to those who follow the events.
func (n *node) tell(c server.Cause, e ending, err error) {
	n.publish(&machinepb.SequenceEvent{
		Sequence: e.sequence, Action: machinepb.SequenceEvent_NOOP,
		Error: &commonpb.Error{Code: commonpb.Code_FATAL, Message: fmt.Sprint(err)},
	}, c.Actor)
}
