package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// TestMain lets the test binary be PID 1 of a container that it makes itself, and a process that does not want to end.
func TestMain(m *testing.M) {
	switch os.Getenv("BOOT_TEST") {
	case "":
		os.Exit(m.Run())
	case "init":
		var r result
		r.check("be PID 1", inContainer(&r))
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			syscall.Exit(1)
		}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Minute)
	}
}

// result is what PID 1 of the container tells.
type result struct {
	Wrong  []string // what was not as it has to be
	Mounts []string // point and type, after the boot
	Left   []string // points that are there after the end and were not before the boot
	Second []string // steps that a second boot would take
	Log    string
}

func (r *result) check(what string, err error) {
	if err != nil {
		r.Wrong = append(r.Wrong, what+": "+err.Error())
	}
}

func (r *result) want(what string, ok bool) {
	if !ok {
		r.Wrong = append(r.Wrong, what)
	}
}

// enter makes a container as a runtime does, on the directory root: with read-only sysfs and cgroups and a minimal /dev.
func enter(root, group string) error {
	m := func(source, target, kind string, flags uintptr, data string) error {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(source, target, kind, flags, data); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
		return nil
	}
	const bind, readOnly = syscall.MS_BIND, syscall.MS_REMOUNT | syscall.MS_BIND | syscall.MS_RDONLY
	err := errors.Join(
		m("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""),
		m(root, root, "", bind, ""),
		m("proc", root+"/proc", "proc", 0, ""),
		m("/sys", root+"/sys", "", bind, ""),
		m("", root+"/sys", "", readOnly, ""),
		m("tmpfs", root+"/dev", "tmpfs", syscall.MS_NOSUID, "mode=755"),
		m("tmpfs", root+"/sys/fs/cgroup", "tmpfs", 0, ""),
	)
	if err != nil {
		return err
	}
	table, err := proc.Reader{}.MountInfo()
	if err != nil {
		return err
	}
	for _, c := range table {
		if version := cgroup.VersionOf(table); group == "" || !version.Controls(c) || strings.HasPrefix(c.Point, root) {
			continue
		}
		at := filepath.Join(root, c.Point)
		if err := errors.Join(m(filepath.Join(c.Point, group), at, "", bind, ""), m("", at, "", readOnly, "")); err != nil {
			return err
		}
	}
	old := filepath.Join(root, ".old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(root, old); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	return errors.Join(os.Chdir("/"), syscall.Unmount("/.old", syscall.MNT_DETACH), os.Remove("/.old"))
}

func inContainer(r *result) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	group := os.Getenv("BOOT_GROUP")
	if group != "" {
		tree, err := cgroup.Detect("")
		if err != nil {
			return err
		}
		if err := tree.Group(group).Add(os.Getpid()); err != nil {
			return err
		}
	}
	// Before the root changes: with the race detector the program needs libraries.
	reaper := process.NewReaper(nil)
	running, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- reaper.Run(running) }()
	defer func() { end(); <-done }()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"BOOT_TEST=stubborn"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stubborn, err := reaper.Start(cmd, process.Options{})
	if err != nil {
		return err
	}
	if _, err := out.Read(make([]byte, 6)); err != nil {
		return err
	}
	if err := enter(os.Getenv("BOOT_ROOT"), group); err != nil {
		return err
	}
	// A runtime provides this one; the image the others.
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"hosts": "127.0.0.1 localhost\n", "resolv.conf": "nameserver 10.0.0.1\n"} {
		if err := os.WriteFile("/etc/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}

	f, err := Gather("", func(name string) string {
		return map[string]string{"PLATFORM": "container", "TALOSSKU": "2CPU", "USERDATA": "dmVyc2lvbjogdjFhbHBoYTEK"}[name]
	})
	if err != nil {
		return err
	}
	r.want("facts: files", string(f.Files["resolv.conf"]) == "nameserver 10.0.0.1\n" && f.Files["machine-id"] == nil)
	r.want("facts: first process", f.PID1 && f.Mode == Container && f.SKU == "2CPU")
	config, err := f.MachineConfig()
	r.check("facts: config", err)
	r.want("facts: config", string(config) == "version: v1alpha1\n")

	h := NewHost("", nil)
	facts := f
	if group == "" { // groups cannot be made here: they are recorded
		h.Groups = &recorder{}
		facts.Mounts = append(slices.Clone(f.Mounts), proc.MountInfo{ID: -1, Point: mount.CgroupsPoint + "/memory", Type: "cgroup", Root: "/", SuperOptions: []string{"memory"}})
		facts.Groups = nil
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	defer func() { r.Log = log.String() }()
	steps, err := Plan(facts)
	if err != nil {
		return err
	}
	if _, err := Run(ctx, steps, h, logger); err != nil {
		return err
	}

	table, err := h.Mounts.Table()
	if err != nil {
		return err
	}
	for _, m := range table {
		r.Mounts = append(r.Mounts, m.Point+" "+m.Type)
	}
	if group != "" {
		again, err := Gather("", func(string) string { return "container" })
		if err != nil {
			return err
		}
		again.Groups = nil // this process is in a group of its own now
		second, err := Plan(again)
		r.check("plan again", err)
		for _, s := range second {
			if _, ok := s.Do.(Mount); ok {
				r.Second = append(r.Second, s.String())
			}
		}
	}
	r.writes()
	r.etc(h)
	return r.stop(ctx, f, h, stubborn, logger)
}

// writes checks where can be written.
func (r *result) writes() {
	for _, dir := range []string{"/", "/etc", "/usr"} {
		err := os.WriteFile(dir+"/x", nil, 0o600)
		r.want(fmt.Sprintf("write to %s: %v; want EROFS", dir, err), errors.Is(err, syscall.EROFS) || dir == "/usr" && errors.Is(err, fs.ErrNotExist))
	}
	for _, dir := range []string{"/run", "/system/state", "/var/lib/etcd", "/opt/cni/bin", "/tmp", "/etc/cni", "/etc/cri", "/etc/kubernetes", "/dev/shm"} {
		r.check("write to "+dir, os.WriteFile(dir+"/x", []byte("x"), 0o600))
	}
	r.check("use /dev/null", os.WriteFile("/dev/null", []byte("x"), 0o600))
	_, err := os.Stat("/dev/pts/ptmx")
	r.check("terminals", err)
	st, err := os.Stat("/var/lib/etcd")
	r.check("owner of etcd's data", err)
	if err == nil {
		sys, _ := st.Sys().(*syscall.Stat_t)
		r.want("owner and mode of etcd's data", sys.Uid == 60 && st.Mode().Perm() == 0o700)
	}
}

// etc checks a file of /etc that changes.
func (r *result) etc(h *Host) {
	r.check("write hosts", os.WriteFile("/system/etc/hosts", []byte("one\n"), 0o644))
	spec, err := EtcMount("hosts")
	r.check("declare the mount of hosts", err)
	for range 2 {
		_, err = mount.Ensure(h.Mounts, spec)
		r.check("mount hosts", err)
	}
	again, err := mount.Ensure(h.Mounts, spec)
	r.want(fmt.Sprintf("mount hosts again: %v, %v; want nothing to do", again, err), len(again) == 0 && err == nil)
	b, err := os.ReadFile("/etc/hosts")
	r.want(fmt.Sprintf("hosts = %q, %v; want one", b, err), string(b) == "one\n")
	r.check("rewrite hosts in place", os.WriteFile("/system/etc/hosts", []byte("two\n"), 0o644))
	b, err = os.ReadFile("/etc/hosts")
	r.want(fmt.Sprintf("hosts = %q, %v; want two", b, err), string(b) == "two\n")
	r.want("hosts can be written through /etc", errors.Is(os.WriteFile("/etc/hosts", nil, 0o644), syscall.EROFS))
}

// stop carries out the plan of a reset, with a process that does not want to end and a mount that is in use.
func (r *result) stop(ctx context.Context, f Facts, h *Host, c *process.Child, log *slog.Logger) error {
	r.check("mount a volume", mount.Kernel{}.MakePoint("/var/lib/kubelet/pods/v", false, 0o755))
	r.check("mount a volume", mount.Kernel{}.Mount(mount.Call{Target: "/var/lib/kubelet/pods/v", Type: "tmpfs"}))
	busy, err := os.Create("/var/lib/kubelet/pods/v/busy")
	if err != nil {
		return err
	}
	defer busy.Close()

	steps, err := StopPlan(f, Cause{Kind: Reset, WipeState: true, WipeEphemeral: true, Grace: 5 * time.Second})
	if err != nil {
		return err
	}
	failed, err := Run(ctx, steps, h, log)
	if err != nil {
		return err
	}
	// The stubborn process is the one thing that is asked in vain.
	r.want(fmt.Sprintf("failed at the end: %v; want the process that did not end when it was asked", failed), len(failed) == 1 && strings.Contains(failed[0].Error(), "1 processes are left after terminated"))
	e, err := c.Wait(ctx)
	r.check("wait for the stubborn process", err)
	r.want("the stubborn process ended with "+e.String(), e.Signal == syscall.SIGKILL)
	table, err := h.Mounts.Table()
	if err != nil {
		return err
	}
	for _, m := range table {
		if !slices.ContainsFunc(f.Mounts, func(b proc.MountInfo) bool { return b.Point == m.Point }) && !strings.HasPrefix(m.Point, "/dev/") {
			r.Left = append(r.Left, m.Point)
		}
	}
	entries, err := os.ReadDir("/var")
	r.want(fmt.Sprintf("/var has %v (%v); want nothing", entries, err), len(entries) == 0 && err == nil)
	return nil
}

func TestAContainerBootsAndEnds(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make namespaces")
	}
	before, err := proc.Reader{}.MountInfo()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	group := ""
	if tree, err := cgroup.Detect(""); err == nil && tree.Version() == cgroup.V1 {
		g := tree.Group(fmt.Sprintf("/talos-boot-%d", os.Getpid()))
		if err := g.Create(); err == nil {
			group = g.Path()
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if err := g.Destroy(ctx); err != nil {
					t.Error(err)
				}
			}()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{"BOOT_TEST=init", "BOOT_ROOT=" + root, "BOOT_GROUP=" + group, "GORACE=atexit_sleep_ms=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); errors.Is(err, fs.ErrPermission) {
		t.Skipf("no namespaces can be made here: %v", err)
	} else if err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &stderr)
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &stderr)
	}
	for _, w := range r.Wrong {
		t.Error(w)
	}
	if len(r.Left) > 0 {
		t.Errorf("mounts are left: %v", r.Left)
	}
	for _, s := range r.Second {
		t.Errorf("a second boot would do %s", s)
	}
	for _, want := range []string{
		"/dev/pts devpts", "/dev/shm tmpfs", "/run tmpfs", "/system tmpfs", "/tmp tmpfs", "/etc/cni tmpfs", "/etc/cri tmpfs", "/etc/kubernetes tmpfs",
	} {
		if !slices.Contains(r.Mounts, want) {
			t.Errorf("%s is not mounted; %v", want, r.Mounts)
		}
	}
	if t.Failed() {
		t.Logf("its log:\n%s", r.Log)
	}
	after, err := proc.Reader{}.MountInfo()
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Errorf("%d mounts before the test, %d after it", len(before), len(after))
	}
}
