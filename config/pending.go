package config

import (
	"slices"
	"strings"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
)

// pending lists what is accepted and checked and that nothing in the system acts on yet: kinds of documents, and fields
// of the root document. Who makes one work removes it here; nothing is ever ignored in silence.
var pending = []string{
	// The node, its API and its system.
	"machine.features", "debug",
	"EnvironmentConfig", "EtcFileConfig", "EventSinkConfig", "OOMConfig",
	"SecurityProfileConfig", "UdevRulesConfig", "WatchdogTimerConfig",
	"SideroLinkConfig", "PCIDriverRebindConfig", "ContainerConfig",
	// Fields without a successor.
	"machine.files", "machine.disks",
	// Network.
	"BGPInstanceConfig", "BlackholeRouteConfig", "BondConfig", "BridgeConfig", "DHCPv4Config", "DHCPv6Config",
	"DummyLinkConfig", "EthernetConfig", "HCloudVIPConfig", "KubeSpanConfig", "KubeSpanEndpointsConfig", "Layer2VIPConfig",
	"LinkAliasConfig", "LinkConfig", "NetworkDefaultActionConfig", "NetworkRuleConfig", "RoutingRuleConfig",
	"VLANConfig", "VRFConfig", "VethConfig", "WireguardConfig",
	// Disks.
	"FilesystemScrubConfig", "FilesystemTrimConfig", "LVMLogicalVolumeConfig", "LVMVolumeGroupConfig", "RAIDArrayConfig", "ZswapConfig",
}

// notePending adds one note that names what of the config is pending: the documents, and the root document's fields.
func notePending(c *schema.Check) {
	var found []string
	add := func(name string) {
		if slices.Contains(pending, name) && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	for _, e := range c.Set {
		if e.Value.DocumentKind() != rootdoc.Version {
			add(e.Value.DocumentKind())
			continue
		}
		for _, name := range pending {
			if strings.ToLower(name[:1]) == name[:1] && isSetAt(e, name) {
				add(name)
			}
		}
	}
	if len(found) == 0 {
		return
	}
	c.Report.Add(schema.Problem{
		Severity: schema.Note, File: fileOf(c.Set),
		Message: "accepted, and nothing acts on these yet: " + strings.Join(found, ", "),
	})
}

// isSetAt reports whether the document that e was read from has the key at path.
func isSetAt(e schema.Entry, path string) bool {
	n := e.Node
	for key := range strings.SplitSeq(path, ".") {
		if n = schema.Child(n, key); n == nil {
			return false
		}
	}
	return true
}
