package provisiontest

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/nat"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/rtnl"
)

// Machine lists what there is on this computer, a line each, sorted: "process NUMBER NAME in CGROUP", "mount POINT", "link
// NAME", "table NAME", "sysctl KEY VALUE", and "cgroup PATH" for the groups at the top. Mounts, links, tables and sysctls
// are those of the namespaces of the calling thread.
func Machine() ([]string, error) {
	var all []string
	add := func(kind, format string, args ...any) { all = append(all, kind+" "+fmt.Sprintf(format, args...)) }

	tree, err := cgroup.Detect("")
	if err != nil {
		return nil, err
	}
	processes, err := proc.Reader{}.Processes()
	if err != nil {
		return nil, err
	}
	for _, p := range processes {
		group, err := tree.Of(p.PID)
		if err != nil {
			continue // it has ended meanwhile
		}
		add("process", "%d %s in %s", p.PID, p.Comm, group)
	}
	mounts, err := proc.Reader{}.MountInfo()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		add("mount", "%s", m.Point)
		if m.Type == "cgroup" || m.Type == "cgroup2" {
			groups, err := topGroups(m.Point)
			if err != nil {
				return nil, err
			}
			for _, g := range groups {
				add("cgroup", "%s", path.Join(m.Point, g))
			}
		}
	}
	c, err := rtnl.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	links, err := c.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		add("link", "%s", l.Name)
	}
	tables, err := nat.Tables()
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		add("table", "%s", t)
	}
	const forwarding = "net.ipv4.ip_forward"
	value, err := proc.Reader{}.Sysctl(forwarding)
	if err != nil {
		return nil, err
	}
	add("sysctl", "%s %s", forwarding, value)
	slices.Sort(all)
	return all, nil
}

// Of returns the lines that are about this computer as a whole and, of processes and cgroups, which others make and end all
// the time, those with one of the marks.
func Of(lines []string, marks ...string) []string {
	var out []string
	for _, l := range lines {
		shared := strings.HasPrefix(l, "process ") || strings.HasPrefix(l, "cgroup ")
		if !shared || slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(l, m) }) {
			out = append(out, l)
		}
	}
	return out
}

// topGroups lists the groups at the top of a hierarchy.
func topGroups(point string) ([]string, error) {
	entries, err := os.ReadDir(point)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
