package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"talos.internal/internal/kubeapi"
	"talos.internal/internal/server/textdiff"
)

// Policy says which objects that are there already may be taken over.
type Policy string

// The policies, named as cli-utils of Kubernetes names them.
const (
	MustMatch          Policy = "MustMatch"          // only those that are in our inventory by their annotation
	AdoptIfNoInventory Policy = "AdoptIfNoInventory" // those too that are in none
	AdoptAll           Policy = "AdoptAll"           // all, also those of another inventory
)

// Policies returns all policies.
func Policies() []Policy { return []Policy{AdoptIfNoInventory, AdoptAll, MustMatch} }

// Options say how a cluster is brought up to date.
type Options struct {
	// Force takes over fields that somebody else manages; otherwise they are an error.
	Force bool
	// Prune deletes what the inventory has and no manifest any more.
	Prune  bool
	Policy Policy
}

// Action is what happens to an object.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Keep   Action = "keep" // it is as it should be
)

// Change is what happens to one object.
type Change struct {
	Action Action
	Object kubeapi.Object // as it is to be applied, or as it is if it is deleted
	// Diff is the difference by lines, without what the server keeps for itself and without the values of Secrets.
	Diff string
}

// String is the change in a few words.
func (c Change) String() string { return fmt.Sprintf("%s %s", c.Action, c.Object) }

// Compare says what would change if the targets, in their order, were all that the cluster has of manifests. It asks the server to check
// each and changes nothing. The error has everything that the server, or the policy, refuses.
func Compare(ctx context.Context, c *kubeapi.Client, targets []Target, o Options) ([]Change, error) {
	var out []Change
	var refused []error
	comparing := comparison{c: c, o: o, fresh: map[string]bool{}}
	for _, t := range targets {
		change, err := comparing.one(ctx, t.Object)
		switch {
		case err == nil:
			out = append(out, change)
		case serverSaid(err):
			refused = append(refused, fmt.Errorf("manifest %s: %w", t.Manifest, err))
		default:
			return nil, err
		}
	}
	if o.Prune {
		pruned, err := comparing.prune(ctx, targets)
		if err != nil {
			return nil, err
		}
		out = append(out, pruned...)
	}
	return out, errors.Join(refused...)
}

var errOwner = errors.New("it is not in the inventory of the manifests")

// serverSaid reports whether an error is about one object, and not about the server.
func serverSaid(err error) bool {
	_, ok := errors.AsType[*kubeapi.StatusError](err)
	return ok || errors.Is(err, kubeapi.ErrNoKind) || errors.Is(err, errOwner)
}

type comparison struct {
	c     *kubeapi.Client
	o     Options
	fresh map[string]bool // namespaces, and kinds as "group|kind", that are not there yet
}

func (c comparison) one(ctx context.Context, want kubeapi.Object) (Change, error) {
	want = Owned(want)
	k := want.Kind()
	if c.fresh[want.Namespace()] && want.Namespace() != "" || c.fresh[k.Group+"|"+k.Kind] {
		return creation(want), nil // the server cannot check it before what it is in is there
	}
	have, err := c.c.Get(ctx, k, want.Namespace(), want.Name())
	switch {
	case errors.Is(err, kubeapi.ErrNotFound):
		if isNamespace(want) {
			c.fresh[want.Name()] = true
		}
		if IsDefinition(want) {
			spec := kubeapi.Object(want.Map("spec"))
			c.fresh[fmt.Sprintf("%v|%v", spec["group"], spec.Map("names")["kind"])] = true
		}
		if _, err := c.apply(ctx, want, true); err != nil {
			return Change{}, err
		}
		return creation(want), nil
	case err != nil:
		return Change{}, err
	}
	if err := c.o.Policy.check(have); err != nil {
		return Change{}, fmt.Errorf("%v: %w", want, err)
	}
	then, err := c.apply(ctx, want, true)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: Keep, Object: want}
	if change.Diff = textdiff.Unified("now", "then", shown(have), shown(then)); change.Diff != "" {
		change.Action = Update
	}
	return change, nil
}

// check reports whether an object may be taken over.
func (p Policy) check(have kubeapi.Object) error {
	owner := have.Annotations()[OwnerAnnotation]
	switch {
	case owner == InventoryName, p == AdoptAll, owner == "" && p == AdoptIfNoInventory:
		return nil
	case owner == "":
		return fmt.Errorf("%w, and the policy %s wants it to be", errOwner, p)
	}
	return fmt.Errorf("%w but in %q; the policy %s takes it over", errOwner, owner, AdoptAll)
}

func creation(o kubeapi.Object) Change {
	return Change{Action: Create, Object: o, Diff: textdiff.Unified("now", "then", "", shown(o))}
}

func (c comparison) apply(ctx context.Context, o kubeapi.Object, dry bool) (kubeapi.Object, error) {
	out, err := c.c.Apply(ctx, o, kubeapi.ApplyOptions{Manager: FieldManager, Force: c.o.Force, DryRun: dry})
	if errors.Is(err, kubeapi.ErrConflict) {
		err = fmt.Errorf("%w; to take the fields over, force it", err)
	}
	return out, err
}

// prune returns the deletion of what is noted and wanted no more. What belongs to another inventory, or says that it is to be kept, stays.
func (c comparison) prune(ctx context.Context, targets []Target) ([]Change, error) {
	noted, err := Noted(ctx, c.c)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, t := range targets {
		wanted[Entry(t.Object)] = true
	}
	var out []Change
	for _, entry := range noted {
		r, ok := parseEntry(entry)
		if wanted[entry] || !ok || r.kind == kindNamespace && (r.name == Namespace || r.name == "default") {
			continue
		}
		version, err := c.c.Preferred(ctx, r.group)
		if errors.Is(err, kubeapi.ErrNoKind) {
			continue // it went with its definition
		}
		if err != nil {
			return nil, err
		}
		have, err := c.c.Get(ctx, kubeapi.Kind{Group: r.group, Version: version, Kind: r.kind}, r.namespace, r.name)
		if errors.Is(err, kubeapi.ErrNotFound) || errors.Is(err, kubeapi.ErrNoKind) {
			continue
		}
		if err != nil {
			return nil, err
		}
		a := have.Annotations()
		if owner := a[OwnerAnnotation]; owner != "" && owner != InventoryName ||
			a["cli-utils.sigs.k8s.io/on-remove"] == "keep" || a["client.lifecycle.config.k8s.io/deletion"] == "detach" {
			continue
		}
		out = append(out, Change{Action: Delete, Object: have, Diff: textdiff.Unified("now", "then", shown(have), "")})
	}
	// As they come they go: first what needs others.
	slices.SortStableFunc(out, func(a, b Change) int { return rank(a.Object) - rank(b.Object) })
	return out, nil
}

func rank(o kubeapi.Object) int {
	switch {
	case isNamespace(o):
		return 2
	case IsDefinition(o):
		return 1
	}
	return 0
}

// Noted returns the keys of the inventory, sorted; none if there is none.
func Noted(ctx context.Context, c *kubeapi.Client) ([]string, error) {
	have, err := c.Get(ctx, kubeapi.KindOf("v1", "ConfigMap"), Namespace, InventoryName)
	if err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
		return nil, err
	}
	return slices.Sorted(maps.Keys(have.Map("data"))), nil
}

// shown is an object as a person compares it: without what the server keeps for itself, and without the values of a Secret.
func shown(o kubeapi.Object) string {
	out := maps.Clone(o)
	delete(out, "status")
	meta := maps.Clone(o.Map("metadata"))
	for _, key := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
		delete(meta, key)
	}
	// These count changes of the template, and change with it.
	if annotations := maps.Clone(o.Map("metadata", "annotations")); annotations != nil {
		delete(annotations, "deprecated.daemonset.template.generation")
		delete(annotations, "deployment.kubernetes.io/revision")
		meta["annotations"] = annotations
	}
	out["metadata"] = meta
	if o.Kind() == (kubeapi.Kind{Version: "v1", Kind: "Secret"}) {
		for _, key := range []string{"data", "stringData"} {
			if values := o.Map(key); values != nil {
				hidden := map[string]any{}
				for k := range values {
					hidden[k] = "(not shown)"
				}
				out[key] = hidden
			}
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	_ = enc.Encode(map[string]any(out)) // of what was JSON
	return b.String()
}

// establishLimit is how long a definition of resources may take until it is served.
const establishLimit = 30 * time.Second

// Apply carries changes out, in their order, and notes in the inventory what the targets have. say hears of each change before it is made.
func Apply(ctx context.Context, c *kubeapi.Client, targets []Target, changes []Change, o Options, say func(Change)) error {
	applying := comparison{c: c, o: o}
	for _, change := range changes {
		if change.Action == Keep {
			continue
		}
		say(change)
		if change.Action == Delete {
			k := change.Object.Kind()
			if err := c.Delete(ctx, k, change.Object.Namespace(), change.Object.Name()); err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
				return err
			}
			continue
		}
		have, err := applying.apply(ctx, change.Object, false)
		if err != nil {
			return err
		}
		if IsDefinition(have) {
			if err := Established(ctx, c, have, establishLimit); err != nil {
				return err
			}
		}
	}
	var entries []string
	for _, t := range targets {
		entries = append(entries, Entry(t.Object))
	}
	if !o.Prune { // what is not deleted stays noted
		noted, err := Noted(ctx, c)
		if err != nil {
			return err
		}
		entries = append(entries, noted...)
	}
	_, err := c.Apply(ctx, Inventory(entries), kubeapi.ApplyOptions{Manager: FieldManager, Force: true})
	return err
}

// ErrNotEstablished is when the API server does not serve what a definition defines.
var ErrNotEstablished = errors.New("the API server does not serve it yet")

// Established waits until the API server serves what a definition defines, no longer than within.
func Established(ctx context.Context, c *kubeapi.Client, crd kubeapi.Object, within time.Duration) error {
	end := time.Now().Add(within)
	for {
		status, last := crd.Condition("Established")
		switch status {
		case "True":
			return nil
		case "":
			last = "it says nothing about it"
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v: %w after %v: %s", crd, ErrNotEstablished, within, last)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		var err error
		if crd, err = c.Get(ctx, crd.Kind(), "", crd.Name()); err != nil {
			return err
		}
	}
}

// Rolled reports, as an error, why the pods of a Deployment or a DaemonSet are not all of its present state; nil for other objects.
func Rolled(o kubeapi.Object) error {
	number := func(keys ...string) int {
		v, _ := o.Map(keys[:len(keys)-1]...)[keys[len(keys)-1]].(float64)
		return int(v)
	}
	var want, fresh, ready int
	switch o.Kind().Kind {
	case "DaemonSet":
		want, fresh, ready = number("status", "desiredNumberScheduled"), number("status", "updatedNumberScheduled"), number("status", "numberAvailable")
	case "Deployment":
		want, fresh, ready = 1, number("status", "updatedReplicas"), number("status", "availableReplicas")
		if _, ok := o.Map("spec")["replicas"]; ok {
			want = number("spec", "replicas")
		}
	default:
		return nil
	}
	switch {
	case number("status", "observedGeneration") < number("metadata", "generation"):
		return fmt.Errorf("%v: its controller has not seen it yet", o)
	case fresh < want || ready < want:
		return fmt.Errorf("%v: of %d pods %d are new and %d available", o, want, fresh, ready)
	}
	return nil
}

// Summary counts changes: "2 updated, 1 created".
func Summary(changes []Change) string {
	count := map[Action]int{}
	for _, c := range changes {
		count[c.Action]++
	}
	var parts []string
	for _, a := range []struct {
		action Action
		word   string
	}{{Create, "created"}, {Update, "updated"}, {Delete, "deleted"}, {Keep, "as they should be"}} {
		if n := count[a.action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, a.word))
		}
	}
	if len(parts) == 0 {
		return "there are none"
	}
	return strings.Join(parts, ", ")
}
