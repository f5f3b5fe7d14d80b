package rotation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/fleet"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/manifest"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

const (
	// machineLimit is how long a machine may take to act on its config, kubeLimit Kubernetes on it.
	machineLimit = 2 * time.Minute
	kubeLimit    = 10 * time.Minute
	// healthLimit is how long the cluster may take to be healthy.
	healthLimit = 5 * time.Minute
)

// rotating replaces one authority on all machines.
type rotating struct {
	*fleet.Fleet
	env  command.Env
	log  *steps.Log
	of   subject
	old  []byte            // certificate
	now  *secret.Authority // the new one
	file talosFile
}

// talosFile is the talosconfig that is made, by which the machines can be reached whatever happens.
type talosFile struct {
	path, name string
	context    *talosconfig.Context // the one in use
	roles      []string             // of its certificate
}

// run takes all phases.
func (r *rotating) run(ctx context.Context) error {
	for _, p := range []phase{accept, swap, drop} {
		if err := r.begin(ctx, p); err != nil {
			return err
		}
		for _, m := range r.Machines {
			title := p.text(r.of, nameOf(m))
			err := r.log.Do(title, func(s *steps.Step) error { return r.one(ctx, s, p, m) })
			if err != nil {
				return fmt.Errorf("%s: %w; what was done stays, and both authorities are believed until the last phase", title, err)
			}
		}
		err := r.log.Do("check that the cluster is healthy", func(s *steps.Step) error { return r.Healthy(ctx, s, healthLimit) })
		if err != nil {
			return err
		}
	}
	return r.after(ctx)
}

func nameOf(m fleet.Machine) string {
	if m.Name != "" {
		return m.Name
	}
	return m.Target
}

// begin does what has to be done once before a phase.
func (r *rotating) begin(ctx context.Context, p phase) error {
	switch {
	case p == swap && r.of == machineAPI:
		// From now on with a certificate of the new authority. The file comes first: it is a way in, whatever happens.
		return r.trust(ctx, slices.Concat(r.now.CertificatePEM(), r.old))
	case p == drop && r.of == machineAPI:
		return r.trust(ctx, r.now.CertificatePEM())
	case p == swap && r.of == kubernetes:
		return r.log.Do("have the pods of kube-system believe the new authority", r.restart(ctx))
	}
	return nil
}

// after does what is left at the end.
func (r *rotating) after(context.Context) error {
	if r.of == kubernetes {
		r.env.Warn("kubeconfigs have to be made anew: talosctl kubeconfig --force; pods that read the cluster's authority only at their start have to be restarted")
	}
	return nil
}

// trust writes the talosconfig with authorities, and uses it from now on.
func (r *rotating) trust(ctx context.Context, authorities []byte) error {
	pair, err := r.now.Issue(secret.OSClient(r.file.roles, 0), r.env.Now())
	if err != nil {
		return fmt.Errorf("make a client certificate: %w", err)
	}
	way := *r.file.context
	made := talosconfig.NewContext(way.Endpoints, way.Nodes, authorities, pair)
	way.CA, way.Crt, way.Key = made.CA, made.Crt, made.Key
	data, err := (&talosconfig.Config{Context: r.file.name, Contexts: map[string]*talosconfig.Context{r.file.name: &way}}).Marshal()
	if err != nil {
		return err
	}
	if err := r.env.WriteFiles(true, command.File{Name: r.file.path, Data: data}); err != nil {
		return err
	}
	c, err := client.New(client.Options{Context: &way})
	if err != nil {
		return err
	}
	err = r.log.Do("reach every machine by "+r.file.path, func(s *steps.Step) error {
		for _, m := range r.Machines {
			err := fleet.Await(ctx, s, "an answer of "+nameOf(m), machineLimit, func(ctx context.Context) error {
				_, err := client.Only(c.Machine().Version(client.WithNode(ctx, m.Target), &emptypb.Empty{}))
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, c.Close())
	}
	r.Trust(c)
	r.Forget()
	return nil
}

// one takes one machine through a phase.
func (r *rotating) one(ctx context.Context, s *steps.Step, p phase, m fleet.Machine) error {
	c, err := r.Config(ctx, m.Target)
	if err != nil {
		return err
	}
	have := trustOf(r.of, c)
	key := r.now.Key().PEM()
	if !m.ControlPlane {
		key = nil
	}
	want := have.next(p, r.old, r.now.CertificatePEM(), key)
	changed, err := with(r.of, c, want)
	if err != nil {
		return err
	}
	seen, err := r.look(ctx, m)
	if err != nil {
		return err
	}
	seen.same = have.equal(want)
	if !seen.same {
		if err := r.Apply(ctx, m.Target, changed); err != nil {
			return err
		}
	}
	if r.of == machineAPI {
		return fleet.Await(ctx, s, nameOf(m)+" to use its config", machineLimit, func(ctx context.Context) error { return r.machine(ctx, p, m) })
	}
	return fleet.Await(ctx, s, "Kubernetes on "+nameOf(m)+" to use its config", kubeLimit, func(ctx context.Context) error { return r.kube(ctx, m, want, seen) })
}

// machine reports, as an error, why the API of a machine is not yet as a phase wants it.
func (r *rotating) machine(ctx context.Context, p phase, m fleet.Machine) error {
	api, err := fleet.Get[secrets.API](ctx, r.Fleet, m.Target, secrets.APIID)
	if err != nil {
		return err
	}
	believes := func(cert []byte) bool {
		return slices.ContainsFunc(api.AcceptedCAs, func(c secrets.Certificate) bool { return same(c.Crt, cert) })
	}
	switch {
	case !believes(r.now.CertificatePEM()):
		return errors.New("it does not believe the new authority yet")
	case p != drop && !believes(r.old):
		return errors.New("it does not believe the old authority")
	case p == drop && believes(r.old):
		return errors.New("it believes the old authority still")
	case p == accept:
		return nil
	}
	if err := signed(api.Server.Crt, r.now); err != nil {
		return fmt.Errorf("the certificate of its server: %w", err)
	}
	if api.Client != nil {
		if err := signed(api.Client.Crt, r.now); err != nil {
			return fmt.Errorf("the certificate with which it calls others: %w", err)
		}
	}
	return nil
}

// signed reports, as an error, that a certificate is not of an authority.
func signed(cert []byte, by *secret.Authority) error {
	leaf, err := secret.ParseCertificate(cert)
	if err != nil {
		return err
	}
	if leaf.CheckSignatureFrom(by.Certificate()) != nil {
		return errors.New("it is of the old authority still")
	}
	return nil
}

// before is what a machine had of Kubernetes before its config was changed.
type before struct {
	same    bool // the config was not changed
	kubelet string
	secrets string // the version of the API server's files
}

// look notes what a machine has of Kubernetes.
func (r *rotating) look(ctx context.Context, m fleet.Machine) (before, error) {
	var out before
	if r.of != kubernetes {
		return out, nil
	}
	joined, err := fleet.Get[kube.KubeletKubeconfig](ctx, r.Fleet, m.Target, kube.KubeletID)
	if err != nil {
		return out, fmt.Errorf("ask for the credentials of its kubelet: %w", err)
	}
	out.kubelet = joined.Hash
	if m.ControlPlane {
		pod, err := fleet.Get[kube.StaticPod](ctx, r.Fleet, m.Target, "kube-apiserver")
		if err != nil {
			return out, fmt.Errorf("ask for its API server: %w", err)
		}
		out.secrets = kubeapi.Object(pod.Pod).Annotations()[kube.SecretsVersion]
	}
	return out, nil
}

// kube reports, as an error, why Kubernetes on a machine does not use what its config says yet.
func (r *rotating) kube(ctx context.Context, m fleet.Machine, want trust, was before) error {
	r.Forget() // the authorities change, and with them what a client needs
	c, err := r.Kubernetes(ctx)
	if err != nil {
		return err
	}
	now, err := r.look(ctx, m)
	switch {
	case err != nil:
		return err
	case !was.same && m.ControlPlane && now.secrets == was.secrets:
		return errors.New("the files of its API server are not new yet")
	case !was.same && now.kubelet == was.kubelet:
		return errors.New("its kubelet has not been started anew")
	}
	if m.ControlPlane {
		root, err := fleet.Get[secrets.KubernetesRoot](ctx, r.Fleet, m.Target, secrets.KubernetesRootID)
		if err != nil {
			return err
		}
		if !same(root.IssuingCA.Crt, want.issuing) {
			return errors.New("another authority issues its certificates")
		}
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			wanted, err := fleet.Get[kube.StaticPod](ctx, r.Fleet, m.Target, name)
			if status.Code(err) == codes.NotFound && name != "kube-apiserver" {
				continue // switched off by the config
			}
			if err != nil {
				return err
			}
			pod, err := c.Get(ctx, kubeapi.KindOf("v1", "Pod"), manifest.Namespace, name+"-"+m.Nodename)
			if err != nil {
				return err
			}
			if have, want := pod.Annotations()[kube.SecretsVersion], kubeapi.Object(wanted.Pod).Annotations()[kube.SecretsVersion]; have != want {
				return fmt.Errorf("%s has version %s of its files, and the machine wants %s", name, have, want)
			}
			if err := fleet.Ready(pod); err != nil {
				return err
			}
		}
	}
	if m.Nodename == "" {
		return nil
	}
	node, err := c.Get(ctx, kubeapi.KindOf("v1", "Node"), "", m.Nodename)
	if err != nil {
		return err
	}
	return fleet.Ready(node)
}

// restart has the pods of kube-system that talk to the API server begin anew, once the cluster tells pods of both authorities. Old client
// libraries read the file only once.
func (r *rotating) restart(ctx context.Context) func(s *steps.Step) error {
	return func(s *steps.Step) error {
		err := fleet.Await(ctx, s, "pods to be told of both authorities", kubeLimit, func(ctx context.Context) error {
			c, err := r.Kubernetes(ctx)
			if err != nil {
				return err
			}
			o, err := c.Get(ctx, kubeapi.KindOf("v1", "ConfigMap"), manifest.Namespace, "kube-root-ca.crt")
			if err != nil {
				return err
			}
			text, _ := o.Map("data")["ca.crt"].(string)
			if !bytes.Contains([]byte(text), bytes.TrimSpace(r.now.CertificatePEM())) {
				return errors.New("ConfigMap kube-system/kube-root-ca.crt has the old one alone")
			}
			return nil
		})
		if err != nil {
			return err
		}
		c, err := r.Kubernetes(ctx)
		if err != nil {
			return err
		}
		var all []kubeapi.Object
		for _, kind := range []string{"DaemonSet", "Deployment"} {
			list, _, err := c.List(ctx, kubeapi.KindOf("apps/v1", kind), manifest.Namespace, kubeapi.ListOptions{})
			if err != nil {
				return err
			}
			for _, o := range list {
				o["apiVersion"], o["kind"] = "apps/v1", kind
				if _, err := c.MergePatch(ctx, o.Kind(), o.Namespace(), o.Name(), "", map[string]any{"spec": map[string]any{"template": map[string]any{
					"metadata": map[string]any{"annotations": map[string]any{"kubectl.kubernetes.io/restartedAt": r.env.Now().UTC().Format(time.RFC3339)}},
				}}}); err != nil {
					return err
				}
				s.Note("restart %v", o)
				all = append(all, o)
			}
		}
		return fleet.Await(ctx, s, "the pods to be new", kubeLimit, func(ctx context.Context) error {
			var errs []error
			for _, o := range all {
				have, err := c.Get(ctx, o.Kind(), o.Namespace(), o.Name())
				if err != nil {
					return err
				}
				errs = append(errs, manifest.Rolled(have))
			}
			return errors.Join(errs...)
		})
	}
}
