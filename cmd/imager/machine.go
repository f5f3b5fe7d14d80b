package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image"
	"talos.internal/internal/image/assets"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/metastore"
)

// initProgram is PID 1 of the initramfs, in the result of our own component.
const initProgram = "initramfs"

// machineFlags are those of "imager machine".
type machineFlags struct {
	out, config, cache string
	float, built       bool
	boot               assets.Options
	disk               assets.DiskOptions
	meta, formats      []string
	size               int64
}

// profiles are what "imager machine" makes besides what a machine boots from. Each returns the files that it made.
func profiles() map[string]func(context.Context, *machineFlags, *assets.Builder) ([]string, error) {
	disk := func(sector int) func(context.Context, *machineFlags, *assets.Builder) ([]string, error) {
		return func(ctx context.Context, m *machineFlags, b *assets.Builder) ([]string, error) {
			o := m.disk
			o.SectorSize = sector
			if err := b.WriteDisk(ctx, o); err != nil {
				return nil, err
			}
			var made []string
			for _, format := range m.formats {
				switch format {
				case "raw":
					made = append(made, assets.Disk)
				case "qcow2":
					if err := b.WriteQCOW2(ctx); err != nil {
						return nil, err
					}
					made = append(made, assets.DiskQCOW2)
				default:
					return nil, fmt.Errorf("--disk-format %s: there are raw and qcow2", format)
				}
			}
			return made, nil
		}
	}
	return map[string]func(context.Context, *machineFlags, *assets.Builder) ([]string, error){
		"boot": func(context.Context, *machineFlags, *assets.Builder) ([]string, error) { return nil, nil },
		"iso": func(ctx context.Context, m *machineFlags, b *assets.Builder) ([]string, error) {
			return []string{assets.ISO}, b.WriteISO(ctx, m.disk.ImageCache)
		},
		"metal": disk(512), "metal-4k": disk(4096),
		"installer": func(_ context.Context, m *machineFlags, b *assets.Builder) ([]string, error) {
			return nil, writeInstaller(filepath.Join(m.out, "installer"), b)
		},
	}
}

// writeInstaller makes the installer image as an OCI layout of its own.
func writeInstaller(layout string, b *assets.Builder) error {
	layers, err := os.MkdirTemp(b.Dir, ".layers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(layers) // the layout has them
	img, err := b.WriteInstaller(image.InstallerRef(buildinfo.Version), layers)
	if err != nil {
		return err
	}
	return oci.WriteLayout(layout, []oci.Image{img})
}

func machineCommand(f *files, say func(string, ...any)) *cobra.Command {
	var m machineFlags
	names := slices.Sorted(maps.Keys(profiles()))
	usual := []string{"iso", "metal"}
	cmd := &cobra.Command{
		Use:   "machine [PROFILE...]",
		Short: "build what a machine boots from, and of it: " + strings.Join(names, ", "),
		Long: "Builds kernel, initramfs, root file system and unified kernel image, and of these what the profiles name: " + strings.Join(names, ", ") +
			".\nWithout a profile: " + strings.Join(usual, ", ") + ".",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = usual
			}
			for _, name := range args {
				if profiles()[name] == nil {
					return fmt.Errorf("no profile %s; there are %s", name, strings.Join(names, ", "))
				}
			}
			return explain(m.run(cmd.Context(), f, args, cmd.ErrOrStderr(), say))
		},
	}
	flags := cmd.Flags()
	floatFlag(cmd, &m.float)
	flags.StringVar(&m.out, "machine", machineDir, "the folder of the results")
	flags.StringArrayVar(&m.boot.Args, "extra-kernel-arg", nil, "an argument for the kernel, after our own; may be repeated")
	flags.BoolVar(&m.built, "built", false, "take our own programs as they are among the components' results, instead of building them")
	flags.BoolVar(&m.boot.Quick, "quick", false, "pack the root file system fast instead of small: for who changes something and tries it")
	flags.StringVar(&m.config, "embedded-config-path", "", "a machine config that is built into the initramfs")
	flags.StringVar(&m.cache, "image-cache", "", "the folder of an OCI layout whose images disk and ISO bring along")
	flags.StringArrayVar(&m.meta, "meta", nil, "a value of the disk image's META partition, KEY=VALUE; may be repeated")
	flags.StringSliceVar(&m.formats, "disk-format", []string{"raw"}, "formats of the disk image: raw, qcow2")
	flags.Int64Var(&m.size, "image-disk-size", 0, "size of the disk image in MiB; 0 is the least that holds the system")
	return cmd
}

// machineDir is where the results are by default.
const machineDir = "_out/machine"

func (m *machineFlags) run(ctx context.Context, f *files, profile []string, log io.Writer, say func(string, ...any)) error {
	_, components, err := f.specs(nil)
	if err != nil {
		return err
	}
	specs, err := image.Expand([]image.Spec{image.MachineSpec()}, components)
	if err != nil {
		return err
	}
	if !m.built {
		if err := f.buildOwn(ctx, specs, log); err != nil {
			return err
		}
	}
	source, err := f.pinned(m.float, say)
	if err != nil {
		return err
	}
	if err := m.parse(); err != nil {
		return err
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return err
	}
	b := &assets.Builder{
		Images: &image.Builder{Components: components, Arch: runtime.GOARCH, Debian: source, Log: say},
		Spec:   specs[0], Init: filepath.Join(f.results, image.Node, initProgram), Dir: m.out,
	}
	return m.build(ctx, b, profile)
}

func (m *machineFlags) build(ctx context.Context, b *assets.Builder, profile []string) error {
	if err := b.Boot(ctx, m.boot); err != nil {
		return err
	}
	made := map[string]bool{}
	for _, name := range []string{assets.Kernel, assets.Initramfs, assets.Cmdline, assets.Root, assets.UKI, assets.BootLoader} {
		made[name] = true
	}
	if m.cache != "" {
		if err := b.WriteImageCache(ctx, m.cache); err != nil {
			return err
		}
		m.disk.ImageCache, made[assets.ImageCache] = true, true
	}
	for _, name := range profile {
		files, err := profiles()[name](ctx, m, b)
		if err != nil {
			return err
		}
		for _, file := range files {
			made[file] = true
		}
	}
	return b.WriteManifest(ctx, made)
}

// parse reads what flags name.
func (m *machineFlags) parse() (err error) {
	if m.config != "" {
		if m.boot.Config, err = os.ReadFile(m.config); err != nil {
			return err
		}
	}
	m.disk.Size = m.size << 20
	for _, text := range m.meta {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("--meta %q: want KEY=VALUE", text)
		}
		key, err := metastore.ParseKey(name)
		if err != nil {
			return fmt.Errorf("--meta %q: %w", text, err)
		}
		if m.disk.Meta == nil {
			m.disk.Meta = metastore.Values{}
		}
		m.disk.Meta[key] = value
	}
	return nil
}

// machineChecks are the commands that read results.
func machineChecks(out io.Writer) []*cobra.Command {
	var dir string
	verify := &cobra.Command{
		Use: "verify-machine", Short: "read what a machine boots from and compare everything with its manifest", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return assets.Verify(cmd.Context(), dir) },
	}
	sizes := &cobra.Command{
		Use: "sizes", Short: "sizes of what a machine boots from, as Markdown", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := assets.ReadManifest(dir)
			if err != nil {
				return err
			}
			return image.WriteSizes(out, m.Sizes())
		},
	}
	for _, cmd := range []*cobra.Command{verify, sizes} {
		cmd.Flags().StringVar(&dir, "machine", machineDir, "the folder of the results")
	}
	return []*cobra.Command{verify, sizes}
}
