package kubedoc

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config/schema"
)

// Quantity is an amount in the syntax of Kubernetes, as it was written: a decimal number with a binary (Ki, Mi, Gi, Ti,
// Pi, Ei) or decimal unit (n, u, m, k, M, G, T, P, E) or an exponent (e3)
// (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/). It is not negative.
type Quantity string

// Expects implements [schema.Text].
func (Quantity) Expects() string { return "a quantity such as 200m, 2, 512Mi or 1.5Gi" }

// UnmarshalText checks text.
func (q *Quantity) UnmarshalText(text []byte) error {
	if _, err := parseQuantity(string(text)); err != nil {
		return err
	}
	*q = Quantity(text)
	return nil
}

// MarshalText prints q.
func (q Quantity) MarshalText() ([]byte, error) { return []byte(q), nil }

// Less reports whether q is less than other; a quantity that is not set is less than any other.
func (q Quantity) Less(other Quantity) bool {
	a, errA := parseQuantity(string(q))
	b, errB := parseQuantity(string(other))
	if errA != nil || errB != nil {
		return errA != nil && errB == nil
	}
	return a.Cmp(b) < 0
}

var quantityUnits = map[string]*big.Rat{
	"": ratio(1, 1), "n": ratio(1, 1e9), "u": ratio(1, 1e6), "m": ratio(1, 1e3),
	"k": ratio(1e3, 1), "M": ratio(1e6, 1), "G": ratio(1e9, 1), "T": ratio(1e12, 1), "P": ratio(1e15, 1), "E": ratio(1e18, 1),
	"Ki": ratio(1<<10, 1), "Mi": ratio(1<<20, 1), "Gi": ratio(1<<30, 1), "Ti": ratio(1<<40, 1), "Pi": ratio(1<<50, 1),
	"Ei": ratio(1<<60, 1),
}

func ratio(a, b int64) *big.Rat { return big.NewRat(a, b) }

// parseQuantity parses s: NUMBER [UNIT | EXPONENT]. Length and exponent are bounded, so that the numbers are too.
func parseQuantity(s string) (*big.Rat, error) {
	const longest = 40
	if len(s) > longest {
		return nil, fmt.Errorf("it has %d characters; %d are allowed", len(s), longest)
	}
	if strings.HasPrefix(s, "-") {
		return nil, errors.New("it is negative")
	}
	digits := strings.TrimPrefix(s, "+")
	end := strings.IndexFunc(digits, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
	suffix := ""
	if end >= 0 {
		digits, suffix = digits[:end], digits[end:]
	}
	if strings.Count(digits, ".") > 1 || strings.Trim(digits, ".") == "" {
		return nil, errors.New("it does not start with a number")
	}
	n, ok := new(big.Rat).SetString("0" + strings.TrimSuffix(digits, "."))
	if !ok {
		return nil, errors.New("it does not start with a number")
	}
	factor, ok := quantityUnits[suffix]
	if !ok {
		var err error
		if factor, err = exponent(suffix); err != nil {
			return nil, err
		}
	}
	return n.Mul(n, factor), nil
}

// exponent returns the factor of "e3" or "E-2". The unit E alone is not one.
func exponent(s string) (*big.Rat, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(s, "e"), "E")
	e, err := strconv.ParseInt(rest, 10, 8)
	if err != nil || len(rest) != len(s)-1 || e < -18 || e > 18 {
		return nil, fmt.Errorf("%q is no unit", clip(s))
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(max(e, -e)), nil)
	f := new(big.Rat).SetInt(power)
	if e < 0 {
		f.Inv(f)
	}
	return f, nil
}

// Resources are what a component of Kubernetes may use.
type Resources struct {
	// Requests are what is set aside for the component on its node, by resource: cpu in cores, memory in bytes.
	//
	// Example:
	//
	//	requests:
	//	    cpu: 200m
	//	    memory: 512Mi
	Requests map[string]Quantity `yaml:"requests"`
	// Limits are the most that it may use, by resource. Left out, there is no limit.
	//
	// Example:
	//
	//	limits:
	//	    cpu: "2"
	//	    memory: 4Gi
	Limits map[string]Quantity `yaml:"limits"`
}

// Validate implements [schema.Validator].
func (c *Resources) Validate(r *schema.Reporter) {
	for _, list := range []struct {
		key    string
		values map[string]Quantity
	}{{"requests", c.Requests}, {"limits", c.Limits}} {
		for _, k := range slices.Sorted(maps.Keys(list.values)) {
			if !isResource(k) {
				r.At(list.key).At(k).Errorf("expected one of cpu, memory, ephemeral-storage or hugepages-SIZE, got %q", clip(k))
			}
			if list.values[k] == "" {
				r.At(list.key).At(k).Errorf("expected %s, got nothing", Quantity("").Expects())
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Requests)) {
		if limit, ok := c.Limits[k]; ok && limit.Less(c.Requests[k]) {
			r.At("requests").At(k).Errorf("the request %s is above the limit %s", c.Requests[k], limit)
		}
	}
}

func isResource(s string) bool {
	if page, ok := strings.CutPrefix(s, "hugepages-"); ok {
		_, err := parseQuantity(page)
		return err == nil
	}
	return s == "cpu" || s == "memory" || s == "ephemeral-storage"
}
