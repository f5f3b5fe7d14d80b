package kubeprismctrl

import (
	"slices"
	"time"
)

// health is what is known of an API server. The better ones come first.
type health uint8

const (
	healthy health = iota
	unknown        // it was not asked yet
	unready        // it is there, and says that it is not ready
	gone           // there is no answer
)

func (h health) String() string {
	return [...]string{"healthy", "not asked yet", "not ready", "gone"}[h]
}

// candidate is an API server as the choice sees it.
type candidate struct {
	address string
	health  health
	latency time.Duration // of the last connection that was made
}

// tiers are the latencies at which one server counts as further away than another. Within a tier all are the same, so that load is
// spread.
var tiers = []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}

func tier(d time.Duration) int {
	for i, most := range tiers {
		if d < most {
			return i
		}
	}
	return len(tiers)
}

// choose returns the addresses in the order in which they are tried: the healthy ones first, of these the nearest, and of these
// another one each turn. Those that do not seem to answer come last: they may have come back.
func choose(list []candidate, turn uint64) []string {
	type ranked struct {
		candidate
		turn int
	}
	var order []ranked
	for i, c := range list {
		order = append(order, ranked{c, (i + int(turn%uint64(len(list)))) % len(list)})
	}
	slices.SortStableFunc(order, func(a, b ranked) int {
		if a.health != b.health {
			return int(a.health) - int(b.health)
		}
		if a.health == healthy {
			if t := tier(a.latency) - tier(b.latency); t != 0 {
				return t
			}
		}
		return a.turn - b.turn
	})
	out := make([]string, 0, len(order))
	for _, c := range order {
		out = append(out, c.address)
	}
	return out
}

// The times between two checks of an API server. After a failure it is asked again soon, and then less and less often.
const (
	checkInterval = 20 * time.Second
	checkSoonest  = 500 * time.Millisecond
	checkHeld     = 200 * time.Millisecond // while connections wait for an API server
	checkTimeout  = 15 * time.Second
)

// nextCheck returns when to ask again after so many failures in a row.
func nextCheck(failures int) time.Duration {
	if failures == 0 {
		return checkInterval
	}
	if failures > 6 {
		return checkInterval
	}
	return min(checkSoonest<<(failures-1), checkInterval)
}
