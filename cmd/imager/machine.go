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
	"talos.internal/internal/image/bootkeys"
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
	keys, enroll       string
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

// secure is the beginning of the profiles of a build that is signed: "secureboot-iso" is "iso", signed.
const secure = "secureboot-"

// chosen reads the profiles of a command line. A build is signed or not as a whole, since its parts are in one folder.
func chosen(args []string) (names []string, signed bool, err error) {
	known := slices.Sorted(maps.Keys(profiles()))
	for i, arg := range args {
		name, isSecure := strings.CutPrefix(arg, secure)
		if profiles()[name] == nil {
			return nil, false, fmt.Errorf("no profile %s; there are %s, and all of them with %s before", arg, strings.Join(known, ", "), secure)
		}
		if i > 0 && isSecure != signed {
			return nil, false, fmt.Errorf("profile %s: one build is signed or not as a whole; build the others into another folder, by --machine", arg)
		}
		names, signed = append(names, name), isSecure
	}
	return names, signed, nil
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
	names := strings.Join(slices.Sorted(maps.Keys(profiles())), ", ")
	usual := []string{"iso", "metal"}
	cmd := &cobra.Command{
		Use:   "machine [PROFILE...]",
		Short: "build what a machine boots from, and of it: " + names,
		Long: "Builds kernel, initramfs, root file system and unified kernel image, and of these what the profiles name: " + names +
			".\nWithout a profile: " + strings.Join(usual, ", ") + ".\n\nWith " + secure + " before its name a profile is for Secure Boot: boot loader and unified kernel image are signed\n" +
			"by the keys of --secureboot-keys, which 'talosctl gen secureboot' makes, the image says what its start may unseal,\nand disk and medium bring the keys along for a firmware in setup mode.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = usual
			}
			args, signed, err := chosen(args)
			if err != nil {
				return err
			}
			var keys *assets.SecureBoot
			if signed {
				if keys, err = m.secureBoot(); err != nil {
					return err
				}
			}
			return explain(m.run(cmd.Context(), f, args, keys, cmd.ErrOrStderr(), say))
		},
	}
	flags := cmd.Flags()
	floatFlag(cmd, &m.float)
	flags.StringVar(&m.out, "machine", machineDir, "the folder of the results")
	flags.StringArrayVar(&m.boot.Args, "extra-kernel-arg", nil, "an argument for the kernel, after our own; may be repeated")
	flags.BoolVar(&m.built, "built", false, "take our own programs as they are among the components' results, instead of building them")
	flags.BoolVar(&m.boot.Quick, "quick", false, "pack the root file system fast instead of small: for who changes something and tries it")
	flags.StringVar(&m.config, "embedded-config-path", "", "a machine config that is built into the initramfs")
	flags.StringArrayVar(&m.boot.Extensions, "system-extension-image", nil, "the folder of an OCI layout with system extensions that become part of the image; may be repeated")
	flags.StringVar(&m.cache, "image-cache", "", "the folder of an OCI layout whose images disk and ISO bring along")
	flags.StringArrayVar(&m.meta, "meta", nil, "a value of the disk image's META partition, KEY=VALUE; may be repeated")
	flags.StringSliceVar(&m.formats, "disk-format", []string{"raw"}, "formats of the disk image: raw, qcow2")
	flags.StringVar(&m.keys, "secureboot-keys", "_out", "the folder of the keys, for profiles with "+secure)
	flags.StringVar(&m.enroll, "secureboot-enroll", string(assets.EnrollManual),
		"how a firmware in setup mode gets the keys: "+string(assets.EnrollManual)+" (in the boot loader's menu) or "+string(assets.EnrollForce)+" (by itself)")
	flags.Int64Var(&m.size, "image-disk-size", 0, "size of the disk image in MiB; 0 is the least that holds the system")
	return cmd
}

// machineDir is where the results are by default.
const machineDir = "_out/machine"

// secureBoot reads the keys.
func (m *machineFlags) secureBoot() (*assets.SecureBoot, error) {
	k, err := bootkeys.Load(m.keys)
	if err != nil {
		return nil, err
	}
	return assets.NewSecureBoot(k, assets.Enrollment(m.enroll))
}

func (m *machineFlags) run(ctx context.Context, f *files, profile []string, keys *assets.SecureBoot, log io.Writer, say func(string, ...any)) error {
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
		Spec:   specs[0], Init: filepath.Join(f.results, image.Node, initProgram), Dir: m.out, Secure: keys,
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
