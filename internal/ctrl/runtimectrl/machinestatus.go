package runtimectrl

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"talos.internal/controller"
	"talos.internal/resource/clock"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// Names of conditions for being ready.
const (
	ConditionTime       = "time"
	ConditionNetwork    = "network"
	ConditionServices   = "services"
	ConditionStaticPods = "staticPods"
	ConditionNode       = "nodeReady"
)

// RequiredServices returns the services that a machine of type t has when all is well: what runs Kubernetes, and on the control plane
// what other machines need. A machine without a type, which has no config, has its API.
func RequiredServices(t machineconfig.MachineType) []string {
	switch t {
	case machineconfig.TypeControlPlane, machineconfig.TypeInit:
		return []string{"apid", "containerd", "etcd", "kubelet", "trustd"}
	case machineconfig.TypeWorker:
		return []string{"apid", "containerd", "kubelet"}
	default:
		return []string{"apid"}
	}
}

// facts is what the machine's status follows from.
type facts struct {
	told        runtime.MachineStage // by who ends the machine's life; unknown if nobody does
	maintenance bool                 // it waits for a config
	machine     machineconfig.MachineType
	ran         bool // it was in the stage running before, since it has a config
	time        *clock.TimeStatus
	network     *network.Status
	required    []string // services
	services    map[string]service.Service
	nodename    *kube.Nodename // nil if it is no node, or not yet
	node        *kube.NodeStatus
	pods        []string // static pods that should run: "namespace/name"
	podsReady   map[string]bool
}

// judge returns the status of a machine.
//
// A machine runs from when all of its services are there for the first time; what fails later makes it unready, and does not send it
// back to booting. What a machine does not have does not count: pods and a node without Kubernetes, and everything but its API without
// a config.
func judge(f facts) runtime.MachineStatus {
	var unmet []runtime.UnmetCondition
	add := func(name, reason string) {
		if reason != "" {
			unmet = append(unmet, runtime.UnmetCondition{Name: name, Reason: reason})
		}
	}
	services := unmetServices(f.required, f.services)
	add(ConditionTime, unmetTime(f.time))
	add(ConditionNetwork, unmetNetwork(f.network))
	add(ConditionServices, services)
	add(ConditionStaticPods, unmetPods(f.pods, f.podsReady))
	add(ConditionNode, unmetNode(f.nodename, f.node))
	slices.SortFunc(unmet, func(a, b runtime.UnmetCondition) int { return cmp.Compare(a.Name, b.Name) })

	s := runtime.MachineStatus{Stage: runtime.StageBooting, Status: runtime.Readiness{Ready: len(unmet) == 0, UnmetConditions: unmet}}
	switch {
	case f.told != runtime.StageUnknown:
		s.Stage = f.told
	case f.maintenance:
		s.Stage = runtime.StageMaintenance
	case f.machine != machineconfig.TypeUnknown && (f.ran || services == ""):
		s.Stage = runtime.StageRunning
	}
	return s
}

func unmetTime(s *clock.TimeStatus) string {
	if s == nil || !s.Synced {
		return "time is not synced"
	}
	return ""
}

func unmetNetwork(s *network.Status) string {
	if s == nil {
		s = new(network.Status)
	}
	var missing []string
	for _, part := range []struct {
		name string
		ok   bool
	}{{"address", s.AddressReady}, {"connectivity", s.ConnectivityReady}, {"hostname", s.HostnameReady}, {"etc files", s.EtcFilesReady}} {
		if !part.ok {
			missing = append(missing, part.name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "waiting on: " + strings.Join(missing, ", ")
}

func unmetServices(required []string, services map[string]service.Service) string {
	names := maps.Clone(services)
	if names == nil {
		names = map[string]service.Service{}
	}
	for _, id := range required {
		names[id] = services[id]
	}
	var bad []string
	for _, id := range slices.Sorted(maps.Keys(names)) {
		switch s := names[id]; {
		case !s.Running:
			bad = append(bad, id+" not running")
		case !s.Healthy && !s.HealthUnknown:
			bad = append(bad, id+" not healthy")
		}
	}
	return strings.Join(bad, ", ")
}

func unmetPods(pods []string, ready map[string]bool) string {
	var bad []string
	for _, id := range slices.Sorted(slices.Values(pods)) {
		if !ready[id] {
			bad = append(bad, id+" not ready")
		}
	}
	return strings.Join(bad, ", ")
}

func unmetNode(name *kube.Nodename, node *kube.NodeStatus) string {
	switch {
	case name == nil || name.SkipNodeRegistration:
		return ""
	case node == nil:
		return fmt.Sprintf("node %q status is not available yet", name.Name)
	case !node.NodeReady:
		return fmt.Sprintf("node %q is not ready", name.Name)
	}
	return ""
}

// podID returns "namespace/name" of a static pod as kubelet names it on a node: the node's name is appended.
func podID(pod map[string]any, nodename string) string {
	metadata, _ := pod["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	return cmp.Or(namespace, "default") + "/" + name + "-" + nodename
}

// podReady reports whether a PodStatus has the condition Ready.
func podReady(status map[string]any) bool {
	conditions, _ := status["conditions"].([]any)
	for _, c := range conditions {
		if c, _ := c.(map[string]any); c["type"] == "Ready" {
			return c["status"] == "True"
		}
	}
	return false
}

// MachineStatusController says which stage the machine is in, and whether it does what it should.
type MachineStatusController struct {
	Stage    *Stage
	Required func(machineconfig.MachineType) []string

	ran bool
}

// Name implements [controller.Controller].
func (*MachineStatusController) Name() string { return "runtime.MachineStatusController" }

// Inputs implements [controller.Controller].
func (*MachineStatusController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.MaintenanceServiceRequest]().Named(runtime.MaintenanceServiceID),
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.Weak[clock.TimeStatus]().Named(clock.TimeStatusID),
		controller.Weak[network.Status]().Named(network.StatusID),
		controller.Weak[service.Service](),
		controller.Weak[kube.Nodename]().Named(kube.NodenameID),
		controller.Weak[kube.NodeStatus](),
		controller.Weak[kube.StaticPod](),
		controller.Weak[kube.StaticPodStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*MachineStatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.MachineStatus]()}
}

// Run implements [controller.Controller].
func (c *MachineStatusController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	for {
		told, changed := c.Stage.get()
		f, err := c.gather(ctx, rt)
		if err != nil {
			return err
		}
		f.told = told
		status := judge(f)
		c.ran = f.ran || status.Stage == runtime.StageRunning
		if err := state.Put(ctx, rt, runtime.MachineStatusID, status); err != nil {
			return err
		}
		rt.ResetBackoff()
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-changed:
		}
	}
}

// gather reads the facts that are in the state.
func (c *MachineStatusController) gather(ctx context.Context, rt controller.Runtime) (facts, error) {
	f := facts{services: map[string]service.Service{}, podsReady: map[string]bool{}}
	request, err := state.Lookup[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
	if err != nil {
		return f, err
	}
	f.maintenance = request != nil
	machine, err := state.Lookup[machineconfig.Type](ctx, rt, machineconfig.TypeID)
	if err != nil {
		return f, err
	}
	if machine != nil {
		f.machine = machine.Type
		f.ran = c.ran
	}
	f.required = c.Required(f.machine)
	if f.time, err = state.Lookup[clock.TimeStatus](ctx, rt, clock.TimeStatusID); err != nil {
		return f, err
	}
	if f.network, err = state.Lookup[network.Status](ctx, rt, network.StatusID); err != nil {
		return f, err
	}
	services, err := state.List[service.Service](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, s := range services {
		f.services[s.Metadata().ID()] = s.Spec()
	}
	return f, c.gatherKubernetes(ctx, rt, &f)
}

func (c *MachineStatusController) gatherKubernetes(ctx context.Context, rt controller.Runtime, f *facts) error {
	var err error
	if f.nodename, err = state.Lookup[kube.Nodename](ctx, rt, kube.NodenameID); err != nil || f.nodename == nil {
		return err // static pods have the node in their names, so without one there are none
	}
	if f.node, err = state.Lookup[kube.NodeStatus](ctx, rt, f.nodename.Name); err != nil {
		return err
	}
	if f.machine != machineconfig.TypeControlPlane && f.machine != machineconfig.TypeInit {
		return nil
	}
	pods, err := state.List[kube.StaticPod](ctx, rt)
	if err != nil {
		return err
	}
	for _, p := range pods {
		f.pods = append(f.pods, podID(p.Spec().Pod, f.nodename.Name))
	}
	statuses, err := state.List[kube.StaticPodStatus](ctx, rt)
	if err != nil {
		return err
	}
	for _, s := range statuses {
		f.podsReady[s.Metadata().ID()] = podReady(s.Spec().PodStatus)
	}
	return nil
}
