package compose

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOwnProgramsAreBuiltLikeComponents(t *testing.T) {
	b, log := workshop(t)
	parent := t.TempDir() // the tree: a module, with components/ in it
	source := filepath.Join(parent, "components")
	if err := os.Rename(b.Source, source); err != nil {
		t.Fatal(err)
	}
	b.Source = source
	write(t, filepath.Join(parent, "go.mod"), "module example.org/tree\n\ngo 1.24\n")
	program := filepath.Join(parent, "cmd", "hello")
	if err := os.MkdirAll(program, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(program, "main.go"), "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	own := Component{Name: "own", Version: "v1.0.0", Licence: "LicenseRef-own", Module: "example.org/tree"}
	p := Program{Name: "hello", Package: "./cmd/hello", Checks: []Check{{Want: "hello\n"}}}
	if err := b.BuildOwn(ctx, own, p); err != nil {
		t.Fatalf("BuildOwn = %v\n%s", err, log)
	}
	if list := read(t, filepath.Join(b.Out, "own", "modules.txt")); !strings.Contains(list, " std go") || strings.Contains(list, "example.org") {
		t.Errorf("modules.txt = %q; want the standard library and not the tree itself", list)
	}
	if why := damaged(filepath.Join(b.Out, "own")); why != "" {
		t.Errorf("result: %s", why)
	}
	// A tree that does not compile leaves the last result.
	write(t, filepath.Join(program, "main.go"), "package main\n\nfunc main() { nothing() }\n")
	if err := b.BuildOwn(ctx, own, p); err == nil || !strings.Contains(err.Error(), "undefined: nothing") {
		t.Errorf("BuildOwn of a broken program = %v; want the compiler's words", err)
	}
	if why := damaged(filepath.Join(b.Out, "own")); why != "" {
		t.Errorf("result after a failure: %s", why)
	}
}
