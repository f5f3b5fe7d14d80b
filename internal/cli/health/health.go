// Package health has the command that tells whether a cluster is healthy: the published checks, printed as they pass.
//
// The checks themselves are in internal/vitals. By default talosctl runs them; with --server a node of the control plane does.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/clusterpb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/vitals"
)

type flags struct {
	controlPlane, workers []string
	first                 string
	endpoint              string
	server                bool
	wait                  time.Duration
	output                string
}

// New returns the command.
func New(env command.Env) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check whether the cluster is healthy, and wait until it is",
		Long: "Checks etcd, the services of all machines and Kubernetes, side by side, until all is well or the time to wait is over.\n" +
			"Each check is printed as it passes; a machine that does not answer is named at once. The exit code is 0 if the cluster\n" +
			"is healthy. The machines are those that discovery knows, or those of the flags.",
		Example: "  talosctl -n 10.5.0.2 health\n" +
			"  talosctl -n 10.5.0.2 health --control-plane-nodes 10.5.0.2 --worker-nodes 10.5.0.3,10.5.0.4 --wait-timeout 1m",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.controlPlane, "control-plane-nodes", nil, "the machines of the control plane (default: those that discovery knows)")
	fl.StringSliceVar(&f.workers, "worker-nodes", nil, "the workers (default: those that discovery knows)")
	fl.StringVar(&f.first, "init-node", "", "one more machine of the control plane: the first one")
	fl.StringVar(&f.endpoint, "k8s-endpoint", "", "the URL of the Kubernetes API (default: that of the kubeconfig)")
	fl.BoolVar(&f.server, "server", false, "let a machine of the control plane run the checks")
	fl.DurationVar(&f.wait, "wait-timeout", 20*time.Minute, "how long to wait until the cluster is healthy")
	fl.StringVarP(&f.output, "output", "o", "text", "how to print: text, or json for one object a line")
	command.Complete(cmd, "output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	n := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.first != "" {
			f.controlPlane = append([]string{f.first}, f.controlPlane...)
		}
		switch {
		case f.wait <= 0:
			return command.Usagef(cmd, "expected --wait-timeout to be more than zero, got %s", f.wait)
		case f.output != "text" && f.output != "json":
			return command.Usagef(cmd, "expected --output to be text or json, got %q", f.output)
		case len(f.workers) > 0 && len(f.controlPlane) == 0:
			return command.Usagef(cmd, "--worker-nodes are of use only together with --control-plane-nodes")
		case f.server && f.output == "json":
			return command.Usagef(cmd, "--server gives text only; leave out --output json")
		}
		return n.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			wait := f.wait
			if f.server {
				wait += serverSlack
			}
			ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("--wait-timeout of %s is over", f.wait))
			defer cancel()
			if f.server {
				return f.onServer(ctx, s)
			}
			return f.run(ctx, s)
		})
	}
	return cmd
}

// serverSlack is how much longer than the node itself is waited for a node that runs the checks: it says what is missing at the end.
const serverSlack = 10 * time.Second

// onServer lets the node run the checks.
func (f *flags) onServer(ctx context.Context, s *nodes.Session) error {
	node := s.Nodes()[0]
	req := &clusterpb.HealthCheckRequest{
		WaitTimeout: durationpb.New(f.wait),
		ClusterInfo: &clusterpb.ClusterInfo{ControlPlaneNodes: f.controlPlane, WorkerNodes: f.workers, ForceEndpoint: f.endpoint},
	}
	for p, err := range nodes.StreamOne(ctx, s, node, 0, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[clusterpb.HealthCheckProgress], error) {
		return c.Cluster().HealthCheck(ctx, req)
	}) {
		if err != nil {
			s.Fail(node, err)
			return nil
		}
		if _, err := fmt.Fprintln(s.Env().Stdout, nodes.OneLine(p.GetMessage())); err != nil {
			return err
		}
	}
	return nil
}

// run runs the checks here.
func (f *flags) run(ctx context.Context, s *nodes.Session) error {
	out := printer{w: s.Env().Stdout, json: f.output == "json", report: NewReport()}
	c, node := s.Client(s.Nodes()[0]), s.Nodes()[0]
	machines, err := f.machines(ctx, c, node, &out)
	if err != nil {
		out.end(false)
		return err
	}
	var askable []string
	for _, m := range machines {
		if m.ControlPlane {
			askable = append(askable, m.Target)
		}
	}
	err = vitals.Run(ctx, vitals.Options{
		Nodes: machines, Machines: vitals.NewMachines(c), Kubernetes: vitals.Access(c, askable, f.endpoint),
	}, out.event)
	out.end(err == nil)
	return errors.Join(err, out.err)
}

// machines returns the machines of the flags, or those that the node knows.
func (f *flags) machines(ctx context.Context, c *client.Client, node string, out *printer) ([]vitals.Node, error) {
	var all []vitals.Node
	for _, n := range f.controlPlane {
		all = append(all, vitals.NewNode(nodes.Host(n), true))
	}
	for _, n := range f.workers {
		all = append(all, vitals.NewNode(nodes.Host(n), false))
	}
	if len(all) > 0 {
		return all, nil
	}
	all, err := vitals.AwaitMembers(ctx, c, node, out.event)
	if err != nil {
		return nil, fmt.Errorf("%w; name them by --control-plane-nodes and --worker-nodes", err)
	}
	return all, nil
}

// printer prints events.
type printer struct {
	w      io.Writer
	json   bool
	report *Report
	err    error // of writing
}

// line is an event in JSON.
type line struct {
	Check   string       `json:"check,omitempty"`
	Node    string       `json:"node,omitempty"`
	State   vitals.State `json:"state,omitempty"`
	Message string       `json:"message,omitempty"`
	Healthy *bool        `json:"healthy,omitempty"` // in the last line
}

func (p *printer) event(e vitals.Event) {
	if p.json {
		p.object(line{Check: e.Check, Node: e.Node, State: e.State, Message: e.Text})
		return
	}
	for _, text := range p.report.Lines(e) {
		p.print(text)
	}
}

func (p *printer) end(healthy bool) {
	if p.json {
		p.object(line{Healthy: &healthy})
	}
}

func (p *printer) object(l line) {
	data, err := json.Marshal(l)
	if err != nil {
		p.err = errors.Join(p.err, err)
		return
	}
	p.print(string(data))
}

func (p *printer) print(text string) {
	if _, err := fmt.Fprintln(p.w, text); err != nil && p.err == nil {
		p.err = err
	}
}
