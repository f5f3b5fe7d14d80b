package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"talos.internal/internal/boot"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/ctrl/nodectrl"
	"talos.internal/internal/drain"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/server"
	"talos.internal/internal/supervise"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// How long a node that leaves for good may take to say so.
const (
	leavePods      = time.Minute
	leaveNode      = 10 * time.Second
	leaveEtcd      = 20 * time.Second
	leaveDiscovery = 5 * time.Second
)

// leave returns what precedes the end of a node that does not come back, while its services still run: a graceful reset has its pods go
// elsewhere and takes it out of Kubernetes, of etcd and of the cluster's view. A node that never came into one of them leaves nothing.
func (n *node) leave(c server.Cause) []boot.Step {
	if c.Action != server.Reset || !c.Reset.GetGraceful() {
		return nil
	}
	ctx := context.Background() // the state is in memory: nothing waits
	var steps []boot.Step
	etcd, noEtcd := n.services.Status(etcdctrl.ServiceID)
	if name, err := state.Lookup[kube.Nodename](ctx, n.state, kube.NodenameID); err == nil && name != nil && !name.SkipNodeRegistration {
		// A control plane that never began has all that its own API server would want, and no API server.
		if c, err := n.ownKubernetes(ctx); err == nil && (noEtcd != nil || etcd.State == supervise.Running) {
			c.Close()
			steps = append(steps, boot.Step{
				Name: "drain the Node", Limit: leavePods,
				MayFail: "pods that are left end with this node",
				Do:      boot.Call{What: "have the pods of this node go elsewhere", Func: func(ctx context.Context) error { return n.drain(ctx, name.Name) }},
			}, boot.Step{
				Name: "leave Kubernetes", Limit: leaveNode,
				MayFail: "Kubernetes keeps a Node that is gone; remove it with kubectl delete node",
				Do:      boot.Call{What: "delete this node's Node", Func: func(ctx context.Context) error { return n.leaveKubernetes(ctx, name.Name) }},
			})
		}
	}
	if noEtcd == nil {
		steps = append(steps, boot.Step{
			Name: "leave etcd", Limit: leaveEtcd,
			MayFail: "etcd keeps a member that is gone; remove it with talosctl members remove",
			Do: boot.Call{What: "take this node's member out of etcd", Func: func(ctx context.Context) error {
				err := n.door.Leave(ctx, etcdop.Operator{PKI: etcdctrl.DefaultPKI})
				if errors.Is(err, etcdop.ErrLastMember) {
					return nil // with it the cluster ends
				}
				return err
			}},
		})
	}
	return append(steps, boot.Step{
		Name: "leave the cluster's view", Limit: leaveDiscovery,
		MayFail: "the others mark this node as gone instead of forgetting it",
		Do:      boot.Call{What: "tell the other nodes that this one does not come back", Func: n.discovery.Leave},
	})
}

// drain has the pods of this node go elsewhere. Budgets for disruptions are kept: the node runs, and can wait for a while.
func (n *node) drain(ctx context.Context, name string) error {
	c, err := n.ownKubernetes(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = drain.Node(ctx, c, name, drain.Evict, func(left string) { n.log.Info("waiting for the end of pods", "left", left) })
	return err
}

func (n *node) leaveKubernetes(ctx context.Context, name string) error {
	c, err := n.ownKubernetes(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return deleteNode(ctx, c, name)
}

// deleteNode deletes a Node. It is no error if there is none.
func deleteNode(ctx context.Context, c *kubeapi.Client, name string) error {
	if err := c.Delete(ctx, kubeapi.KindOf("v1", "Node"), "", name); err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
		return err
	}
	return nil
}

// ownKubernetes returns a client of the API server with what rights this node has: those of an administrator on the control plane,
// kubelet's on a worker. Without either it has not joined Kubernetes.
func (n *node) ownKubernetes(ctx context.Context) (*kubeapi.Client, error) {
	if keys, err := state.Lookup[secrets.Kubernetes](ctx, n.state, secrets.KubernetesID); err == nil && keys != nil && keys.LocalhostAdminKubeconfig != "" {
		return n.kubernetes(ctx)
	}
	data, err := os.ReadFile(nodectrl.KubeletKubeconfig)
	if err != nil {
		return nil, fmt.Errorf("this node has not joined Kubernetes: %w", err)
	}
	config, err := kubeapi.ParseKubeconfig(data, "")
	if err != nil {
		return nil, err
	}
	return kubeapi.New(config, kubeapi.Options{})
}
