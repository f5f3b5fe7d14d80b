package cgroups

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// Group is a control group.
type Group struct {
	Name     string
	Files    map[string]string // by name
	Children map[string]*Group
}

// Limits of what is read of a machine.
const (
	maxFile   = 64 << 10
	maxGroups = 20000
)

// errVersion1 is for a machine whose groups have no common tree.
var errVersion1 = errors.New("its kernel has cgroups of version 1, which have no common tree; stats and memory show something of them")

// Read reads groups from a compressed tar archive of the folder that they are mounted at. Files that the kernel did not give, and such that are too large to
// be of interest, are left out.
func Read(r io.Reader) (*Group, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	root := newGroup("")
	groups := 1
	for members := tar.NewReader(unzipped); ; {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Typeflag != tar.TypeReg || name == "" {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(members, maxFile+1))
		if err != nil {
			return nil, err
		}
		if len(text) > maxFile {
			continue
		}
		g := root
		dir, file := path.Split(name)
		for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
			if part == "" {
				continue
			}
			next := g.Children[part]
			if next == nil {
				if groups++; groups > maxGroups {
					return nil, fmt.Errorf("read control groups: there are more than %d", maxGroups)
				}
				next = newGroup(part)
				g.Children[part] = next
			}
			g = next
		}
		g.Files[file] = string(text)
	}
	// The archive's names begin with that of its folder.
	if own := root.Children["cgroup"]; own != nil && len(root.Children) == 1 && len(root.Files) == 0 {
		root = own
	}
	if _, ok := root.Files["cgroup.controllers"]; !ok {
		return nil, errVersion1
	}
	return root, nil
}

func newGroup(name string) *Group {
	return &Group{Name: name, Files: map[string]string{}, Children: map[string]*Group{}}
}

// Rename gives groups the names that names has for theirs. Groups of pods are called podUID, with underscores for the dashes of the UID where systemd made
// them; those of containers by their ids.
func (g *Group) Rename(names map[string]string) {
	uid := strings.ReplaceAll(strings.TrimPrefix(g.Name, "pod"), "_", "-")
	if name, ok := names[uid]; ok {
		g.Name = name
	}
	for _, c := range g.Children {
		c.Rename(names)
	}
}

// sorted returns the children by their names.
func (g *Group) sorted() []*Group {
	return slices.SortedFunc(maps.Values(g.Children), func(a, b *Group) int { return strings.Compare(a.Name, b.Name) })
}

// Rows returns a row for the group and for each below it: the name with the lines of the tree, and a cell for each column.
func (g *Group) Rows(s Schema) [][]string {
	return g.rows(s, "", "", ".")
}

func (g *Group) rows(s Schema, first, rest, name string) [][]string {
	row := []string{first + name}
	for _, c := range s.Columns {
		row = append(row, c.cell(g.Files))
	}
	out := [][]string{row}
	children := g.sorted()
	for i, c := range children {
		own, below := "├──", "│   "
		if i == len(children)-1 {
			own, below = "└──", "    "
		}
		out = append(out, c.rows(s, rest+own, rest+below, c.Name)...)
	}
	return out
}
