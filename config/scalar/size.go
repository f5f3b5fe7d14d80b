package scalar

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written with a unit: decimal (kB, MB, GB, TB, PB), binary (KiB, MiB, GiB, TiB, PiB), or none.
// It keeps the text that it was read from.
type Size struct {
	Bytes uint64
	text  string
}

// SizeOf returns n bytes as a size, printed in the largest binary unit that divides it.
func SizeOf(n uint64) Size { return Size{Bytes: n} }

// Expects implements [schema.Text].
func (Size) Expects() string { return "a size such as 10GiB, 500MB or 1048576" }

var units = []struct {
	name   string
	factor uint64
}{
	{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
	{"Pi", 1 << 50}, {"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
	{"P", 1e15}, {"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"B", 1},
}

// UnmarshalText parses text. Units are taken in any letter case, with or without a space before them.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number := strings.TrimRight(t, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	factor, err := unit(strings.TrimSpace(t[len(number):]))
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(number, 64)
		if ferr != nil || f < 0 || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(number, "eExX_") {
			return errors.New("it does not start with a number")
		}
		if f*float64(factor) >= math.MaxUint64 {
			return errors.New("it is too large")
		}
		*s = Size{Bytes: uint64(f * float64(factor)), text: t}
		return nil
	}
	if n > math.MaxUint64/factor {
		return errors.New("it is too large")
	}
	*s = Size{Bytes: n * factor, text: t}
	return nil
}

func unit(name string) (uint64, error) {
	if name == "" {
		return 1, nil
	}
	for _, u := range units {
		if strings.EqualFold(u.name, name) {
			return u.factor, nil
		}
	}
	return 0, fmt.Errorf("%q is no unit", name)
}

// MarshalText prints s.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String prints s as it was read, or in the largest binary unit that divides it; zero is empty if it was not read.
func (s Size) String() string {
	if s.text != "" || s.Bytes == 0 {
		return s.text
	}
	for _, u := range units[:5] {
		if s.Bytes%u.factor == 0 {
			return strconv.FormatUint(s.Bytes/u.factor, 10) + u.name
		}
	}
	return strconv.FormatUint(s.Bytes, 10)
}

// Limit is a size, or a percentage of the disk, or what is left when a size or percentage is kept free (a leading minus
// sign).
type Limit struct {
	// Size is the number of bytes; zero if Percent is set.
	Size Size
	// Percent is of the whole, from 1 to 100; zero if Size is set.
	Percent uint
	// Negative is set if the value is what to leave free.
	Negative bool
	text     string
}

// Expects implements [schema.Text].
func (Limit) Expects() string { return "a size such as 10GiB or a percentage such as 80%" }

// UnmarshalText parses text.
func (l *Limit) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	rest, negative := strings.CutPrefix(t, "-")
	if p, ok := strings.CutSuffix(rest, "%"); ok {
		n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 8)
		if err != nil || n > 100 || n == 0 {
			return errors.New("a percentage is a whole number from 1 to 100")
		}
		*l = Limit{Percent: uint(n), Negative: negative, text: t}
		return nil
	}
	var s Size
	if err := s.UnmarshalText([]byte(rest)); err != nil {
		return err
	}
	*l = Limit{Size: s, Negative: negative, text: t}
	return nil
}

// MarshalText prints l.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.text), nil }

// IsZero reports whether l is not set.
func (l Limit) IsZero() bool { return l == Limit{} }
