// Command docgen writes the reference of the machine config from the doc comments of the packages that declare it.
//
//	go run ./internal/docgen              all of it
//	go run ./internal/docgen comments     config/reference/comments_gen.go
//	go run ./internal/docgen pages        docs/reference/config, from the comments as they were compiled in
//	go run ./internal/docgen -check       writes nothing, and fails if a file is not what it would write
//
// The comments come first: the pages are rendered by package reference, which has them compiled in.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"

	"talos.internal/config/reference"
)

// The files that are written, relative to the module's root.
const (
	commentsFile = "config/reference/comments_gen.go"
	pagesDir     = "docs/reference/config"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1) // a program's only way to say that it did not do its work
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("docgen", flag.ContinueOnError)
	check := flags.Bool("check", false, "write nothing; fail if a file is not up to date")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	w := writer{root: root, check: *check}
	switch what := flags.Arg(0); what {
	case "":
		return w.all()
	case "comments":
		_, err := w.comments()
		return err
	case "pages":
		return w.pages()
	default:
		return fmt.Errorf("expected comments, pages or nothing, got %q", what)
	}
}

// moduleRoot returns the nearest directory at or above the current one that has a go.mod.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the module: no go.mod at or above %s", start)
		}
	}
}

// writer writes generated files, or checks that they are what it would write.
type writer struct {
	root  string
	check bool
}

// all does the comments and then the pages. If the comments changed, this program has old ones compiled in: the pages
// are then rendered by a new build of it.
func (w writer) all() error {
	changed, err := w.comments()
	if err != nil {
		return err
	}
	if !changed {
		return w.pages()
	}
	c := exec.Command("go", "run", "./internal/docgen", "pages")
	c.Dir, c.Stdout, c.Stderr = w.root, os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("run %q: %w", c, err)
	}
	return nil
}

// comments writes the table of comments and reports whether it changed.
func (w writer) comments() (changed bool, err error) {
	entries, err := extract(w.root, packages)
	if err != nil {
		return false, err
	}
	return w.write(commentsFile, generate(entries))
}

// pages writes the pages and the JSON Schema, and removes pages of kinds that are gone.
func (w writer) pages() error {
	files, err := reference.Pages(kinds())
	if err != nil {
		return err
	}
	if files["config.schema.json"], err = reference.JSONSchema(kinds()); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, err := w.write(path.Join(pagesDir, name), files[name]); err != nil {
			return err
		}
	}
	there, err := os.ReadDir(filepath.Join(w.root, filepath.FromSlash(pagesDir)))
	if err != nil {
		return fmt.Errorf("list %s: %w", pagesDir, err)
	}
	for _, f := range there {
		if _, ours := files[f.Name()]; ours {
			continue
		}
		if w.check {
			return fmt.Errorf("%s belongs to nothing that is documented; run %s", path.Join(pagesDir, f.Name()), command)
		}
		if err := os.Remove(filepath.Join(w.root, filepath.FromSlash(pagesDir), f.Name())); err != nil {
			return fmt.Errorf("remove an old page: %w", err)
		}
	}
	return nil
}

// write sets the content of file name, relative to the module, and reports whether it had another. When checking it
// writes nothing and returns an error in that case.
func (w writer) write(name string, content []byte) (changed bool, err error) {
	file := filepath.Join(w.root, filepath.FromSlash(name))
	old, err := os.ReadFile(file)
	switch {
	case err == nil && bytes.Equal(old, content):
		return false, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("read a generated file: %w", err)
	case w.check:
		return false, fmt.Errorf("%s is not up to date; run %s", name, command)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return false, fmt.Errorf("make the directory of %s: %w", name, err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return false, fmt.Errorf("write a generated file: %w", err)
	}
	return true, nil
}
