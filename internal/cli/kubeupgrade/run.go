package kubeupgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/config"
	"talos.internal/internal/cli/fleet"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/manifest"
	"talos.internal/resource/kube"
)

const (
	// podLimit is how long a static pod may take to be there and ready with a new image, nodeLimit a Node with a new kubelet.
	podLimit  = 10 * time.Minute
	nodeLimit = 10 * time.Minute
	// recordLimit is how long a machine may take to make its manifests of its config.
	recordLimit = time.Minute
)

// world is what an upgrade works on: the machines, and Kubernetes.
type world interface {
	Config(ctx context.Context, target string) (*config.Config, error)
	Apply(ctx context.Context, target string, c *config.Config) error
	Pull(ctx context.Context, target, image string, pods bool, say func(string)) error
	// StaticPod is a pod that the machine tells its kubelet to run.
	StaticPod(ctx context.Context, target, name string) (kube.StaticPod, error)
	// Manifests are those of a machine of the control plane, by their ids; missing are names of those that it has not fetched.
	Manifests(ctx context.Context, target string) (ids []string, all []kube.Manifest, missing []string, err error)
	Kubernetes(ctx context.Context) (*kubeapi.Client, error)
}

// machines is a world of machines that are reached by their API.
type machines struct{ *fleet.Fleet }

// StaticPod implements world.
func (m machines) StaticPod(ctx context.Context, target, name string) (kube.StaticPod, error) {
	return fleet.Get[kube.StaticPod](ctx, m.Fleet, target, name)
}

// Manifests implements world.
func (m machines) Manifests(ctx context.Context, target string) (ids []string, all []kube.Manifest, missing []string, err error) {
	if ids, all, err = fleet.List[kube.Manifest](ctx, m.Fleet, target); err != nil {
		return nil, nil, nil, fmt.Errorf("ask %s for its manifests: %w", target, err)
	}
	extra, err := fleet.Get[kube.ExtraManifestsConfig](ctx, m.Fleet, target, kube.ExtraManifestsConfigID)
	if err != nil && status.Code(err) != codes.NotFound {
		return nil, nil, nil, fmt.Errorf("ask %s for its manifests: %w", target, err)
	}
	for _, e := range extra.ExtraManifests {
		if !slices.ContainsFunc(ids, func(id string) bool { return strings.HasSuffix(id, "-"+e.Name) }) {
			missing = append(missing, e.Name)
		}
	}
	return ids, all, missing, nil
}

// upgrading carries a plan out.
type upgrading struct {
	world
	log  *steps.Log
	out  io.Writer // for diffs
	plan *plan
	sync manifest.Options
	// rollout is how long new pods of manifests may take; 0 does not wait.
	rollout time.Duration
	// docs and examples put comments into the configs that are changed.
	docs, examples bool
}

// run takes all steps. What was done stays after an error.
func (u *upgrading) run(ctx context.Context) error {
	for _, s := range u.plan.steps {
		err := u.log.Do(u.plan.text(s), func(l *steps.Step) error {
			switch s.kind {
			case pull:
				return u.Pull(ctx, u.plan.machines[s.machine].target, s.image, s.of != kubelet, l.Waiting)
			case roll:
				return u.roll(ctx, l, s)
			case record:
				return u.set(ctx, s)
			case renew:
				return u.renew(ctx, l, s)
			}
			return u.manifests(ctx, l)
		})
		if err != nil {
			return fmt.Errorf("%s: %w; what was done stays, and the same command goes on from here", u.plan.text(s), err)
		}
	}
	return nil
}

// set has the config of a machine have the image, if it does not yet.
func (u *upgrading) set(ctx context.Context, s step) error {
	target := u.plan.machines[s.machine].target
	old, err := u.Config(ctx, target)
	if err != nil {
		return err
	}
	var now machine
	if now.read(old); now.images[s.of] == s.image {
		return nil
	}
	c, err := withImage(old, s.of, s.image)
	if err != nil {
		return err
	}
	if c, err = explained(c, u.docs, u.examples); err != nil {
		return err
	}
	return u.Apply(ctx, target, c)
}

// roll gives a machine another image of a static pod, and waits until that runs.
func (u *upgrading) roll(ctx context.Context, l *steps.Step, s step) error {
	if err := u.set(ctx, s); err != nil {
		return err
	}
	m := u.plan.machines[s.machine]
	what := fmt.Sprintf("%s of %s to be ready with %s", s.of, m.name, s.image)
	return fleet.Await(ctx, l, what, podLimit, func(ctx context.Context) error {
		wanted, err := u.StaticPod(ctx, m.target, string(s.of))
		if err != nil {
			return fmt.Errorf("the machine has no such pod: %w", err)
		}
		c, err := u.Kubernetes(ctx)
		if err != nil {
			return err
		}
		pod, err := c.Get(ctx, kubeapi.KindOf("v1", "Pod"), manifest.Namespace, string(s.of)+"-"+m.nodename)
		if err != nil {
			return err
		}
		return rolled(kubeapi.Object(wanted.Pod), pod, s.image)
	})
}

// rolled reports, as an error, why a pod is not the one that the machine wants, with the image, and ready.
func rolled(wanted, pod kubeapi.Object, image string) error {
	imageOf := func(o kubeapi.Object) string {
		for _, c := range o.Maps("spec", "containers") {
			return fmt.Sprint(c["image"])
		}
		return ""
	}
	if have := imageOf(wanted); have != image {
		return fmt.Errorf("the machine still wants %s", have)
	}
	if have := imageOf(pod); have != image {
		return fmt.Errorf("the pod still has %s", have)
	}
	if have, want := pod.Annotations()[kube.ConfigVersion], wanted.Annotations()[kube.ConfigVersion]; have != want {
		return fmt.Errorf("the pod is of version %s of the config, and the machine wants %s", have, want)
	}
	return fleet.Ready(pod)
}

// renew gives a machine another kubelet, and waits until its Node is ready with it.
func (u *upgrading) renew(ctx context.Context, l *steps.Step, s step) error {
	if err := u.set(ctx, s); err != nil {
		return err
	}
	m := u.plan.machines[s.machine]
	if m.nodename == "" {
		l.Note("it has no Node in Kubernetes: not waited for")
		return nil
	}
	want, err := parseVersion(tagOf(s.image))
	return fleet.Await(ctx, l, "Node "+m.nodename+" to be ready with the new kubelet", nodeLimit, func(ctx context.Context) error {
		c, err2 := u.Kubernetes(ctx)
		if err2 != nil {
			return err2
		}
		node, err2 := c.Get(ctx, kubeapi.KindOf("v1", "Node"), "", m.nodename)
		if err2 != nil {
			return err2
		}
		have := fmt.Sprint(node.Map("status", "nodeInfo")["kubeletVersion"])
		if err == nil && have != want.String() { // an image whose tag is no version has any
			return fmt.Errorf("its kubelet is still %s", have)
		}
		return fleet.Ready(node)
	})
}

// targets are the objects of the manifests of all machines of the control plane: their configs may differ. Without a step nothing is
// waited for: the image of kube-proxy is put into them, as it will be.
func (u *upgrading) targets(ctx context.Context, l *steps.Step) (all []manifest.Target, missing []string, err error) {
	var ids []string
	var manifests []kube.Manifest
	for _, m := range u.plan.machines {
		if !m.controlPlane {
			continue
		}
		collect := func(ctx context.Context) error {
			names, list, lacking, err := u.Manifests(ctx, m.target)
			if err != nil {
				return err
			}
			if want := u.plan.images[proxy]; want != "" && l != nil {
				if have := proxyImage(list); have != "" && have != want {
					return fmt.Errorf("%s has manifests with %s", m.name, have)
				}
			}
			ids, manifests = append(ids, names...), append(manifests, list...)
			for _, name := range lacking {
				missing = append(missing, name+" (of "+m.name+")")
			}
			return nil
		}
		if l == nil {
			err = collect(ctx)
		} else {
			err = fleet.Await(ctx, l, m.name+" to have the manifests of its config", recordLimit, collect)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	all = manifest.Order(ids, manifests)
	if l == nil {
		setProxyImage(all, u.plan.images[proxy])
	}
	return all, missing, nil
}

// isProxy reports whether an object is the DaemonSet of kube-proxy.
func isProxy(o kubeapi.Object) bool {
	return o.Kind().Kind == "DaemonSet" && o.Namespace() == manifest.Namespace && o.Name() == string(proxy)
}

func proxyImage(all []kube.Manifest) string {
	for _, m := range all {
		for _, item := range m.Items {
			if o := kubeapi.Object(item.Object); isProxy(o) {
				for _, c := range o.Maps("spec", "template", "spec", "containers") {
					return fmt.Sprint(c["image"])
				}
			}
		}
	}
	return ""
}

func setProxyImage(all []manifest.Target, image string) {
	for _, t := range all {
		if isProxy(t.Object) && image != "" {
			for _, c := range t.Object.Maps("spec", "template", "spec", "containers") {
				c["image"] = image
			}
		}
	}
}

// compare asks what an update of the manifests would change.
func (u *upgrading) compare(ctx context.Context, l *steps.Step) ([]manifest.Target, []manifest.Change, error) {
	targets, missing, err := u.targets(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	o := u.sync
	if len(missing) > 0 && o.Prune {
		// Its objects would look as if nobody wanted them any more.
		return nil, nil, fmt.Errorf("not fetched yet: the manifests %s; look at 'talosctl get diagnostics', or use --manifests-no-prune", strings.Join(missing, ", "))
	}
	c, err := u.Kubernetes(ctx)
	if err != nil {
		return nil, nil, err
	}
	changes, err := manifest.Compare(ctx, c, targets, o)
	return targets, changes, err
}

// show prints the differences.
func (u *upgrading) show(changes []manifest.Change) error {
	for _, c := range changes {
		if c.Action == manifest.Keep {
			continue
		}
		if _, err := fmt.Fprintf(u.out, "%s\n%s", c, c.Diff); err != nil {
			return err
		}
	}
	return nil
}

// manifests brings the objects of the manifests up to date.
func (u *upgrading) manifests(ctx context.Context, l *steps.Step) error {
	targets, changes, err := u.compare(ctx, l)
	if err != nil {
		return err
	}
	if err := u.show(changes); err != nil {
		return err
	}
	c, err := u.Kubernetes(ctx)
	if err != nil {
		return err
	}
	if err := manifest.Apply(ctx, c, targets, changes, u.sync, func(c manifest.Change) { l.Note("%s", c) }); err != nil {
		return err
	}
	l.Note("manifests: %s", manifest.Summary(changes))
	if u.rollout == 0 {
		return nil
	}
	return fleet.Await(ctx, l, "the pods of the manifests to be new", u.rollout, func(ctx context.Context) error {
		var errs []error
		for _, change := range changes {
			if change.Action != manifest.Create && change.Action != manifest.Update {
				continue
			}
			switch change.Object.Kind().Kind {
			case "DaemonSet", "Deployment":
				o, err := c.Get(ctx, change.Object.Kind(), change.Object.Namespace(), change.Object.Name())
				if err != nil {
					return err
				}
				errs = append(errs, manifest.Rolled(o))
			}
		}
		return errors.Join(errs...)
	})
}
