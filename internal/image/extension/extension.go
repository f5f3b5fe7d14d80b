package extension

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"go.yaml.in/yaml/v3"

	"talos.internal/internal/extservice"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// Extension is a system extension.
type Extension struct {
	Manifest
	// Image is the reference of the image that it came in.
	Image string
	// Entries are its files, with paths of a root file system, but kernel modules.
	Entries []rootfs.Entry
	// Modules are its kernel modules, below usr/lib/modules/RELEASE.
	Modules []rootfs.Entry
}

// The places in an image.
const (
	manifestFile = "manifest.yaml"
	filesDir     = "rootfs"
)

// maxFiles limits what one extension has: it is a part of a system that fits on a partition.
const (
	maxFiles = 100_000
	maxBytes = 2 << 30
)

// Open reads the extensions of an OCI image layout, one for each of its images. Their content is kept in files in the folder spool, which is the
// caller's to remove when the entries are not used any more.
func Open(layout, spool string) ([]Extension, error) {
	images, err := oci.Read(layout)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("read extensions: the layout %s has no image for this kind of machine", layout)
	}
	var out []Extension
	for _, img := range images {
		x, err := open(img, spool)
		if err != nil {
			return nil, fmt.Errorf("extension %s: %w", img.Ref, err)
		}
		out = append(out, x)
	}
	return out, nil
}

func open(img oci.Image, dir string) (Extension, error) {
	spool, err := os.CreateTemp(dir, "extension-")
	if err != nil {
		return Extension{}, err
	}
	flat := mutate.Extract(img.Image)
	x, err := read(flat, spool)
	if err = errors.Join(err, flat.Close(), spool.Close()); err != nil {
		return Extension{}, err
	}
	x.Image = img.Ref
	return x, nil
}

// read reads the files of an image from a tar archive. The content of files is written to spool, one after the other.
func read(r io.Reader, spool *os.File) (Extension, error) {
	var x Extension
	var problems []error
	written := int64(0)
	hasManifest := false
	for files, n := tar.NewReader(r), 0; ; n++ {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Extension{}, err
		}
		if n >= maxFiles || written+h.Size > maxBytes || h.Size < 0 {
			return Extension{}, fmt.Errorf("it has more than %d files or %d bytes", maxFiles, int64(maxBytes))
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		below, inRoot := strings.CutPrefix(name, filesDir+"/")
		switch {
		case name == "" || name == filesDir && h.Typeflag == tar.TypeDir:
			continue
		case name == manifestFile && h.Typeflag == tar.TypeReg:
			b, err := io.ReadAll(io.LimitReader(files, maxManifest+1))
			if err != nil {
				return Extension{}, err
			}
			if x.Manifest, err = ParseManifest(b); err != nil {
				return Extension{}, fmt.Errorf("/%s: %w", manifestFile, err)
			}
			hasManifest = true
			continue
		case !inRoot:
			problems = append(problems, fmt.Errorf("/%s: an extension has /%s and files below /%s, and nothing else", name, manifestFile, filesDir))
			continue
		}
		e, err := entry(h, below)
		if err == nil {
			e.Path, err = Allowed(e)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if e.Mode.IsRegular() {
			if _, err := io.Copy(spool, files); err != nil {
				return Extension{}, err
			}
			e.Open = section(spool.Name(), written, h.Size)
			written += h.Size
		}
		if isModule(e) {
			x.Modules = append(x.Modules, e)
		} else if !strings.HasPrefix(e.Path, modulesDir+"/") || e.Mode.IsDir() {
			x.Entries = append(x.Entries, e)
		} // the rest of usr/lib/modules is an index, which is made anew
	}
	problems = append(problems, checkServices(x.Entries)...)
	if !hasManifest {
		problems = append(problems, fmt.Errorf("it has no /%s: it is no system extension", manifestFile))
	}
	return x, errors.Join(problems...)
}

// entry makes an entry of what an archive says about a file.
func entry(h *tar.Header, name string) (rootfs.Entry, error) {
	e := rootfs.Entry{Path: name, Mode: rootfs.FromUnix(h.Mode), UID: h.Uid, GID: h.Gid, Size: h.Size}
	for key, value := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[attr] = value
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		e.Mode |= fs.ModeDir
		e.Size = 0
	case tar.TypeSymlink:
		e.Mode, e.Target, e.Size = fs.ModeSymlink|0o777, h.Linkname, 0
	case tar.TypeLink:
		return e, fmt.Errorf("/%s: a hard link; make it a symbolic one", name)
	default:
		return e, fmt.Errorf("/%s: an extension may have files, folders and symbolic links alone", name)
	}
	return e, nil
}

// checkServices returns what is wrong with the services of an extension: what a machine would not run is not taken.
func checkServices(entries []rootfs.Entry) []error {
	var problems []error
	for _, e := range entries {
		dir, name := path.Split("/" + e.Path)
		if path.Clean(dir) != extservice.SpecDir || !e.Mode.IsRegular() || path.Ext(name) != ".yaml" {
			continue
		}
		s, err := readService(e)
		root := strings.TrimPrefix(path.Join(extservice.RootfsDir, s.Name), "/") + "/"
		if err == nil && !slices.ContainsFunc(entries, func(o rootfs.Entry) bool { return strings.HasPrefix(o.Path, root) }) {
			err = fmt.Errorf("its root file system /%s is not there", strings.TrimSuffix(root, "/"))
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("/%s: %w", e.Path, err))
		}
	}
	return problems
}

func readService(e rootfs.Entry) (extservice.Service, error) {
	r, err := e.Open()
	if err != nil {
		return extservice.Service{}, err
	}
	b, err := io.ReadAll(io.LimitReader(r, extservice.MaxFile+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return extservice.Service{}, err
	}
	return extservice.Parse(b)
}

const modulesDir = "usr/lib/modules"

// isModule reports whether an entry is a kernel module.
func isModule(e rootfs.Entry) bool {
	return e.Mode.IsRegular() && strings.HasPrefix(e.Path, modulesDir+"/") && strings.Contains(path.Base(e.Path), ".ko")
}

func section(file string, offset, size int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(f, offset, size), f}, nil
	}
}

// listFile says which extensions a root file system has; the machine shows it as its extensions.
const listFile = "etc/extensions.yaml"

// Merge checks that extensions are for a version of the system and returns the entries of all of them, with the list of them, and the kernel modules. It fails if two
// have the same file, or are called the same.
func Merge(system string, extensions []Extension) (entries, modules []rootfs.Entry, err error) {
	if len(extensions) == 0 {
		return nil, nil, nil
	}
	type layer struct {
		Image    string   `yaml:"image"`
		Metadata Metadata `yaml:"metadata"`
	}
	var list struct {
		Layers []layer `yaml:"layers"`
	}
	of := map[string]string{} // whose a file is
	names := map[string]bool{}
	var problems []error
	tree := &rootfs.Tree{}
	for _, x := range extensions {
		name := x.Metadata.Name
		if err := x.Check(system); err != nil {
			problems = append(problems, err)
		}
		if names[name] {
			problems = append(problems, fmt.Errorf("extension %s is there twice", name))
		}
		names[name] = true
		for _, e := range slices.Concat(x.Entries, x.Modules) {
			if e.Mode.IsDir() {
				continue
			}
			if other, ok := of[e.Path]; ok {
				problems = append(problems, fmt.Errorf("/%s is in the extensions %s and %s", e.Path, other, name))
			}
			of[e.Path] = name
		}
		list.Layers = append(list.Layers, layer{x.Image, x.Metadata})
		modules = append(modules, x.Modules...)
	}
	if len(problems) > 0 {
		return nil, nil, errors.Join(problems...)
	}
	text, err := yaml.Marshal(list)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range extensions {
		if err := tree.Add(x.Entries...); err != nil {
			return nil, nil, fmt.Errorf("extension %s: %w", x.Metadata.Name, err)
		}
	}
	if err := tree.Add(rootfs.Bytes(listFile, 0o644, text)); err != nil {
		return nil, nil, err
	}
	return tree.Entries(), modules, nil
}
