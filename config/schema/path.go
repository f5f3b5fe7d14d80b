package schema

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Join returns the path of key below base. A key that is not a plain word is quoted: labels["a.b/c"].
func Join(base, key string) string {
	if !plainKey(key) {
		return base + "[" + strconv.Quote(key) + "]"
	}
	if base == "" {
		return key
	}
	return base + "." + key
}

// Index returns the path of item i below base.
func Index(base string, i int) string {
	return base + "[" + strconv.Itoa(i) + "]"
}

// Within reports whether path is the place above, or lies in it.
func Within(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && (rest == "" || above == "" || rest[0] == '.' || rest[0] == '[')
}

// plainKey reports whether key can stand in a path without quotes.
func plainKey(key string) bool {
	if key == "" {
		return false
	}
	for _, c := range key {
		if c != '-' && c != '_' && c != '$' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Locate returns the node at path below n, or the nearest one above it that exists, so that a problem with a
// missing key points at the mapping that lacks it. For a key that exists, it is the key's place that is returned.
func Locate(n *yaml.Node, path string) (line, column int) {
	n = content(n)
	if n == nil {
		return 0, 0
	}
	line, column = n.Line, n.Column
	for path != "" {
		var seg string
		var item int
		seg, item, path = nextSegment(path)
		n = resolve(n)
		switch {
		case item < 0 && n.Kind == yaml.MappingNode:
			i := KeyIndex(n, seg)
			if i < 0 {
				return line, column
			}
			line, column = n.Content[i].Line, n.Content[i].Column
			n = n.Content[i+1]
		case n.Kind == yaml.SequenceNode && item >= 0 && item < len(n.Content):
			n = n.Content[item]
			line, column = n.Line, n.Column
		default:
			return line, column
		}
	}
	return line, column
}

// nextSegment cuts the first segment off path: a key with a negative item, or the number of an item.
func nextSegment(path string) (key string, item int, rest string) {
	if strings.HasPrefix(path, "[") {
		if q, err := strconv.QuotedPrefix(path[1:]); err == nil {
			key, _ = strconv.Unquote(q)
			return key, -1, strings.TrimPrefix(strings.TrimPrefix(path[1+len(q):], "]"), ".")
		}
		num, rest, _ := strings.Cut(path[1:], "]")
		item, err := strconv.Atoi(num)
		if err != nil || item < 0 {
			return path, -1, "" // no path of ours; no key is named like it
		}
		return "", item, strings.TrimPrefix(rest, ".")
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return path, -1, ""
	}
	return path[:end], -1, strings.TrimPrefix(path[end:], ".")
}
