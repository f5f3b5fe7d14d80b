package layer2

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rule says what happens to frames on their way from one port to another, in that direction alone.
type Rule struct {
	From string `json:"from,omitempty"` // "" is every port
	To   string `json:"to,omitempty"`   // "" is every port
	// Cut loses all of them.
	Cut bool `json:"cut,omitempty"`
	// Drop is the share of frames that are lost, from 0 to 1.
	Drop float64 `json:"drop,omitempty"`
	// Delay and Jitter say how late a frame is: Delay, and up to Jitter more. With jitter a frame can overtake another.
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
}

// mostDelay bounds what waits in memory.
const mostDelay = 10 * time.Second

// Check returns what is wrong with a rule.
func (r Rule) Check() error {
	switch {
	case !(r.Drop >= 0 && r.Drop <= 1): // which NaN is not either
		return fmt.Errorf("rule %s: the share of lost frames is %v; want 0 to 1", r, r.Drop)
	case r.Delay < 0 || r.Jitter < 0 || r.Delay > mostDelay || r.Jitter > mostDelay:
		return fmt.Errorf("rule %s: delay and jitter have to be from 0 to %v", r, mostDelay)
	}
	return nil
}

// String is the rule as a person reads it.
func (r Rule) String() string {
	name := func(port string) string {
		if port == "" {
			return "*"
		}
		return port
	}
	words := []string{name(r.From), "->", name(r.To)}
	if r.Cut {
		words = append(words, "cut")
	}
	if r.Drop > 0 {
		words = append(words, fmt.Sprintf("drop %g", r.Drop))
	}
	if r.Delay > 0 || r.Jitter > 0 {
		words = append(words, fmt.Sprintf("delay %v+%v", r.Delay, r.Jitter))
	}
	return strings.Join(words, " ")
}

// pair is the direction of a rule.
type pair struct{ from, to string }

// rules are the rules of a switch, one for each direction.
type rules map[pair]Rule

// set puts a rule in the place of the one for the same direction. It may do nothing: then a more general rule does not matter
// for this direction.
func (rs rules) set(r Rule) { rs[pair{r.From, r.To}] = r }

// of returns the rule for a direction. The most special one holds alone: that of both ports, then that of the sender, of the
// receiver, of all.
func (rs rules) of(from, to string) Rule {
	if len(rs) == 0 {
		return Rule{}
	}
	for _, p := range []pair{{from, to}, {from, ""}, {"", to}, {"", ""}} {
		if r, ok := rs[p]; ok {
			return r
		}
	}
	return Rule{}
}

// list returns the rules in the order of their text.
func (rs rules) list() []Rule {
	out := make([]Rule, 0, len(rs))
	for _, r := range rs {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Rule) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// fate is what becomes of a frame: lost, or late by some time. chance returns a number from 0 to less than 1.
func (r Rule) fate(chance func() float64) (late time.Duration, lost bool) {
	if r.Cut || r.Drop > 0 && chance() < r.Drop {
		return 0, true
	}
	late = r.Delay
	if r.Jitter > 0 {
		late += time.Duration(chance() * float64(r.Jitter))
	}
	return late, false
}
