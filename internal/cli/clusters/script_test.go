package clusters

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/health"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/native"
	"talos.internal/secret"
)

var update = flag.Bool("update", false, "rewrite the expected output in the scripts")

func secretCA(b *secret.Bundle) []*x509.Certificate {
	return []*x509.Certificate{b.Kubernetes.Certificate()}
}

// TestScripts runs each script with a laboratory of its own.
func TestScripts(t *testing.T) {
	bundle, err := secret.NewBundle(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := bundle.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Values["lab"] = newLab(e.T().(testing.TB), filepath.Join(home, ".talos", "clusters"))
			e.Setenv("SECRETS", filepath.Join(e.WorkDir, "secrets.yaml"))
			return os.WriteFile(e.Getenv("SECRETS"), secrets, 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// ctl ARGUMENT... is talosctl in this process; ctl-fails CODE ARGUMENT... is one that ends with a code.
			"ctl":       func(ts *testscript.TestScript, _ bool, args []string) { run(ts, 0, args) },
			"ctl-fails": func(ts *testscript.TestScript, _ bool, args []string) { run(ts, int(args[0][0]-'0'), args[1:]) },
			// lab WHAT NODE: lets something go wrong with a node.
			"lab": func(ts *testscript.TestScript, _ bool, args []string) {
				l := ts.Value("lab").(*lab)
				l.mu.Lock()
				defer l.mu.Unlock()
				what := map[string]*string{"fail-start": &l.failStart, "dies": &l.dies, "deaf": &l.deaf, "unwell": &l.unwell}[args[0]]
				*what = strings.Join(args[1:], "")
			},
			// pod NAME NODE: a pod runs on a node.
			"pod": func(ts *testscript.TestScript, _ bool, args []string) {
				l := ts.Value("lab").(*lab)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.pods[args[0]] = args[1]
			},
			// unsure: the others notice only at the second look that a machine is gone.
			"unsure": func(ts *testscript.TestScript, _ bool, _ []string) {
				l := ts.Value("lab").(*lab)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.unsure = 1
			},
			// interrupt NODE: ends the next command when the node is to be started.
			"interrupt": func(ts *testscript.TestScript, _ bool, args []string) {
				l := ts.Value("lab").(*lab)
				ctx, cancel := context.WithCancel(context.Background())
				ts.Defer(cancel)
				l.onStart = func(node string) {
					if node == args[0] {
						cancel()
					}
				}
				l.ctx = ctx
			},
			// called TEXT: checks that a call was made; ! called: that none was.
			"called": func(ts *testscript.TestScript, neg bool, args []string) {
				l := ts.Value("lab").(*lab)
				l.mu.Lock()
				defer l.mu.Unlock()
				if slices.Contains(l.calls, args[0]) == neg {
					ts.Fatalf("calls = %q; want %q: %v", l.calls, args[0], !neg)
				}
			},
		},
	})
}

func run(ts *testscript.TestScript, want int, args []string) {
	env := command.Env{
		Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(), Getenv: ts.Getenv, Home: ts.Getenv("HOME"), Now: time.Now,
	}
	l := ts.Value("lab").(*lab)
	root := &cobra.Command{Use: "talosctl", SilenceErrors: true, SilenceUsage: true, PersistentPreRunE: command.CheckRequired}
	root.SetFlagErrorFunc(command.FlagError)
	root.AddCommand(NewWith(env, func(native.Options) (provision.Provisioner, error) { return l, nil }), health.New(env))
	root.SetArgs(args)
	root.SetOut(env.Stdout)
	ctx := context.Background()
	if l.ctx != nil {
		ctx, l.ctx = l.ctx, nil
	}
	err := root.ExecuteContext(ctx)
	got := 0
	if err != nil {
		fmt.Fprintf(ts.Stderr(), "error: %s\n", client.Explain(err))
		got = 1
	}
	if _, ok := errors.AsType[*command.UsageError](err); ok {
		got = 2
	}
	if got != want {
		ts.Fatalf("exit code = %d (%v); want %d", got, err, want)
	}
}
