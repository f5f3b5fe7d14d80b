package generate

import (
	"fmt"
	"slices"
	"strings"

	"talos.internal/config/scalar"
)

// ParseMirrors reads mirrors, each as REGISTRY=URL. Several URLs of a registry are tried in their order.
func ParseMirrors(texts []string) ([]Mirror, error) {
	var out []Mirror
	for _, m := range texts {
		registry, text, ok := strings.Cut(m, "=")
		if !ok || registry == "" {
			return nil, fmt.Errorf("expected REGISTRY=URL, got %q", m)
		}
		var u scalar.HTTPURL
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("expected %s after the =, got %q: %w", u.Expects(), text, err)
		}
		at := slices.IndexFunc(out, func(o Mirror) bool { return o.Registry == registry })
		if at < 0 {
			out = append(out, Mirror{Registry: registry})
			at = len(out) - 1
		}
		out[at].Endpoints = append(out[at].Endpoints, u)
	}
	return out, nil
}
