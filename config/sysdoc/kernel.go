package sysdoc

import (
	"regexp"
	"strings"

	"talos.internal/config/schema"
)

// KernelModuleConfig loads a kernel module when the machine starts.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KernelModuleConfig
//	name: nvme_tcp
//	parameters:
//	    - wq_unbound=Y
type KernelModuleConfig struct {
	// Name is the module's name, without path and suffix.
	Name string `yaml:"name" required:"true"`
	// Parameters are the module's parameters as NAME=VALUE or NAME.
	//
	// Example:
	//
	//	parameters:
	//	    - wq_unbound=Y
	Parameters []string `yaml:"parameters"`
}

// DocumentKind implements [schema.Document].
func (*KernelModuleConfig) DocumentKind() string { return "KernelModuleConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KernelModuleConfig) DocumentName() string { return c.Name }

var moduleParameter = regexp.MustCompile(`^[A-Za-z0-9_.-]+(=[^\x00\n]*)?$`)

// Validate implements [schema.Validator].
func (c *KernelModuleConfig) Validate(r *schema.Reporter) {
	if !moduleName.MatchString(c.Name) {
		hint := ""
		if bare, _, ok := strings.Cut(c.Name[strings.LastIndex(c.Name, "/")+1:], ".ko"); ok && moduleName.MatchString(bare) {
			hint = "write " + bare
		}
		r.At("name").Hintf(hint, "expected the name of a kernel module such as nvme_tcp, got %q", clip(c.Name))
	}
	for i, p := range c.Parameters {
		if !moduleParameter.MatchString(p) {
			r.At("parameters").Item(i).Errorf("expected a parameter such as wq_unbound=Y, got %q", clip(p))
		}
	}
}

// SysctlConfig sets parameters of the kernel, as sysctl does.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: SysctlConfig
//	params:
//	    net.ipv4.ip_forward: "1"
//	    net/ipv4/conf/eth0.100/rp_filter: "0"
type SysctlConfig struct {
	// Params are the values by parameter. A parameter's parts are separated by dots, or by slashes where a part has a dot
	// of its own, such as the name of a VLAN link.
	//
	// Example:
	//
	//	params:
	//	    net.ipv4.ip_forward: "1"
	//	    net/ipv4/conf/eth0.100/rp_filter: "0"
	Params map[string]string `yaml:"params"`
}

// DocumentKind implements [schema.Document].
func (*SysctlConfig) DocumentKind() string { return "SysctlConfig" }

// Validate implements [schema.Validator].
func (c *SysctlConfig) Validate(r *schema.Reporter) {
	checkParams(c.Params, "net.ipv4.ip_forward", r.At("params"))
}

// SysfsConfig sets attributes of devices and drivers in the kernel's sysfs.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: SysfsConfig
//	params:
//	    devices.system.cpu.cpu0.cpufreq.scaling_governor: performance
type SysfsConfig struct {
	// Params are the values by attribute: its path below the root of sysfs, with dots or slashes between the parts.
	//
	// Example:
	//
	//	params:
	//	    devices.system.cpu.cpu0.cpufreq.scaling_governor: performance
	Params map[string]string `yaml:"params"`
}

// DocumentKind implements [schema.Document].
func (*SysfsConfig) DocumentKind() string { return "SysfsConfig" }

// Validate implements [schema.Validator].
func (c *SysfsConfig) Validate(r *schema.Reporter) {
	checkParams(c.Params, "devices.system.cpu.cpu0.cpufreq.scaling_governor", r.At("params"))
}

// paramKey is the syntax of a key: parts of letters, digits, '_', '-', ':', '@' and '+', and between them a dot or slash.
var paramKey = regexp.MustCompile(`^[A-Za-z0-9_:@+-]+([./][A-Za-z0-9_:@+-]+)+$`)

func checkParams(params map[string]string, example string, r *schema.Reporter) {
	first := map[string]string{}
	for _, key := range sortedKeys(params) {
		at := r.At(key)
		if !paramKey.MatchString(key) {
			hint := ""
			if bare := strings.Trim(key, "./"); paramKey.MatchString(bare) {
				hint = "write " + bare
			}
			at.Hintf(hint, "expected a parameter such as %s, got %q", example, clip(key))
			continue
		}
		p := ParamPath(key)
		if other, twice := first[p]; twice {
			at.Errorf("this is the same parameter as %s", clip(other))
		}
		first[p] = key
		if strings.ContainsAny(params[key], "\x00\n") {
			at.Errorf("expected a value on one line")
		}
	}
}

// ParamPath returns the path, relative to where the kernel has its parameters, of a key of [SysctlConfig] or
// [SysfsConfig]. As in sysctl(8), the separator that comes first is the separator, and the other one is turned
// around: net.ipv4.conf.eth0/100.rp_filter is net/ipv4/conf/eth0.100/rp_filter.
func ParamPath(key string) string {
	if i := strings.IndexAny(key, "./"); i < 0 || key[i] == '/' {
		return key
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

// UdevRulesConfig adds rules to the device manager.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: UdevRulesConfig
//	rules:
//	    - SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="44", MODE="0660"
type UdevRulesConfig struct {
	// Rules are udev rules, each on one line.
	//
	// Example:
	//
	//	rules:
	//	    - SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="44", MODE="0660"
	Rules []string `yaml:"rules"`
}

// DocumentKind implements [schema.Document].
func (*UdevRulesConfig) DocumentKind() string { return "UdevRulesConfig" }

// Validate implements [schema.Validator].
func (c *UdevRulesConfig) Validate(r *schema.Reporter) {
	for i, rule := range c.Rules {
		line := strings.TrimSpace(rule)
		if line == "" || !strings.HasPrefix(line, "#") && !strings.Contains(line, "=") {
			r.At("rules").Item(i).Errorf(`expected a rule such as SUBSYSTEM=="drm", MODE="0660", got %q`, clip(rule))
		}
	}
}
