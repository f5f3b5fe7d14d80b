package netdoc

import (
	"path"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// TimeSyncConfig says from where the machine gets the time. Without a source in it, servers come from DHCP or the
// platform, else time.cloudflare.com is asked.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: TimeSyncConfig
//	ntp:
//	    servers:
//	        - time.lab.example
type TimeSyncConfig struct {
	// Enabled says whether the machine sets its clock. Default: true.
	Enabled *bool `yaml:"enabled"`
	// BootTimeout is how long the boot waits for the time before it goes on without. Left out or 0s, it waits as long as it
	// takes.
	BootTimeout scalar.Duration `yaml:"bootTimeout"`
	// NTP gets the time from servers in the network. It excludes ptp.
	//
	// Example:
	//
	//	ntp:
	//	    servers:
	//	        - time.lab.example
	NTP *NTP `yaml:"ntp"`
	// PTP gets the time from clocks of the machine's hardware. It excludes ntp.
	//
	// Example:
	//
	//	ptp:
	//	    devices:
	//	        - /dev/ptp0
	PTP *PTP `yaml:"ptp"`
}

func (*TimeSyncConfig) DocumentKind() string { return "TimeSyncConfig" }

// EnabledOrDefault returns whether the machine sets its clock.
func (c *TimeSyncConfig) EnabledOrDefault() bool { return orDefault(c.Enabled, true) }

func (c *TimeSyncConfig) Validate(r *schema.Reporter) {
	if c.BootTimeout.Duration < 0 {
		r.At("bootTimeout").Errorf("expected a duration of at least 0s, got %v", c.BootTimeout)
	}
	if c.NTP != nil && c.PTP != nil {
		r.At("ptp").Hintf("remove one", "ntp and ptp exclude each other")
	}
}

// NTP gets the time from servers in the network (RFC 5905).
type NTP struct {
	// Servers are the names or addresses of the servers. Left out, they are those of DHCP or the platform, else
	// time.cloudflare.com.
	Servers []string `yaml:"servers"`
	// UseNTS makes the machine speak to the servers with Network Time Security (RFC 8915), which proves that the time is
	// theirs. The servers must support it. Default: false.
	UseNTS bool `yaml:"useNTS"`
}

func (c *NTP) Validate(r *schema.Reporter) {
	for i, server := range c.Servers {
		switch at := r.At("servers").Item(i); {
		case strings.HasPrefix(server, "/dev/"):
			at.Hintf("name it in ptp.devices", "expected the name or address of a server, got the device %s", server)
		case !validServer(server):
			at.Errorf("expected the name or address of a server, got %q", server)
		}
	}
}

// PTP gets the time from clocks of the machine's hardware, such as a network card's or a hypervisor's.
type PTP struct {
	// Devices are the clocks; at least one.
	Devices []string `yaml:"devices"`
}

func (c *PTP) Validate(r *schema.Reporter) {
	if len(c.Devices) == 0 {
		r.At("devices").Errorf("expected at least one device, got none")
	}
	for i, device := range c.Devices {
		if !strings.HasPrefix(device, "/dev/") || path.Clean(device) != device {
			r.At("devices").Item(i).Errorf("expected a device such as /dev/ptp0, got %q", device)
		}
	}
}
