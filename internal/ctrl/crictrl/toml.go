package crictrl

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"talos.internal/config/defaults"
	"talos.internal/internal/container"
	"talos.internal/resource/cri"
)

// Snapshotters of containerd.
const (
	Overlay = "overlayfs"
	Native  = "native" // copies; for file systems on which overlayfs does not work
)

// quote writes a TOML basic string (TOML 1.0, "String").
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// hostDir is the directory of a registry's hosts.toml, as containerd looks for it.
func hostDir(registry string) string {
	if registry == anyRegistry {
		return "_default"
	}
	if i := strings.LastIndex(registry, ":"); i > 0 {
		return registry[:i] + "_" + registry[i+1:] + "_"
	}
	return registry
}

// hostFiles returns the files below conf.d/hosts. dir is where they will be.
//
// A registry has a directory if it has a mirror or TLS settings of its own. One with TLS settings and no mirror document goes on to
// use the mirrors of "*".
func hostFiles(c cri.RegistryConfig, dir string) map[string]string {
	out := map[string]string{}
	names := map[string]bool{}
	for name := range c.Mirrors {
		names[name] = true
	}
	for name := range c.TLS {
		names[name] = true
	}
	for name := range names {
		m, ok := c.Mirrors[name]
		if !ok {
			m = c.Mirrors[anyRegistry]
		}
		out[hostDir(name)+"/hosts.toml"] = hostsTOML(name, m, c.TLS, dir)
	}
	for name, t := range c.TLS {
		at := "tls/" + hostDir(name)
		if len(t.CA) > 0 {
			out[at+"/ca.crt"] = string(t.CA)
		}
		if t.ClientIdentity != nil {
			out[at+"/client.crt"], out[at+"/client.key"] = string(t.ClientIdentity.Crt), string(t.ClientIdentity.Key)
		}
	}
	return out
}

// hostsTOML is one hosts.toml (containerd's docs/hosts.md). The server of the file is what is asked last: the registry itself, if
// the file names none. Where the registry is never to be asked, the last mirror is named instead; if there is none, the image
// cache, and then nothing answers while that is off.
func hostsTOML(name string, m cri.RegistryMirror, tls map[string]cri.RegistryTLS, dir string) string {
	var b strings.Builder
	endpoints := m.Endpoints
	if m.SkipFallback {
		last := cacheEndpoint
		if n := len(endpoints); n > 0 {
			last, endpoints = endpoints[n-1], endpoints[:n-1]
		}
		fmt.Fprintf(&b, "server = %s\n", quote(last.URL))
		b.WriteString(hostKeys(last, tls, dir, ""))
	} else if t, ok := tls[name]; ok {
		b.WriteString(tlsKeys(name, t, dir, ""))
	}
	seen := map[string]bool{}
	for _, e := range endpoints {
		if seen[e.URL] {
			continue // a table may be there once
		}
		seen[e.URL] = true
		fmt.Fprintf(&b, "\n[host.%s]\n", quote(e.URL))
		b.WriteString(hostKeys(e, tls, dir, "  "))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// hostKeys are the settings of one endpoint.
func hostKeys(e cri.RegistryEndpoint, tls map[string]cri.RegistryTLS, dir, indent string) string {
	out := indent + "capabilities = [\"pull\", \"resolve\"]\n"
	if e.OverridePath {
		out += indent + "override_path = true\n"
	}
	_, rest, _ := strings.Cut(e.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	if t, ok := tls[host]; ok {
		out += tlsKeys(host, t, dir, indent)
	}
	return out
}

func tlsKeys(host string, t cri.RegistryTLS, dir, indent string) string {
	at, out := dir+"/tls/"+hostDir(host), ""
	if len(t.CA) > 0 {
		out += indent + "ca = " + quote(at+"/ca.crt") + "\n"
	}
	if t.ClientIdentity != nil {
		out += indent + "client = [[" + quote(at+"/client.crt") + ", " + quote(at+"/client.key") + "]]\n"
	}
	if t.InsecureSkipVerify {
		out += indent + "skip_verify = true\n"
	}
	return out
}

// pauseImage holds the namespaces of pods. A test holds it to what internal/image makes.
const pauseImage = defaults.Pause

// unused are containerd's plugins that a node has no use for.
var unused = []string{
	verifierPlugin, // needed only where images are verified
	"io.containerd.internal.v1.opt",
	"io.containerd.internal.v1.tracing",
	"io.containerd.monitor.container.v1.restart",
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.snapshotter.v1.zfs",
	"io.containerd.tracing.processor.v1.otlp",
}

// verifierPlugin has containerd ask a program about each image that is pulled.
const verifierPlugin = "io.containerd.image-verifier.v1.bindir"

// extensionParts are parts that extensions have in the image. Those of the machine config come after them.
const extensionParts = "/usr/local/etc/cri/conf.d/*.part"

// containerdTOML is containerd's configuration, version 3.
//
// With verify, images for pods are pulled by containerd's transfer service, which alone asks the verifier. It knows no credentials of
// the configuration and cannot discard layers.
func containerdTOML(d Deps, h container.Host, auths map[string]cri.RegistryAuth, baseSpec, verify bool) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("version = 3")
	line("root = %s", quote(d.Root))
	line("state = %s", quote(d.State))
	line("imports = [%s, %s]", quote(extensionParts), quote(d.Dir+"/conf.d/*.part"))
	line("disabled_plugins = [")
	for _, p := range unused {
		if p != verifierPlugin || !verify {
			line("  %s,", quote(p))
		}
	}
	line("]")
	section := func(name string) { line("\n[plugins.%s]", name) }
	section(`"io.containerd.server.v1.grpc"`)
	line("  address = %s", quote(d.State+"/containerd.sock"))
	section(`"io.containerd.server.v1.ttrpc"`)
	line("  address = %s", quote(d.State+"/containerd.sock.ttrpc"))
	section(`"io.containerd.nri.v1.nri"`)
	line("  disable = true")

	images := `"io.containerd.cri.v1.images"`
	section(images)
	line("  snapshotter = %s", quote(d.Snapshotter))
	if !verify {
		// What is unpacked is not needed packed; an image is on the disk once.
		line("  discard_unpacked_layers = true")
		line("  use_local_image_pull = true")
	}
	section(images + ".pinned_images")
	line("  sandbox = %s", quote(pauseImage))
	section(images + ".registry")
	line("  config_path = %s", quote(d.Dir+"/conf.d/hosts"))
	if verify {
		section(quote(verifierPlugin))
		line("  bin_dir = %s", quote(d.Verifiers))
		line("  max_verifiers = 1")
		line("  per_verifier_timeout = \"1m0s\"")
		section(`"io.containerd.transfer.v1.local"`)
		line("\n[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]")
		line("  platform = %s", quote("linux/"+runtime.GOARCH))
		line("  snapshotter = %s", quote(d.Snapshotter))
		line("  differ = \"walking\"")
		auths = nil
	}
	for _, host := range slices.Sorted(maps.Keys(auths)) {
		hosts := []string{host}
		if _, own := auths[dockerHost]; host == dockerName && !own {
			hosts = append(hosts, dockerHost)
		}
		for _, h := range hosts {
			a := auths[host]
			section(images + ".registry.configs." + quote(h) + ".auth")
			for _, kv := range [][2]string{{"username", a.Username}, {"password", a.Password}, {"auth", a.Auth}, {"identitytoken", a.IdentityToken}} {
				if kv[1] != "" {
					line("  %s = %s", kv[0], quote(kv[1]))
				}
			}
		}
	}

	cri := `"io.containerd.cri.v1.runtime"`
	section(cri)
	line("  disable_apparmor = true")
	line("  enable_selinux = false")
	line("  enable_unprivileged_ports = true")
	line("  enable_unprivileged_icmp = true")
	line("  device_ownership_from_security_context = true")
	line("  netns_mounts_under_state_dir = true")
	line("  restrict_oom_score_adj = %t", !slices.Contains(h.Capabilities, "CAP_SYS_RESOURCE"))
	section(cri + ".cni")
	line("  bin_dirs = [\"/opt/cni/bin\"]")
	line("  conf_dir = \"/etc/cni/net.d\"")
	section(cri + ".containerd")
	line("  default_runtime_name = \"runc\"")
	section(cri + ".containerd.runtimes.runc")
	line("  runtime_type = \"io.containerd.runc.v2\"")
	if baseSpec {
		line("  base_runtime_spec = %s", quote(d.Dir+"/conf.d/base-spec.json"))
	}
	section(cri + ".containerd.runtimes.runc.options")
	line("  SystemdCgroup = false")
	return b.String()
}
