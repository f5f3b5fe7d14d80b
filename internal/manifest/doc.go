// Package manifest has what is the same for the objects that a cluster begins with, whoever applies them: their order, the inventory in
// which they are noted, and how a cluster is brought up to date with them.
//
// The controllers of a node create what is missing, and nothing else. Who upgrades Kubernetes calls [Compare], which asks the API server
// what an apply would change and changes nothing, and then [Apply]. Objects that the inventory has and no manifest any more are deleted
// with it. An object says by [OwnerAnnotation] which inventory it belongs to; one of another inventory is left alone or refused.
//
// Controllers and talosctl import it.
package manifest

import (
	"maps"
	"strings"

	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
)

const (
	// FieldManager is whose the fields of the objects are.
	FieldManager = "talos"
	// Namespace and InventoryName are the ConfigMap with what was applied. Its keys are [Entry]'s.
	Namespace     = "kube-system"
	InventoryName = "talos-bootstrap-manifests-inventory"
	// OwnerAnnotation says of an object in which inventory it is, as cli-utils of Kubernetes does.
	OwnerAnnotation = "config.k8s.io/owning-inventory"

	inventoryLabel = "cli-utils.sigs.k8s.io/inventory-id"
)

// Target is an object of a manifest.
type Target struct {
	Manifest string // its id
	Object   kubeapi.Object
}

// Key tells objects apart, whatever the version in which they are written.
func (t Target) Key() string {
	k := t.Object.Kind()
	return k.Group + "|" + k.Kind + "|" + t.Object.Namespace() + "|" + t.Object.Name()
}

const (
	kindNamespace = "Namespace"
	kindCRD       = "CustomResourceDefinition"
	groupCRD      = "apiextensions.k8s.io"
)

// IsDefinition reports whether an object defines resources, and so has to be served before objects of its kind are made.
func IsDefinition(o kubeapi.Object) bool {
	return o.Kind().Kind == kindCRD && o.Kind().Group == groupCRD
}

func isNamespace(o kubeapi.Object) bool {
	return o.Kind() == (kubeapi.Kind{Version: "v1", Kind: kindNamespace})
}

// Order returns the objects of manifests in the order in which they are applied: namespaces, definitions of resources, and the rest,
// each in the order of the manifests. Of several that are the same object the first counts.
func Order(ids []string, manifests []kube.Manifest) []Target {
	var waves [3][]Target
	seen := map[string]bool{}
	for i, manifest := range manifests {
		for _, item := range manifest.Items {
			t := Target{ids[i], item.Object}
			if seen[t.Key()] {
				continue
			}
			seen[t.Key()] = true
			wave := 2
			switch {
			case isNamespace(t.Object):
				wave = 0
			case IsDefinition(t.Object):
				wave = 1
			}
			waves[wave] = append(waves[wave], t)
		}
	}
	return append(append(waves[0], waves[1]...), waves[2]...)
}

// Entry is the key of an object in the inventory, as cli-utils of Kubernetes writes it: namespace_name_group_kind, with ":" as "__".
func Entry(o kubeapi.Object) string {
	k := o.Kind()
	return strings.Join([]string{o.Namespace(), strings.ReplaceAll(o.Name(), ":", "__"), k.Group, k.Kind}, "_")
}

// reference is what a key of the inventory names.
type reference struct{ namespace, name, group, kind string }

// parseEntry reads a key of the inventory. Namespaces, groups and kinds have no "_", names have it as "__" for ":" alone.
func parseEntry(text string) (reference, bool) {
	namespace, rest, ok1 := strings.Cut(text, "_")
	i := strings.LastIndexByte(rest, '_')
	if !ok1 || i < 0 {
		return reference{}, false
	}
	rest, kind := rest[:i], rest[i+1:]
	if i = strings.LastIndexByte(rest, '_'); i < 0 {
		return reference{}, false
	}
	r := reference{namespace, strings.ReplaceAll(rest[:i], "__", ":"), rest[i+1:], kind}
	return r, r.name != "" && r.kind != ""
}

// Inventory is the ConfigMap with entries.
func Inventory(entries []string) kubeapi.Object {
	data := map[string]any{}
	for _, e := range entries {
		data[e] = ""
	}
	return kubeapi.Object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"namespace": Namespace, "name": InventoryName, "labels": map[string]any{inventoryLabel: InventoryName},
		},
		"data": data,
	}
}

// Owned returns the object with the annotation that it is in the inventory. o stays as it is.
func Owned(o kubeapi.Object) kubeapi.Object {
	out := maps.Clone(o)
	meta := maps.Clone(o.Map("metadata"))
	annotations := maps.Clone(o.Map("metadata", "annotations"))
	if annotations == nil {
		annotations = map[string]any{}
	}
	annotations[OwnerAnnotation] = InventoryName
	meta["annotations"] = annotations
	out["metadata"] = meta
	return out
}
