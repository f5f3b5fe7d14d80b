// Probe is the program of the pods in the tests of Kubernetes: a server, and a client of it. Its image holds nothing else.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// port is where the server listens. No rights are needed for it.
const port = ":8080"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 2 && args[0] == "get":
		return get(ctx, args[1])
	case len(args) == 2 && args[0] == "count":
		return count(ctx, args[1])
	case len(args) == 2 && args[0] == "machine":
		return machine(ctx, args[1])
	case len(args) == 1 && args[0] == "cni":
		return network(ctx)
	case len(args) == 1 && args[0] == "write":
		return write(ctx)
	}
	return fmt.Errorf("usage: probe serve | get URL | count URL | machine NODE | cni | write; got %q", args)
}

// serve answers every request with the host's name, and writes a line for each.
func serve(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	s := http.Server{Addr: port, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("request for", r.URL.Path)
		fmt.Fprintln(w, name)
	})}
	fmt.Println(name, "serves on", port)
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// get prints what a server answers within 5 s.
func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	_, err = io.Copy(os.Stdout, reply.Body)
	return err
}
