package mount

import (
	"slices"
	"strings"

	"talos.internal/internal/sys/proc"
)

// Top returns the mount that is seen at point, which is the topmost of those that stand there, if one does.
func Top(table []proc.MountInfo, point string) (proc.MountInfo, bool) {
	var here []proc.MountInfo
	for _, m := range table {
		if m.Point == point {
			here = append(here, m)
		}
	}
	for _, m := range here {
		// The topmost is the one that none of the others stands on.
		if !slices.ContainsFunc(here, func(o proc.MountInfo) bool { return o.Parent == m.ID && o.ID != m.ID }) {
			return m, true
		}
	}
	return proc.MountInfo{}, false
}

// holding returns the mount that path is on.
func holding(table []proc.MountInfo, path string) (proc.MountInfo, bool) {
	for p := path; ; p = parent(p) {
		if m, ok := Top(table, p); ok {
			return m, true
		}
		if p == "/" {
			return proc.MountInfo{}, false
		}
	}
}

func parent(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i <= 0 {
		return "/"
	}
	return p[:i]
}

// below reports whether p is dir or in it.
func below(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// Below returns the points of the mounts at dir and in it, in the order in which they can be taken off: what stands on
// another comes before that, and of neighbours the one that was mounted last. A point with several mounts comes once for each.
func Below(table []proc.MountInfo, dir string) []string {
	children := map[int][]proc.MountInfo{}
	ids := map[int]bool{}
	var chosen []proc.MountInfo
	for _, m := range table {
		if below(m.Point, dir) {
			chosen = append(chosen, m)
			ids[m.ID] = true
		}
	}
	var roots []proc.MountInfo
	for _, m := range chosen {
		if ids[m.Parent] && m.Parent != m.ID {
			children[m.Parent] = append(children[m.Parent], m)
		} else {
			roots = append(roots, m)
		}
	}
	var out []string
	seen := map[int]bool{}
	var visit func(list []proc.MountInfo)
	visit = func(list []proc.MountInfo) {
		slices.SortFunc(list, func(a, b proc.MountInfo) int { return b.ID - a.ID })
		for _, m := range list {
			if seen[m.ID] {
				continue
			}
			seen[m.ID] = true
			visit(children[m.ID])
			out = append(out, m.Point)
		}
	}
	visit(roots)
	return out
}
