package netconf

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
)

// Seed is what a platform has handed to a machine, as files of its seed disk or in another way.
type Seed struct {
	Platform      string // "metal", "nocloud", …
	MetaData      []byte // of nocloud: instance-id, local-hostname; nil if there is none
	NetworkConfig []byte // of nocloud, version 1 or 2; nil if there is none
}

// Config returns what the seed says, for a machine with these links. A part that cannot be read does not keep the others from counting:
// after an error the rest is there.
func (s Seed) Config(links []Link) (network.PlatformConfig, error) {
	var meta struct {
		InstanceID    string `yaml:"instance-id"`
		LocalHostname string `yaml:"local-hostname"`
		Hostname      string `yaml:"hostname"`
		InstanceType  string `yaml:"instance-type"`
		Region        string `yaml:"region"`
		Zone          string `yaml:"zone"`
	}
	var failed error
	if err := yaml.Unmarshal(s.MetaData, &meta); err != nil {
		failed = fmt.Errorf("read the meta-data of platform %s: %w", s.Platform, err)
	}
	out, err := ReadNetworkConfig(s.NetworkConfig, links)
	if err != nil {
		out = network.PlatformConfig{}
		failed = fmt.Errorf("read the network-config of platform %s: %w", s.Platform, err)
	}
	if meta.LocalHostname == "" {
		meta.LocalHostname = meta.Hostname
	}
	b := &builder{layer: network.LayerPlatform, out: out}
	b.hostname(meta.LocalHostname)
	b.out.Metadata = &runtime.PlatformMetadata{
		Platform: s.Platform, Hostname: meta.LocalHostname, InstanceID: meta.InstanceID, InstanceType: meta.InstanceType,
		Region: meta.Region, Zone: meta.Zone,
	}
	return b.out, failed
}

// ReadNetworkConfig reads a network-config of version 1 or 2. An empty one says nothing.
func ReadNetworkConfig(text []byte, links []Link) (network.PlatformConfig, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return network.PlatformConfig{}, err
	}
	if len(doc.Content) == 0 {
		return network.PlatformConfig{}, nil
	}
	var wrapped struct {
		Network yaml.Node `yaml:"network"`
	}
	var head struct {
		Version *int      `yaml:"version"`
		Config  yaml.Node `yaml:"config"`
	}
	root := doc.Content[0]
	if err := root.Decode(&wrapped); err != nil {
		return network.PlatformConfig{}, err
	}
	if wrapped.Network.Kind != 0 {
		root = &wrapped.Network
	}
	if err := root.Decode(&head); err != nil {
		return network.PlatformConfig{}, err
	}
	switch {
	case head.Version == nil:
		return network.PlatformConfig{}, fmt.Errorf("expected version: 1 or 2, got none")
	case *head.Version == 1 && head.Config.Value == "disabled":
		return network.PlatformConfig{}, nil
	case *head.Version == 1:
		return readV1(root, links, network.LayerPlatform)
	case *head.Version == 2:
		return readV2(root, links, network.LayerPlatform)
	}
	return network.PlatformConfig{}, fmt.Errorf("expected version: 1 or 2, got %d", *head.Version)
}
