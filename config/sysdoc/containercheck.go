package sysdoc

import (
	"path"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// leastContainerMemory is the limit under which the runtime cannot start a container at all.
const leastContainerMemory = 6 << 20

// Validate implements [schema.Validator].
func (c *ContainerConfig) Validate(r *schema.Reporter) {
	if !isDNSLabel(c.Name) {
		r.At("name").Errorf("expected a name of at most 63 lower-case letters, digits and '-' such as exporter, got %q", clip(c.Name))
	}
	if c.WorkingDir != "" {
		checkPath(c.WorkingDir, "/srv", r.At("workingDir"))
	}
	checkVariables(c.Environment, r.At("environment"))
	seen := map[string]bool{}
	for i := range c.Mounts {
		at := r.At("mounts").Item(i)
		if to := c.Mounts[i].destination(); to != "" && seen[to] {
			at.Errorf("there is a mount at %s already", clip(to))
		} else {
			seen[to] = true
		}
	}
	if l := c.limits(); l != nil && l.Memory.Bytes != 0 && l.Memory.Bytes < leastContainerMemory {
		r.At("resources").At("limits").At("memory").Errorf("expected at least 6MiB, with less no container starts; got %s", l.Memory)
	}
}

func (c *ContainerConfig) limits() *ContainerResourceLimits {
	if c.Resources == nil {
		return nil
	}
	return c.Resources.Limits
}

func isDNSLabel(s string) bool {
	return scalar.ValidHostname(s) && !strings.Contains(s, ".") && s == strings.ToLower(s)
}

// checkPath reports a path that is not absolute and clean.
func checkPath(p, example string, r *schema.Reporter) {
	switch {
	case !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\x00\n"):
		r.Errorf("expected an absolute path such as %s, got %q", example, clip(p))
	case path.Clean(p) != p:
		r.Hintf("write "+clip(path.Clean(p)), "expected a path without '.', '..', double and trailing slashes, got %q", clip(p))
	}
}

// checkVariables reports items that are not NAME=VALUE, and names that are there twice.
func checkVariables(list []string, r *schema.Reporter) {
	seen := map[string]bool{}
	for i, v := range list {
		name, _, ok := strings.Cut(v, "=")
		switch {
		// The value may be a password: only the name is shown.
		case !ok || !isVariable(name):
			r.Item(i).Errorf("expected an environment variable such as TZ=UTC: a name of letters, digits and '_', then '='")
		case seen[name]:
			r.Item(i).Errorf("the variable %s is there twice", name)
		}
		seen[name] = true
	}
}

func isVariable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && !isAlphanumeric(c) || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func (m *ContainerMount) destination() string {
	switch {
	case m.UserVolume != nil:
		return m.UserVolume.Destination
	case m.Tmpfs != nil:
		return m.Tmpfs.Destination
	case m.HostPath != nil:
		return m.HostPath.Destination
	}
	return ""
}

// Validate implements [schema.Validator].
func (m *ContainerMount) Validate(r *schema.Reporter) {
	n := 0
	for _, set := range []bool{m.UserVolume != nil, m.Tmpfs != nil, m.HostPath != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		r.Hintf("write one list item for each mount", "expected exactly one of userVolume, tmpfs, hostPath, got %d", n)
	}
}

// Validate implements [schema.Validator].
func (m *UserVolumeMount) Validate(r *schema.Reporter) {
	checkName(m.Name, "data", r.At("name"))
	checkDestination(m.Destination, r.At("destination"))
	if slices.Contains(m.Options, "ro") && slices.Contains(m.Options, "rw") {
		r.At("options").Errorf("the options ro and rw exclude each other")
	}
}

// Validate implements [schema.Validator].
func (m *TmpfsMount) Validate(r *schema.Reporter) {
	checkDestination(m.Destination, r.At("destination"))
	checkOptions(m.Options, r.At("options"))
	for i, o := range m.Options {
		if strings.HasPrefix(o, "size=") {
			r.At("options").Item(i).Hintf("set size", "the option size has a key of its own")
		}
	}
}

// Validate implements [schema.Validator].
func (m *HostPathMount) Validate(r *schema.Reporter) {
	checkPath(m.Source, "/var/mnt/data", r.At("source"))
	checkDestination(m.Destination, r.At("destination"))
	checkOptions(m.Options, r.At("options"))
}

func checkDestination(p string, r *schema.Reporter) {
	if p == "/" {
		r.Errorf("a mount cannot take the place of the image's root")
		return
	}
	checkPath(p, "/data", r)
}

func checkOptions(list []string, r *schema.Reporter) {
	for i, o := range list {
		if o == "" || strings.ContainsAny(o, ", \t\n\x00") {
			r.Item(i).Errorf("expected one mount option such as ro, got %q", clip(o))
		}
	}
}

// capabilities are those of Linux 5.9 and later (capabilities(7)).
var capabilities = []string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
	"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG",
	"CAP_WAKE_ALARM",
}

// Validate implements [schema.Validator].
func (c *ContainerCapabilities) Validate(r *schema.Reporter) {
	checkCapabilities(c.Add, r.At("add"))
	drop := r.At("drop")
	for i, name := range c.Drop {
		if name == "ALL" {
			continue
		}
		checkCapability(name, drop.Item(i))
		if slices.Contains(c.Add, name) {
			drop.Item(i).Errorf("the capability %s is both added and dropped", clip(name))
		}
	}
}

func checkCapabilities(list []string, r *schema.Reporter) {
	for i, name := range list {
		checkCapability(name, r.Item(i))
	}
}

func checkCapability(name string, r *schema.Reporter) {
	if slices.Contains(capabilities, name) {
		return
	}
	hint := ""
	upper := strings.ToUpper(name)
	if with := "CAP_" + strings.TrimPrefix(upper, "CAP_"); slices.Contains(capabilities, with) {
		hint = "write " + with
	} else if near := schema.Nearest(name, capabilities); near != "" {
		hint = "did you mean " + near + "?"
	}
	r.Hintf(hint, "expected a capability such as CAP_NET_ADMIN, got %q", clip(name))
}

// Validate implements [schema.Validator].
func (d *ContainerDependsOn) Validate(r *schema.Reporter) {
	for i, p := range d.Paths {
		checkPath(p, "/var/mnt/data", r.At("paths").Item(i))
	}
}

// checkContainers reports dependencies on containers that do not exist, and circles among those that do.
func checkContainers(c *schema.Check) {
	needs := map[string][]string{}
	for _, d := range schema.All[*ContainerConfig](c.Set) {
		needs[d.Name] = nil
		if d.DependsOn != nil {
			needs[d.Name] = d.DependsOn.Containers
		}
	}
	unknown := 0
	schema.Each(c, func(d *ContainerConfig, r *schema.Reporter) {
		if d.DependsOn == nil {
			return
		}
		for i, name := range d.DependsOn.Containers {
			if _, ok := needs[name]; ok {
				continue
			}
			hint := ""
			if unknown++; unknown <= mostHints {
				hint = nearestContainer(name, needs)
			}
			r.At("dependsOn").At("containers").Item(i).Hintf(hint, "there is no ContainerConfig named %q", clip(name))
		}
	})
	circles := map[string][]string{}
	for _, circle := range findCircles(needs) {
		circles[circle[0]] = circle
	}
	schema.Each(c, func(d *ContainerConfig, r *schema.Reporter) {
		if circle := circles[d.Name]; circle != nil {
			r.At("dependsOn").At("containers").Errorf("the containers wait for each other: %s", strings.Join(append(circle, d.Name), " → "))
		}
	})
}

func nearestContainer(name string, needs map[string][]string) string {
	if near := schema.Nearest(name, sortedKeys(needs)); near != "" {
		return "did you mean " + near + "?"
	}
	return ""
}

// mostHints bounds the search for a name that was probably meant: it looks at every container's.
const mostHints = 20

// mostCircles bounds what is reported; who has that many has one mistake in a generator.
const mostCircles = 10

// findCircles returns circles of needs, each from its first name, in order, on to the one that needs the first again.
// There is at least one if needs has any, and at most mostCircles; it takes time in proportion to the size of needs.
func findCircles(needs map[string][]string) [][]string {
	const (
		isNew = iota
		onPath
		done
	)
	var circles [][]string
	var way []string
	state := map[string]int{}
	var visit func(name string)
	visit = func(name string) {
		state[name] = onPath
		way = append(way, name)
		for _, next := range needs[name] {
			switch {
			case len(circles) == mostCircles || state[next] == done:
			case state[next] == onPath:
				circles = append(circles, fromFirst(way[slices.Index(way, next):]))
			default:
				visit(next)
			}
		}
		way = way[:len(way)-1]
		state[name] = done
	}
	for _, name := range sortedKeys(needs) {
		if state[name] == isNew {
			visit(name)
		}
	}
	return circles
}

// fromFirst returns a copy of circle that starts at its first name in order.
func fromFirst(circle []string) []string {
	at := slices.Index(circle, slices.Min(circle))
	return slices.Concat(circle[at:], circle[:at])
}
