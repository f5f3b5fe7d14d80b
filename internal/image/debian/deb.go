package debian

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"talos.internal/internal/image/rootfs"
)

// Deb is an unpacked package, wholly in memory. It does not change and is safe for concurrent use.
type Deb struct {
	Control Stanza
	// Files are the package's files and links, by path as rootfs has it, with /usr merged. Folders are not among them.
	Files map[string]rootfs.Entry
}

// Name, Version and Arch are those of the control file.
func (d *Deb) Name() string    { return d.Control["Package"] }
func (d *Deb) Version() string { return d.Control["Version"] }
func (d *Deb) Arch() string    { return d.Control["Architecture"] }

// Depends returns the names of the packages that this one depends on, in the order of its fields Pre-Depends and Depends and
// without repetition. Of alternatives it is the first.
func (d *Deb) Depends() []string { return d.Control.needs() }

// maxUnpacked bounds what is unpacked of one part of a package, in bytes: the largest that anyone would take a program from
// is far smaller, and a broken file must not eat the machine.
const maxUnpacked = 1 << 30

// Read unpacks the package that r gives. It fails with ErrFormat if r is none.
func Read(r io.Reader) (*Deb, error) {
	d := &Deb{Files: map[string]rootfs.Entry{}}
	data := false
	err := eachMember(r, func(name string, content io.Reader) error {
		stem, _, _ := strings.Cut(name, ".")
		switch stem {
		case "control":
			return eachFile(name, content, d.addControl)
		case "data":
			data = true
			return eachFile(name, content, d.addFile)
		}
		return nil // debian-binary, and _gpgorigin of signed packages
	})
	switch {
	case err != nil:
		return nil, err
	case d.Name() == "" || d.Version() == "" || d.Arch() == "":
		return nil, fmt.Errorf("no package name, version and architecture in it: %w", ErrFormat)
	case !data:
		return nil, fmt.Errorf("no data in it: %w", ErrFormat)
	}
	return d, nil
}

// Open unpacks the package in the file name.
func Open(name string) (*Deb, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", name, err)
	}
	return d, nil
}

// eachFile calls f with every entry of a compressed tar archive.
func eachFile(name string, content io.Reader, f func(*tar.Header, io.Reader) error) error {
	plain, err := decompress(name, content)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	defer plain.Close() // nothing is written; what was wrong with the content, reading it has said
	limit := &io.LimitedReader{R: plain, N: maxUnpacked}
	in := tar.NewReader(limit)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if limit.N <= 0 {
				err = fmt.Errorf("more than %d bytes", maxUnpacked)
			}
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if err := f(h, in); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func decompress(name string, r io.Reader) (io.ReadCloser, error) {
	switch path.Ext(name) {
	case ".tar":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return openXZ(r)
	case ".zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("unknown compression: %s", name)
}

func (d *Deb) addControl(h *tar.Header, r io.Reader) error {
	if path.Clean(h.Name) != "control" {
		return nil
	}
	all, err := ParseControl(r)
	if err != nil {
		return err
	}
	if len(all) != 1 || d.Control != nil {
		return fmt.Errorf("%d paragraphs; want one, once: %w", len(all), ErrFormat)
	}
	d.Control = all[0]
	return nil
}

func (d *Deb) addFile(h *tar.Header, r io.Reader) error {
	name := merged(h.Name)
	e := rootfs.Entry{Path: name, Mode: rootfs.FromUnix(h.Mode), UID: h.Uid, GID: h.Gid}
	switch h.Typeflag {
	case tar.TypeReg:
		data, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		b := rootfs.Bytes(name, e.Mode, data)
		e.Size, e.Open = b.Size, b.Open
	case tar.TypeSymlink:
		e = rootfs.Symlink(name, h.Linkname)
	case tar.TypeLink:
		target, ok := d.Files[merged(h.Linkname)]
		if !ok {
			return fmt.Errorf("hard link to %s, which is not before it: %w", h.Linkname, ErrFormat)
		}
		e = target
		e.Path = name
	default:
		return nil // folders, and devices if anyone still ships some
	}
	d.Files[name] = e
	return nil
}

// merged is the path of rootfs for a path in a package, "./sbin/mkfs.xfs" or "/lib64/ld.so", when bin, sbin and the
// lib folders are links into usr.
func merged(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	top, _, below := strings.Cut(name, "/")
	if _, isLink := usrLinks[top]; isLink && below {
		return "usr/" + name
	}
	return name
}

// usrLinks are the links of a merged /usr.
var usrLinks = map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

// read returns the content of a file of the package.
func read(e rootfs.Entry) ([]byte, error) {
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}
