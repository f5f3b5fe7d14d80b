package etcd

import (
	"net/netip"

	"talos.internal/resource"
	"talos.internal/resource/arguments"
)

// Ids of resources of which there is one.
const (
	ConfigID    = "etcd"  // Config
	SpecID      = "etcd"  // Spec
	MemberID    = "local" // Member
	PKIStatusID = "etcd"  // PKIStatus
)

// Config is what the machine config says about etcd.
type Config struct {
	// AdvertiseValidSubnets: the advertised address is in one of these; empty is any
	AdvertiseValidSubnets   []string `yaml:"advertiseValidSubnets" proto:"1"`
	AdvertiseExcludeSubnets []string `yaml:"advertiseExcludeSubnets" proto:"2"` // and in none of these
	// ListenValidSubnets: it listens at the node's addresses in these; empty is all addresses
	ListenValidSubnets   []string                    `yaml:"listenValidSubnets" proto:"5"`
	ListenExcludeSubnets []string                    `yaml:"listenExcludeSubnets" proto:"6"` // and not in these
	Image                string                      `yaml:"image" proto:"3"`
	ExtraArgs            map[string]arguments.Values `yaml:"extraArgs" proto:"7"` // by name, without hyphens
}

// ResourceDefinition implements [resource.Spec].
func (Config) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcdConfigs.etcd.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Image", JSONPath: "{.image}"}},
	}
}

// Spec is what etcd is started with.
type Spec struct {
	Name                  string                      `yaml:"name" proto:"1"` // of the member
	AdvertisedAddresses   []netip.Addr                `yaml:"advertisedAddresses" proto:"2"`
	ListenPeerAddresses   []netip.Addr                `yaml:"listenPeerAddresses" proto:"5"`
	ListenClientAddresses []netip.Addr                `yaml:"listenClientAddresses" proto:"6"`
	Image                 string                      `yaml:"image" proto:"3"`
	ExtraArgs             map[string]arguments.Values `yaml:"extraArgs" proto:"7"` // by name, without hyphens
}

// ResourceDefinition implements [resource.Spec].
func (Spec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcdSpecs.etcd.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Name", JSONPath: "{.name}"},
			{Name: "AdvertisedAddresses", JSONPath: "{.advertisedAddresses}"},
			{Name: "ListenPeerAddresses", JSONPath: "{.listenPeerAddresses}"},
			{Name: "ListenClientAddresses", JSONPath: "{.listenClientAddresses}"},
		},
	}
}

// Member is this node as a member of etcd.
type Member struct {
	ID string `yaml:"memberID" proto:"1"` // 16 hexadecimal digits
}

// ResourceDefinition implements [resource.Spec].
func (Member) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcdMembers.etcd.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Member ID", JSONPath: "{.memberID}"}},
	}
}

// PKIStatus says which version of the secrets is in the files that etcd reads.
type PKIStatus struct {
	Ready   bool   `yaml:"ready" proto:"1"`
	Version string `yaml:"version" proto:"2"` // as [resource.Version] is written
}

// ResourceDefinition implements [resource.Spec].
func (PKIStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PKIStatuses.etcd.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Ready", JSONPath: "{.ready}"},
			{Name: "Secrets Version", JSONPath: "{.version}"},
		},
	}
}
