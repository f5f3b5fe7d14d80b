package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/provisiontest"
)

// TestDocker does with Docker what the published tutorial does: a cluster, a worker added by docker run with the USERDATA of another
// one, and removed by docker rm. The daemon is the test's own.
func TestDocker(t *testing.T) {
	if _, err := exec.LookPath("dockerd"); err != nil {
		lacks(t, "there is no dockerd: install Debian's docker.io")
	}
	u := newPerson(t, "e2e-docker", "10.61.0.0/24")
	dir, err := os.MkdirTemp("", "dockerd-")
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := provisiontest.StartDocker(dir, "talos-e2e-docker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.End(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("DOCKER_HOST", daemon.Host)
	t.Cleanup(func() { // before the daemon ends
		if t.Failed() {
			out, errs, _ := u.talosctl("cluster", "logs", "--tail", "150")
			t.Logf("ends of the consoles:\n%s%s", out, errs)
		}
		u.must("cluster", "destroy")
		for what, list := range map[string][]string{"containers": {"ps", "-aq"}, "networks": {"network", "ls", "-q", "--filter", "type=custom"}} {
			if out := dockerCommand(t, list...); out != "" {
				t.Errorf("after the destroy there are %s: %s", what, out)
			}
		}
	})

	// Nobody says docker: its daemon answers.
	_, progress := u.must("cluster", "create", "--cidr", u.cidr, "--images", u.parts.images, "--exposed-ports", "18080:30080", "--host-ip", "127.0.0.1")
	t.Logf("create:\n%s", progress)
	out, _ := u.must("cluster", "show")
	for _, want := range []string{"PROVISIONER           docker\n", "NETWORK NAME          e2e-docker\n", "NETWORK CIDR          10.61.0.0/24\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("cluster show = %s\nwant %q in it", out, want)
		}
	}
	ports := dockerCommand(t, "ps", "--format", "{{.Ports}}", "--filter", "name=e2e-docker-controlplane-1")
	for _, want := range []string{"->50000/tcp", "->6443/tcp", "127.0.0.1:18080->30080/tcp"} {
		if !strings.Contains(ports, want) {
			t.Errorf("ports = %q; want %q in it", ports, want)
		}
	}
	ready := func(name string) error {
		out, err := u.kube("", "get", "node", name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.osImage}`)
		if err == nil && out != "True Talos ("+buildinfo.Version+")" {
			err = fmt.Errorf("it is %q", out)
		}
		return err
	}
	u.until(limit, "the worker to be Ready", func() error { return ready("e2e-docker-worker-1") })

	const added = "e2e-docker-worker-2"
	dockerCommand(t, byHand(t, u, added, "e2e-docker-worker-1")...)
	t.Logf("Ready after docker run: %.1f s", u.until(patience, added+" to be Ready", func() error { return ready(added) }).Seconds())
	shown := func(name string) string {
		out, _ := u.must("cluster", "show")
		return rows(out, "NAME")[name]["STATUS"]
	}
	if got := shown(added); got != string(provision.Running) {
		t.Errorf("cluster show: the node that was added is %q; want it running", got)
	}
	u.must("health", "--wait-timeout", "2m")

	dockerCommand(t, "rm", "-f", "-v", added)
	u.until(markedWithin, "the members to mark the node that is gone", func() error {
		out, errs, code := u.talosctl("get", "members")
		if state := rows(out, "ID")[added]["STATE"]; code != 0 || state != "gone" {
			return fmt.Errorf("it is %q (%s)", state, errs)
		}
		return nil
	})
	if got := shown(added); got != "" {
		t.Errorf("cluster show: a node that nobody remembers is %q", got)
	}
	u.must("cluster", "forget", added)
	u.must("health", "--wait-timeout", "1m")

	// One that the cluster was made with is remembered.
	dockerCommand(t, "rm", "-f", "-v", "e2e-docker-worker-1")
	if got := shown("e2e-docker-worker-1"); got != string(provision.Missing) {
		t.Errorf("cluster show: a node of the cluster that was removed is %q; want it missing", got)
	}
}

// byHand is the published command line for one more worker, with the config of another one. It has --privileged as far as that is
// possible here, and the image cache, because there is no registry here.
func byHand(t *testing.T, u *person, name, other string) []string {
	t.Helper()
	userdata := dockerCommand(t, "inspect", "-f", `{{range $value := .Config.Env}}{{if eq (index (split $value "=") 0) "USERDATA" }}{{print $value}}{{end}}{{end}}`, other)
	dropped := dockerCommand(t, "inspect", "-f", `{{range .HostConfig.CapDrop}}{{println .}}{{end}}`, other)
	args := []string{
		"run", "--name", name, "--hostname", name, "--read-only", "--cpus=2", "--memory=2048m",
		"--mount", "type=tmpfs,destination=/run", "--mount", "type=tmpfs,destination=/system", "--mount", "type=tmpfs,destination=/tmp",
		"--mount", "type=volume,destination=/var", "--mount", "type=volume,destination=/system/state", "--mount", "type=volume,destination=/etc/cni",
		"--mount", "type=volume,destination=/etc/kubernetes", "--mount", "type=volume,destination=/usr/libexec/kubernetes", "--mount", "type=volume,destination=/opt",
		"--mount", "type=bind,source=" + u.parts.images + ",destination=" + provision.ImageCache + ",readonly",
		"--network", u.cluster, "--env", "PLATFORM=container", "--env", "TALOSSKU=2CPU-2048RAM", "--env", strings.TrimSpace(userdata),
		"--label", "talos.cluster.name=" + u.cluster, "--label", "talos.owned=true", "--label", "talos.type=worker", "--detach",
	}
	return append(slices.Concat(args, provisiontest.DockerPrivileges(strings.Fields(dropped))), image.NodeRef(buildinfo.Version))
}

// dockerCommand runs docker with the test's daemon.
func dockerCommand(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v after %v\n%s", args[0], err, time.Since(began), out)
	}
	return string(out)
}
