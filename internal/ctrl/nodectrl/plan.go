package nodectrl

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
)

// Annotations with which the Node remembers what is this system's.
const (
	ownedLabels      = "talos.dev/owned-labels"
	ownedAnnotations = "talos.dev/owned-annotations"
	ownedTaints      = "talos.dev/owned-taints"
	cordonedKey      = "talos.dev/cordoned"
)

// desired is what the Node should have.
type desired struct {
	labels, annotations map[string]string
	// taints are nil where they may not be changed.
	taints   map[string]kube.NodeTaintSpec
	cordoned bool
}

// change is what is to be changed of a Node; nil as a value takes something away.
type change struct {
	labels, annotations map[string]any
	// taints replace all; nil leaves them.
	taints *[]any
	// unschedulable is nil if it stays.
	unschedulable *bool
	// notes say what was left alone, for the log.
	notes []string
}

func (c change) empty() bool {
	return len(c.labels)+len(c.annotations) == 0 && c.taints == nil && c.unschedulable == nil
}

// patch returns the change as a merge patch. It is for the version of the Node that was looked at, because a list is replaced whole.
func (c change) patch(version string) map[string]any {
	meta := map[string]any{"resourceVersion": version}
	if len(c.labels) > 0 {
		meta["labels"] = c.labels
	}
	if len(c.annotations) > 0 {
		meta["annotations"] = c.annotations
	}
	out := map[string]any{"metadata": meta}
	spec := map[string]any{}
	if c.taints != nil {
		spec["taints"] = *c.taints
	}
	if c.unschedulable != nil {
		spec["unschedulable"] = *c.unschedulable
	}
	if len(spec) > 0 {
		out["spec"] = spec
	}
	return out
}

// plan returns what is to be changed of node.
func plan(node kubeapi.Object, want desired) change {
	out := change{labels: map[string]any{}, annotations: map[string]any{}}
	annotations := node.Annotations()
	own := func(key string, now []string) {
		before, had := annotations[key]
		switch text := encode(now); {
		case len(now) == 0 && had:
			out.annotations[key] = nil
		case len(now) > 0 && before != text:
			out.annotations[key] = text
		}
	}
	owned := merge("label", node.Labels(), want.labels, decode(annotations[ownedLabels]), out.labels, &out.notes)
	own(ownedLabels, owned)
	owned = merge("annotation", annotations, want.annotations, decode(annotations[ownedAnnotations]), out.annotations, &out.notes)
	own(ownedAnnotations, owned)
	if want.taints != nil {
		own(ownedTaints, planTaints(node, want.taints, decode(annotations[ownedTaints]), &out))
	}
	planCordon(node, want.cordoned, annotations[cordonedKey] != "", &out)
	return out
}

// merge puts into out what is to be changed of have so that it has what is wanted and no longer what was owned and is not. It returns
// the keys that are owned then, sorted. A value of somebody else's is left alone, unless it is the same.
func merge(what string, have, want map[string]string, owned []string, out map[string]any, notes *[]string) []string {
	var now []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		value, there := have[k]
		switch {
		case there && value == want[k]:
		case there && !slices.Contains(owned, k):
			*notes = append(*notes, fmt.Sprintf("%s %s has the value %q, which somebody else set: it is left alone", what, k, value))
			continue
		default:
			out[k] = want[k]
		}
		now = append(now, k)
	}
	for _, k := range owned {
		if _, wanted := want[k]; wanted {
			continue
		}
		if _, there := have[k]; there {
			out[k] = nil
		}
	}
	return now
}

// planTaints does for taints, by key, what merge does.
func planTaints(node kubeapi.Object, want map[string]kube.NodeTaintSpec, owned []string, out *change) []string {
	have := node.Maps("spec", "taints")
	taints := []any{}
	changed := false
	present := map[string]bool{}
	var now []string
	for _, t := range have {
		key, _ := t["key"].(string)
		w, wanted := want[key]
		mine := slices.Contains(owned, key)
		equal := wanted && t["effect"] == w.Effect && text(t["value"]) == w.Value
		switch {
		case !wanted && mine, wanted && mine && !equal:
			changed = true // taken away; what is wanted instead comes below
			continue
		case wanted && !equal:
			out.notes = append(out.notes, fmt.Sprintf("taint %s is somebody else's: it is left alone", key))
			present[key] = true
		case wanted:
			present[key] = true
			now = append(now, key)
		}
		taints = append(taints, t)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if present[key] {
			continue
		}
		w := want[key]
		t := map[string]any{"key": w.Key, "effect": w.Effect}
		if w.Value != "" {
			t["value"] = w.Value
		}
		taints, now, changed = append(taints, t), append(now, key), true
	}
	if changed {
		out.taints = &taints
	}
	slices.Sort(now)
	return slices.Compact(now)
}

// planCordon cordons the node, or undoes that if it was done here. Somebody else's cordon stays.
func planCordon(node kubeapi.Object, want, ours bool, out *change) {
	cordoned, _ := node.Map("spec")["unschedulable"].(bool)
	yes, no := true, false
	switch {
	case want && !cordoned:
		out.unschedulable = &yes
		out.annotations[cordonedKey] = "true"
	case !want && ours:
		if cordoned {
			out.unschedulable = &no
		}
		out.annotations[cordonedKey] = nil
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// encode and decode are lists of keys as an annotation has them. What cannot be read is an empty list.
func encode(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	b, _ := json.Marshal(keys) // of strings
	return string(b)
}

func decode(s string) []string {
	var keys []string
	_ = json.Unmarshal([]byte(s), &keys)
	return keys
}
