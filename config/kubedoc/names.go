package kubedoc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// The syntax of names is that of Kubernetes (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
// and .../labels/).

// mostAnnotationBytes bounds the annotations of one object, keys and values together.
const mostAnnotationBytes = 256 << 10

// isDNSLabel reports whether s is an RFC 1123 label in lower case.
func isDNSLabel(s string) bool {
	return !strings.Contains(s, ".") && isSubdomain(s)
}

// isSubdomain reports whether s is an RFC 1123 subdomain in lower case without a trailing dot.
func isSubdomain(s string) bool {
	return scalar.ValidHostname(s) && s == strings.ToLower(s) && !strings.HasSuffix(s, ".")
}

// isWord reports whether s has 1 to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends.
func isWord(s string) bool {
	if len(s) < 1 || len(s) > 63 || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// qualifiedName checks the key of a label, an annotation or a taint: a word, or a domain, a slash and a word.
func qualifiedName(s string) error {
	name := s
	if prefix, rest, ok := strings.Cut(s, "/"); ok {
		if !isSubdomain(prefix) {
			return fmt.Errorf("the part before the slash, %q, is no DNS domain of at most 253 lower-case letters, digits, '-' and '.'",
				clip(prefix))
		}
		name = rest
	}
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > 63:
		return fmt.Errorf("the name has %d characters; 63 are allowed", len(name))
	case !isWord(name):
		return errors.New("a name has letters, digits, '-', '_' and '.', with a letter or digit at both ends")
	}
	return nil
}

// clip shortens s for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// checkLabels reports labels that Kubernetes would refuse.
func checkLabels(labels map[string]string, r *schema.Reporter) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if err := qualifiedName(k); err != nil {
			r.At(k).Errorf("expected a label name such as example.com/zone, got %q: %v", clip(k), err)
		}
		if v := labels[k]; v != "" && !isWord(v) {
			r.At(k).Errorf("expected a label value of at most 63 letters, digits, '-', '_' and '.', "+
				"with a letter or digit at both ends, or nothing, got %q", clip(v))
		}
	}
}

// checkAnnotations reports annotations that Kubernetes would refuse.
func checkAnnotations(annotations map[string]string, r *schema.Reporter) {
	size := 0
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		size += len(k) + len(annotations[k])
		// Unlike a label's, an annotation's name may have upper-case letters in its domain.
		if err := qualifiedName(strings.ToLower(k)); err != nil {
			r.At(k).Errorf("expected an annotation name such as example.com/owner, got %q: %v", clip(k), err)
		}
	}
	if size > mostAnnotationBytes {
		r.Errorf("the annotations have %d bytes; Kubernetes allows %d", size, mostAnnotationBytes)
	}
}

// Effect is what a taint does to pods that do not tolerate it.
type Effect string

// The effects.
const (
	NoSchedule       Effect = "NoSchedule"
	PreferNoSchedule Effect = "PreferNoSchedule"
	NoExecute        Effect = "NoExecute"
)

// Taint is a taint of a node.
type Taint struct {
	Key, Value string
	Effect     Effect
}

// parseTaint parses the value of a taint, "VALUE:EFFECT" or "EFFECT".
func parseTaint(key, s string) (Taint, error) {
	value, effect, ok := strings.Cut(s, ":")
	if !ok {
		value, effect = "", s
	}
	t := Taint{Key: key, Value: value, Effect: Effect(effect)}
	switch t.Effect {
	case NoSchedule, PreferNoSchedule, NoExecute:
	default:
		return Taint{}, fmt.Errorf("the effect %q is none of NoSchedule, PreferNoSchedule, NoExecute", clip(effect))
	}
	if value != "" && !isWord(value) {
		return Taint{}, fmt.Errorf("the value %q is not of at most 63 letters, digits, '-', '_' and '.'", clip(value))
	}
	return t, nil
}

// checkEnvironment reports names that are no environment variables.
func checkEnvironment(env map[string]string, r *schema.Reporter) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if !isVariable(k) {
			r.At(k).Errorf("expected the name of an environment variable such as HTTP_PROXY, got %q", clip(k))
		}
	}
}

func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && !isAlphanumeric(c) || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return s != ""
}
