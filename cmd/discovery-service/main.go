// Command discovery-service is a discovery service for clusters of many machines: what the public one does, run by whoever wants it. It keeps
// sealed data in memory and needs no secret. Clusters of ours need none: their control plane serves discovery itself.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"talos.internal/api/discoverypb"
	"talos.internal/internal/discovery/rendezvous"
)

const usage = `usage: discovery-service --cert FILE --key FILE [--listen ADDRESS]
       discovery-service --plaintext [--listen ADDRESS]

Machines find it by "cluster.discovery.registries.service.endpoint: https://HOST:PORT/" in their config, or by the document
DiscoveryServiceConfig.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "discovery-service:", err)
		stop()
		os.Exit(1)
	}
}

// stopTime is for calls that are under way when it ends.
const stopTime = 3 * time.Second

// run serves until ctx ends. Where it listens is the first line of out.
func run(ctx context.Context, args []string, out io.Writer) error {
	fl := flag.NewFlagSet("discovery-service", flag.ContinueOnError)
	fl.SetOutput(out)
	fl.Usage = func() { fmt.Fprint(out, usage); fl.PrintDefaults() }
	listen := fl.String("listen", ":3000", "address to listen at")
	cert := fl.String("cert", "", "file with the certificate of the service, and those between it and its authority, in PEM")
	key := fl.String("key", "", "file with the private key, in PEM")
	plaintext := fl.Bool("plaintext", false, "no TLS: for a proxy in front that has it")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see discovery-service --help", fl.Arg(0))
	}
	options := rendezvous.ServerOptions()
	switch {
	case *plaintext && (*cert != "" || *key != ""):
		return errors.New("--plaintext has no use for --cert and --key; leave one or the other out")
	case !*plaintext && (*cert == "" || *key == ""):
		return errors.New("expected --cert and --key, or --plaintext behind a proxy with TLS; see discovery-service --help")
	case !*plaintext:
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	s, meeting := grpc.NewServer(options...), rendezvous.New(rendezvous.Config{})
	discoverypb.RegisterClusterServer(s, meeting)
	_, _ = fmt.Fprintln(out, "discovery is served at", l.Addr())
	end := context.AfterFunc(ctx, func() {
		meeting.Close() // watches never end by themselves
		hard := time.AfterFunc(stopTime, s.Stop)
		defer hard.Stop()
		s.GracefulStop()
	})
	defer end()
	return s.Serve(l)
}
