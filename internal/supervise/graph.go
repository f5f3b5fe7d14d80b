package supervise

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// order sorts the keys of after so that each comes after those it names, and otherwise by name. What is named and is no key
// is left out. It returns an error with the cycle if there is one.
func order(after map[string][]string) ([]string, error) {
	const entered, done = 1, 2
	mark := map[string]int{}
	var sorted, path []string
	var visit func(id string) error
	visit = func(id string) error {
		if mark[id] == done {
			return nil
		}
		path = append(path, id)
		if mark[id] == entered {
			cycle := path[slices.Index(path, id):]
			return fmt.Errorf("%w: services wait for each other: %s", ErrInvalid, strings.Join(cycle, " → "))
		}
		mark[id] = entered
		for _, on := range slices.Sorted(slices.Values(after[id])) {
			if _, ok := after[on]; !ok {
				continue
			}
			if err := visit(on); err != nil {
				return err
			}
		}
		mark[id] = done
		path = path[:len(path)-1]
		sorted = append(sorted, id)
		return nil
	}
	ids := make([]string, 0, len(after))
	for id := range after {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := visit(id); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

// dependents returns ids and all that come after one of them, directly or not.
func dependents(after map[string][]string, ids []string) map[string]bool {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	for grown := true; grown; {
		grown = false
		for id, on := range after {
			if !set[id] && slices.ContainsFunc(on, func(o string) bool { return set[o] }) {
				set[id], grown = true, true
			}
		}
	}
	return set
}

// maxSettle is how long a killed service is waited for.
const maxSettle = 5 * time.Second

// stopPlan says in which order services are stopped, and how the time is shared.
type stopPlan struct {
	after map[string][]string
	grace map[string]time.Duration // of those that run
	set   map[string]bool
}

// stopStep is the stopping of one service, when all those in First are gone.
type stopStep struct {
	ID    string
	First []string
}

// steps returns the services of the set, each after those that depend on it.
func (p stopPlan) steps() []stopStep {
	sorted, err := order(p.after)
	if err != nil {
		return nil // what was loaded has no cycle
	}
	var steps []stopStep
	first := map[string][]string{}
	for _, id := range slices.Backward(sorted) {
		if !p.set[id] {
			continue
		}
		steps = append(steps, stopStep{ID: id, First: first[id]})
		for _, on := range p.after[id] {
			if p.set[on] && !slices.Contains(first[on], id) {
				first[on] = append(first[on], id)
			}
		}
	}
	return steps
}

// times returns how long id may take to stop, and how long it then has to be gone when it is killed, if left is the time
// until everything must be gone; zero is no limit. It is asked when id is to be stopped, so that what the services before
// it did not use is shared among those that are left.
//
// What decides is the longest chain of services that stop one after the other from id on. If their graces fit into left
// each has its own. Otherwise no grace is longer than a limit, which is the same for all and as high as fits: so one
// service with a long grace takes nothing from those that need little. Shares in proportion were tried first; a grace of an
// hour left 7 ms of three seconds to a neighbour that asked for ten. One tenth of the time is for the killing.
func (p stopPlan) times(id string, left time.Duration) (grace, settle time.Duration) {
	grace = p.grace[id]
	if left == 0 {
		return grace, maxSettle
	}
	services := p.longest(id, func(time.Duration) time.Duration { return 1 })
	if services == 0 {
		return 0, 0
	}
	settle = min(maxSettle, left/10/services).Truncate(time.Millisecond)
	left -= services * settle
	chain := func(limit time.Duration) time.Duration {
		return p.longest(id, func(g time.Duration) time.Duration { return min(g, limit) })
	}
	if chain(left) <= left {
		return min(grace, left), settle
	}
	fits, not := time.Duration(0), left
	for not-fits > 1 {
		if middle := (fits + not) / 2; chain(middle) <= left {
			fits = middle
		} else {
			not = middle
		}
	}
	return min(grace, fits.Truncate(time.Millisecond)), settle
}

// longest returns the largest sum of weights along a chain that starts with id and goes to what stops after it. Only what
// runs has a weight.
func (p stopPlan) longest(id string, weight func(grace time.Duration) time.Duration) time.Duration {
	memo := map[string]time.Duration{}
	var walk func(id string) time.Duration
	walk = func(id string) time.Duration {
		if sum, ok := memo[id]; ok {
			return sum
		}
		var sum time.Duration
		for _, on := range p.after[id] {
			if p.set[on] {
				sum = max(sum, walk(on))
			}
		}
		if g := p.grace[id]; g > 0 {
			sum += weight(g)
		}
		memo[id] = sum
		return sum
	}
	return walk(id)
}
