package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"talos.internal/internal/cli"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/native"
)

// person has a home, and a cluster that is made and looked after as everybody does it: by talosctl and kubectl, with the files that
// they keep.
type person struct {
	t       testing.TB
	cluster string
	cidr    string
	home    string
	parts   parts
	kubectl string
}

// newPerson returns somebody who has no cluster yet. If one is left at the end of the test it is destroyed; a test that failed shows
// the consoles.
func newPerson(t testing.TB, cluster, cidr string) *person {
	t.Helper()
	found, missing := find()
	if missing != "" {
		lacks(t, missing)
	}
	if err := loopback(); err != nil {
		t.Fatal(err)
	}
	u := &person{t: t, cluster: cluster, cidr: cidr, home: t.TempDir(), parts: found}
	t.Cleanup(func() {
		if u.provisioned() == nil {
			return
		}
		if t.Failed() {
			out, errs, _ := u.talosctl("cluster", "logs", "--tail", "150")
			t.Logf("ends of the consoles:\n%s%s", out, errs)
		}
		u.must("cluster", "destroy")
	})
	return u
}

// on is the same person in a subtest.
func (u *person) on(t testing.TB) *person {
	sub := *u
	sub.t = t
	return &sub
}

// create are the arguments of a create of the person's cluster.
func (u *person) create(args ...string) []string {
	return append([]string{"cluster", "create", "--provisioner", native.Name, "--cidr", u.cidr, "--images", u.parts.images}, args...)
}

// start runs talosctl, as the command line does, until it is done or the context ends. What it prints goes to the writers.
func (u *person) start(ctx context.Context, stdout, stderr io.Writer, args ...string) int {
	if args[0] == "cluster" {
		args = append(slices.Clone(args), "--name", u.cluster)
	}
	return cli.Run(ctx, command.Env{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Home: u.home, Now: time.Now, Getenv: func(string) string { return "" },
	}, args)
}

// talosctl runs talosctl and returns what it prints.
func (u *person) talosctl(args ...string) (stdout, stderr string, code int) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	code = u.start(ctx, &out, &errs, args...)
	return out.String(), errs.String(), code
}

// must runs talosctl, which has to succeed, and logs how long it took.
func (u *person) must(args ...string) (stdout, stderr string) {
	u.t.Helper()
	began := time.Now()
	stdout, stderr, code := u.talosctl(args...)
	if code != 0 {
		u.t.Fatalf("talosctl %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	u.t.Logf("talosctl %s: %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
	return stdout, stderr
}

// kube runs kubectl with the person's kubeconfig.
func (u *person) kube(input string, args ...string) (string, error) {
	if u.kubectl == "" {
		name, err := filepath.Abs("../_out/components/kubernetes/kubectl")
		if env := os.Getenv("TALOS_KUBECTL"); env != "" {
			name = env
		}
		if err != nil {
			return "", err
		}
		u.kubectl = name
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.kubectl, args...)
	cmd.Env = append(os.Environ(), "HOME="+u.home, "KUBECONFIG=")
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), &errs
	out, err := cmd.Output()
	if err != nil {
		err = errors.New("kubectl " + strings.Join(args, " ") + ": " + err.Error() + ": " + errs.String())
	}
	return string(out), err
}

// api is a client of the Kubernetes API with the person's kubeconfig.
func (u *person) api() *kubeapi.Client {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(u.home, ".kube", "config"))
	if err != nil {
		u.t.Fatal(err)
	}
	config, err := kubeapi.ParseKubeconfig(text, "")
	if err != nil {
		u.t.Fatal(err)
	}
	c, err := kubeapi.New(config, kubeapi.Options{})
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(c.Close)
	return c
}

// provisioned is what this computer has of the cluster; nil if there is none.
func (u *person) provisioned() *provision.Cluster {
	u.t.Helper()
	p, err := native.New(native.Options{Dir: filepath.Join(u.home, ".talos", "clusters"), Images: u.parts.images, Runc: u.parts.runc})
	if err != nil {
		u.t.Fatal(err)
	}
	c, err := p.Reflect(context.Background(), u.cluster)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		u.t.Fatal(err)
	}
	return c
}

// node is one of the cluster's nodes.
func (u *person) node(name string) provision.Node {
	u.t.Helper()
	n, ok := u.provisioned().Node(name)
	if !ok {
		u.t.Fatalf("cluster %s has no node %s", u.cluster, name)
	}
	return n
}

// until waits for f to succeed, no longer than within, and returns how long that took.
func (u *person) until(within time.Duration, what string, f func() error) time.Duration {
	u.t.Helper()
	began := time.Now()
	var last error
	for time.Since(began) < within {
		if last = f(); last == nil {
			return time.Since(began)
		}
		time.Sleep(100 * time.Millisecond)
	}
	u.t.Fatalf("waited %v for %s; last seen: %v", within, what, last)
	return 0
}

// columns splits a line of a table that has two spaces or more between its columns.
func columns(line string) []string {
	return regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(line), -1)
}

// rows returns the lines of a table by the value of a column, each by the names of the columns.
func rows(table, by string) map[string]map[string]string {
	all := map[string]map[string]string{}
	var head []string
	for line := range strings.Lines(table) {
		cells := columns(line)
		if head == nil {
			if len(cells) > 2 && slices.Contains(cells, by) {
				head = cells
			}
			continue
		}
		if len(cells) != len(head) {
			continue
		}
		row := map[string]string{}
		for i, name := range head {
			row[name] = cells[i]
		}
		all[row[by]] = row
	}
	return all
}

// said is what a health check in JSON says, a line after the other, each with the time at which it came.
type said struct {
	mu    sync.Mutex
	began time.Time
	rest  []byte
	lines []saidLine
}

type saidLine struct {
	After                       time.Duration
	Check, Node, State, Message string
	Healthy                     *bool
}

// Write implements io.Writer.
func (s *said) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, data...)
	for {
		line, rest, ok := bytes.Cut(s.rest, []byte("\n"))
		if !ok {
			return len(data), nil
		}
		s.rest = rest
		l := saidLine{After: time.Since(s.began)}
		if err := json.Unmarshal(line, &l); err != nil {
			return 0, err
		}
		s.lines = append(s.lines, l)
	}
}

// first returns the first line that f accepts.
func (s *said) first(f func(saidLine) bool) (saidLine, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.lines, f)
	if i < 0 {
		return saidLine{}, false
	}
	return s.lines[i], true
}
