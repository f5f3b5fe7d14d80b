package resource

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"unicode/utf8"
)

// Labels is an immutable set of keys with their values. The zero value is the empty set.
// It may be copied and shared freely.
type Labels struct {
	m map[string]string // never written after it was made
}

// LabelsFrom returns labels with a copy of m.
func LabelsFrom(m map[string]string) Labels {
	if len(m) == 0 {
		return Labels{}
	}
	return Labels{m: maps.Clone(m)}
}

// Get returns the value of key and whether key is there.
func (l Labels) Get(key string) (string, bool) {
	v, ok := l.m[key]
	return v, ok
}

// Len returns the number of keys.
func (l Labels) Len() int { return len(l.m) }

// All yields the keys in lexical order with their values.
func (l Labels) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(l.m)) {
			if !yield(k, l.m[k]) {
				return
			}
		}
	}
}

// Map returns a copy as a map, nil if there are no keys.
func (l Labels) Map() map[string]string {
	if len(l.m) == 0 {
		return nil
	}
	return maps.Clone(l.m)
}

// With returns l with key set to value.
func (l Labels) With(key, value string) Labels {
	if v, ok := l.m[key]; ok && v == value {
		return l
	}
	m := make(map[string]string, len(l.m)+1)
	maps.Copy(m, l.m)
	m[key] = value
	return Labels{m: m}
}

// Without returns l without key.
func (l Labels) Without(key string) Labels {
	if _, ok := l.m[key]; !ok {
		return l
	}
	m := maps.Clone(l.m)
	delete(m, key)
	return Labels{m: m}
}

// Equal reports whether both have the same keys with the same values.
func (l Labels) Equal(o Labels) bool { return maps.Equal(l.m, o.m) }

func (l Labels) validate(what string) error {
	var errs []error
	for k, v := range l.m {
		errs = append(errs, validName(what+" key", k))
		if !utf8.ValidString(v) {
			errs = append(errs, fmt.Errorf("%s %s has the value %q, which is not UTF-8", what, k, v))
		}
	}
	return errors.Join(errs...)
}
