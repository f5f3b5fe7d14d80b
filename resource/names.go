package resource

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Names are the texts of an enumeration: a Go type whose values are the numbers of a protobuf enum,
// as which they travel in a spec's message; in YAML its methods write the texts. A number without a
// name, which a newer peer may send, is kept and written as the number.
//
// It is immutable and safe for concurrent use.
type Names[E ~int32 | ~uint32] struct {
	text  map[E]string
	value map[string]E
}

// NamesOf returns names for texts. If two numbers have the same text, the lower one is what it means.
func NamesOf[E ~int32 | ~uint32](texts map[E]string) Names[E] {
	n := Names[E]{text: maps.Clone(texts), value: make(map[string]E, len(texts))}
	for _, e := range slices.Sorted(maps.Keys(texts)) {
		if _, ok := n.value[texts[e]]; !ok {
			n.value[texts[e]] = e
		}
	}
	return n
}

// Text returns the text of e, its number in decimal if it has none.
func (n Names[E]) Text(e E) string {
	if s, ok := n.text[e]; ok {
		return s
	}
	return strconv.FormatInt(int64(e), 10)
}

// Set sets e to what text means: a name, or a number in decimal. After an error, which lists the
// names, e is unchanged.
func (n Names[E]) Set(e *E, text string) error {
	if v, ok := n.value[text]; ok {
		*e = v
		return nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if v := E(number); err == nil && int64(v) == number {
		*e = v
		return nil
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(slices.Sorted(maps.Keys(n.value)), ", "))
}

// FlagNames are the texts of a set of bits, which travels as a number. In YAML it is the texts of the
// bits that are set, the lowest first, with commas between them. Bits without a name are kept and
// written as one hexadecimal number at the end.
//
// It is immutable and safe for concurrent use.
type FlagNames[E ~uint32] struct{ names Names[E] }

// FlagNamesOf returns names for texts, each of one bit.
func FlagNamesOf[E ~uint32](texts map[E]string) FlagNames[E] {
	return FlagNames[E]{names: NamesOf(texts)}
}

// Text returns the texts of the bits in e; empty for none.
func (n FlagNames[E]) Text(e E) string {
	var parts []string
	var rest E
	for left := e; left != 0; left &= left - 1 {
		bit := E(1) << bits.TrailingZeros32(uint32(left))
		if s, ok := n.names.text[bit]; ok {
			parts = append(parts, s)
		} else {
			rest |= bit
		}
	}
	if rest != 0 {
		parts = append(parts, "0x"+strconv.FormatUint(uint64(rest), 16))
	}
	return strings.Join(parts, ",")
}

// Set sets e to the bits that text names. After an error, which lists the names, e is unchanged.
func (n FlagNames[E]) Set(e *E, text string) error {
	var all E
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		bit, ok := n.names.value[part]
		if !ok {
			number, err := strconv.ParseUint(part, 0, 32)
			if err != nil {
				return fmt.Errorf("%q is none of %s", part, strings.Join(slices.Sorted(maps.Keys(n.names.value)), ", "))
			}
			bit = E(number)
		}
		all |= bit
	}
	*e = all
	return nil
}
