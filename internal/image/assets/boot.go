package assets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"talos.internal/internal/image"
	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/initramfs"
	"talos.internal/internal/image/kernel"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/image/squash"
	"talos.internal/internal/image/uki"
	"talos.internal/internal/image/verity"
)

// Names of the files.
const (
	Kernel     = "vmlinuz"
	Initramfs  = "initramfs"
	Cmdline    = "cmdline" // the command line, one line
	Root       = "rootfs.img"
	UKI        = "uki.efi"
	BootLoader = "systemd-boot.efi"
)

// loaderPackage is where systemd's stub and boot loader come from.
const loaderPackage = "systemd-boot-efi"

// Builder makes what a machine boots from.
type Builder struct {
	Images *image.Builder
	Spec   image.Spec // of the root file system, expanded: see [image.MachineSpec]
	Init   string     // path of the program that is PID 1 of the initramfs
	Dir    string     // where the files are written; it exists
	// Secure signs what firmware and boot loader start; nil signs nothing.
	Secure *SecureBoot
}

// Options are what differs from one build to another.
type Options struct {
	Args   []string // for the kernel, after our own
	Config []byte   // a machine config that is built in; nil is none
	Quick  bool     // the root file system is packed fast instead of small, for who changes and tries
	// Extensions are OCI layouts with system extensions, which become part of the root file system.
	Extensions []string
}

// Packages are the Debian packages that a machine is made of besides those of the images, for a lock. source is asked for the name
// of the newest kernel's.
func Packages(ctx context.Context, source debian.Source, arch string) ([]string, error) {
	meta, err := source.Package(ctx, kernel.MetaPackage(arch))
	if err != nil {
		return nil, err
	}
	name, err := kernel.Package(meta)
	if err != nil {
		return nil, err
	}
	return []string{meta.Name(), name, loaderPackage}, nil
}

// Boot makes all files that are named above. Files of an earlier build are replaced one by one; after an error they may not fit
// together.
func (b *Builder) Boot(ctx context.Context, o Options) error {
	packages, err := Packages(ctx, b.Images.Debian, b.Images.Arch)
	if err != nil {
		return err
	}
	deb, err := b.Images.Debian.Package(ctx, packages[1])
	if err != nil {
		return err
	}
	k, err := kernel.Read(deb)
	if err != nil {
		return err
	}
	spool, err := os.MkdirTemp(b.Dir, ".extensions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(spool) // all of it is in the root file system then
	more, err := b.extensions(o.Extensions, k, spool)
	if err != nil {
		return err
	}
	params, err := b.root(ctx, k, deb.Name(), more, o.Quick)
	if err != nil {
		return err
	}
	args, err := Args(params, o.Args)
	if err != nil {
		return err
	}
	return errors.Join(
		b.write(Cmdline, strings.NewReader(args+"\n")),
		b.writeEntry(Kernel, k.Image),
		b.initramfs(ctx, k, o.Config),
		b.Unify(ctx, k.Release),
	)
}

// root makes the root file system and its hash tree.
func (b *Builder) root(ctx context.Context, k *kernel.Kernel, kernelPackage string, more additions, quick bool) (verity.Params, error) {
	modules, err := k.Select(ctx, kernel.Node(), slices.Concat(kernel.Boot(), more.modules)...)
	if err != nil {
		return verity.Params{}, err
	}
	b.log("kernel %s: %d modules in the root", k.Release, len(modules.Names()))
	tree, err := b.Images.Tree(ctx, b.Spec, modules.Entries(), kernelPackage)
	if err != nil {
		return verity.Params{}, err
	}
	if err := more.addTo(tree); err != nil {
		return verity.Params{}, err
	}
	name := b.path("." + Root)
	defer os.Remove(name) // it is renamed if all went well
	if err := squash.Write(ctx, b.Images.Debian, tree, name, squash.Options{Quick: quick}); err != nil {
		return verity.Params{}, err
	}
	p, err := appendTree(ctx, name)
	if err != nil {
		return verity.Params{}, fmt.Errorf("hash tree of %s: %w", name, err)
	}
	return p, os.Rename(name, b.path(Root))
}

// appendTree appends the hash tree over a file to it. The salt is the hash of the content: different for each root file system, as
// a salt has to be, and the same each time it is built.
func appendTree(ctx context.Context, name string) (verity.Params, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return verity.Params{}, err
	}
	salt := sha256.New()
	size, err := io.Copy(salt, f)
	if err != nil {
		return verity.Params{}, errors.Join(err, f.Close())
	}
	var tree bytes.Buffer
	p, err := verity.Build(ctx, io.NewSectionReader(f, 0, size), size, salt.Sum(nil), &tree)
	if err == nil {
		_, err = f.WriteAt(tree.Bytes(), size)
	}
	return p, errors.Join(err, f.Close())
}

func (b *Builder) initramfs(ctx context.Context, k *kernel.Kernel, config []byte) error {
	modules, err := k.Select(ctx, nil, kernel.Boot()...)
	if err != nil {
		return err
	}
	b.log("kernel %s: %d modules in the initramfs", k.Release, len(modules.Names()))
	program, err := rootfs.Host("init", 0o755, b.Init)
	if err != nil {
		return err
	}
	entries := append(modules.Entries(), program,
		rootfs.Symlink("sbin/modprobe", "/init"), // the kernel starts it by this name when it wants a module
		rootfs.Bytes("etc/os-release", 0o644, []byte(image.OSRelease())),
	)
	for _, name := range []string{"dev", "proc", "root", "run", "sys", "tmp"} {
		entries = append(entries, rootfs.Dir(name, 0o755))
	}
	if config != nil {
		entries = append(entries, rootfs.Bytes("config.yaml", 0o600, config))
	}
	tree := &rootfs.Tree{}
	if err := tree.Add(entries...); err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(initramfs.Write(w, tree)) }()
	return errors.Join(b.write(Initramfs, r), r.Close())
}

// Unify makes the unified kernel image of kernel, initramfs and command line, which were written before, and puts the boot loader beside
// it: both signed, if there are keys. release is the kernel's, as uname -r prints it.
func (b *Builder) Unify(ctx context.Context, release string) error {
	deb, err := b.Images.Debian.Package(ctx, loaderPackage)
	if err != nil {
		return err
	}
	machine, ok := map[string]string{"amd64": "x64", "arm64": "aa64"}[b.Images.Arch]
	if !ok {
		return fmt.Errorf("there is no firmware name for the architecture %s: %w", b.Images.Arch, fs.ErrNotExist)
	}
	const dir = "usr/lib/systemd/boot/efi/"
	loader, hasLoader := deb.Files[dir+"systemd-boot"+machine+".efi"]
	stubFile, hasStub := deb.Files[dir+"linux"+machine+".efi.stub"]
	if !hasLoader || !hasStub {
		return fmt.Errorf("package %s has no boot loader or no stub for %s: %w", deb.Name(), machine, fs.ErrNotExist)
	}
	program, err := content(loader)
	if err != nil {
		return err
	}
	if program, err = b.Secure.sign(program); err != nil {
		return fmt.Errorf("%s: %w", BootLoader, err)
	}
	if err := b.write(BootLoader, bytes.NewReader(program)); err != nil {
		return err
	}
	stub, err := content(stubFile)
	if err != nil {
		return err
	}
	kernel, err := os.ReadFile(b.path(Kernel))
	if err != nil {
		return err
	}
	archive, err := os.ReadFile(b.path(Initramfs))
	if err != nil {
		return err
	}
	line, err := os.ReadFile(b.path(Cmdline))
	if err != nil {
		return err
	}
	args := strings.TrimSuffix(string(line), "\n")
	var unified bytes.Buffer
	err = uki.Image{
		OSRelease: []byte(image.OSRelease()), Cmdline: args, Release: release, Initramfs: archive, Kernel: kernel, PCRKey: b.Secure.pcrKey(),
	}.Write(&unified, stub)
	if err != nil {
		return fmt.Errorf("%s: %w", UKI, err)
	}
	signed, err := b.Secure.sign(unified.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", UKI, err)
	}
	return b.write(UKI, bytes.NewReader(signed))
}

func (b *Builder) path(name string) string { return filepath.Join(b.Dir, name) }

func (b *Builder) log(format string, args ...any) {
	if b.Images.Log != nil {
		b.Images.Log(format, args...)
	}
}

func content(e rootfs.Entry) ([]byte, error) {
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

func (b *Builder) writeEntry(name string, e rootfs.Entry) error {
	r, err := e.Open()
	if err != nil {
		return err
	}
	return errors.Join(b.write(name, r), r.Close())
}

// write writes a file; who opens it by its name sees the old one or all of the new one.
func (b *Builder) write(name string, r io.Reader) error {
	return b.create(name, func(f *os.File) error {
		_, err := io.Copy(f, r)
		return err
	})
}
