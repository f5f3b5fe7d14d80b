package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"talos.internal/internal/cli/command"
)

// env returns an Env that is no process's, and what is printed in it.
func env() (e command.Env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return command.Env{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr,
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) },
	}, stdout, stderr
}

// commands returns all commands below c, itself included.
func commands(c *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		out = append(out, commands(sub)...)
	}
	return out
}

func TestEachCommandIsDescribed(t *testing.T) {
	e, _, _ := env()
	all := commands(New(e))
	if len(all) < 30 {
		t.Fatalf("New has %d commands; the walk has lost its way", len(all))
	}
	for _, c := range all {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("Short = %q; want a phrase without a full stop", c.Short)
			}
			if c.Example != "" && !strings.HasPrefix(c.Example, "  talosctl ") {
				t.Errorf("Example = %q; want a command line, indented", c.Example)
			}
			for _, line := range strings.Split(c.Long, "\n") {
				if len(line) > 120 {
					t.Errorf("Long has the line %q; want at most 120 bytes, as terminals are not endless", line)
				}
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Name == "help" {
					return
				}
				if f.Usage == "" {
					t.Errorf("--%s is not described", f.Name)
				}
				says, is := strings.HasSuffix(f.Usage, "(required)"), f.Annotations[cobra.BashCompOneRequiredFlag] != nil
				if says != is {
					t.Errorf("--%s says that it is required: %v; it is: %v", f.Name, says, is)
				}
			})
		})
	}
}

// Examples are the first thing that is copied: each must at least be a command line that is understood.
func TestExamplesAreCommandLines(t *testing.T) {
	e, _, _ := env()
	for _, c := range commands(New(e)) {
		for line := range strings.Lines(c.Example) {
			t.Run(line, func(t *testing.T) {
				var of []string
				for part := range strings.SplitSeq(line, " | ") {
					of = append(of, commandLine(t, New(e), words(t, part)))
				}
				if !slices.Contains(of, c.CommandPath()) && c.Name() != "help" {
					t.Fatalf("%q is for %q; want %s", line, of, c.CommandPath())
				}
			})
		}
	}
}

// commandLine checks one command of a line, and returns whose it is.
func commandLine(t *testing.T, root *cobra.Command, args []string) (path string) {
	t.Helper()
	if n := len(args) - 1; strings.HasPrefix(args[n], ">") {
		args = args[:n] // the shell takes it
	}
	found, rest, err := root.Find(args[1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := found.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	if err := found.ValidateArgs(found.Flags().Args()); err != nil {
		t.Error(err)
	}
	if err := command.CheckRequired(found, nil); err != nil {
		t.Error(err)
	}
	return found.CommandPath()
}

// words splits a line as a shell does, as far as examples go: at spaces, but for those in single quotes.
func words(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	for i, part := range strings.Split(strings.TrimSpace(line), "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// full is a standard output that takes nothing, such as a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	files := t.TempDir()
	valid, contexts := filepath.Join(files, "valid.yaml"), filepath.Join(files, "talosconfig")
	for name, content := range map[string]string{
		valid:    "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n",
		contexts: "context: lab\ncontexts: {lab: {}}\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"version --client",
		"completion bash",
		"completion fish",
		"validate --mode metal --config " + valid,
		"machineconfig patch --patch @" + valid + " " + valid,
		"gen config demo https://10.5.0.2:6443 --output - --output-types worker --with-secrets ../../secret/testdata/secrets.yaml",
		"config new - --with-secrets ../../secret/testdata/secrets.yaml",
		"config info --talosconfig " + contexts,
		"config info -o json --talosconfig " + contexts,
		"config info -o yaml --talosconfig " + contexts,
		"config contexts --talosconfig " + contexts,
	} {
		t.Run(line, func(t *testing.T) {
			e, _, stderr := env()
			e.Stdout = full{}
			if code := Run(context.Background(), e, strings.Fields(line)); code != exitError || !strings.Contains(stderr.String(), "no space left") {
				t.Errorf("Run(%q) = %d, printed %q; want 1 and why", line, code, stderr)
			}
		})
	}
}

// There are no globals: command lines that run at once do not see each other's flags.
func TestRunsAreIndependent(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			e, stdout, stderr := env()
			args, want := []string{"version", "--client"}, "Client:\n"
			if i%2 == 1 {
				args, want = []string{"version", "--client", "--short"}, "Client v"
			}
			if code := Run(context.Background(), e, args); code != exitOK || !strings.HasPrefix(stdout.String(), want) || stderr.Len() > 0 {
				t.Errorf("Run(%q) = %d, printed %q and %q; want 0 and %q", args, code, stdout, stderr, want)
			}
		})
	}
}
