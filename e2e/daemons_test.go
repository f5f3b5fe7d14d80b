package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"talos.internal/client"
	"talos.internal/internal/provision"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/trust"
	"talos.internal/secret"
)

// backWithin is the time in which a daemon that was killed has to serve again. A busy computer can be slower than the node is, so
// the best of several kills counts.
const (
	backWithin = 2 * time.Second
	kills      = 3
)

func TestKilledDaemonsComeBack(t *testing.T) {
	l := newLab(t, "e2e-daemons", 53, options{workers: 1}).ready()
	admin := l.as(l.control(), secret.RoleAdmin)
	l.until("containerd to run", func(ctx context.Context) error { return healthy(ctx, admin, "containerd") })
	l.quiet(30 * time.Second)

	for _, tc := range []struct {
		id string
		// serves returns nil when the daemon of the control plane does its work.
		serves func(ctx context.Context) error
		// others are calls that must not notice anything.
		others func(ctx context.Context) error
	}{
		{
			"apid",
			func(ctx context.Context) error { return version(ctx, l.as(l.control(), secret.RoleAdmin)) },
			// Another node, and another daemon of the same one.
			func() func(context.Context) error {
				worker := l.as(l.worker(), secret.RoleAdmin)
				return func(ctx context.Context) error { return errors.Join(version(ctx, worker), l.greets(ctx, trust.Port)) }
			}(),
		},
		{"trustd", func(ctx context.Context) error { return l.greets(ctx, trust.Port) }, func(ctx context.Context) error { return version(ctx, admin) }},
		{"containerd", func(ctx context.Context) error { return healthy(ctx, admin, "containerd") }, func(ctx context.Context) error { return version(ctx, admin) }},
	} {
		t.Run(tc.id, func(t *testing.T) {
			l := l.on(t)
			l.until(tc.id+" to serve", tc.serves)
			machined := l.process(l.control(), "init")
			best := time.Duration(0)
			for range kills {
				old := l.process(l.control(), tc.id)
				stop := l.undisturbed(tc.others)
				start := time.Now()
				if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				l.until("another process of "+tc.id, func(context.Context) error {
					if pid, err := running(l.control(), tc.id); err != nil || pid == old {
						return fmt.Errorf("process %d (was %d): %w", pid, old, err)
					}
					return nil
				})
				l.until(tc.id+" to serve again", tc.serves)
				took := time.Since(start)
				t.Logf("%s is back after %v; %d other calls went on", tc.id, took.Round(time.Millisecond), stop())
				if best == 0 || took < best {
					best = took
				}
			}
			if best > backWithin {
				t.Errorf("%s was back after %v at best; want %v", tc.id, best, backWithin)
			}
			if now := l.process(l.control(), "init"); now != machined {
				t.Errorf("PID 1 is process %d; it was %d", now, machined)
			}
			l.until("what the supervisor says about it", func(ctx context.Context) error {
				all, err := services(ctx, l.as(l.control(), secret.RoleReader))
				if err != nil {
					return err
				}
				var said []string
				for _, e := range all[tc.id].GetEvents().GetEvents() {
					said = append(said, e.GetState()+": "+e.GetMsg())
				}
				if n := strings.Count(strings.Join(said, "\n"), "signal: killed"); n < kills {
					return fmt.Errorf("the events tell of %d kills; want %d:\n%s", n, kills, strings.Join(said, "\n"))
				}
				return nil
			})
		})
	}
}

// quiet waits until the nodes use less than a third of a CPU: images are unpacked and programs have started. Nothing depends on it
// but the times that are measured afterwards, so it is given up in the end.
func (l *lab) quiet(patience time.Duration) {
	l.t.Helper()
	used := func() (sum float64) {
		for _, n := range l.nodes {
			all, err := processes(n)
			if err != nil {
				l.t.Fatal(err)
			}
			for _, p := range all {
				sum += p.CPUTime()
			}
		}
		return sum
	}
	before := used()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		time.Sleep(time.Second)
		now := used()
		if now-before < 0.33 {
			return
		}
		before = now
	}
	l.t.Logf("the nodes are still busy after %v", patience)
}

// healthy returns nil if a service runs, and is healthy.
func healthy(ctx context.Context, c *client.Client, id string) error {
	all, err := services(ctx, c)
	if err != nil {
		return err
	}
	if s := all[id]; s.GetState() != "Running" || !s.GetHealth().GetHealthy() {
		return fmt.Errorf("service %s: %s, %v", id, s.GetState(), s.GetHealth())
	}
	return nil
}

// greets returns nil if a port of the control plane ends a handshake.
func (l *lab) greets(ctx context.Context, port int) error {
	d := tls.Dialer{Config: &tls.Config{RootCAs: l.secrets.OS.Pool(), ServerName: l.control().Endpoint, NextProtos: []string{"h2"}}}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(l.control().Endpoint, fmt.Sprint(port)))
	if err != nil {
		return err
	}
	return c.Close()
}

// undisturbed calls f all the time until stop is called, which returns how often; a call that fails fails the test.
func (l *lab) undisturbed(f func(ctx context.Context) error) (stop func() int64) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var n atomic.Int64
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			call, end := context.WithTimeout(ctx, limit)
			if err := f(call); err != nil && ctx.Err() == nil {
				l.t.Errorf("call %d of those that should not notice: %v", n.Load(), err)
			}
			end()
			n.Add(1)
		}
	}()
	return func() int64 {
		cancel()
		<-done
		return n.Load()
	}
}

// process is the number on this computer of a program of a node.
func (l *lab) process(n provision.Node, name string) int {
	l.t.Helper()
	pid, err := running(n, name)
	if err != nil {
		l.t.Fatal(err)
	}
	return pid
}

// running looks for a program of a node, by the name that it was started under.
func running(n provision.Node, name string) (int, error) {
	all, err := processes(n)
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if program(p) == name {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("%s runs no %s", n.Name, name)
}

// program is the name that a process was started under.
func program(p proc.Process) string {
	if len(p.Args) == 0 {
		return ""
	}
	return path.Base(p.Args[0])
}

// processes are those of a node: its PID 1 and what comes from it.
func processes(n provision.Node) ([]proc.Process, error) {
	all, err := proc.Reader{}.Processes()
	if err != nil {
		return nil, err
	}
	mine := map[int]bool{n.PID: true}
	var out []proc.Process
	for range 8 { // numbers wrap, so a child may come before its parent
		for _, p := range all {
			if mine[p.PPID] {
				mine[p.PID] = true
			}
		}
	}
	for _, p := range all {
		if mine[p.PID] {
			out = append(out, p)
		}
	}
	return out, nil
}
