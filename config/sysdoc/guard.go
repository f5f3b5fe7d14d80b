package sysdoc

import (
	"regexp"
	"time"

	"talos.internal/config/expr"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// The watchdog's timeout and the out-of-memory handler's interval.
const (
	defaultWatchdogTimeout = time.Minute
	leastWatchdogTimeout   = 10 * time.Second
	defaultSampleInterval  = 500 * time.Millisecond
	leastSampleInterval    = 10 * time.Millisecond
)

// WatchdogTimerConfig has a hardware watchdog reset the machine when the system hangs.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: WatchdogTimerConfig
//	device: /dev/watchdog0
//	timeout: 2m
type WatchdogTimerConfig struct {
	// Device is the watchdog's device file.
	//
	// Example:
	//
	//	device: /dev/watchdog0
	Device string `yaml:"device" required:"true"`
	// Timeout is after which time without a sign of life the machine is reset, at least 10s. Left out, it is 1m.
	Timeout *scalar.Duration `yaml:"timeout"`
}

// DocumentKind implements [schema.Document].
func (*WatchdogTimerConfig) DocumentKind() string { return "WatchdogTimerConfig" }

// TimeoutOrDefault returns after which time the machine is reset.
func (c *WatchdogTimerConfig) TimeoutOrDefault() time.Duration {
	return valueOr(c.Timeout, scalar.Duration{Duration: defaultWatchdogTimeout}).Duration
}

var watchdogDevice = regexp.MustCompile(`^/dev/watchdog\d*$`)

// Validate implements [schema.Validator].
func (c *WatchdogTimerConfig) Validate(r *schema.Reporter) {
	if !watchdogDevice.MatchString(c.Device) {
		r.At("device").Errorf("expected the device file of a watchdog such as /dev/watchdog0, got %q", clip(c.Device))
	}
	if d := c.TimeoutOrDefault(); d < leastWatchdogTimeout {
		r.At("timeout").Errorf("expected at least %s, got %s", leastWatchdogTimeout, d)
	}
}

// OOMConfig steers the out-of-memory handler, which ends containers before the machine runs out of memory.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: OOMConfig
//	triggerExpression: memory_full_avg10 > 12.0 && time_since_trigger > duration("500ms")
//	sampleInterval: 100ms
type OOMConfig struct {
	// TriggerExpression is the condition, in CEL, under which a container is ended: over the pressure on memory
	// (memory_full_avg10 and so on, in percent) and the time since the last one. Left out, it is the system's own.
	//
	// Example:
	//
	//	triggerExpression: memory_full_avg10 > 12.0 && time_since_trigger > duration("500ms")
	TriggerExpression expr.OOMTrigger `yaml:"triggerExpression"`
	// CgroupRankingExpression is a number, in CEL, by which cgroups are ordered; the highest is ended. Left out, it is the
	// system's own, which ends those without a memory limit that use most.
	//
	// Example:
	//
	//	cgroupRankingExpression: 'memory_max.hasValue() ? 0.0 : double(memory_current.orValue(0u))'
	CgroupRankingExpression expr.CgroupRanking `yaml:"cgroupRankingExpression"`
	// StrictCgroupClassOrdering ends a cgroup of a higher quality-of-service class only when there is none of a lower one.
	// Left out, it is true.
	StrictCgroupClassOrdering *bool `yaml:"strictCgroupClassOrdering"`
	// SampleInterval is how often the pressure is looked at, at least every 10ms. Left out, it is 500ms.
	SampleInterval *scalar.Duration `yaml:"sampleInterval"`
}

// DocumentKind implements [schema.Document].
func (*OOMConfig) DocumentKind() string { return "OOMConfig" }

// StrictCgroupClassOrderingOrDefault reports whether classes are kept in order.
func (c *OOMConfig) StrictCgroupClassOrderingOrDefault() bool {
	return valueOr(c.StrictCgroupClassOrdering, true)
}

// SampleIntervalOrDefault returns how often the pressure is looked at.
func (c *OOMConfig) SampleIntervalOrDefault() time.Duration {
	return valueOr(c.SampleInterval, scalar.Duration{Duration: defaultSampleInterval}).Duration
}

// Validate implements [schema.Validator].
func (c *OOMConfig) Validate(r *schema.Reporter) {
	if d := c.SampleIntervalOrDefault(); d < leastSampleInterval {
		r.At("sampleInterval").Errorf("expected at least %s, got %s", leastSampleInterval, d)
	}
}

// SecurityProfileConfig chooses how far the parts of the system are kept apart.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: SecurityProfileConfig
//	workloadIsolation: true
type SecurityProfileConfig struct {
	// WorkloadIsolation runs the container runtime of Kubernetes, the kubelet and etcd with process and mount namespaces
	// of their own. Left out, they share those of the system.
	WorkloadIsolation bool `yaml:"workloadIsolation"`
}

// DocumentKind implements [schema.Document].
func (*SecurityProfileConfig) DocumentKind() string { return "SecurityProfileConfig" }
