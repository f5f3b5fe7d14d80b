package blockdoc

import (
	"time"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// DefaultInterval is the time from one trim or scrub to the next where none is set.
const DefaultInterval = 168 * time.Hour

// leastInterval keeps upkeep from being all that a disk does.
const leastInterval = 10 * time.Second

// Trim says whether and how often the disk is told which blocks of a volume are unused (fstrim). What it leaves out is
// taken from FilesystemTrimConfig.
type Trim struct {
	// Enabled turns trimming of this volume on or off. Left out, the volume is trimmed if there is an interval, here or in
	// FilesystemTrimConfig.
	Enabled *bool `yaml:"enabled"`
	// Interval is the time from one trim to the next, at least 10s. Left out, it is that of FilesystemTrimConfig.
	//
	// Example:
	//
	//	interval: 24h
	Interval *scalar.Duration `yaml:"interval"`
}

// Scrub says whether and how often a volume is read and verified while it is in use. Only xfs and btrfs can be scrubbed.
// What it leaves out is taken from FilesystemScrubConfig.
type Scrub struct {
	// Enabled turns scrubbing of this volume on or off. Left out, the volume is scrubbed if there is an interval, here or in
	// FilesystemScrubConfig.
	Enabled *bool `yaml:"enabled"`
	// Interval is the time from one scrub to the next, at least 10s. Left out, it is that of FilesystemScrubConfig.
	//
	// Example:
	//
	//	interval: 720h
	Interval *scalar.Duration `yaml:"interval"`
}

// FilesystemTrimConfig has all volumes trimmed from time to time: the disk is told which blocks are unused (fstrim), which
// keeps SSDs fast and gives space back to a storage array. The times of machines and volumes are spread over the
// interval. Without this document only volumes that ask for it are trimmed.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: FilesystemTrimConfig
//	interval: 168h0m0s
type FilesystemTrimConfig struct {
	// Interval is the time from one trim of a volume to the next, at least 10s. The default is 168h, a week.
	//
	// Example:
	//
	//	interval: 168h
	Interval *scalar.Duration `yaml:"interval"`
}

// FilesystemScrubConfig has all xfs and btrfs volumes scrubbed from time to time: their metadata, and with btrfs their
// data, is read and verified while the volume is in use. The times of machines and volumes are spread over the interval.
// Without this document only volumes that ask for it are scrubbed.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: FilesystemScrubConfig
//	interval: 720h
type FilesystemScrubConfig struct {
	// Interval is the time from one scrub of a volume to the next, at least 10s. The default is 168h, a week.
	//
	// Example:
	//
	//	interval: 720h
	Interval *scalar.Duration `yaml:"interval"`
}

// DocumentKind implements [schema.Document].
func (*FilesystemTrimConfig) DocumentKind() string { return "FilesystemTrimConfig" }

// DocumentKind implements [schema.Document].
func (*FilesystemScrubConfig) DocumentKind() string { return "FilesystemScrubConfig" }

// IntervalOrDefault returns the time from one trim to the next.
func (c *FilesystemTrimConfig) IntervalOrDefault() time.Duration {
	return intervalOrDefault(c.Interval)
}

// IntervalOrDefault returns the time from one scrub to the next.
func (c *FilesystemScrubConfig) IntervalOrDefault() time.Duration {
	return intervalOrDefault(c.Interval)
}

func intervalOrDefault(d *scalar.Duration) time.Duration {
	return orDefault(d, scalar.Duration{Duration: DefaultInterval}).Duration
}

// Validate checks the interval.
func (t *Trim) Validate(r *schema.Reporter) { checkInterval(r, t.Interval) }

// Validate checks the interval.
func (s *Scrub) Validate(r *schema.Reporter) { checkInterval(r, s.Interval) }

// Validate checks the interval.
func (c *FilesystemTrimConfig) Validate(r *schema.Reporter) { checkInterval(r, c.Interval) }

// Validate checks the interval.
func (c *FilesystemScrubConfig) Validate(r *schema.Reporter) { checkInterval(r, c.Interval) }

func checkInterval(r *schema.Reporter, d *scalar.Duration) {
	if d != nil && d.Duration < leastInterval {
		r.At("interval").Hintf("such as 168h for a week", "expected at least %v, got %v", leastInterval, d.Duration)
	}
}

// checkScrub reports a scrub that is turned on for a file system that has none.
func checkScrub(r *schema.Reporter, s *Scrub, filesystem string) {
	if s == nil || filesystem == XFS || filesystem == Btrfs || !orDefault(s.Enabled, true) {
		return
	}
	r.At("scrub").Hintf("leave scrub out", "expected a file system that can be scrubbed (xfs or btrfs), got %s", filesystem)
}
