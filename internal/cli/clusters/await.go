package clusters

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/cli/health"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
	"talos.internal/secret/kubeconfig"
)

const (
	between = 500 * time.Millisecond // two looks at a node
	// lookLimit bounds a call while something is waited for.
	lookLimit = 4 * time.Second
	// orderLimit bounds a call that makes a node do something.
	orderLimit = 30 * time.Second
)

// poll does look again and again until it is done, fails for good, or ctx ends. last is what it last saw.
func poll(ctx context.Context, what string, look func(ctx context.Context) (done bool, last string, err error)) error {
	seen := "nothing"
	for {
		done, last, err := look(ctx)
		if done || err != nil && ctx.Err() == nil {
			return err
		}
		end, limited := ctx.Deadline()
		if over := ctx.Err() != nil || limited && time.Until(end) < 100*time.Millisecond; last != "" && !over {
			seen = last // what is seen when the time is over is only that
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last seen: %s", what, context.Cause(ctx), seen)
		case <-time.After(between):
		}
	}
}

// awaitAPI waits until the API of nodes answers. A node that ends meanwhile is an error at once.
func (g *grown) awaitAPI(ctx context.Context, awaited []provision.Node) error {
	left := map[string]provision.Node{}
	var targets []string
	for _, n := range awaited {
		left[n.Address.String()] = n
		targets = append(targets, n.Address.String())
	}
	what := fmt.Sprintf("the API of %d nodes", len(awaited))
	if len(awaited) == 1 {
		what = "the API of " + awaited[0].Name
	}
	g.suspects = nil
	err := g.log.Do("wait for "+what, func(s *steps.Step) error {
		s.Waiting("an answer")
		var looked time.Time
		return poll(ctx, what, func(ctx context.Context) (bool, string, error) {
			var why []string
			targets = slices.DeleteFunc(targets, func(t string) bool { return left[t].Name == "" })
			for _, r := range client.Each(ctx, targets, func(ctx context.Context, node string) (*machinepb.Version, error) {
				return client.Only(g.client.Machine().Version(client.WithNode(ctx, node), &emptypb.Empty{}))
			}, client.WithTimeout(lookLimit)) {
				n := left[r.Node]
				if r.Err == nil {
					if len(awaited) > 1 {
						s.Note("%s answers", n.Name)
					}
					delete(left, r.Node)
					continue
				}
				why = append(why, n.Name+": "+nodes.OneLine(client.Explain(r.Err)))
			}
			if len(left) == 0 {
				return true, "", nil
			}
			s.Waiting(strings.Join(why, "; "))
			if now := time.Now(); now.Sub(looked) > 3*time.Second { // a look costs a process
				looked = now
				if err := g.alive(ctx, left); err != nil {
					return false, "", err
				}
			}
			return false, strings.Join(why, "; "), nil
		})
	})
	if err != nil && len(g.suspects) == 0 {
		for _, n := range left {
			g.suspects = append(g.suspects, n.Name)
		}
	}
	return err
}

// alive returns an error if one of the nodes does not run.
func (g *grown) alive(ctx context.Context, among map[string]provision.Node) error {
	c, err := g.p.Reflect(ctx, g.name)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if _, ok := among[n.Address.String()]; ok && n.Status != provision.Running {
			g.suspects = append(g.suspects, n.Name)
			return fmt.Errorf("node %s has ended (it is %s)", n.Name, n.Status)
		}
	}
	return nil
}

// bootstrap tells the first node to begin the cluster.
func (g *grown) bootstrap(ctx context.Context, node string) error {
	g.suspects = []string{g.cluster.Nodes[0].Name}
	return g.log.Do("tell "+g.cluster.Nodes[0].Name+" to begin the cluster", func(s *steps.Step) error {
		return poll(ctx, "the order to begin the cluster to be taken", func(ctx context.Context) (bool, string, error) {
			ctx, cancel := context.WithTimeout(ctx, orderLimit)
			defer cancel()
			_, err := client.Only(g.client.Machine().Bootstrap(client.WithNode(ctx, node), &machinepb.BootstrapRequest{}))
			switch status.Code(err) {
			case codes.OK:
				return err == nil, "", err
			case codes.AlreadyExists: // the answer to an earlier try was lost
				return true, "", nil
			case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
				return false, "", err
			}
			why := nodes.OneLine(client.Explain(err))
			s.Waiting("the node to take the order: " + why)
			return false, why, nil
		})
	})
}

// awaitHealth waits until all checks pass.
func (g *grown) awaitHealth(ctx context.Context) error {
	g.suspects = nil
	err := g.log.Do("wait for the cluster to be healthy", func(s *steps.Step) error {
		report := health.NewReport()
		return vitals.Run(ctx, g.vitals(), func(e vitals.Event) {
			report.Lines(e)
			if e.Check == "" || e.State != vitals.Waiting {
				s.Note("%s", note(e))
			}
			if name, text := report.Head(); text != "" {
				s.Waiting(name + ": " + text)
			}
		})
	})
	if unwell, ok := errors.AsType[*vitals.Error](err); ok {
		for _, n := range g.cluster.Nodes {
			for _, e := range slices.Concat(unwell.Mute, unwell.Left) {
				if strings.Contains(e.Node+" "+e.Text, n.Name) {
					g.suspects = append(g.suspects, n.Name)
					break
				}
			}
		}
	}
	return err
}

// note is an event as a line below a step.
func note(e vitals.Event) string {
	switch {
	case e.Check == "":
		return e.Line()
	case e.State == vitals.Skipped:
		return fmt.Sprintf("%s: SKIP (%s)", e.Check, e.Text)
	}
	return e.Check + ": OK"
}

// kubeconfig gets a kubeconfig, keeps it with the cluster and merges it into the person's file.
func (g *grown) kubeconfig(ctx context.Context) error {
	path, err := kubeconfigPath(g.env.Getenv, g.env.Home)
	if err != nil {
		return err
	}
	var merged kubeconfig.Result
	err = g.log.Do("merge the kubeconfig into "+path, func(s *steps.Step) error {
		var data []byte
		err := poll(ctx, "the kubeconfig", func(ctx context.Context) (bool, string, error) {
			ctx, cancel := context.WithTimeout(ctx, orderLimit)
			defer cancel()
			var err error
			if data, err = vitals.FirstKubeconfig(ctx, g.client, g.controlPlane()); err == nil {
				return true, "", nil
			}
			why := nodes.OneLine(client.Explain(err))
			s.Waiting(why)
			return false, why, nil
		})
		if err != nil {
			return err
		}
		if server := g.published(""); server != "" {
			if data, err = kubeconfig.WithServer(data, server); err != nil {
				return err
			}
		}
		if err := save(g.store, g.name, map[string][]byte{kubeconfigFile: data}); err != nil {
			return err
		}
		return changeFile(path, func(existing []byte) ([]byte, error) {
			merged, err = kubeconfig.Merge(existing, data, kubeconfig.Options{Rename: true, Activate: true})
			return merged.Data, err
		})
	})
	for _, r := range merged.Renames {
		g.env.Warn("          there is another %s in %s: the new one is called %s", r.From, r.Section, r.To)
	}
	return err
}

// kubeconfigPath is the file that kubectl works on.
func kubeconfigPath(getenv func(string) string, home string) (string, error) {
	for _, p := range filepath.SplitList(getenv("KUBECONFIG")) {
		if p != "" {
			return p, nil
		}
	}
	if home == "" {
		return "", errors.New("there is no home directory with a .kube/config: set $KUBECONFIG, or use --skip-kubeconfig")
	}
	return filepath.Join(home, ".kube", "config"), nil
}

// changeFile lets do change the text of a person's file, which may not be there yet, and writes it whole.
func changeFile(path string, do func(existing []byte) ([]byte, error)) error {
	existing, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := do(existing)
	if err != nil {
		return fmt.Errorf("change %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, data, 0o600, atomicfile.Options{Overwrite: true, Preserve: true})
}

// changeTalosconfig lets do change a talosconfig, which may not be there yet.
func changeTalosconfig[T any](path string, do func(*talosconfig.Config) (T, error)) (T, error) {
	var zero T
	c, _, err := talosconfig.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		c, err = &talosconfig.Config{}, nil
	}
	if err != nil {
		return zero, err
	}
	if c.Contexts == nil {
		c.Contexts = map[string]*talosconfig.Context{}
	}
	out, err := do(c)
	if err != nil {
		return zero, err
	}
	return out, c.Save(path)
}
