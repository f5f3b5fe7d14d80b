package rootdoc

import (
	"maps"
	"net/netip"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// sorted returns the keys of m in their order, so that reports do not depend on chance.
func sorted[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }

// unique reports items of a list that have the same non-empty key. field is where the key stands in an item.
func unique[T any](r *schema.Reporter, field string, items []T, key func(T) string) {
	first := map[string]int{}
	for i, item := range items {
		k := key(item)
		if k == "" {
			continue
		}
		if j, twice := first[k]; twice {
			r.Item(i).At(field).Errorf("%q is there twice; it is in item %d too", k, j)
			continue
		}
		first[k] = i
	}
}

// checkArgs reports arguments that have hyphens in front and those that are denied: the system sets them itself.
func checkArgs(r *schema.Reporter, args scalar.Args, denied []string) {
	for _, name := range sorted(args) {
		if strings.HasPrefix(name, "-") || name == "" {
			r.At(name).Hintf("leave the leading hyphens out", "expected an argument's name such as v, got %q", name)
			continue
		}
		if slices.ContainsFunc(denied, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			r.At(name).Hintf("remove it", "the system sets %s itself", name)
		}
	}
}

var parameterSyntax = regexp.MustCompile(`^[A-Za-z0-9_:@+*-]+([./][A-Za-z0-9_:@+*-]+)*$`)

// checkParameters reports names that are no path below /proc/sys or /sys.
func checkParameters(r *schema.Reporter, params map[string]string, example string) {
	for _, name := range sorted(params) {
		if !parameterSyntax.MatchString(name) {
			r.At(name).Errorf("expected a name such as %s, got %q", example, name)
		}
	}
}

// checkEnv reports names that no environment variable can have.
func checkEnv(r *schema.Reporter, env map[string]string) {
	for _, name := range sorted(env) {
		v := env[name]
		if name == "" || strings.ContainsAny(name, "= \x00") || strings.Contains(v, "\x00") {
			r.At(name).Errorf("expected a variable's name such as https_proxy, got %q", name)
		}
	}
}

var (
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// checkKey reports a key that is no qualified name of Kubernetes: a name of at most 63 characters, with or without a
// domain and a slash before it.
func checkKey(r *schema.Reporter, key string) {
	domain, name, qualified := strings.Cut(key, "/")
	if !qualified {
		domain, name = "example.com", key
	}
	if !labelName.MatchString(name) || !scalar.ValidHostname(domain) || domain != strings.ToLower(domain) {
		r.Errorf("expected a key such as rack or example.com/rack, got %q", key)
	}
}

func checkLabels(r *schema.Reporter, labels map[string]string) {
	for _, key := range sorted(labels) {
		v := labels[key]
		checkKey(r.At(key), key)
		if !labelValue.MatchString(v) {
			r.At(key).Errorf("expected at most 63 letters, digits, dots, hyphens and underscores, got %q", v)
		}
	}
}

func checkAnnotations(r *schema.Reporter, annotations map[string]string) {
	for _, key := range sorted(annotations) {
		checkKey(r.At(key), key)
	}
}

// checkTaints reports taints that are not an effect, or a value and an effect.
func checkTaints(r *schema.Reporter, taints map[string]string) {
	for _, key := range sorted(taints) {
		taint := taints[key]
		checkKey(r.At(key), key)
		v, effect, both := strings.Cut(taint, ":")
		if !both {
			v, effect = "", taint
		}
		if !labelValue.MatchString(v) || effect != "NoSchedule" && effect != "PreferNoSchedule" && effect != "NoExecute" {
			r.At(key).Hintf("the effects are NoSchedule, PreferNoSchedule and NoExecute",
				"expected an effect such as NoSchedule, or a value and an effect such as storage:NoSchedule, got %q", taint)
		}
	}
}

func validIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// IsSet reports whether v, an object or any other value of a document, says anything: a list has an item, a pointer to a
// scalar is there, an object has a field that is set; of others, whether it is not zero. It panics for nil.
func IsSet(v any) bool { return anySet(reflect.ValueOf(v)) }

func anySet(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return false
		}
		if v.Elem().Kind() == reflect.Struct && schema.TypeOf(v.Type()).Class == schema.Struct {
			return anySet(v.Elem())
		}
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	case reflect.Struct:
		t := schema.TypeOf(v.Type())
		if t.Class != schema.Struct {
			return !v.IsZero()
		}
		for _, f := range t.Fields {
			if anySet(v.FieldByName(f.GoName)) {
				return true
			}
		}
		return false
	default:
		return !v.IsZero()
	}
}
