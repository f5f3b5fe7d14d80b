// Command machined is everything of ours that runs on a node. Its name decides which part it is: init (or machined) is PID 1,
// apid and trustd are the daemons that PID 1 starts, dashboard is the screen of the console, and containerd starts image-verifier.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/daemon"
	"talos.internal/internal/node"
	"talos.internal/internal/sys/seccomp"
)

func main() { os.Exit(run(filepath.Base(os.Args[0]), os.Args[1:])) }

// programs are what the binary is by name. Each returns when ctx ends, nil if that is its only reason.
var programs = map[string]func(ctx context.Context, log *slog.Logger) error{
	"apid": func(ctx context.Context, log *slog.Logger) error {
		return daemon.APID(ctx, daemon.Sockets{State: node.APIDStateSocket, Machine: node.MachineSocket}, log)
	},
	"dashboard": screen,
	"trustd": func(ctx context.Context, log *slog.Logger) error {
		return daemon.Trustd(ctx, daemon.Sockets{State: node.TrustdStateSocket}, "", log)
	},
}

// run is the program called name; it returns the exit code.
func run(name string, args []string) int {
	if len(args) == 1 && args[0] == "--version" {
		info := buildinfo.Read()
		fmt.Printf("%s %s (%s, %s %s/%s)\n", buildinfo.Name, info.Tag, info.SHA, info.GoVersion, info.OS, info.Arch)
		return 0
	}
	switch name {
	case "init", "machined":
		if os.Getpid() != 1 {
			fmt.Fprintf(os.Stderr, "%s: it is PID 1 of a node and nothing else; here it is process %d\n", name, os.Getpid())
			return 2
		}
		settleLater(func(err error) { fmt.Fprintln(os.Stderr, err) })
		return node.Main(os.Exit)
	case crictrl.Verifier:
		return verifierProgram(args, os.Stdout)
	}
	program, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: no such program; call the binary as init, apid, trustd or dashboard\n", name)
		return 2
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	settleLater(func(err error) { log.Warn("memory of the start is kept", "error", err) })
	// What these programs never do they cannot be made to do. A kernel without filters is no reason not to run.
	if err := seccomp.Restrict(); err != nil {
		log.Warn("system calls are not restricted", "error", err)
	}
	if err := program(ctx, log); err != nil {
		log.Error(strings.TrimSpace(err.Error()))
		return 1
	}
	return 0
}

// withoutTime leaves the time out of log lines: whoever keeps them adds it.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
