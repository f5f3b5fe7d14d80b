//go:build !race

package discovery

import (
	"math"
	"time"
)

// simulated is how much virtual time a story may take.
const simulated time.Duration = math.MaxInt64
