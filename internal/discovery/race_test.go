//go:build race

package discovery

import "time"

// simulated is how much virtual time a story may take. Under the race detector it is short: the detector's own run time fails on long
// ones now and then ("ThreadSanitizer: CHECK failed", at kEpochLast). "make unit" runs all of them without it.
const simulated = 4 * time.Minute
