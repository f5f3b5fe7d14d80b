package assets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image"
	"talos.internal/internal/image/verity"
)

// ManifestName is the name of the file that lists the others.
const ManifestName = "manifest.json"

// Manifest says what is in a folder of outputs. All that can be checked by it was made by one build.
type Manifest struct {
	Version  string `json:"version"`  // of the system
	Arch     string `json:"arch"`     // as GOARCH
	RootHash string `json:"rootHash"` // of the root file system, in hex
	Cmdline  string `json:"cmdline"`
	Signer   string `json:"signer,omitempty"` // SHA-256 of the certificate that Secure Boot has to trust, in hex; empty if nothing is signed
	Files    []File `json:"files"`            // in the order of their names
}

// File is a file of the manifest.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // in bytes
	SHA256 string `json:"sha256"`
}

// outputs are all files that may be there, sorted.
func outputs() []string {
	return []string{Cmdline, ImageCache, Initramfs, Root, BootLoader, ISO, DiskQCOW2, Disk, UKI, Kernel}
}

// WriteManifest writes the manifest of the files that are there. Files of an earlier build that this one has not renewed are removed
// first, so that none in the folder is of another build: those of the outputs that are not in made.
func (b *Builder) WriteManifest(ctx context.Context, made map[string]bool) error {
	line, err := os.ReadFile(b.path(Cmdline))
	if err != nil {
		return err
	}
	p, err := verity.Parse(string(line))
	if err != nil {
		return err
	}
	m := Manifest{Version: buildinfo.Version, Arch: b.Images.Arch, RootHash: fmt.Sprintf("%x", p.Root), Cmdline: strings.TrimSpace(string(line)), Signer: b.Secure.signer()}
	for _, name := range outputs() {
		if !made[name] {
			if err := os.Remove(b.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		f, err := sumOf(ctx, b.path(name))
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		f.Name = name
		m.Files = append(m.Files, f)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return b.write(ManifestName, bytes.NewReader(append(text, '\n')))
}

func sumOf(ctx context.Context, name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, stoppable{ctx, f})
	return File{Size: n, SHA256: fmt.Sprintf("%x", sum.Sum(nil))}, err
}

// stoppable reads until ctx, which lives as long as the reading, ends.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (s stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

// ReadManifest reads the manifest of a folder.
func ReadManifest(dir string) (m Manifest, err error) {
	b := Builder{Dir: dir}
	text, err := os.ReadFile(b.path(ManifestName))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", b.path(ManifestName), err)
	}
	return m, nil
}

// Sizes is what a table of sizes has of m.
func (m Manifest) Sizes() []image.Sized {
	what := map[string]string{
		Kernel: "kernel", Initramfs: "initramfs: its first program and the modules that find the root", Root: "root file system with its hash tree",
		UKI: "kernel, command line and initramfs in one", BootLoader: "boot loader", ISO: "the medium: UKI, boot loader, root",
		Disk: "disk image: what is written of it are its parts, the rest are holes", DiskQCOW2: "the same for QEMU", ImageCache: "image cache", Cmdline: "command line",
	}
	var all []image.Sized
	for _, f := range m.Files {
		all = append(all, image.Sized{Name: f.Name, What: what[f.Name], Bytes: f.Size})
	}
	return all
}

// Verify compares the files of a folder with its manifest. The error has a line for each that differs or is missing.
func Verify(ctx context.Context, dir string) error {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	b := Builder{Dir: dir}
	var bad []error
	for _, want := range m.Files {
		if strings.ContainsAny(want.Name, "/\\") {
			return fmt.Errorf("%s: a file %q: %w", ManifestName, want.Name, fs.ErrInvalid)
		}
		switch got, err := sumOf(ctx, b.path(want.Name)); {
		case err != nil:
			bad = append(bad, err)
		case got.Size != want.Size || got.SHA256 != want.SHA256:
			bad = append(bad, fmt.Errorf("%s has %d bytes with SHA-256 %s; the manifest has %d with %s", want.Name, got.Size, got.SHA256, want.Size, want.SHA256))
		}
	}
	return errors.Join(bad...)
}
