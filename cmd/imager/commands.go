package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/internal/atomicfile"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/compose"
	"talos.internal/internal/image"
	"talos.internal/internal/image/assets"
	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/squash"
)

// files are where the command finds what it needs. Relative paths start at the root of the source tree.
type files struct {
	versions string // components/versions
	results  string // what cmd/components built
	lock     string
	debs     string // downloaded packages
	images   string // the layout that is built or read
}

// root makes the command. Results go to out, progress to log.
func root(out, log io.Writer) *cobra.Command {
	var f files
	cmd := &cobra.Command{
		Use: "imager", Short: "build the container images of a cluster, and their cache",
		SilenceErrors: true, SilenceUsage: true,
	}
	cmd.SetOut(out)
	cmd.SetErr(log)
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.versions, "versions", "components/versions", "the file with the components' versions")
	flags.StringVar(&f.results, "components", "_out/components", "the folder with the components' results")
	flags.StringVar(&f.lock, "lock", "internal/image/packages.lock", "the file that pins the Debian packages")
	flags.StringVar(&f.debs, "debs", "_out/cache/debs", "the folder of downloaded Debian packages")
	flags.StringVar(&f.images, "out", "_out/images", "the image cache: an OCI layout")
	say := func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) }
	cmd.AddCommand(
		buildCommand(&f, say), machineCommand(&f, say), fetchCommand(&f, say), lockCommand(&f, say), startCommand(&f, out),
		&cobra.Command{
			Use: "list", Short: "the images that can be built, by name and reference", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				specs, _, err := f.specs(nil)
				for _, s := range specs {
					fmt.Fprintf(out, "%-24s %s\n", s.Name, s.Ref)
				}
				return err
			},
		},
		&cobra.Command{
			Use: "table", Short: "sizes of images and layers, and the list of C programs, as Markdown", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				images, err := oci.Read(f.images)
				if err != nil {
					return err
				}
				return image.WriteTable(out, images)
			},
		},
		&cobra.Command{
			Use: "verify", Short: "read the image cache and compare everything with its digest and size", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return oci.Verify(f.images) },
		},
		&cobra.Command{
			Use: "export REFERENCE FILE", Short: "write an image of the cache as an archive for docker load", Args: cobra.ExactArgs(2),
			RunE: func(_ *cobra.Command, args []string) error { return f.export(args[0], args[1]) },
		},
		&cobra.Command{
			Use: "unpack REFERENCE FOLDER", Short: "unpack the file system of an image of the cache into a new folder", Args: cobra.ExactArgs(2),
			RunE: func(_ *cobra.Command, args []string) error {
				img, err := f.find(args[0])
				if err != nil {
					return err
				}
				return oci.Unpack(img, args[1])
			},
		},
	)
	cmd.AddCommand(machineChecks(out)...)
	return cmd
}

func buildCommand(f *files, say func(string, ...any)) *cobra.Command {
	var float bool
	cmd := &cobra.Command{
		Use: "build [IMAGE...]", Short: "build the image cache with all images, or only those named",
		RunE: func(cmd *cobra.Command, names []string) error {
			specs, components, err := f.specs(names)
			if err != nil {
				return err
			}
			if err := f.buildOwn(cmd.Context(), specs, cmd.ErrOrStderr()); err != nil {
				return err
			}
			source, err := f.pinned(float, say)
			if err != nil {
				return err
			}
			b := image.Builder{Components: components, Arch: runtime.GOARCH, Debian: source, Log: say}
			if err := b.WriteCache(cmd.Context(), specs, f.images); err != nil {
				return explain(err)
			}
			say("%d images in %s", len(specs), f.images)
			return nil
		},
	}
	floatFlag(cmd, &float)
	return cmd
}

func fetchCommand(f *files, say func(string, ...any)) *cobra.Command {
	var float bool
	cmd := &cobra.Command{
		Use: "fetch", Short: "download the locked Debian packages that are not there yet: builds then need no network", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			source, err := f.pinned(float, say)
			if err != nil {
				return err
			}
			return explain(source.Fetch(cmd.Context()))
		},
	}
	floatFlag(cmd, &float)
	return cmd
}

func startCommand(f *files, out io.Writer) *cobra.Command {
	var runc string
	cmd := &cobra.Command{
		Use: "start [IMAGE...]", Short: "start images of the cache under runc, to see that they work (as root)",
		RunE: func(cmd *cobra.Command, names []string) error {
			specs, _, err := f.specs(names)
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "imager-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir) // a temporary folder
			var bad []error
			for _, s := range specs {
				img, err := f.find(s.Ref)
				if err != nil {
					return err
				}
				said, err := image.Starter{Runc: runc, Dir: dir}.Start(cmd.Context(), img, s)
				first, _, _ := strings.Cut(said, "\n")
				fmt.Fprintf(out, "%-55s %s\n", s.Ref, first)
				bad = append(bad, err)
			}
			return errors.Join(bad...)
		},
	}
	cmd.Flags().StringVar(&runc, "runc", "_out/components/runc/runc", "path of runc")
	return cmd
}

func floatFlag(cmd *cobra.Command, float *bool) {
	cmd.Flags().BoolVar(float, "float", false,
		"where the archive no longer has a locked version of a package, go on with the one it has: not reproducible")
}

func lockCommand(f *files, say func(string, ...any)) *cobra.Command {
	return &cobra.Command{
		Use: "lock", Short: "renew the lock: pin the versions that the Debian archive has now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			old, err := f.readLock()
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			lock, err := renew(cmd.Context(), f.cache(say))
			if err != nil {
				return err
			}
			for _, line := range lock.Changes(old) {
				say("%s", line)
			}
			say("%s: %d packages", f.lock, len(lock))
			return atomicfile.WriteFile(f.lock, lock.Text(), 0o644, atomicfile.Options{Overwrite: true})
		},
	}
}

// renew picks everything that images need from what the archive has now.
func renew(ctx context.Context, cache *debian.Cache) (debian.Lock, error) {
	cache.Renew(ctx)
	newest := &debian.Newest{Cache: cache}
	wants := append(image.Wants(append(image.Specs(), image.MachineSpec())), squash.Tool)
	picked, err := debian.Pick(ctx, newest, wants)
	if err != nil {
		return nil, err
	}
	names, err := assets.Packages(ctx, newest, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := newest.Package(ctx, name); err != nil {
			return nil, err
		}
		picked.Read[name] = true
	}
	return newest.Lock(picked.Read), nil
}

// explain adds what to do about an error.
func explain(err error) error {
	if stale := new(debian.StaleError); errors.As(err, &stale) {
		return fmt.Errorf("%w\n  renew the lock:         go run ./cmd/imager lock\n"+
			"  or go on without it:    add --float (what is built is then not what the lock says)", err)
	}
	if errors.Is(err, debian.ErrNoPackage) {
		return fmt.Errorf("%w\n  renew the lock:         go run ./cmd/imager lock", err)
	}
	return err
}

func (f *files) cache(say func(string, ...any)) *debian.Cache {
	return &debian.Cache{Dir: f.debs, Archive: debian.NewApt(runtime.GOARCH), Log: say}
}

func (f *files) readLock() (debian.Lock, error) {
	file, err := os.Open(f.lock)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lock, err := debian.ParseLock(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.lock, err)
	}
	return lock, nil
}

func (f *files) pinned(float bool, say func(string, ...any)) (*debian.Pinned, error) {
	lock, err := f.readLock()
	if err != nil {
		return nil, err
	}
	return &debian.Pinned{Lock: lock, Cache: f.cache(say), Float: float}, nil
}

// specs returns the specs that names choose, with the versions of components/versions.
func (f *files) specs(names []string) ([]image.Spec, map[string]image.Component, error) {
	file, err := os.Open(f.versions)
	if err != nil {
		return nil, nil, fmt.Errorf("%w (imager is run from the root of the source tree)", err)
	}
	defer file.Close()
	list, err := compose.ParseVersions(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.versions, err)
	}
	components := map[string]image.Component{}
	for _, c := range list {
		components[c.Name] = image.Component{Version: c.Version, Licence: c.Licence, Dir: filepath.Join(f.results, c.Name)}
	}
	components[image.Node] = image.Component{Version: buildinfo.Version, Licence: ownLicence, Dir: filepath.Join(f.results, image.Node)}
	specs, err := image.Expand(image.Specs(), components)
	if err != nil {
		return nil, nil, err
	}
	specs, err = image.Select(specs, names)
	return specs, components, err
}

// ownLicence is that of the programs of this tree.
const ownLicence = "LicenseRef-own"

// buildOwn builds the program of this tree that the specs want: machined, if the node image is among them.
func (f *files) buildOwn(ctx context.Context, specs []image.Spec, log io.Writer) error {
	if !slices.ContainsFunc(specs, func(s image.Spec) bool { return s.Name == image.Node }) {
		return nil
	}
	b := compose.Builder{Source: filepath.Dir(f.versions), Out: f.results, Log: log}
	own := compose.Component{Name: image.Node, Version: buildinfo.Version, Licence: ownLicence, Module: "talos.internal"}
	return b.BuildOwn(ctx, own,
		compose.Program{Name: "machined", Package: "./cmd/machined"},
		compose.Program{Name: initProgram, Package: "./cmd/initramfs"})
}

// find returns the image of that reference from the cache. The last part of its repository's name does, too, if it is the only
// one of that name: talos.
func (f *files) find(ref string) (oci.Image, error) {
	images, err := oci.Read(f.images)
	if err != nil {
		return oci.Image{}, err
	}
	var refs []string
	var named []oci.Image
	for _, img := range images {
		if img.Ref == ref {
			return img, nil
		}
		if name, _, _ := strings.Cut(path.Base(img.Ref), ":"); name == ref {
			named = append(named, img)
		}
		refs = append(refs, img.Ref)
	}
	if len(named) == 1 {
		return named[0], nil
	}
	return oci.Image{}, fmt.Errorf("%s has %d images %s; it has:\n  %s", f.images, len(named), ref, strings.Join(refs, "\n  "))
}

func (f *files) export(ref, name string) error {
	img, err := f.find(ref)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".export-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // gone after the rename
	if err := errors.Join(oci.WriteDocker(img, temp), temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
