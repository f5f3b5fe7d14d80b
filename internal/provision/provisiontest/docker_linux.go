package provisiontest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/rtnl"
)

// Docker is a Docker daemon that runs for tests.
type Docker struct {
	Host  string // unix:// and the path of its socket
	Dir   string // a folder with all that it has, which goes with it
	group string
	cmd   *exec.Cmd
	ended chan struct{} // closed after it has ended
}

// StartDocker starts a daemon in the namespaces of the caller, which has to be root, and waits until it answers. It has all
// its files in a folder, which is there and has a short path: a socket's has at most 107 bytes. It has no bridge of its own, and
// makes the groups of its containers below the group of that name. It ends with this process, and by [Docker.End].
func StartDocker(dir, group string) (*Docker, error) {
	if err := loopback(); err != nil {
		return nil, err
	}
	d := &Docker{Host: "unix://" + filepath.Join(dir, "sock"), Dir: dir, group: "/" + group, ended: make(chan struct{})}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the daemon has it, too
	d.cmd = exec.Command("dockerd", "--host", d.Host, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--config-file", filepath.Join(dir, "config.json"), "--bridge", "none", "--cgroup-parent", d.group)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600); err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dockerd: %w", err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ends is in its log
		close(d.ended)
	}()
	const limit = time.Minute
	for deadline := time.Now().Add(limit); ; {
		out, err := d.command("version").CombinedOutput()
		if err == nil {
			return d, nil
		}
		select {
		case <-d.ended:
			deadline = time.Time{}
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return nil, errors.Join(fmt.Errorf("dockerd does not answer within %v: %w: %s\n%s", limit, err, out, text[max(0, len(text)-4000):]), d.End())
		}
	}
}

func (d *Docker) command(args ...string) *exec.Cmd {
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.Host)
	return cmd
}

// End removes all containers, ends the daemon and removes its folder, with what is mounted on it, and its group.
func (d *Docker) End() error {
	var errs []error
	if ids, err := d.command("ps", "-aq").Output(); err == nil && len(ids) > 0 {
		if out, err := d.command(append([]string{"rm", "-f", "-v"}, strings.Fields(string(ids))...)...).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("remove the containers that are left: %w: %s", err, out))
		}
	}
	errs = append(errs, d.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		errs = append(errs, errors.New("dockerd does not end; it is killed"), d.cmd.Process.Kill())
		<-d.ended
	}
	errs = append(errs, openForward())
	// What a daemon has mounted stands one on the other, and below all of it what the caller has.
	for range 8 {
		for _, mounted := range []string{filepath.Join(d.Dir, "data"), d.Dir} {
			_ = syscall.Unmount(mounted, syscall.MNT_DETACH) // nothing is, any more
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		err := cgroup.Sweep("", d.group)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			errs = append(errs, err)
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, os.ErrProcessDone) })
	return errors.Join(append(errs, os.RemoveAll(d.Dir))...)
}

// openForward takes away the rules that a daemon leaves in the network namespace. Its policy for what is forwarded is to drop, which, where
// bridges ask these tables, cuts off the nodes of every other bridge.
func openForward() error {
	const open = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n"
	cmd := exec.Command("iptables-restore", "--wait", "10")
	cmd.Stdin = strings.NewReader(open)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("take away the rules of dockerd: %w: %s", err, out)
	}
	return nil
}

// loopback sets the loopback of a new network namespace up.
func loopback() error {
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := c.LinkByName("lo")
	if err != nil {
		return err
	}
	return c.SetUp(l.Index, true)
}

// DockerPrivileges are the arguments of docker run that stand for --privileged where root lacks capabilities; --privileged itself if
// none is missing.
func DockerPrivileges(missing []string) []string {
	if len(missing) == 0 {
		return []string{"--privileged", "--security-opt", "seccomp=unconfined"}
	}
	args := []string{"--cap-add", "ALL"}
	for _, c := range missing {
		args = append(args, "--cap-drop", c)
	}
	return append(args, "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
		"--device-cgroup-rule", "a *:* rwm", "--cgroupns", "private")
}
