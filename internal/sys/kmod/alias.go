package kmod

import (
	"bytes"
	"strings"
)

// alias is what is looked for, as it was given and as it is compared.
type alias struct{ given, normal string }

// byBus sorts aliases by their bus, so that each pattern of the index is compared with the few it can match.
func byBus(aliases []string) map[string][]alias {
	out := map[string][]alias{}
	seen := map[string]bool{}
	for _, a := range aliases {
		if a == "" || seen[a] {
			continue
		}
		seen[a] = true
		n := normal(a)
		out[busOf(n)] = append(out[busOf(n)], alias{a, n})
	}
	return out
}

// busOf is what precedes the colon of an alias. One without a colon is of no bus.
func busOf(a string) string {
	bus, _, ok := strings.Cut(a, ":")
	if !ok {
		return ""
	}
	return normal(bus)
}

// busOfPattern is busOf for a pattern. Those of ACPI and DMI have "*" before the colon, as in "acpi*:PNP0C0C:*".
func busOfPattern(p []byte) []byte {
	bus, _, ok := bytes.Cut(p, []byte(":"))
	if !ok {
		return nil
	}
	bus = bytes.TrimSuffix(bus, []byte("*"))
	if bytes.IndexByte(bus, '-') >= 0 {
		bus = bytes.ReplaceAll(bus, []byte("-"), []byte("_"))
	}
	return bus
}

// normal is an alias with "_" for "-", as it is compared.
func normal(a string) string { return strings.ReplaceAll(a, "-", "_") }

// match reports whether a pattern of modules.alias matches an alias that is normal. Patterns are those of fnmatch(3) without
// flags: "*" is any text, slashes included, "?" one byte, "[a-z]" one of a class. Outside of a class "-" and "_" are the same.
// The time is bounded by the product of the lengths.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0 // where to go back to: after the last star, and the text that it took so far
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; c {
			case '*':
				star, mark = p, i
				p++
				continue
			case '[':
				if ok, next := class(pattern[p:], s[i]); ok {
					p += next
					i++
					continue
				}
			default:
				if c == '-' {
					c = '_'
				}
				if c == '?' || c == s[i] {
					p++
					i++
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// class reports whether c is in the class that pattern begins with, and how long that is. A class that does not end has
// nothing in it.
func class(pattern string, c byte) (in bool, length int) {
	not := false
	for i := 1; i < len(pattern); i++ {
		switch {
		case i == 1 && (pattern[i] == '!' || pattern[i] == '^'):
			not = true
		case pattern[i] == ']' && i > 1 && (!not || i > 2):
			return in != not, i + 1
		case i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']':
			in = in || (pattern[i] <= c && c <= pattern[i+2])
			i += 2
		default:
			in = in || pattern[i] == c
		}
	}
	return false, 0
}
