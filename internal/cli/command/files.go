package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/atomicfile"
)

// FileName is what messages call the file name: standard input if name is "-".
func FileName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// ReadFile reads name, or standard input if name is "-". At most [schema.MaxSize] bytes and one are read, so that what is too
// large is refused by who parses it, not by memory running out.
func (e Env) ReadFile(name string) ([]byte, error) {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(e.Stdin, schema.MaxSize+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return data, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, schema.MaxSize+1)) // its error names the file
}

// ReadPatches reads the values of the named flag in their order: @FILE, YAML or JSON as it is, or a file's name.
func (e Env) ReadPatches(flag string, values []string) ([]patch.Patch, error) {
	var out []patch.Patch
	for i, v := range values {
		name, data := flag, []byte(v)
		if len(values) > 1 {
			name = fmt.Sprintf("%s (number %d)", flag, i+1)
		}
		file, at := strings.CutPrefix(v, "@")
		if at || e.isFile(v) {
			var err error
			if data, err = e.ReadFile(file); err != nil {
				return nil, fmt.Errorf("read patch: %w", err)
			}
			name = FileName(file)
		}
		p, err := patch.Parse(name, data)
		if err != nil {
			if !at && !strings.ContainsAny(v, "{:\n") {
				err = fmt.Errorf("%w; if %q is a file's name, there is no such file", err, v)
			}
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// isFile reports whether v, which is not marked as a file's name, is one.
func (Env) isFile(v string) bool {
	if strings.ContainsAny(v, "{\n") || len(v) > 4096 {
		return false
	}
	info, err := os.Stat(v)
	return err == nil && !info.IsDir()
}

// File is a file to be written.
type File struct {
	Name string
	Data []byte
}

// secretMode is the mode of every file that a command writes: most hold keys, and none is for others to read.
const secretMode fs.FileMode = 0o600

// WriteFiles writes files whole, readable by their owner alone, creating their folders, and says what it wrote.
//
// Unless force is set, none is written if one of them exists already; nor is any if something that is no file is in the way.
// When a write fails nevertheless, the files that are new are removed again, and the error names those that were replaced.
func (e Env) WriteFiles(force bool, files ...File) error {
	exists := map[string]bool{}
	for _, f := range files {
		var err error
		if exists[f.Name], err = checkTarget(f.Name, force); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
	}
	for i, f := range files {
		if err := atomicfile.WriteFile(f.Name, f.Data, secretMode, atomicfile.Options{Overwrite: force}); err != nil {
			return undo(err, files[:i], exists)
		}
	}
	for _, f := range files {
		if exists[f.Name] {
			e.Warn("replaced %s", f.Name)
		} else {
			e.Warn("created %s", f.Name)
		}
	}
	return nil
}

// checkTarget reports whether there is a file called name, and fails if it or something else forbids to write one.
func checkTarget(name string, force bool) (exists bool, err error) {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("write %s: %w", name, errors.Unwrap(err))
	case info.IsDir():
		return true, fmt.Errorf("write %s: there is a folder of that name", name)
	case !info.Mode().IsRegular():
		return true, fmt.Errorf("write %s: there is something of that name that is no regular file", name)
	case !force:
		return true, fmt.Errorf("write %s: %w; use --force to replace it", name, fs.ErrExist)
	}
	return true, nil
}

// undo removes those of the written files that are new, and returns err with what became of the others.
func undo(err error, written []File, existed map[string]bool) error {
	var replaced []string
	for _, f := range written {
		if existed[f.Name] {
			replaced = append(replaced, f.Name)
		} else {
			err = errors.Join(err, os.Remove(f.Name))
		}
	}
	if len(replaced) > 0 {
		err = fmt.Errorf("%w; replaced before it: %s", err, strings.Join(replaced, ", "))
	}
	return err
}

// Output writes data to the named file as [Env.WriteFiles] does, or to standard output if name is "" or "-".
func (e Env) Output(name string, force bool, data []byte) error {
	if name == "" || name == "-" {
		_, err := e.Stdout.Write(data)
		return err
	}
	return e.WriteFiles(force, File{Name: name, Data: data})
}
