// Package etcdctrl has the controllers of etcd on a control-plane node: what it is started with, its certificates as files, its
// service, and its membership.
//
// # Model
//
// etcd.Config is what the machine config says, etcd.Spec what etcd is started with on this node. The certificates of
// secrets.Etcd are written to a directory (PKIStatus), from where etcd takes them at each connection, so that a renewed one needs no
// restart. The service "etcd" is a container. How it starts follows from what is there, by a pure function ([decide]):
//
//   - a member's data in the directory: it goes on with that;
//   - none, and an operator's order to begin: it begins a cluster, out of nothing or out of a snapshot;
//   - none, and a member of the cluster answers at one of the control plane's addresses: it joins as a learner, and is promoted when
//     it has caught up;
//   - otherwise it waits, and says what for: one node has to be bootstrapped.
//
// [Door] is how the API server brings the operator's orders, and how etcd's data goes when the node leaves.
//
// # What it does not do
//
// It issues no certificates (secretsctrl), and operates no running member: that is package etcdop.
package etcdctrl

import (
	"context"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/container"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// ServiceID is the name of the service.
const ServiceID = "etcd"

// The user that etcd runs as (contract.md, section 6.1).
const etcdUser = 60

// Services is what the package needs of the supervisor.
type Services interface {
	Load(...supervise.Service) error
	Start(ids ...string) error
	Restart(ctx context.Context, id string) error
	Stop(ctx context.Context, ids ...string) error
	Unload(ctx context.Context, ids ...string) error
	Status(id string) (supervise.Status, error)
}

// Deps is what the controllers need of the outside.
type Deps struct {
	// Services runs etcd. Required.
	Services Services
	// Client is the connection to containerd. Required.
	Client *container.Client
	// Door is where orders come in. Required.
	Door *Door
	// Conditions are what etcd waits for besides containerd: the gates of the clock and the network.
	Conditions []supervise.Condition
	// PKI is the directory for certificates; empty means /system/secrets/etcd. It is made if it is not there.
	PKI string
	// Cgroup is the cgroup of etcd's container; empty means /podruntime/etcd. Two nodes that share the hierarchy of one machine need
	// two: runc refuses a group in which another container runs.
	Cgroup string
}

// defaultCgroup is etcd's cgroup on a node.
const defaultCgroup = "/" + boot.GroupEtcd

// DefaultPKI is where etcd's certificates are on a node.
const DefaultPKI = "/system/secrets/etcd"

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.PKI == "" {
		d.PKI = DefaultPKI
	}
	if d.Cgroup == "" {
		d.Cgroup = defaultCgroup
	}
	op := etcdop.Operator{PKI: d.PKI}
	return []controller.Controller{
		ConfigController{}, SpecController{}, &PKIController{Dir: d.PKI, Owner: etcdUser},
		&ServiceController{Services: d.Services, Client: d.Client, Door: d.Door, Conditions: d.Conditions, PKI: d.PKI, Cgroup: d.Cgroup, Operator: op},
		MemberController{Operator: op}, AdvertisedPeerController{Operator: op}, PromotionController{Operator: op},
	}
}

// remove takes away what the controller has of a kind.
func remove[S resource.Spec](ctx context.Context, rt controller.Runtime) error {
	rt.TrackOutputs()
	return rt.CleanupOutputs(ctx, resource.KindOf[S]())
}

// isControlPlane reports whether the machine's config says that it has a control plane.
func isControlPlane(ctx context.Context, st state.Reader) (bool, error) {
	t, _, err := state.Find[machineconfig.Type](ctx, st, machineconfig.TypeID)
	return t.Type == machineconfig.TypeControlPlane || t.Type == machineconfig.TypeInit, err
}
