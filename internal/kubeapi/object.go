package kubeapi

import (
	"fmt"
	"strings"
)

// Object is an object of Kubernetes, as JSON has it.
type Object map[string]any

// Kind is a group, a version and a kind, such as apps, v1, Deployment. The group of the core is empty.
type Kind struct{ Group, Version, Kind string }

// KindOf returns the kind of an apiVersion such as apps/v1 or v1.
func KindOf(apiVersion, kind string) Kind {
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group, version = "", apiVersion
	}
	return Kind{group, version, kind}
}

// APIVersion is the group and version as objects have them.
func (k Kind) APIVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// Condition returns the status of a condition of the object, "True", "False" or "Unknown", and its message; "" if it says nothing of it.
func (o Object) Condition(kind string) (status, message string) {
	for _, c := range o.Maps("status", "conditions") {
		if c["type"] == kind {
			status, _ = c["status"].(string)
			message, _ = c["message"].(string)
			return status, message
		}
	}
	return "", ""
}

// String returns the kind as it stands in messages: "Deployment.apps".
func (k Kind) String() string {
	if k.Group == "" {
		return k.Kind
	}
	return k.Kind + "." + k.Group
}

// Kind returns the object's kind.
func (o Object) Kind() Kind { return KindOf(o.str("apiVersion"), o.str("kind")) }

// Name returns metadata.name.
func (o Object) Name() string { return Object(o.Map("metadata")).str("name") }

// Namespace returns metadata.namespace, empty if there is none.
func (o Object) Namespace() string { return Object(o.Map("metadata")).str("namespace") }

// Labels returns metadata.labels.
func (o Object) Labels() map[string]string { return stringMap(o.Map("metadata", "labels")) }

// Annotations returns metadata.annotations.
func (o Object) Annotations() map[string]string { return stringMap(o.Map("metadata", "annotations")) }

// String names the object for a person: "Deployment kube-system/coredns".
func (o Object) String() string { return describe(o.Kind(), o.Namespace(), o.Name()) }

func describe(k Kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Sprintf("%s %s", k.Kind, name)
}

func (o Object) str(key string) string {
	s, _ := o[key].(string)
	return s
}

// Map returns the mapping that is found by following keys, nil if there is none.
func (o Object) Map(keys ...string) map[string]any {
	m := map[string]any(o)
	for _, k := range keys {
		switch next := m[k].(type) {
		case map[string]any:
			m = next
		case Object:
			m = next
		default:
			return nil
		}
	}
	return m
}

// Maps returns the mappings in the list that is found by following keys.
func (o Object) Maps(keys ...string) []map[string]any {
	if len(keys) == 0 {
		return nil
	}
	list, _ := o.Map(keys[:len(keys)-1]...)[keys[len(keys)-1]].([]any)
	var out []map[string]any
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// stringMap returns the strings of m; nil if it has none.
func stringMap(m map[string]any) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}
