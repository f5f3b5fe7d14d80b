// Package rootdoc has the root document of a machine config: the one without a kind, with version, machine and cluster.
//
// Its current fields ([Config] and below, without a deprecated tag) are the machine's identity and what has no document
// of its own. The others are how the whole config was written before there were documents; they are accepted for good.
// Package successor converts them to the documents that succeed them.
//
// Each object is a struct of its own; its doc comments are the user's reference. Validate says what is wrong with one
// object, [Check] what a config lacks for a machine to be reached. The package is pure: no files, no clock, no network.
package rootdoc

import (
	"slices"

	"talos.internal/config/schema"
)

// Version is the value of the key version: the root document has only this one.
const Version = "v1alpha1"

// Config is the root document of a machine config: who the machine is, and which authorities it trusts. Everything else
// has a document of its own beside it.
//
// A config needs this document to be complete; the machine waits for it in maintenance mode.
//
// Example:
//
//	version: v1alpha1
//	machine:
//	    type: worker
//	    token: 328hom.uqjzh6jnn2eie9oi
//	cluster:
//	    token: wlzjyw.bei2zfylhs2by0wd
type Config struct {
	// Version is the version of the schema: always v1alpha1.
	Version string `yaml:"version" required:"true" enum:"v1alpha1"`
	// Debug makes the machine log to its console in detail. Default: false.
	Debug bool `yaml:"debug" encode:"always"`
	// Persist had the config written to disk. It always is; the value is ignored.
	Persist *bool `yaml:"persist" deprecated:"nothing: a config is always kept"`
	// Machine is about this machine: its role, its secrets, and how its operating system behaves.
	Machine *Machine `yaml:"machine"`
	// Cluster is about the Kubernetes cluster that the machine belongs to.
	Cluster *Cluster `yaml:"cluster"`
}

// DocumentKind implements [schema.Document]. The root document is told by the absence of the key kind; this is its
// name inside the program.
func (*Config) DocumentKind() string { return Version }

// Kind describes the root document as kinds of documents are described. It is not for a [schema.Registry] that looks up
// the key kind: the root document has none.
func Kind() schema.Kind {
	return schema.Kind{Name: Version, Subject: "root", New: func() schema.Document { return &Config{Version: Version} }}
}

// Role returns what the machine is in its cluster, with init and join read as what they stand for; empty if the type is
// not set.
func (c *Config) Role() schema.Role {
	if c.Machine == nil {
		return ""
	}
	switch c.Machine.Type {
	case "controlplane", "init":
		return schema.ControlPlane
	case "worker", "join":
		return schema.Worker
	}
	return ""
}

// Validate implements [schema.Validator]: the rules over machine and cluster together.
func (c *Config) Validate(r *schema.Reporter) {
	if c.Role() == schema.Worker {
		c.validateWorker(r)
	}
}

// validateWorker reports what a worker must not hold: with an authority's key it could make itself a control-plane node.
func (c *Config) validateWorker(r *schema.Reporter) {
	const hint = "remove it: only control-plane nodes have it"
	deny := func(path *schema.Reporter, there bool, what string) {
		if there {
			path.Hintf(hint, "a worker must not have %s", what)
		}
	}
	m, l := r.At("machine"), r.At("cluster")
	machine, cluster := value(c.Machine), value(c.Cluster)
	deny(m.At("ca").At("key"), value(machine.CA).Key != "", "the key of the machine CA")
	deny(l.At("ca").At("key"), value(cluster.CA).Key != "", "the key of the Kubernetes CA")
	deny(l.At("aggregatorCA"), value(cluster.AggregatorCA) != CertAndKey{}, "the aggregator CA")
	deny(l.At("serviceAccount"), value(cluster.ServiceAccount).Key != "", "the service account key")
	deny(l.At("aescbcEncryptionSecret"), cluster.AESCBCEncryptionSecret != "", "an etcd encryption secret")
	deny(l.At("secretboxEncryptionSecret"), cluster.SecretboxEncryptionSecret != "", "an etcd encryption secret")
	deny(l.At("etcd"), cluster.Etcd != nil && IsSet(cluster.Etcd), "settings of etcd")
	for i, iface := range value(machine.Network).Interfaces {
		at := m.At("network").At("interfaces").Item(i)
		deny(at.At("vip"), iface.VIP != nil, "a virtual IP")
		for j, v := range iface.VLANs {
			deny(at.At("vlans").Item(j).At("vip"), v.VIP != nil, "a virtual IP")
		}
	}
}

// Check reports what the config lacks for a machine to be reached and to join, and what its mode does not allow.
// It is not part of Validate so that half a config, such as a patch, passes there.
func Check(c *schema.Check) {
	root, entry, ok := Find(c.Set)
	if !ok {
		return
	}
	r := schema.NewReporter(c.Report, entry.File, "", entry.Node)
	if root.Machine == nil {
		r.Hintf("add machine with type, token and ca", "the key \"machine\" is required")
		return
	}
	m, at := root.Machine, r.At("machine")
	if m.Type == "" {
		at.Hintf("write type: controlplane or type: worker", "the key \"type\" is required")
	}
	if m.Token == "" {
		at.Hintf("every machine of a cluster has the same token, as generated", "the key \"token\" is required")
	}
	if value(m.CA).Cert == "" && len(m.AcceptedCAs) == 0 {
		at.At("ca").Hintf("without one nobody can reach the machine", "an authority of the API is required: ca.crt or acceptedCAs")
	}
	if root.Role() == schema.ControlPlane && value(m.CA).Key == "" {
		at.At("ca").Hintf("control-plane nodes sign certificates with it", "the key \"key\" is required on a control-plane node")
	}
	if c.Mode == schema.Container {
		root.checkContainer(at)
	}
}

// checkContainer reports settings of disks, which a container does not have. Generated configs name a disk to install on
// wherever they are for: that is only noted.
func (c *Config) checkContainer(at *schema.Reporter) {
	if c.Machine.Install != nil && IsSet(c.Machine.Install) {
		at.At("install").Notef("a machine in a container is not installed: it has no effect")
	}
	if len(c.Machine.Disks) > 0 {
		at.At("disks").Hintf("remove it", "a machine in a container has no disks of its own")
	}
}

// Find returns the root document of s, and its entry.
func Find(s schema.Set) (*Config, schema.Entry, bool) {
	i := slices.IndexFunc(s, func(e schema.Entry) bool { _, ok := e.Value.(*Config); return ok })
	if i < 0 {
		return nil, schema.Entry{}, false
	}
	return s[i].Value.(*Config), s[i], true
}

// value returns what p points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
