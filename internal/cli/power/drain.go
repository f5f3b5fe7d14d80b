package power

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/client"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/drain"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/vitals"
	"talos.internal/resource/kube"
)

// openLimit is how long it may take to let pods come to a node again. The Kubernetes API may be on that node, and just starting.
const openLimit = 2 * time.Minute

// door is a Node of Kubernetes whose pods go elsewhere while its machine is away.
type door struct {
	connect func(ctx context.Context) (*kubeapi.Client, error)
	node    string // the Node's name; "" if the machine has none
	limit   time.Duration
	tell    func(format string, args ...any)

	closed bool // by us
}

// shut drains the Node. After an error it is as it was.
func (d *door) shut(ctx context.Context) error {
	if d.node == "" {
		d.tell("has no Node in Kubernetes to be drained")
		return nil
	}
	c, err := d.connect(ctx)
	if err != nil {
		return fmt.Errorf("drain Node %s: %w", d.node, err)
	}
	defer c.Close()
	d.tell("drains Node %s", d.node)
	draining, cancel := context.WithTimeoutCause(ctx, d.limit, fmt.Errorf("the %s of --drain-timeout are over", d.limit))
	defer cancel()
	r, err := drain.Node(draining, c, d.node, drain.Evict, func(left string) { d.tell("waits for the end of pods: %s", left) })
	d.closed = r.Cordoned
	if err != nil {
		return errors.Join(err, d.open(ctx))
	}
	d.tell("is drained: %d pods have gone", r.Pods)
	return nil
}

// open lets pods come again if shut kept them away. It tries for a while, even if ctx has ended meanwhile.
func (d *door) open(ctx context.Context) error {
	if !d.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openLimit)
	defer cancel()
	for {
		err := d.tryOpen(ctx)
		if err == nil {
			d.closed = false
			d.tell("takes pods again")
			return nil
		}
		d.tell("Node %s is still closed: %s", d.node, client.Explain(err))
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; it takes no pods until 'kubectl uncordon %s'", err, d.node)
		case <-time.After(between):
		}
	}
}

func (d *door) tryOpen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return drain.Open(ctx, c, d.node)
}

// door returns the door of the node that is followed.
func (t *tracker) door(ctx context.Context, limit time.Duration) (*door, error) {
	name, err := spec[kube.Nodename](ctx, t, kube.NodenameID)
	if err != nil {
		return nil, fmt.Errorf("ask for its name in Kubernetes: %w", err)
	}
	if name.SkipNodeRegistration {
		name.Name = ""
	}
	return &door{connect: t.kubernetes, node: name.Name, limit: limit, tell: t.tell}, nil
}

// kubernetes returns access to Kubernetes by a kubeconfig from the endpoint or, if that is no machine of the control plane, from
// the node itself.
func (t *tracker) kubernetes(ctx context.Context) (*kubeapi.Client, error) {
	ask := func(node string) ([]byte, error) {
		return nodes.One(ctx, t.s, t.node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]byte, error) {
			return vitals.Kubeconfig(ctx, c, node)
		})
	}
	data, err := ask("")
	if code := status.Code(err); code == codes.FailedPrecondition || code == codes.Unimplemented {
		data, err = ask(t.node)
	}
	if err != nil {
		return nil, err
	}
	config, err := kubeapi.ParseKubeconfig(data, "")
	if err != nil {
		return nil, err
	}
	return kubeapi.New(config, kubeapi.Options{})
}
