package vitals

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/resource/runtime"
)

func addr(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }

// healthy are the facts of a cluster of two and one where all is well.
func healthy() *Facts {
	f := &Facts{Machines: map[string]Observation{}}
	var members []Member
	for i, n := range []Node{
		{Target: "10.5.0.2", Name: "cp-1", Addresses: addr("10.5.0.2"), ControlPlane: true},
		{Target: "10.5.0.3", Name: "cp-2", Addresses: addr("10.5.0.3"), ControlPlane: true},
		{Target: "10.5.0.4", Name: "w-1", Addresses: addr("10.5.0.4")},
	} {
		f.Nodes = append(f.Nodes, n)
		if n.ControlPlane {
			members = append(members, Member{ID: uint64(i + 1), Name: n.Name, Addresses: n.Addresses})
			for _, c := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
				f.Kubernetes.Pods.Value = append(f.Kubernetes.Pods.Value, Pod{Name: c + "-" + n.Name, Node: n.Name, Phase: "Running", Ready: true})
			}
		}
		f.Kubernetes.Nodes.Value = append(f.Kubernetes.Nodes.Value, KubeNode{Name: n.Name, Addresses: n.Addresses, Ready: true})
		f.Machines[n.Target] = Observation{
			Status:      NewAnswer(runtime.MachineStatus{Stage: runtime.StageRunning}, nil),
			Services:    NewAnswer([]Service{{"apid", "Running", true, ""}, {"etcd", "Running", true, ""}, {"kubelet", "Running", true, ""}}, nil),
			Memory:      NewAnswer(uint64(4<<30), nil),
			Disk:        NewAnswer(uint64(20<<30), nil),
			Diagnostics: NewAnswer[[]string](nil, nil),
			Parts:       NewAnswer(Parts{}, nil),
		}
	}
	for t, o := range f.Machines {
		o.Members = NewAnswer(members, nil)
		f.Machines[t] = o
	}
	k := &f.Kubernetes
	k.Nodes.Known, k.Pods.Known = true, true
	k.Proxy = NewAnswer(Workload{Desired: 3, Ready: 3, Current: true}, nil)
	k.DNS = NewAnswer(Workload{Desired: 2, Ready: 2, Current: true}, nil)
	return f
}

// at lets change an observation.
func at(f *Facts, target string, change func(*Observation)) {
	o := f.Machines[target]
	change(&o)
	f.Machines[target] = o
}

func TestAllChecksPassWhenAllIsWell(t *testing.T) {
	f := healthy()
	for _, c := range checks {
		if err := c.judge(f); err != nil {
			t.Errorf("%s: %v; want it to pass", c.name, err)
		}
	}
	if got := len(Names()); got != 16 {
		t.Errorf("there are %d checks; the contract has 16", got)
	}
}

func TestNothingIsWellBeforeThereIsAnAnswer(t *testing.T) {
	f := &Facts{Nodes: healthy().Nodes, Machines: map[string]Observation{}}
	for _, c := range checks {
		err := c.judge(f)
		if _, skip := errors.AsType[skipped](err); err == nil || skip || !strings.Contains(err.Error(), "no answer yet") {
			t.Errorf("%s without an answer: %v; want 'no answer yet'", c.name, err)
		}
	}
}

func TestAFaultFailsItsCheckAndIsSaid(t *testing.T) {
	gone := status.Error(codes.Unavailable, "no route")
	for _, tc := range []struct {
		name   string
		change func(*Facts)
		want   map[string]string // what the checks say that do not pass
	}{
		{"etcd is not healthy", func(f *Facts) {
			at(f, "10.5.0.3", func(o *Observation) {
				o.Services.Value = slices.Clone(o.Services.Value)
				o.Services.Value[1] = Service{"etcd", "Running", false, "context\ndeadline"}
			})
		}, map[string]string{EtcdHealthy: "cp-2 (10.5.0.3): service etcd is not healthy: context deadline"}},
		{"a worker needs no etcd", func(f *Facts) {
			at(f, "10.5.0.4", func(o *Observation) { o.Services.Value = slices.Delete(slices.Clone(o.Services.Value), 1, 2) })
		}, nil},
		{"kubelet is not there", func(f *Facts) {
			at(f, "10.5.0.4", func(o *Observation) { o.Services.Value = o.Services.Value[:2] })
		}, map[string]string{KubeletHealthy: "w-1 (10.5.0.4): there is no service kubelet yet"}},
		{"kubelet fails", func(f *Facts) {
			at(f, "10.5.0.4", func(o *Observation) {
				o.Services.Value = append(slices.Clone(o.Services.Value[:2]), Service{"kubelet", "Failed", false, "exit code 1"})
			})
		}, map[string]string{KubeletHealthy: "w-1 (10.5.0.4): service kubelet is in state Failed: exit code 1"}},
		{"members differ", func(f *Facts) {
			at(f, "10.5.0.3", func(o *Observation) { o.Members.Value = o.Members.Value[1:] })
		}, map[string]string{EtcdConsistent: "cp-1 (10.5.0.2) knows the members cp-1 (0000000000000001), cp-2 (0000000000000002); cp-2 (10.5.0.3) knows cp-2 (0000000000000002)"}},
		{"a member is a stranger", func(f *Facts) {
			for _, target := range []string{"10.5.0.2", "10.5.0.3"} {
				at(f, target, func(o *Observation) {
					o.Members.Value = append(slices.Clone(o.Members.Value), Member{ID: 9, Name: "old", Addresses: addr("10.5.0.9")})
				})
			}
		}, map[string]string{EtcdControlPlane: "etcd has the member old (0000000000000009), which is none of the control plane nodes"}},
		{"a member is a learner", func(f *Facts) {
			for _, target := range []string{"10.5.0.2", "10.5.0.3"} {
				at(f, target, func(o *Observation) {
					o.Members.Value = slices.Clone(o.Members.Value)
					o.Members.Value[1].Learner = true
				})
			}
		}, map[string]string{EtcdControlPlane: "cp-2 (10.5.0.3): it is still a learner in etcd"}},
		{"too small", func(f *Facts) {
			at(f, "10.5.0.2", func(o *Observation) { o.Memory.Value = 1 << 30; o.Disk.Value = 5 << 30 })
			at(f, "10.5.0.4", func(o *Observation) { o.Memory.Value = 1 << 30; o.Disk.Value = 0 })
		}, map[string]string{
			MemorySizes: "cp-1 (10.5.0.2): it has 1024 MiB of memory; it needs at least 1792 MiB",
			DiskSizes:   "cp-1 (10.5.0.2): it has 5120 MiB of disk space; it needs at least 5632 MiB",
		}},
		{"a diagnostic", func(f *Facts) {
			at(f, "10.5.0.4", func(o *Observation) { o.Diagnostics.Value = []string{"the clock is wrong"} })
		}, map[string]string{NoDiagnostics: "w-1 (10.5.0.4): the clock is wrong"}},
		{"it boots", func(f *Facts) {
			at(f, "10.5.0.4", func(o *Observation) {
				o.Status.Value = runtime.MachineStatus{Stage: runtime.StageBooting, Status: runtime.Readiness{UnmetConditions: []runtime.UnmetCondition{{Name: "services", Reason: "kubelet is not up"}}}}
			})
		}, map[string]string{BootFinished: "w-1 (10.5.0.4): it is booting, services: kubelet is not up"}},
		{"a machine is gone", func(f *Facts) {
			f.Machines["10.5.0.4"] = Observation{
				Status: Answer[runtime.MachineStatus]{Err: gone}, Services: Answer[[]Service]{Err: gone}, Memory: Answer[uint64]{Err: gone},
				Disk: Answer[uint64]{Err: gone}, Diagnostics: Answer[[]string]{Err: gone}, Parts: Answer[Parts]{Err: gone},
			}
		}, map[string]string{
			APIReady: "w-1 (10.5.0.4): not available: no route", MemorySizes: "not available", DiskSizes: "not available", NoDiagnostics: "not available",
			KubeletHealthy: "not available", BootFinished: "not available",
			// Its config is not known, so neither is whether it makes a Node.
			NodesReport: "not available", NodesReady: "not available", NodesSchedulable: "not available",
		}},
		{"no Node yet", func(f *Facts) { f.Kubernetes.Nodes.Value = f.Kubernetes.Nodes.Value[:2] }, map[string]string{
			NodesReport: "w-1 (10.5.0.4): Kubernetes has no Node of it yet", NodesReady: "no Node", NodesSchedulable: "no Node",
		}},
		{"a Node too many", func(f *Facts) {
			f.Kubernetes.Nodes.Value = append(f.Kubernetes.Nodes.Value, KubeNode{Name: "old", Addresses: addr("10.5.0.9")})
		}, map[string]string{NodesReport: "Kubernetes has the Node old, which is none of the cluster's machines"}},
		{"a machine without a Node by its config", func(f *Facts) {
			f.Kubernetes.Nodes.Value = f.Kubernetes.Nodes.Value[:2]
			at(f, "10.5.0.4", func(o *Observation) { o.Parts.Value.NoNode = true })
		}, nil},
		{"a Node is not ready", func(f *Facts) {
			f.Kubernetes.Nodes.Value[2].Ready, f.Kubernetes.Nodes.Value[2].Reason = false, "cni plugin not initialized"
		}, map[string]string{NodesReady: "w-1 (10.5.0.4): its Node is not ready: cni plugin not initialized"}},
		{"a Node is cordoned", func(f *Facts) { f.Kubernetes.Nodes.Value[2].Unschedulable = true }, map[string]string{NodesSchedulable: "w-1 (10.5.0.4): its Node takes no pods: it is cordoned"}},
		{"a pod is missing", func(f *Facts) { f.Kubernetes.Pods.Value = f.Kubernetes.Pods.Value[:5] }, map[string]string{
			StaticPodsRunning: "cp-2 (10.5.0.3): there is no pod kube-scheduler-cp-2 yet", ComponentsReady: "kube-scheduler-cp-2",
		}},
		{"a part is switched off", func(f *Facts) {
			f.Kubernetes.Pods.Value = f.Kubernetes.Pods.Value[:5]
			at(f, "10.5.0.3", func(o *Observation) { o.Parts.Value.NoScheduler = true })
		}, nil},
		{"a pod is pending", func(f *Facts) {
			f.Kubernetes.Pods.Value[0] = Pod{Name: "kube-apiserver-cp-1", Phase: "Pending", Reason: "containers with unready status"}
		}, map[string]string{
			StaticPodsRunning: "cp-1 (10.5.0.2): pod kube-apiserver-cp-1 is Pending: containers with unready status",
			ComponentsReady:   "cp-1 (10.5.0.2): pod kube-apiserver-cp-1 is not ready: containers with unready status",
		}},
		{"workloads are not ready", func(f *Facts) {
			f.Kubernetes.Proxy.Value.Ready = 1
			f.Kubernetes.DNS.Value = Workload{Missing: true}
		}, map[string]string{ProxyReady: "DaemonSet kube-proxy: 1 of 3 pods are ready", DNSReady: "there is no Deployment coredns yet"}},
		{"numbers of an older generation do not count", func(f *Facts) {
			f.Kubernetes.Proxy.Value.Current = false
		}, map[string]string{ProxyReady: "Kubernetes has not looked at it yet"}},
		{"Kubernetes does not answer", func(f *Facts) {
			err := errors.New("Kubernetes at https://10.5.0.2:6443 does not answer: connection refused")
			f.Kubernetes = KubeObservation{Nodes: Answer[[]KubeNode]{Err: err}, Pods: Answer[[]Pod]{Err: err}, Proxy: Answer[Workload]{Err: err}, DNS: Answer[Workload]{Err: err}}
		}, map[string]string{
			NodesReport: "connection refused", StaticPodsRunning: "refused", ComponentsReady: "refused", NodesReady: "refused", ProxyReady: "refused",
			DNSReady: "refused", NodesSchedulable: "refused",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := healthy()
			tc.change(f)
			for _, c := range checks {
				err := c.judge(f)
				want := tc.want[c.name]
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v; want it to pass", c.name, err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: %v; want %q", c.name, err, want)
				}
			}
		})
	}
}

func TestWhatIsSwitchedOffEverywhereIsSkipped(t *testing.T) {
	f := healthy()
	f.Kubernetes.Proxy.Value, f.Kubernetes.DNS.Value = Workload{Missing: true}, Workload{Missing: true}
	for target := range f.Machines {
		at(f, target, func(o *Observation) { o.Parts.Value = Parts{NoProxy: true, NoDNS: true} })
	}
	for _, c := range checks {
		_, skip := errors.AsType[skipped](c.judge(f))
		if want := c.name == ProxyReady || c.name == DNSReady; skip != want {
			t.Errorf("%s is skipped: %v; want %v", c.name, skip, want)
		}
	}
}

func TestAReasonNamesAFewMachines(t *testing.T) {
	var nodes []Node
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		nodes = append(nodes, NewNode(name, false))
	}
	err := each(nodes, func(Node) string { return "bad" })
	if want := "a: bad; b: bad; c: bad; d: bad; and 2 more"; err == nil || err.Error() != want {
		t.Errorf("each = %v; want %q", err, want)
	}
}
