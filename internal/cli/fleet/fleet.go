// Package fleet has the machines of a cluster for commands that change them one after the other, and wait for what comes of it.
//
// [Open] finds the machines and reads their configs. A [Fleet] then reads and applies configs, pulls images, asks for resources, and has
// access to Kubernetes; [Await] waits for something with a deadline and says what it last saw. Nothing here decides anything.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/config"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/vitals"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
)

const (
	// between is between two looks at what is waited for.
	between = 500 * time.Millisecond
	// glance bounds a look.
	glance = 10 * time.Second
)

// Machine is a machine of the cluster.
type Machine struct {
	vitals.Node

	Nodename string // its name in Kubernetes; "" if it has no Node
	Config   *config.Config
}

// Options say which machines there are, and where Kubernetes is.
type Options struct {
	// ControlPlane and Workers are the machines; if none is given, they are those that discovery knows.
	ControlPlane, Workers []string
	// Server is the URL of the Kubernetes API; "" is that of the kubeconfig.
	Server string
}

// Fleet are the machines of a cluster. Close it at the end.
type Fleet struct {
	// Machines are those of the control plane first, each part in the order of their names.
	Machines []Machine

	c      *client.Client
	server string

	mu         sync.Mutex
	kubeconfig []byte
	kube       *kubeapi.Client
}

// Open finds the machines of the cluster of node, and reads their configs.
func Open(ctx context.Context, c *client.Client, node string, o Options) (*Fleet, error) {
	f := &Fleet{c: c, server: o.Server}
	var found []vitals.Node
	for _, n := range o.ControlPlane {
		found = append(found, vitals.NewNode(nodes.Host(n), true))
	}
	for _, n := range o.Workers {
		found = append(found, vitals.NewNode(nodes.Host(n), false))
	}
	if len(found) == 0 {
		var err error
		within, cancel := context.WithTimeout(ctx, glance)
		found, err = vitals.Members(within, c, node)
		cancel()
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, func(a, b vitals.Node) int {
		switch {
		case a.ControlPlane == b.ControlPlane:
			return 0
		case a.ControlPlane:
			return -1
		}
		return 1
	})
	if len(found) == 0 || !found[0].ControlPlane {
		return nil, fmt.Errorf("%s knows of no machine of the control plane; is discovery on, and the cluster begun?", node)
	}
	for _, n := range found {
		m := Machine{Node: n}
		var err error
		if m.Config, err = f.Config(ctx, n.Target); err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		name, err := Get[kube.Nodename](ctx, f, n.Target, kube.NodenameID)
		if err != nil {
			return nil, fmt.Errorf("%s: ask for its name in Kubernetes: %w", n, err)
		}
		if !name.SkipNodeRegistration {
			m.Nodename = name.Name
		}
		f.Machines = append(f.Machines, m)
	}
	return f, nil
}

// Begin finds the machines of the cluster of node, as [Open] does, and waits until the cluster is healthy. It is the beginning of what
// changes a cluster; after an error nothing was.
func Begin(ctx context.Context, log *steps.Log, c *client.Client, node string, o Options, within time.Duration) (f *Fleet, err error) {
	err = log.Do("find the machines", func(*steps.Step) (err error) {
		f, err = Open(ctx, c, node, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = log.Do("check that the cluster is healthy", func(s *steps.Step) error { return f.Healthy(ctx, s, within) })
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	return f, nil
}

// Close ends the connections to Kubernetes.
func (f *Fleet) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kube != nil {
		f.kube.Close()
		f.kube = nil
	}
}

// Trust has the machines be called by another client from now on, as after a change of their authority.
func (f *Fleet) Trust(c *client.Client) { f.c = c }

// Config reads the config of a machine.
func (f *Fleet) Config(ctx context.Context, target string) (*config.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, nodes.Quick)
	defer cancel()
	cfg, err := Get[machineconfig.Config](ctx, f, target, machineconfig.Active)
	if err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	if cfg.Text == "" {
		return nil, errors.New("read the config: it is empty")
	}
	return config.Load("the config of "+target, []byte(cfg.Text))
}

// Apply gives a machine a config, at once and without a reboot.
func (f *Fleet) Apply(ctx context.Context, target string, c *config.Config) error {
	data, err := c.Bytes()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(client.WithNode(ctx, target), nodes.Quick)
	defer cancel()
	_, err = client.Only(f.c.Machine().ApplyConfiguration(ctx, &machinepb.ApplyConfigurationRequest{
		Data: data, Mode: machinepb.ApplyConfigurationRequest_NO_REBOOT,
	}))
	if err != nil {
		return fmt.Errorf("apply the config: %w", err)
	}
	return nil
}

// Pull has a machine fetch an image, for pods or else for the system. say hears how far it is.
func (f *Fleet) Pull(ctx context.Context, target, image string, pods bool, say func(string)) error {
	ctx, cancel := context.WithTimeout(client.WithNode(ctx, target), 3*nodes.Slow)
	defer cancel()
	where := &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CONTAINERD, Namespace: commonpb.ContainerdNamespace_NS_SYSTEM}
	if pods {
		where = &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CRI, Namespace: commonpb.ContainerdNamespace_NS_CRI}
	}
	stream, err := f.c.Images().Pull(ctx, &machinepb.ImageServicePullRequest{Containerd: where, ImageRef: image})
	if err != nil {
		return err
	}
	layers := map[string]*machinepb.ImageServicePullLayerProgress{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := m.GetPullProgress()
		if p == nil {
			continue
		}
		layers[p.GetLayerId()] = p.GetProgress()
		var got, all int64
		for _, l := range layers {
			got, all = got+l.GetOffset(), all+l.GetTotal()
		}
		if all > 0 {
			say(fmt.Sprintf("%s: %d%% of %s", image, got*100/all, nodes.Bytes(uint64(all))))
		}
	}
}

// Get reads a resource of a machine.
func Get[S resource.Spec](ctx context.Context, f *Fleet, target, id string) (S, error) {
	var out S
	kind := resource.KindOf[S]()
	ctx, cancel := context.WithTimeout(client.WithNode(ctx, target), glance)
	defer cancel()
	r, err := f.c.State().Get(ctx, &statepb.GetRequest{Namespace: kind.Namespace, Type: kind.Type, Id: id})
	if err != nil {
		return out, err
	}
	if err := yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &out); err != nil {
		return out, fmt.Errorf("read %s %s: %w", kind.Type, id, err)
	}
	return out, nil
}

// List reads all resources of a type of a machine, with their ids, in the order of these.
func List[S resource.Spec](ctx context.Context, f *Fleet, target string) (ids []string, specs []S, err error) {
	kind := resource.KindOf[S]()
	ctx, cancel := context.WithTimeout(client.WithNode(ctx, target), glance)
	defer cancel()
	stream, err := f.c.State().List(ctx, &statepb.ListRequest{Namespace: kind.Namespace, Type: kind.Type})
	if err != nil {
		return nil, nil, err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return ids, specs, nil
		}
		if err != nil {
			return nil, nil, err
		}
		var s S
		if err := yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &s); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", kind.Type, err)
		}
		ids, specs = append(ids, r.GetResource().GetMetadata().GetId()), append(specs, s)
	}
}

// Kubernetes returns access to Kubernetes, with credentials from a machine of the control plane. The fleet closes it.
func (f *Fleet) Kubernetes(ctx context.Context) (*kubeapi.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kube != nil {
		return f.kube, nil
	}
	conf, err := f.access(ctx)
	if err != nil {
		return nil, err
	}
	if f.server != "" {
		if conf.Server, err = serverURL(f.server); err != nil {
			return nil, err
		}
	}
	f.kube, err = kubeapi.New(conf, kubeapi.Options{})
	return f.kube, err
}

// Forget has the next access to Kubernetes be with new credentials.
func (f *Fleet) Forget() {
	f.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kubeconfig = nil
}

// APIServer returns access to the API server of one machine, whatever balances between them. The caller closes it.
func (f *Fleet) APIServer(ctx context.Context, m Machine, port uint16) (*kubeapi.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	conf, err := f.access(ctx)
	if err != nil {
		return nil, err
	}
	conf.ServerName = conf.Server.Hostname() // for which the certificate is valid, whatever the machine is called by
	conf.Server = &url.URL{Scheme: "https", Host: net.JoinHostPort(nodes.Host(m.Target), strconv.Itoa(int(port)))}
	return kubeapi.New(conf, kubeapi.Options{})
}

func (f *Fleet) access(ctx context.Context) (kubeapi.Config, error) {
	if f.kubeconfig == nil {
		var targets []string
		for _, m := range f.ControlPlane() {
			targets = append(targets, m.Target)
		}
		within, cancel := context.WithTimeout(ctx, glance)
		defer cancel()
		data, err := vitals.FirstKubeconfig(within, f.c, targets)
		if err != nil {
			return kubeapi.Config{}, err
		}
		f.kubeconfig = data
	}
	return kubeapi.ParseKubeconfig(f.kubeconfig, "")
}

// serverURL reads what a person gives as the address of the API.
func serverURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("expected the URL of the Kubernetes API such as https://10.5.0.2:6443, got %q", text)
	}
	return u, nil
}

// ControlPlane returns the machines of the control plane.
func (f *Fleet) ControlPlane() []Machine {
	var out []Machine
	for _, m := range f.Machines {
		if m.ControlPlane {
			out = append(out, m)
		}
	}
	return out
}

// Healthy waits until all published checks pass.
func (f *Fleet) Healthy(ctx context.Context, s *steps.Step, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("waited %s", within))
	defer cancel()
	var all []vitals.Node
	var targets []string
	for _, m := range f.Machines {
		all = append(all, m.Node)
		if m.ControlPlane {
			targets = append(targets, m.Target)
		}
	}
	return vitals.Run(ctx, vitals.Options{
		Nodes: all, Machines: vitals.NewMachines(f.c), Kubernetes: vitals.Access(f.c, targets, f.server),
	}, func(e vitals.Event) {
		if e.State == vitals.Waiting && e.Text != "" {
			s.Waiting(strings.TrimPrefix(e.Line(), "waiting for "))
		}
	})
}

// Ready reports, as an error, why a pod or a Node is not ready.
func Ready(o kubeapi.Object) error {
	switch status, message := o.Condition("Ready"); status {
	case "True":
		return nil
	case "":
		return fmt.Errorf("%v does not say whether it is ready", o)
	default:
		return fmt.Errorf("%v is not ready: %s", o, message)
	}
}

// Await looks again and again until look returns nil or the time is over. What look returns otherwise is what
// was last seen.
func Await(ctx context.Context, s *steps.Step, what string, within time.Duration, look func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("waited %s", within))
	defer cancel()
	last := "nothing"
	s.Waiting(what)
	for {
		looking, done := context.WithTimeout(ctx, glance)
		err := look(looking)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = nodes.OneLine(client.Explain(err))
			s.Waiting(what + "; last seen: " + last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last seen: %s", what, context.Cause(ctx), last)
		case <-time.After(between):
		}
	}
}
