package qemu

import (
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Seed is what a machine is told at its first boot: a disk of the NoCloud data source of cloud-init, which is an ISO 9660 image
// with the label cidata and the files user-data (the machine config), meta-data and network-config (version 2).
type Seed struct {
	Name    string // host name
	Config  []byte // machine config; without one there is no user-data, and the machine starts in maintenance mode
	MAC     string // of the interface that the address is for
	Address netip.Prefix
	// What follows goes with an address; without one there is no network-config.
	Gateway     netip.Addr
	MTU         int // bytes
	Nameservers []netip.Addr
}

// The forms of network-config, as far as they are used (cloud-init's documentation, "Networking config Version 2").
type (
	netplan struct {
		Version   int                 `yaml:"version"`
		Ethernets map[string]ethernet `yaml:"ethernets"`
	}
	ethernet struct {
		Match       map[string]string `yaml:"match"`
		DHCP4       bool              `yaml:"dhcp4"`
		Addresses   []netip.Prefix    `yaml:"addresses"`
		MTU         int               `yaml:"mtu"`
		Routes      []route           `yaml:"routes"`
		Nameservers *nameservers      `yaml:"nameservers,omitempty"`
	}
	route struct {
		To  string     `yaml:"to"`
		Via netip.Addr `yaml:"via"`
	}
	nameservers struct {
		Addresses []netip.Addr `yaml:"addresses"`
	}
)

// Image is the disk.
func (s Seed) Image() ([]byte, error) {
	meta, err := yaml.Marshal(struct {
		ID   string `yaml:"instance-id"`
		Name string `yaml:"local-hostname"`
	}{s.Name, s.Name})
	if err != nil {
		return nil, fmt.Errorf("meta-data of %s: %w", s.Name, err)
	}
	files := []isoFile{{"META-DATA", meta}}
	if s.Address.IsValid() {
		e := ethernet{
			Match: map[string]string{"macaddress": s.MAC}, Addresses: []netip.Prefix{s.Address}, MTU: s.MTU,
			Routes: []route{{"0.0.0.0/0", s.Gateway}},
		}
		if len(s.Nameservers) > 0 {
			e.Nameservers = &nameservers{s.Nameservers}
		}
		network, err := yaml.Marshal(netplan{2, map[string]ethernet{"nic0": e}})
		if err != nil {
			return nil, fmt.Errorf("network-config of %s: %w", s.Name, err)
		}
		files = append(files, isoFile{"NETWORK-CONFIG", network})
	}
	if len(s.Config) > 0 {
		files = append(files, isoFile{"USER-DATA", s.Config})
	}
	return iso(seedLabel, files)
}

const seedLabel = "cidata"

// consoleText turns what a serial port writes into lines: it ends them by \r\n.
type consoleText struct {
	w interface{ Write([]byte) (int, error) }
}

// Write implements io.Writer. It leaves out all \r.
func (c consoleText) Write(p []byte) (int, error) {
	if _, err := c.w.Write([]byte(strings.ReplaceAll(string(p), "\r", ""))); err != nil {
		return 0, err
	}
	return len(p), nil
}
