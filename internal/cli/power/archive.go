package power

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// archive opens what is sent of an image: a file as it is, or a folder with an OCI layout as a tar of it. size is in bytes, about.
func archive(name string) (r io.ReadCloser, size int64, err error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if st.Mode().IsRegular() {
		f, err := os.Open(name)
		return f, st.Size(), err
	}
	if _, err := os.Stat(filepath.Join(name, "oci-layout")); err != nil {
		return nil, 0, fmt.Errorf("%s is neither an archive nor a folder with an OCI layout: %w", name, err)
	}
	var files []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files, size = append(files, path), size+info.Size()
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	read, write := io.Pipe()
	go func() {
		out := tar.NewWriter(write)
		err := func() error {
			for _, f := range files {
				if err := member(out, name, f); err != nil {
					return err
				}
			}
			return out.Close()
		}()
		write.CloseWithError(err) // nil is the end of the archive
	}()
	return read, size, nil
}

// member writes a file of a folder to an archive.
func member(out *tar.Writer, dir, name string) (err error) {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	inside, err := filepath.Rel(dir, name)
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: filepath.ToSlash(inside), Mode: 0o644, Size: st.Size(), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
