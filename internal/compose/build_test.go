package compose

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// workshop is a copy of components/ and a folder for results. The tests in this file build pause,
// which needs no modules and takes a fraction of a second.
func workshop(t *testing.T) (*Builder, *bytes.Buffer) {
	t.Helper()
	source := t.TempDir()
	if err := os.CopyFS(source, os.DirFS(tree)); err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	return &Builder{Source: source, Out: filepath.Join(t.TempDir(), "out"), Log: log, Offline: true}, log
}

// build builds pause and returns what the log says. The test fails when it is not as expected.
func build(t *testing.T, b *Builder, log *bytes.Buffer, fails bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	log.Reset()
	if err := b.Build(ctx, "pause"); fails != (err != nil) {
		t.Fatalf("Build = %v; want failure: %v\n%s", err, fails, log)
	}
	return log.String()
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildsOnlyWhatChanged(t *testing.T) {
	b, log := workshop(t)
	result := filepath.Join(b.Out, "pause")
	if got := build(t, b, log, false); !strings.Contains(got, "not built yet") {
		t.Errorf("first build says %q; want the reason", got)
	}
	for _, name := range []string{"pause", "NOTICES.txt", "modules.txt", "files.txt", "inputs.txt"} {
		if _, err := os.Stat(filepath.Join(result, name)); err != nil {
			t.Errorf("result: %v", err)
		}
	}
	if got := build(t, b, log, false); !strings.Contains(got, "up to date") || strings.Contains(got, "start") {
		t.Errorf("second build says %q; want nothing built", got)
	}

	main := filepath.Join(b.Source, "pause", "main.go")
	write(t, main, read(t, main)+"\n// changed\n")
	if got := build(t, b, log, false); !strings.Contains(got, "file main.go changed") {
		t.Errorf("build after a change says %q; want the file", got)
	}
	if err := os.Remove(filepath.Join(result, "pause")); err != nil {
		t.Fatal(err)
	}
	if got := build(t, b, log, false); !strings.Contains(got, "pause is gone") {
		t.Errorf("build after the program was removed says %q; want that", got)
	}
	write(t, filepath.Join(result, "pause"), "short")
	if got := build(t, b, log, false); !strings.Contains(got, "pause has 5 bytes") {
		t.Errorf("build after the program was damaged says %q; want that", got)
	}
}

func TestSameSourceGivesTheSameBytes(t *testing.T) {
	var sums []string
	for range 2 {
		b, log := workshop(t) // in another folder each time
		build(t, b, log, false)
		sums = append(sums, read(t, filepath.Join(b.Out, "pause", "files.txt")))
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds give %q and %q; want the same", sums[0], sums[1])
	}
}

func TestFailedBuildLeavesTheResultAndSaysHowToRepeatIt(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"does not compile", "func main() {", "func main() { nonsense", "nonsense"},
		{"is not what was meant", `"pause " + version`, `"something " + version`, `"pause v1.0.0\n"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, log := workshop(t)
			build(t, b, log, false)
			sum := read(t, filepath.Join(b.Out, "pause", "files.txt"))

			main := filepath.Join(b.Source, "pause", "main.go")
			text := read(t, main)
			if !strings.Contains(text, c.old) {
				t.Fatalf("main.go of pause has no %q", c.old)
			}
			write(t, main, strings.Replace(text, c.old, c.new, 1))
			got := build(t, b, log, true)
			if !strings.Contains(got, c.want) || c.name == "does not compile" && !strings.Contains(got, "again: cd ") {
				t.Errorf("the log is %q; want %q and the command", got, c.want)
			}
			if again := read(t, filepath.Join(b.Out, "pause", "files.txt")); again != sum {
				t.Errorf("the result is %q after the failure; want the one before, %q", again, sum)
			}
			left, _ := filepath.Glob(filepath.Join(b.Out, ".building-*"))
			if len(left) > 0 {
				t.Errorf("the failure left %q; want nothing", left)
			}
			// The inputs did change, so the next build must try again.
			if got := build(t, b, log, true); !strings.Contains(got, "start") {
				t.Errorf("build after the failure says %q; want another try", got)
			}
		})
	}
}

func TestInterruptedBuildSaysWhyAndChangesNothing(t *testing.T) {
	b, _ := workshop(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user pressed Ctrl-C")
	cancel(why)
	if err := b.Build(ctx, "pause"); !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("Build = %v; want %v", err, why)
	}
	if _, err := os.Stat(filepath.Join(b.Out, "pause")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("result after an interrupted build: %v; want none", err)
	}
}

func TestSecondBuilderWaitsForTheFirst(t *testing.T) {
	b, log := workshop(t)
	unlock, err := b.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(b.Out, ".building-killed")
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	why := errors.New("waited enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, why)
	defer cancel()
	if err := b.Build(ctx, "pause"); !errors.Is(err, why) {
		t.Errorf("Build beside another = %v; want %v", err, why)
	}
	if _, err := os.Stat(left); err != nil {
		t.Errorf("the waiting builder removed the other's files: %v", err)
	}
	unlock()
	build(t, b, log, false)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed builder left is still there (%v); want it removed", err)
	}
}

func TestUnknownComponentIsRefused(t *testing.T) {
	b, _ := workshop(t)
	if err := b.Build(t.Context(), "nginx"); err == nil || !strings.Contains(err.Error(), `"nginx"`) {
		t.Errorf("Build(nginx) = %v; want an error that names it", err)
	}
}

func TestUpgradeThatFailsLeavesTheFilesAsTheyWere(t *testing.T) {
	b, _ := workshop(t)
	t.Setenv("GOPROXY", "off")
	names := []string{"versions", "etcd/go.mod", "etcd/go.sum"}
	var was []string
	for _, name := range names {
		was = append(was, read(t, filepath.Join(b.Source, name)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Upgrade(ctx, "etcd", "v3.99.0"); err == nil || !strings.Contains(err.Error(), "v3.99.0") {
		t.Errorf("Upgrade to a version that there is not = %v; want an error that names it", err)
	}
	for i, name := range names {
		if got := read(t, filepath.Join(b.Source, name)); got != was[i] {
			t.Errorf("%s changed by a failed upgrade", name)
		}
	}
	if err := b.Upgrade(ctx, "pause", "v2.0.0"); err == nil || !strings.Contains(err.Error(), "our own") {
		t.Errorf("Upgrade of our own program = %v; want it refused", err)
	}
}

func TestSnapshotPutsFilesBack(t *testing.T) {
	dir := t.TempDir()
	kept, created := filepath.Join(dir, "kept"), filepath.Join(dir, "created")
	write(t, kept, "before")
	restore, err := snapshot(kept, created)
	if err != nil {
		t.Fatal(err)
	}
	write(t, kept, "after")
	write(t, created, "after")
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, kept); got != "before" {
		t.Errorf("file after restore = %q; want %q", got, "before")
	}
	if _, err := os.Stat(created); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file that was not there: %v after restore; want it gone", err)
	}
}
