package catalog

import (
	"fmt"
	"strings"
	"testing"
)

// jsonPath evaluates the part of JSONPath that columns use: {.}, {.key.key}, [*], [:] and
// [?(@.key=="value")]. It returns what it found; an error says that it does not know the syntax.
func jsonPath(doc any, path string) ([]any, error) {
	rest, ok := strings.CutPrefix(path, "{.")
	if rest, ok2 := strings.CutSuffix(rest, "}"); ok && ok2 {
		return jsonStep([]any{doc}, rest, path)
	}
	return nil, fmt.Errorf("%s: want {.…}", path)
}

func jsonStep(from []any, rest, path string) ([]any, error) {
	for rest != "" {
		var to []any
		if selector, ok := strings.CutPrefix(rest, "["); ok {
			end := strings.Index(selector, "]")
			if end < 0 {
				return nil, fmt.Errorf("%s: [ without ]", path)
			}
			selector, rest = selector[:end], strings.TrimPrefix(selector[end+1:], ".")
			keep := func(any) bool { return true }
			if filter, ok := strings.CutPrefix(selector, "?(@."); ok {
				key, value, ok := strings.Cut(strings.TrimSuffix(filter, ")"), "==")
				if !ok {
					return nil, fmt.Errorf("%s: want a comparison", path)
				}
				keep = func(v any) bool {
					m, _ := v.(map[string]any)
					return m[key] == strings.Trim(value, `"`)
				}
			} else if selector != "*" && selector != ":" {
				return nil, fmt.Errorf("%s: [%s] is not known", path, selector)
			}
			for _, v := range from {
				list, _ := v.([]any)
				for _, e := range list {
					if keep(e) {
						to = append(to, e)
					}
				}
			}
			from = to
			continue
		}
		n := strings.IndexAny(rest, ".[")
		key := rest
		if n < 0 {
			rest = ""
		} else {
			key, rest = rest[:n], strings.TrimPrefix(rest[n:], ".")
		}
		for _, v := range from {
			if m, ok := v.(map[string]any); ok {
				if e, ok := m[key]; ok {
					to = append(to, e)
				}
			}
		}
		from = to
	}
	return from, nil
}

func TestJSONPath(t *testing.T) {
	doc := map[string]any{
		"a": "x", "m": map[string]any{"b": 1},
		"l": []any{map[string]any{"type": "Ready", "status": "True"}, map[string]any{"type": "Other", "status": "False"}},
	}
	for _, tt := range []struct{ path, want string }{
		{"{.a}", "[x]"},
		{"{.m.b}", "[1]"},
		{"{.missing}", "[]"},
		{"{.m.missing}", "[]"},
		{"{.l[*].status}", "[True False]"},
		{"{.l[:].type}", "[Ready Other]"},
		{`{.l[?(@.type=="Ready")].status}`, "[True]"},
	} {
		if got, err := jsonPath(doc, tt.path); err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("jsonPath(%s) = %v, %v; want %s", tt.path, got, err, tt.want)
		}
	}
	for _, path := range []string{"a", "{.l[0]}", "{.l[*}"} {
		if got, err := jsonPath(doc, path); err == nil {
			t.Errorf("jsonPath(%s) = %v; want an error", path, got)
		}
	}
}
