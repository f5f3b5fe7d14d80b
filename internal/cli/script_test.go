package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"

	"talos.internal/config"
	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

var update = flag.Bool("update", false, "rewrite the expected output in the scripts")

// clock is the variable with the time that it is for talosctl in a script, in RFC 3339. The program itself does not know it.
const clock = "TALOSCTL_TEST_NOW"

// TestMain makes the test's binary into the programs that scripts call.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// talosctl itself.
		"talosctl": func() { os.Exit(talosctl(os.Args[1:])) },
		// fails CODE ARGUMENT...: succeeds if talosctl exits with CODE.
		"fails": helper(func(args []string) error {
			if got := fmt.Sprint(talosctl(args[1:])); got != args[0] {
				return fmt.Errorf("exit code = %s; want %s", got, args[0])
			}
			return nil
		}),
		// mode OCTAL FILE...: checks the permissions of files.
		"mode": helper(checkModes),
		// document FILE KIND [NAME]: prints a document of a config.
		"document": helper(printDocument),
		// plain FILE: prints a config without its comments.
		"plain": helper(printPlain),
		// selfsigned FILE ADDRESS: checks that the certificate is trusted by itself, for a server at the address.
		"selfsigned": helper(checkSelfSigned),
		// noise FILE BYTES: makes a file of random bytes.
		"noise": helper(makeNoise),
		// editor FILE: is an editor that does what the files edit1, edit2 and so on in the current folder say: each replaces
		// the text, one that is empty leaves it. It keeps what it was given as seen1, seen2 and so on.
		"editor": helper(pretendToEdit),
		// unzipped FILE [MEMBER]: lists a zip file, or prints a member of it.
		"unzipped": helper(unzip),
		// layout FOLDER REFERENCE...: makes an image cache, with an image of that name for each.
		"layout": helper(makeLayout),
		// damage FOLDER: alters a byte of the largest blob of an image cache.
		"damage": helper(damageLayout),
		// manifest FILE BYTES: makes a patch with an inline manifest of that size, of several documents.
		"manifest": helper(makeManifest),
	})
}

func TestScripts(t *testing.T) {
	bundle, err := os.ReadFile("../../secret/testdata/secrets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv(clock, "2026-12-01T00:00:00Z")
			return os.WriteFile(filepath.Join(e.WorkDir, "secrets.yaml"), bundle, 0o600)
		},
	})
}

// TestMachineScripts runs the scripts of commands that talk to machines: each has a cluster of its own to talk to.
func TestMachineScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/machine",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			c := newCluster(e.T().(testing.TB))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv(clock, now.Format(time.RFC3339))
			e.Setenv("TALOSCONFIG", filepath.Join(e.WorkDir, "talosconfig"))
			e.Setenv("MAINTENANCE", c.maintenance)
			e.Setenv("FINGERPRINT", c.fingerprint.String())
			e.Values["cluster"] = c
			return os.WriteFile(e.Getenv("TALOSCONFIG"), c.talosconfig(e.T().(testing.TB)), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// ctl and ctl-fails are talosctl and fails in this process, which is much quicker than a new one. Names of files
			// have to be whole ones for them, and there is no standard input.
			"ctl":       func(ts *testscript.TestScript, _ bool, args []string) { inProcess(ts, "0", args) },
			"ctl-fails": func(ts *testscript.TestScript, _ bool, args []string) { inProcess(ts, args[0], args[1:]) },
			// called MACHINE TEXT: checks that a command made a call of the machine.
			"called": func(ts *testscript.TestScript, _ bool, args []string) {
				m := ts.Value("cluster").(*fakeCluster).machines[args[0]]
				m.mu.Lock()
				defer m.mu.Unlock()
				if !slices.Contains(m.calls, args[1]) {
					ts.Fatalf("calls of %s = %q; want %q", args[0], m.calls, args[1])
				}
			},
		},
	})
}

func inProcess(ts *testscript.TestScript, want string, args []string) {
	env := command.Env{
		Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
		Getenv: ts.Getenv, Home: ts.Getenv("HOME"), Now: func() time.Time { return now },
	}
	if got := fmt.Sprint(Run(context.Background(), env, args)); got != want {
		ts.Fatalf("exit code = %s; want %s", got, want)
	}
}

func talosctl(args []string) int {
	env := command.Process()
	if text := os.Getenv(clock); text != "" {
		now, err := time.Parse(time.RFC3339, text)
		if err != nil {
			env.Warn("%s: %s", clock, err)
			return 99
		}
		env.Now = func() time.Time { return now }
	}
	return Run(context.Background(), env, args)
}

func helper(do func(args []string) error) func() {
	return func() {
		if err := do(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func checkModes(args []string) error {
	want, err := strconv.ParseUint(args[0], 8, 32)
	if err != nil {
		return err
	}
	for _, name := range args[1:] {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if got := info.Mode().Perm(); got != fs.FileMode(want) {
			return fmt.Errorf("mode of %s = %o; want %o", name, got, want)
		}
	}
	return nil
}

// documents reads the documents of a config as trees.
func documents(file string) ([]*yaml.Node, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, err := config.Load(file, data)
	if err != nil {
		return nil, err
	}
	return c.Nodes(), nil
}

func printDocument(args []string) error {
	nodes, err := documents(args[0])
	if err != nil {
		return err
	}
	for _, n := range nodes {
		var id struct{ Kind, Name string }
		if err := n.Decode(&id); err != nil {
			return err
		}
		if id.Kind == args[1] && (len(args) < 3 || id.Name == args[2]) {
			data, err := schema.Encode(n)
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(data)
			return err
		}
	}
	return fmt.Errorf("%s has no %s", args[0], strings.Join(args[1:], " "))
}

func printPlain(args []string) error {
	nodes, err := documents(args[0])
	if err != nil {
		return err
	}
	var plain []*yaml.Node
	for _, n := range nodes {
		n = schema.Clone(n)
		uncomment(n)
		plain = append(plain, n)
	}
	data, err := schema.Encode(plain...)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(data)
	return err
}

func uncomment(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		uncomment(c)
	}
}

func checkSelfSigned(args []string) error {
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	cert, err := secret.ParseCertificate(data)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	now, err := time.Parse(time.RFC3339, os.Getenv(clock))
	if err != nil {
		return err
	}
	if _, err := cert.Verify(x509.VerifyOptions{DNSName: args[1], Roots: roots, CurrentTime: now}); err != nil {
		return err
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return fmt.Errorf("%s is not signed by its own key: %w", args[0], err)
	}
	if cert.IsCA {
		return fmt.Errorf("%s may vouch for others", args[0])
	}
	return nil
}

func makeNoise(args []string) error {
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // always the same, and cannot fail
	return os.WriteFile(args[0], data, 0o600)
}

func pretendToEdit(args []string) error {
	given, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		seen := fmt.Sprintf("seen%d", i)
		if _, err := os.Stat(seen); err == nil {
			continue
		}
		if err := os.WriteFile(seen, given, 0o600); err != nil {
			return err
		}
		text, err := os.ReadFile(fmt.Sprintf("edit%d", i))
		if err != nil || len(text) == 0 {
			return err
		}
		return os.WriteFile(args[0], text, 0o600)
	}
}

func unzip(args []string) error {
	z, err := zip.OpenReader(args[0])
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		if len(args) == 1 {
			fmt.Println(f.Name)
			continue
		}
		if f.Name == args[1] {
			r, err := f.Open()
			if err != nil {
				return err
			}
			_, err = io.Copy(os.Stdout, r)
			return err
		}
	}
	return nil
}

func makeManifest(args []string) error {
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("cluster:\n  inlineManifests:\n    - name: cilium\n      contents: |\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "        ---\n        apiVersion: v1\n        kind: ConfigMap\n        metadata:\n          name: part-%d\n"+
			"          namespace: kube-system\n        data:\n          note: |\n            # no comment, but text: {not: a mapping}\n", i)
	}
	return os.WriteFile(args[0], b.Bytes(), 0o600)
}
