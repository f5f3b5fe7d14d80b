// Package sysdoc has the configuration documents about the machine's own system: cluster discovery, containers outside
// of Kubernetes, the container runtime and its registries, extensions and hardware, kernel and run-time settings,
// installation, trust, and the management link.
//
// Each document kind is a struct whose comments are its documentation. [Kinds] lists them; [Check] has the rules that
// span several documents. Disks, volumes and the network have packages of their own.
//
// The package is pure, reads no clock and no file, and is imported by the config facade and by consumers of documents;
// it imports no other document package.
package sysdoc

import (
	"maps"
	"slices"

	"talos.internal/config/schema"
)

// Kinds returns the kinds of this package.
func Kinds() []schema.Kind {
	install := kind("runtime", func() schema.Document { return new(UnattendedInstallConfig) })
	install.Aliases = []string{"UnattendedInstall"}
	return []schema.Kind{
		kind("cluster", func() schema.Document { return new(DiscoveryIdentityConfig) }),
		kind("cluster", func() schema.Document { return new(DiscoveryServiceConfig) }),
		kind("container", func() schema.Document { return new(ContainerConfig) }),
		kind("cri", func() schema.Document { return new(CRIBaseRuntimeSpecConfig) }),
		kind("cri", func() schema.Document { return new(CRICustomizationConfig) }),
		kind("cri", func() schema.Document { return new(ImageCacheConfig) }),
		kind("cri", func() schema.Document { return new(RegistryMirrorConfig) }),
		kind("cri", func() schema.Document { return new(RegistryAuthConfig) }),
		kind("cri", func() schema.Document { return new(RegistryTLSConfig) }),
		kind("extensions", func() schema.Document { return new(ExtensionServiceConfig) }),
		kind("hardware", func() schema.Document { return new(PCIDriverRebindConfig) }),
		kind("runtime", func() schema.Document { return new(EnvironmentConfig) }),
		kind("runtime", func() schema.Document { return new(EtcFileConfig) }),
		kind("runtime", func() schema.Document { return new(EventSinkConfig) }),
		kind("runtime", func() schema.Document { return new(KmsgLogConfig) }),
		kind("runtime", func() schema.Document { return new(KernelModuleConfig) }),
		kind("runtime", func() schema.Document { return new(SysctlConfig) }),
		kind("runtime", func() schema.Document { return new(SysfsConfig) }),
		kind("runtime", func() schema.Document { return new(UdevRulesConfig) }),
		kind("runtime", func() schema.Document { return new(WatchdogTimerConfig) }),
		kind("runtime", func() schema.Document { return new(OOMConfig) }),
		kind("runtime", func() schema.Document { return new(SecurityProfileConfig) }),
		install,
		kind("security", func() schema.Document { return new(TrustedRootsConfig) }),
		kind("security", func() schema.Document { return new(ImageVerificationConfig) }),
		kind("siderolink", func() schema.Document { return new(SideroLinkConfig) }),
	}
}

func kind(subject string, create func() schema.Document) schema.Kind {
	return schema.Kind{Name: create().DocumentKind(), Subject: subject, New: create}
}

// valueOr returns *p, or otherwise if p is nil.
func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// sortedKeys returns the keys of m in order, so that problems come in the same order each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clip shortens s for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// Check reports what is wrong between the documents of this package.
func Check(c *schema.Check) {
	checkDiscovery(c)
	checkContainers(c)
}
