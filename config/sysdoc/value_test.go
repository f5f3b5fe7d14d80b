package sysdoc_test

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

func TestKindsNamesAndAliases(t *testing.T) {
	var named, aliases []string
	for _, k := range sysdoc.Kinds() {
		if k.Named() {
			named = append(named, k.Name)
		}
		aliases = append(aliases, k.Aliases...)
		if k.ControlPlaneOnly {
			t.Errorf("ControlPlaneOnly of %s = true; want false", k.Name)
		}
	}
	want := []string{
		"DiscoveryServiceConfig", "ContainerConfig", "CRICustomizationConfig", "RegistryMirrorConfig", "RegistryAuthConfig",
		"RegistryTLSConfig", "ExtensionServiceConfig", "PCIDriverRebindConfig", "EtcFileConfig", "KmsgLogConfig",
		"KernelModuleConfig", "TrustedRootsConfig",
	}
	if diff := cmp.Diff(want, named); diff != "" {
		t.Errorf("named kinds differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"UnattendedInstall"}, aliases); diff != "" {
		t.Errorf("aliases differ (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	var (
		file     sysdoc.EtcFileConfig
		watchdog sysdoc.WatchdogTimerConfig
		oom      sysdoc.OOMConfig
		install  sysdoc.UnattendedInstallConfig
		target   sysdoc.InstallProvisioning
	)
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"file mode", file.ModeOrDefault(), uint32(0o644)},
		{"watchdog's timeout", watchdog.TimeoutOrDefault(), time.Minute},
		{"out-of-memory sample interval", oom.SampleIntervalOrDefault(), 500 * time.Millisecond},
		{"out-of-memory class order", oom.StrictCgroupClassOrderingOrDefault(), true},
		{"installation reboots", install.RebootOrDefault(), true},
		{"installation wipes", target.WipeOrDefault(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("default = %v; want %v", tc.got, tc.want)
			}
		})
	}
	no := false
	if got := (&sysdoc.InstallProvisioning{Wipe: &no}).WipeOrDefault(); got {
		t.Errorf("WipeOrDefault() of false = %v; want false", got)
	}
}

func TestCores(t *testing.T) {
	for _, tc := range []struct {
		text  string
		cores sysdoc.Cores
		print string
	}{
		{"2", 2000, "2"}, {"500m", 500, "500m"}, {"0.5", 500, "500m"}, {"1.25", 1250, "1250m"}, {"1000m", 1000, "1"}, {".1", 100, "100m"},
		{"0", 0, ""}, {"", 0, ""}, {"m", 0, ""}, {"-1", 0, ""}, {"1.0001", 0, ""}, {"0.5m", 0, ""}, {"1e3", 0, ""}, {"99999999999", 0, ""},
		{"1.-1", 0, ""}, {"+1", 0, ""},
	} {
		t.Run(tc.text, func(t *testing.T) {
			var c sysdoc.Cores
			err := c.UnmarshalText([]byte(tc.text))
			if (err != nil) != (tc.cores == 0) || c != tc.cores {
				t.Fatalf("UnmarshalText(%q) = %v with %d; want %d", tc.text, err, c, tc.cores)
			}
			if b, err := c.MarshalText(); tc.cores != 0 && (string(b) != tc.print || err != nil) {
				t.Errorf("MarshalText(%d) = %q, %v; want %q, nil", c, b, err, tc.print)
			}
		})
	}
}

func TestParamPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":               "net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.100/rp_filter":  "net/ipv4/conf/eth0.100/rp_filter",
		"net.ipv4.conf.eth0/100.rp_filter":  "net/ipv4/conf/eth0.100/rp_filter",
		"devices.system.cpu.cpu0.online":    "devices/system/cpu/cpu0/online",
		"block/sda/queue/scheduler":         "block/sda/queue/scheduler",
		"nothing":                           "nothing",
		"devices/pci0000:00/0000:00:1f.2/x": "devices/pci0000:00/0000:00:1f.2/x",
	} {
		t.Run(key, func(t *testing.T) {
			if got := sysdoc.ParamPath(key); got != want {
				t.Errorf("ParamPath(%q) = %q; want %q", key, got, want)
			}
		})
	}
}

// FuzzParamPath holds that no accepted key leads out of the directory of parameters.
func FuzzParamPath(f *testing.F) {
	for _, key := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/rp_filter", "../x", "a/../b", "a.//.b", "a/.b", "a.b/."} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		var report schema.Report
		c := &sysdoc.SysctlConfig{Params: map[string]string{key: "1"}}
		c.Validate(schema.NewReporter(&report, "", "", nil))
		p := sysdoc.ParamPath(key)
		if len(report) == 0 && (path.Clean(p) != p || path.IsAbs(p) || strings.HasPrefix(p, "..")) {
			t.Errorf("ParamPath(%q) = %q; want a clean relative path", key, p)
		}
	})
}

// TestManyContainers holds that a config at the bound of its size is checked in time: the chain has a circle at its end.
func TestManyContainers(t *testing.T) {
	const n = 20_000
	var set schema.Set
	for i := range n {
		c := &sysdoc.ContainerConfig{Name: fmt.Sprintf("c%05d", i), DependsOn: &sysdoc.ContainerDependsOn{}}
		next := i + 1
		if next == n {
			next = n - 2
		}
		c.DependsOn.Containers = []string{fmt.Sprintf("c%05d", next)}
		set = append(set, schema.Entry{Value: c})
	}
	var report schema.Report
	sysdoc.Check(&schema.Check{Set: set, Report: &report})
	if len(report) != 1 || !strings.Contains(report[0].Message, "c19998 → c19999 → c19998") {
		t.Errorf("Check(a chain of %d containers) = %v; want the circle at its end", n, report)
	}
}
