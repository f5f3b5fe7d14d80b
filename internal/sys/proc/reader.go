package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Reader reads the kernel's files below a root. The zero Reader reads those of this machine. It has no state and may be
// copied.
type Reader struct {
	// Root is the directory that holds proc and sys; empty means "/".
	Root string
}

// path returns the file name below proc of r's root.
func (r Reader) path(name ...string) string {
	root := r.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root, "proc"}, name...)...)
}

// sysPath returns the file name below sys of r's root.
func (r Reader) sysPath(name ...string) string {
	root := r.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root, "sys"}, name...)...)
}

// ParseError says where a file is not as it should be.
type ParseError struct {
	File string // as it was opened; empty when the text came from a parser's own io.Reader
	Line int    // from 1; 0 when the error is about no one line
	Err  error
}

func (e *ParseError) Error() string {
	file := e.File
	if file == "" {
		file = "input"
	}
	if e.Line == 0 {
		return fmt.Sprintf("parse %s: %v", file, e.Err)
	}
	return fmt.Sprintf("parse %s line %d: %v", file, e.Line, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// parseFile opens a file, parses it, and puts its name into the error.
func parseFile[T any](path string, parse func(io.Reader) (T, error)) (T, error) {
	var zero T
	f, err := os.Open(path)
	if err != nil {
		return zero, err
	}
	defer f.Close()
	v, err := parse(f)
	if err != nil {
		return zero, inFile(path, err)
	}
	return v, nil
}

// inFile gives a parser's error the name of the file.
func inFile(path string, err error) error {
	var pe *ParseError
	if errors.As(err, &pe) {
		return &ParseError{File: path, Line: pe.Line, Err: pe.Err}
	}
	return fmt.Errorf("read %s: %w", path, err)
}

// optional is parseFile for a file that not every kernel has: a missing one gives the zero value.
func optional[T any](path string, parse func(io.Reader) (T, error)) (T, error) {
	v, err := parseFile(path, parse)
	if errors.Is(err, fs.ErrNotExist) {
		var zero T
		return zero, nil
	}
	return v, err
}

// line reads a file of one line, without the spaces around it.
func line(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}
