// Package rotation has the command that replaces the authorities of a running cluster: that of the machine API, and that of Kubernetes.
//
// A rotation has three phases ([phase]), each done on all machines before the next: the new authority is believed too, then it issues
// and the old one is believed still, then the old one is believed no more. What a config has to say after each is decided by
// [trust.next], which is pure. Every step waits until the machine, and Kubernetes on it, does what its config says.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/fleet"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/secret"
)

// flags are the flags of the command.
type flags struct {
	dryRun, talos, kubernetes bool
	output                    string
	controlPlane, workers     []string
	first, endpoint           string
}

// New returns the command.
func New(env command.Env) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "rotate-ca",
		Short: "Replace the authorities of the cluster's certificates",
		Long: "Makes new authorities for the machine API and for Kubernetes, and has the machines use them, without a reboot:\n" +
			"first every machine believes the new one too, then it issues all certificates, then the old one is believed no\n" +
			"more. A talosconfig with a certificate of the new authority is written to --output before the old one ends.\n\n" +
			"By default nothing is changed, and what would be done is printed; --dry-run=false does it.",
		Example: "  talosctl -n 10.5.0.2 rotate-ca\n" +
			"  talosctl -n 10.5.0.2 rotate-ca --dry-run=false --kubernetes=false --output new.talosconfig",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.dryRun, "dry-run", true, "print what would be done, and change nothing")
	fl.BoolVar(&f.talos, "talos", true, "replace the authority of the machine API")
	fl.BoolVar(&f.kubernetes, "kubernetes", true, "replace the authority of Kubernetes")
	fl.StringVarP(&f.output, "output", "o", "talosconfig", "the file for the new talosconfig")
	fl.StringSliceVar(&f.controlPlane, "control-plane-nodes", nil, "the machines of the control plane (default: those that discovery knows)")
	fl.StringSliceVar(&f.workers, "worker-nodes", nil, "the workers (default: those that discovery knows)")
	fl.StringVar(&f.first, "init-node", "", "one more machine of the control plane: the first one")
	fl.StringVar(&f.endpoint, "k8s-endpoint", "", "the URL of the Kubernetes API (default: that of the kubeconfig)")
	n := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.first != "" {
			f.controlPlane = append([]string{f.first}, f.controlPlane...)
		}
		switch {
		case !f.talos && !f.kubernetes:
			return command.Usagef(cmd, "there is nothing to replace with --talos=false and --kubernetes=false")
		case len(f.workers) > 0 && len(f.controlPlane) == 0:
			return command.Usagef(cmd, "--worker-nodes are of use only together with --control-plane-nodes")
		}
		if f.talos && !f.dryRun {
			if _, err := os.Lstat(f.output); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; name another file by --output: it is to be the way to the machines", f.output)
			}
		}
		return n.Run(cmd, func(ctx context.Context, s *nodes.Session) error { return f.run(ctx, s) })
	}
	return cmd
}

func (f *flags) run(ctx context.Context, s *nodes.Session) error {
	env := s.Env()
	log := steps.New(env.Stderr, env.Now, env.Getenv)
	node := s.Nodes()[0]
	all, err := fleet.Begin(ctx, log, s.Client(node), node, fleet.Options{ControlPlane: f.controlPlane, Workers: f.workers, Server: f.endpoint}, healthLimit)
	if err != nil {
		return err
	}
	defer all.Close()
	var todo []*rotating
	for _, of := range []subject{machineAPI, kubernetes} {
		if of == machineAPI && !f.talos || of == kubernetes && !f.kubernetes {
			continue
		}
		r := &rotating{Fleet: all, env: env, log: log, of: of, file: talosFile{path: f.output, name: "default", context: s.Context()}}
		if err := r.prepare(); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		todo = append(todo, r)
	}
	if f.dryRun {
		var b strings.Builder
		b.WriteString("this would be done:\n")
		for _, r := range todo {
			for _, p := range []phase{accept, swap, drop} {
				for _, m := range all.Machines {
					fmt.Fprintf(&b, "  %s\n", p.text(r.of, nameOf(m)))
				}
			}
		}
		b.WriteString("Nothing was changed; --dry-run=false does it.\n")
		_, err := fmt.Fprint(env.Stdout, b.String())
		return err
	}
	for _, r := range todo {
		if err := r.run(ctx); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(env.Stdout, "the authority of %s is new: %s\n", r.of, r.now.Fingerprint()); err != nil {
			return err
		}
	}
	if f.talos {
		_, err = fmt.Fprintf(env.Stdout, "use the new talosconfig: talosctl config merge %s\n", f.output)
	}
	return err
}

// prepare finds the present authority, and makes the new one or takes over the one of a rotation that was interrupted.
func (r *rotating) prepare() error {
	var all []trust
	for _, m := range r.ControlPlane() {
		t := trustOf(r.of, m.Config)
		if len(t.key) == 0 {
			return fmt.Errorf("the config of %s has no key of the authority of %s: it cannot be replaced", nameOf(m), r.of)
		}
		all = append(all, t)
	}
	old, now, err := begun(all)
	if err != nil {
		return err
	}
	r.old = old.issuing
	if len(now.issuing) > 0 {
		r.env.Warn("a rotation of the authority of %s was interrupted: it is gone on with", r.of)
		r.now, err = secret.ParseAuthority(now.issuing, now.key)
	} else {
		r.now, err = secret.NewAuthority(r.of.kind(), r.env.Now())
	}
	if err != nil {
		return err
	}
	if r.of == kubernetes {
		return nil
	}
	id, err := r.file.context.Identity()
	r.file.roles = id.Roles
	return err
}
