package services

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

func eventsCommand(env command.Env) *cobra.Command {
	var (
		tail         int32
		since, actor string
		duration     time.Duration
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what happens on machines, until it is interrupted",
		Long: "Prints events as they happen. --tail, --since or --duration say which of those before are printed first. An actor\n" +
			"is the call that caused an event, such as a reboot.",
		Example:           "  talosctl -n 10.5.0.2 events --tail -1\n  talosctl -n 10.5.0.2 events --duration 10m",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.Int32Var(&tail, "tail", 0, "how many of the last events to print first; -1 is all")
	fl.StringVar(&since, "since", "", "print first what came after the event with this ID")
	fl.DurationVar(&duration, "duration", 0, "print first what came in this time")
	fl.StringVar(&actor, "actor-id", "", "print only events of this actor")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		chosen := 0
		for _, name := range []string{"tail", "since", "duration"} {
			if cmd.Flags().Changed(name) {
				chosen++
			}
		}
		switch {
		case chosen > 1:
			return command.Usagef(cmd, "expected one of --tail, --since and --duration")
		case tail < -1:
			return command.Usagef(cmd, "expected --tail to be -1 or more, got %d", tail)
		case duration < 0 || duration%time.Second != 0:
			return command.Usagef(cmd, "expected --duration to be whole seconds, got %s", duration)
		}
		req := &machinepb.EventsRequest{TailEvents: tail, TailId: since, TailSeconds: int32(duration / time.Second), WithActorId: actor}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewLiveTable(env.Stdout, []string{"NODE", "ID", "EVENT", "ACTOR", "SOURCE", "MESSAGE"},
				longestOf(s.Nodes()), "d3lpa6s2ks9s73cj6m10", "MachineStatusEvent", "", "stopAllServices", "")
			for node, e := range nodes.Stream(ctx, s, 0, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.Event], error) {
				return c.Machine().Events(ctx, req)
			}) {
				kind, source, message := Describe(e)
				if err := t.Row(node, e.GetId(), kind, e.GetActorId(), source, message); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func longestOf(words []string) string {
	out := ""
	for _, w := range words {
		if len(w) > len(out) {
			out = w
		}
	}
	return out
}

// Describe returns what kind of event e is, what it is about and what it says. An event that is not known is described by
// its kind alone.
func Describe(e *machinepb.Event) (kind, source, message string) {
	kind = string(e.GetData().MessageName().Name())
	m, err := e.GetData().UnmarshalNew()
	if err != nil {
		return kind, "", ""
	}
	switch m := m.(type) {
	case *machinepb.SequenceEvent:
		if m.GetError() != nil {
			return kind, m.GetSequence(), "error: " + m.GetError().GetMessage()
		}
		return kind, m.GetSequence(), lower(m.GetAction())
	case *machinepb.PhaseEvent:
		return kind, m.GetPhase(), lower(m.GetAction())
	case *machinepb.TaskEvent:
		return kind, m.GetTask(), lower(m.GetAction())
	case *machinepb.ServiceStateEvent:
		return kind, m.GetService(), join(lower(m.GetAction()), m.GetMessage())
	case *machinepb.RestartEvent:
		return kind, "", fmt.Sprintf("reboot(2) with %#x", m.GetCmd())
	case *machinepb.ConfigLoadErrorEvent:
		return kind, "", m.GetError()
	case *machinepb.ConfigValidationErrorEvent:
		return kind, "", m.GetError()
	case *machinepb.AddressEvent:
		return kind, m.GetHostname(), strings.Join(m.GetAddresses(), ", ")
	case *machinepb.MachineStatusEvent:
		return kind, lower(m.GetStage()), readiness(m.GetStatus())
	}
	return kind, "", ""
}

func lower(e fmt.Stringer) string { return strings.ToLower(strings.ReplaceAll(e.String(), "_", " ")) }

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}

func readiness(s *machinepb.MachineStatusEvent_MachineStatus) string {
	if s.GetReady() {
		return "ready"
	}
	var why []string
	for _, c := range s.GetUnmetConditions() {
		why = append(why, join(c.GetName(), c.GetReason()))
	}
	if len(why) == 0 {
		return "not ready"
	}
	return "not ready: " + strings.Join(why, "; ")
}
