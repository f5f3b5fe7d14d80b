package kubedoc

import (
	"fmt"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// typeMeta says what a free-form Kubernetes object must be.
type typeMeta struct {
	// kind is the wanted kind; versions are the wanted apiVersions, the recommended first.
	kind     string
	versions []string
	// optional allows apiVersion and kind to be left out, because the system writes them.
	optional bool
}

// check reports what is wrong with apiVersion and kind of o.
func (t typeMeta) check(o scalar.Object, r *schema.Reporter) {
	t.checkKey("kind", o, []string{t.kind}, r)
	t.checkKey("apiVersion", o, t.versions, r)
}

func (t typeMeta) checkKey(key string, o scalar.Object, wanted []string, r *schema.Reporter) {
	v, there := o[key]
	if !there || v == nil {
		if !t.optional {
			r.Hintf(fmt.Sprintf("write %s: %s", key, wanted[0]), "the key %q is required", key)
		}
		return
	}
	s, _ := v.(string)
	for _, w := range wanted {
		if s == w {
			return
		}
	}
	r.At(key).Errorf("expected %s, got %s", strings.Join(wanted, " or "), show(v))
}

// show prints a free-form value for a message; call it only where a value cannot be secret.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", clip(v))
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return clip(fmt.Sprint(v))
	}
}

// listAt returns the list at key of o. A key that is missing gives nil; what is no list is reported.
func listAt(o map[string]any, key string, r *schema.Reporter) []any {
	v, there := o[key]
	if !there || v == nil {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		r.At(key).Errorf("expected a list")
	}
	return l
}

// itemsAt returns the list at key of o, which must not be empty: expected completes "expected …".
func itemsAt(o map[string]any, key, expected string, r *schema.Reporter) []any {
	l, isList := o[key].([]any)
	if len(l) == 0 {
		if o[key] != nil && !isList {
			expected = "a list"
		}
		r.At(key).Errorf("expected %s", expected)
	}
	return l
}

// mappingAt returns the mapping at key of o. A key that is missing gives nil; what is no mapping is reported.
func mappingAt(o map[string]any, key string, r *schema.Reporter) map[string]any {
	v, there := o[key]
	if !there || v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		r.At(key).Errorf("expected a mapping")
	}
	return m
}

// ownedField is a key of a component's configuration that the system sets.
type ownedField struct{ key, why, instead string }

// checkOwned reports keys of o that the system sets.
func checkOwned(what string, o scalar.Object, owned []ownedField, r *schema.Reporter) {
	for _, f := range owned {
		if _, set := o[f.key]; set {
			r.At(f.key).Hintf(f.instead, "the field %s of the %s cannot be set: %s", f.key, what, f.why)
		}
	}
}
