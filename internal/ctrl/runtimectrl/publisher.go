package runtimectrl

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/controller"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// MachineStatusPublisherController publishes each change of the machine's status as an event.
type MachineStatusPublisherController struct {
	Publish func(event proto.Message, actorID string)

	last *machinepb.MachineStatusEvent
}

// Name implements [controller.Controller].
func (*MachineStatusPublisherController) Name() string {
	return "runtime.MachineStatusPublisherController"
}

// Inputs implements [controller.Controller].
func (*MachineStatusPublisherController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[runtime.MachineStatus]().Named(runtime.MachineStatusID)}
}

// Outputs implements [controller.Controller].
func (*MachineStatusPublisherController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *MachineStatusPublisherController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		status, err := state.Lookup[runtime.MachineStatus](ctx, rt, runtime.MachineStatusID)
		if err != nil || status == nil || c.Publish == nil {
			return err
		}
		if event := statusEvent(*status); !proto.Equal(event, c.last) {
			c.Publish(event, "")
			c.last = event
		}
		return nil
	})
}

// statusEvent returns s as the API has it. The numbers of the stages are the same.
func statusEvent(s runtime.MachineStatus) *machinepb.MachineStatusEvent {
	status := &machinepb.MachineStatusEvent_MachineStatus{Ready: s.Status.Ready}
	for _, u := range s.Status.UnmetConditions {
		status.UnmetConditions = append(status.UnmetConditions,
			&machinepb.MachineStatusEvent_MachineStatus_UnmetCondition{Name: u.Name, Reason: u.Reason})
	}
	return &machinepb.MachineStatusEvent{Stage: machinepb.MachineStatusEvent_MachineStage(s.Stage), Status: status}
}
