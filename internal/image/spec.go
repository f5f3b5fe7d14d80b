package image

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"talos.internal/internal/image/rootfs"
)

// Spec says what an image holds and how it is started. In strings marked with {}, {NAME} stands for the version of
// component NAME (v1.2.3) and {NAME:bare} for that without its v.
type Spec struct {
	Name     string         // short, for files and people: kube-apiserver
	Ref      string         // {} full reference, as a config has it by default
	Base     bool           // with CA certificates, users and /tmp
	Programs []Program      // what is built here
	Tools    []string       // names of [Tools]
	Files    []rootfs.Entry // further links, folders and small files
	User     string         // "uid:gid"; "" is root
	// Entrypoint is what is started. With Check's arguments it prints its version.
	Entrypoint []string
	Check      Check
	// Executables are the paths of all that may be executed in the image, links included. A build that has another one
	// fails. Nil means that nothing is said.
	Executables []string
	// MaxSize is the most that the image may weigh compressed, in bytes. A build that is larger fails. Zero is no limit.
	MaxSize int64
}

// Program is an executable that is built here.
type Program struct {
	Component string // whose result it is: a name of Builder.Components
	File      string // in the component's result
	Path      string // in the image
	// LowPorts gives the program the file capability to listen on ports below 1024 when root does not run it. Where a pod's
	// capabilities leave out NET_BIND_SERVICE it then does not start at all, so only what needs a low port has it.
	LowPorts bool
}

// Check is a way to start an image that shows that it works.
type Check struct {
	Args []string
	Want string // {} in what it prints
}

// Component is what programs come from: a line of components/versions, or a program of ours.
type Component struct {
	Version string // v1.2.3
	Licence string // SPDX, of the programs themselves
	// Dir is the folder with the result: the programs, modules.txt with the licence of each module that is linked, and,
	// where there are such texts, LICENSE, NOTICE and NOTICES.txt.
	Dir string
}

// expand replaces the placeholders in s. It fails if one is left.
func expand(s string, components map[string]Component) (string, error) {
	for name, c := range components {
		s = strings.ReplaceAll(s, "{"+name+"}", c.Version)
		s = strings.ReplaceAll(s, "{"+name+":bare}", strings.TrimPrefix(c.Version, "v"))
	}
	if strings.ContainsAny(s, "{}") {
		return "", fmt.Errorf("%s: no component of that name", s)
	}
	return s, nil
}

// Expand returns the specs with the placeholders replaced by the versions of components.
func Expand(specs []Spec, components map[string]Component) ([]Spec, error) {
	specs = slices.Clone(specs)
	for i := range specs {
		s := &specs[i]
		for _, text := range []*string{&s.Ref, &s.Check.Want} {
			var err error
			if *text, err = expand(*text, components); err != nil {
				return nil, fmt.Errorf("image %s: %w", s.Name, err)
			}
		}
	}
	return specs, nil
}

// Select returns the specs that the names choose, each by its name or its reference; all without names. One name may
// choose several: an image of both Kubernetes versions. The specs are expanded ones.
func Select(specs []Spec, names []string) ([]Spec, error) {
	if len(names) == 0 {
		return specs, nil
	}
	var chosen []Spec
	for _, name := range names {
		if !slices.ContainsFunc(specs, func(s Spec) bool { return s.is(name) }) {
			var all []string
			for _, s := range specs {
				all = append(all, s.Ref)
			}
			return nil, fmt.Errorf("no image %s; there are:\n  %s", name, strings.Join(all, "\n  "))
		}
	}
	for _, s := range specs {
		if slices.ContainsFunc(names, s.is) {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

func (s Spec) is(name string) bool { return s.Name == name || s.Ref == name }

// bill is the path of the image's bill of materials.
func (s Spec) bill() string { return path.Join("usr/share/spdx", s.Name+".spdx.json") }

// tag is what follows the last colon of an expanded reference.
func (s Spec) tag() string { return s.Ref[strings.LastIndex(s.Ref, ":")+1:] }
