// Command pause is the first process of a pod: it holds the pod's namespaces and does nothing.
//
// It reaps the orphans of a pod whose containers share its process namespace, and exits with 0 on
// SIGTERM or SIGINT. "pause -v" prints the version.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build.
var version = "unknown"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-v" {
		os.Stdout.WriteString("pause " + version + "\n")
		return
	}
	hold(listen())
}

// signals are those that pause acts on. Each channel holds one: a second of the same kind that
// comes before the first was handled asks for nothing more.
type signals struct{ child, stop chan os.Signal }

// listen installs the handlers. Without one, SIGTERM does not end a process with PID 1.
func listen() signals {
	s := signals{child: make(chan os.Signal, 1), stop: make(chan os.Signal, 1)}
	signal.Notify(s.child, syscall.SIGCHLD)
	signal.Notify(s.stop, syscall.SIGTERM, syscall.SIGINT)
	return s
}

// hold reaps children until it is told to stop.
func hold(s signals) {
	for {
		reap() // also those that ended before the handler was there
		select {
		case <-s.child:
		case <-s.stop:
			return
		}
	}
}

// reap collects every child that has ended and returns how many that were. It never blocks.
func reap() (n int) {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid == 0: // no children, or none that has ended
			return n
		default:
			n++
		}
	}
}
