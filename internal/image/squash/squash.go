// Package squash writes a file tree as a SquashFS file system, by mksquashfs(1) from a locked Debian package.
//
// The program is not this machine's: it is taken out of the package with its libraries and started by its own loader, so that
// the same tree gives the same bytes wherever the build runs. Nothing is mounted, and nobody has to be root.
//
// The package is for internal/image and those that make machines' images.
package squash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/rootfs"
)

// Tool is the program, for a lock.
var Tool = debian.Want{Package: "squashfs-tools", Path: "usr/bin/mksquashfs"}

// Options say how contents are packed.
type Options struct {
	// Store leaves contents as they are: for what is compressed already.
	Store bool
	// Quick packs in a fraction of the time; the result is some percents larger.
	Quick bool
}

// args are those of mksquashfs, after its source and destination. The time of everything is zero, as in the tree; how many
// processors there are does not change what comes out.
func (o Options) args() []string {
	args := []string{"-tar", "-noappend", "-no-progress", "-quiet", "-reproducible", "-mkfs-time", "0", "-all-time", "0",
		"-root-time", "0", "-root-mode", "755", "-root-uid", "0", "-root-gid", "0", "-no-exports"}
	if o.Store {
		return append(args, "-noI", "-noD", "-noF", "-noX", "-b", "1M")
	}
	level := "19"
	if o.Quick {
		level = "3"
	}
	return append(args, "-comp", "zstd", "-Xcompression-level", level, "-b", "128K")
}

// Write writes the tree to the new file name. On error there is no such file.
func Write(ctx context.Context, source debian.Source, tree *rootfs.Tree, name string, o Options) error {
	dir, err := os.MkdirTemp("", "squash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // a temporary folder
	program, err := unpack(ctx, source, dir)
	if err != nil {
		return err
	}
	if err := run(ctx, program, tree, name, o); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), remove(name))
	}
	return nil
}

func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unpack puts the program into the folder and returns the beginning of the command line that starts it.
func unpack(ctx context.Context, source debian.Source, dir string) ([]string, error) {
	picked, err := debian.Pick(ctx, source, []debian.Want{Tool})
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(picked.Tree.WriteTar(w)) }()
	if err := errors.Join(rootfs.Extract(r, root, false), r.Close()); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", Tool.Package, err)
	}
	loaders, err := filepath.Glob(filepath.Join(dir, "usr/lib*/ld-linux-*"))
	if err != nil || len(loaders) == 0 {
		return nil, fmt.Errorf("unpack %s: it came without a loader: %w", Tool.Package, fs.ErrNotExist)
	}
	// The loader of this machine would take this machine's libraries.
	libraries, err := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-gnu"))
	return []string{loaders[0], "--library-path", strings.Join(libraries, ":"), filepath.Join(dir, Tool.Path)}, err
}

// maxSaid is how much of what the program says an error repeats, in bytes.
const maxSaid = 2000

func run(ctx context.Context, program []string, tree *rootfs.Tree, name string, o Options) error {
	args := append(append(program[1:len(program):len(program)], "-", name), o.args()...)
	cmd := exec.CommandContext(ctx, program[0], args...)
	cmd.Env = []string{"LC_ALL=C"} // SOURCE_DATE_EPOCH would be a second opinion about times
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	fed := errors.Join(tree.WriteTar(in), in.Close())
	if err := cmd.Wait(); err != nil {
		text := bytes.TrimSpace(said.Bytes())
		return errors.Join(fmt.Errorf("mksquashfs: %w: %s", err, text[max(0, len(text)-maxSaid):]), fed)
	}
	return fed
}
