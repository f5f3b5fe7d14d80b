package node

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/api/machinepb"
	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
	"talos.internal/internal/server"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

func TestWhatANodeLeaves(t *testing.T) {
	graceful := server.Cause{Action: server.Reset, Reset: &machinepb.ResetRequest{Graceful: true}}
	kubeconfig := kubefake.New(t).Kubeconfig
	for _, tc := range []struct {
		name       string
		cause      server.Cause
		etcd       string // the service: "" if there is none, else whether it is running
		kubeconfig string
		nodename   kube.Nodename
		want       []string
	}{
		{"a shutdown", server.Cause{Action: server.Shutdown}, "running", kubeconfig, kube.Nodename{Name: "a"}, nil},
		{"a reset in haste", server.Cause{Action: server.Reset, Reset: &machinepb.ResetRequest{}}, "running", kubeconfig, kube.Nodename{Name: "a"}, nil},
		{"a node that never joined", graceful, "", "", kube.Nodename{Name: "a"}, []string{"leave the cluster's view"}},
		{"a control plane", graceful, "running", kubeconfig, kube.Nodename{Name: "a"},
			[]string{"drain the Node", "leave Kubernetes", "leave etcd", "leave the cluster's view"}},
		{"a control plane that never began", graceful, "waiting", kubeconfig, kube.Nodename{Name: "a"}, []string{"leave etcd", "leave the cluster's view"}},
		{"one without a Node", graceful, "running", kubeconfig, kube.Nodename{Name: "a", SkipNodeRegistration: true},
			[]string{"leave etcd", "leave the cluster's view"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs, err := logring.NewSet(0)
			if err != nil {
				t.Fatal(err)
			}
			n := &node{
				log: slog.New(slog.DiscardHandler), state: memstate.New(memstate.Options{}), services: supervise.New(logs), discovery: &discoveryctrl.Door{},
			}
			if err := state.Put(t.Context(), n.state, kube.NodenameID, tc.nodename); err != nil {
				t.Fatal(err)
			}
			if err := state.Put(t.Context(), n.state, secrets.KubernetesID, secrets.Kubernetes{LocalhostAdminKubeconfig: tc.kubeconfig}); err != nil {
				t.Fatal(err)
			}
			if tc.etcd != "" {
				startEtcd(t, n.services, tc.etcd == "running")
			}
			var got []string
			for _, s := range n.leave(tc.cause) {
				got = append(got, s.Name)
				if s.Limit <= 0 || s.MayFail == "" {
					t.Errorf("step %q has no limit, or keeps the node from ending", s.Name)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// startEtcd loads etcd's service, and has it run until the end of the test.
func startEtcd(t *testing.T, s *supervise.Supervisor, start bool) {
	t.Helper()
	running := make(chan struct{})
	err := s.Load(supervise.Service{ID: etcdctrl.ServiceID, Runner: supervise.Func(func(ctx context.Context, _ io.Writer) error {
		close(running)
		<-ctx.Done()
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	if !start {
		return
	}
	if err := s.Start(etcdctrl.ServiceID); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(context.Background(), time.Second) })
	<-running
	for {
		st, err := s.Status(etcdctrl.ServiceID)
		if err != nil {
			t.Fatal(err)
		}
		if st.State == supervise.Running {
			return
		}
	}
}

func TestADrainedNodeIsDeleted(t *testing.T) {
	s := kubefake.New(t)
	s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}})
	for range 2 { // the second time there is none
		if err := deleteNode(t.Context(), s.Client(), "w-1"); err != nil || s.Get("/api/v1/nodes/w-1") != nil {
			t.Errorf("deleteNode = %v; want the Node gone", err)
		}
	}
}
