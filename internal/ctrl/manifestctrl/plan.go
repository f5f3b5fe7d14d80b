package manifestctrl

import (
	"fmt"
	"strings"
	"time"

	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
)

// target is an object of a manifest.
type target struct {
	manifest string
	object   kubeapi.Object
}

// key tells objects apart.
func (t target) key() string {
	k := t.object.Kind()
	return k.Group + "|" + k.Kind + "|" + t.object.Namespace() + "|" + t.object.Name()
}

const (
	kindNamespace = "Namespace"
	kindCRD       = "CustomResourceDefinition"
	groupCRD      = "apiextensions.k8s.io"
)

func isCRD(o kubeapi.Object) bool { return o.Kind().Kind == kindCRD && o.Kind().Group == groupCRD }

// order returns the objects of manifests in the order in which they are applied: namespaces, definitions of resources, and the rest,
// each in the order of the manifests. Of several that are the same object the first counts.
func order(ids []string, manifests []kube.Manifest) []target {
	var waves [3][]target
	seen := map[string]bool{}
	for i, manifest := range manifests {
		for _, item := range manifest.Items {
			t := target{ids[i], item.Object}
			if seen[t.key()] {
				continue
			}
			seen[t.key()] = true
			wave := 2
			switch {
			case t.object.Kind() == (kubeapi.Kind{Version: "v1", Kind: kindNamespace}):
				wave = 0
			case isCRD(t.object):
				wave = 1
			}
			waves[wave] = append(waves[wave], t)
		}
	}
	return append(append(waves[0], waves[1]...), waves[2]...)
}

// The wait before an object that was refused is tried again.
const (
	leastWait = time.Second
	mostWait  = time.Minute
)

// progress is how far an object is.
type progress struct {
	done    bool
	refused int // times
	err     error
	due     time.Time // to be tried again
}

// refuse notes that the server refused the object.
func (p *progress) refuse(err error, now time.Time) {
	wait := mostWait
	if p.refused < 6 {
		wait = min(leastWait<<p.refused, mostWait)
	}
	p.refused++
	p.err, p.due = err, now.Add(wait)
}

// ledger is how far all objects are.
type ledger struct {
	targets  []target
	progress map[string]*progress
}

func newLedger(targets []target) *ledger {
	l := &ledger{targets: targets, progress: make(map[string]*progress, len(targets))}
	for _, t := range targets {
		l.progress[t.key()] = &progress{}
	}
	return l
}

// due returns the objects that are to be tried now.
func (l *ledger) due(now time.Time) []target {
	var out []target
	for _, t := range l.targets {
		if p := l.progress[t.key()]; !p.done && !p.due.After(now) {
			out = append(out, t)
		}
	}
	return out
}

// next returns when something is to be tried; zero if all is done.
func (l *ledger) next() time.Time {
	var next time.Time
	for _, p := range l.progress {
		if !p.done && (next.IsZero() || p.due.Before(next)) {
			next = p.due
		}
	}
	return next
}

// applied returns the ids of manifests of which all objects are done.
func (l *ledger) applied(ids []string) []string {
	open := map[string]bool{}
	for _, t := range l.targets {
		if !l.progress[t.key()].done {
			open[t.manifest] = true
		}
	}
	var out []string
	for _, id := range ids {
		if !open[id] {
			out = append(out, id)
		}
	}
	return out
}

// failed returns what the server said of the objects that it refused.
func (l *ledger) failed() []error {
	var out []error
	for _, t := range l.targets {
		if p := l.progress[t.key()]; !p.done && p.err != nil {
			out = append(out, fmt.Errorf("manifest %s: %w", t.manifest, p.err))
		}
	}
	return out
}

// inventory returns the entries of the objects that are done, as cli-utils of Kubernetes writes them into an inventory:
// namespace_name_group_kind, with ":" as "__".
func (l *ledger) inventory() map[string]string {
	out := map[string]string{}
	for _, t := range l.targets {
		if l.progress[t.key()].done {
			k := t.object.Kind()
			name := strings.ReplaceAll(t.object.Name(), ":", "__")
			out[strings.Join([]string{t.object.Namespace(), name, k.Group, k.Kind}, "_")] = ""
		}
	}
	return out
}
