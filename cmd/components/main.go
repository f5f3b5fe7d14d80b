// Command components builds the programs of other people that go into the image.
// It is run from the root of the source tree; package compose says what it does.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"talos.internal/internal/compose"
)

const usage = `usage: components [flags] COMMAND

  build [NAME...]       build what changed: the components named, or all
  fetch [NAME...]       download the modules that builds need, and nothing else
  list                  versions, licences, and what would be built
  licences              licences of everything that is linked into the results
  upgrade NAME VERSION  move a component to VERSION, which may be "latest" or a prefix (v1.36)
  vuln [NAME...]        look for known vulnerabilities (needs the module proxy, or see -db)
  withdrawn [NAME...]   modules that their authors have retracted or deprecated (needs the module proxy)

`

func main() {
	b := compose.Builder{Log: os.Stderr}
	flag.StringVar(&b.Source, "source", "components", "folder of the nested modules and of the file versions")
	flag.StringVar(&b.Out, "out", "_out/components", "folder of the results")
	flag.IntVar(&b.Jobs, "jobs", 2, "components to build side by side")
	flag.BoolVar(&b.Offline, "offline", false, "download nothing; fails when a module is not there")
	db := flag.String("db", "", "vulnerability database as https://HOST or file:///FOLDER; by default the newest module golang.org/x/vulndb")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &b, *db, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *compose.Builder, db string, args []string) error {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch {
	case command == "build":
		return b.Build(ctx, args...)
	case command == "fetch":
		return b.Fetch(ctx, args...)
	case command == "list" && len(args) == 0:
		return b.List(ctx, os.Stdout)
	case command == "licences" && len(args) == 0:
		return b.Licences(os.Stdout)
	case command == "upgrade" && len(args) == 2:
		return b.Upgrade(ctx, args[0], args[1])
	case command == "withdrawn":
		return b.Withdrawn(ctx, os.Stdout, args...)
	case command == "vuln":
		return b.Vulnerabilities(ctx, os.Stdout, db, args...)
	}
	flag.Usage()
	return fmt.Errorf("components: nothing to do for %q", append([]string{command}, args...))
}
