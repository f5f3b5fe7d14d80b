// Command protogen writes the Go code of every .proto file in the api directory, beside its source.
//
// With -check it writes nothing: it exits with status 1 and names each file that is not as it would be written.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"talos.internal/tools/protogen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	root := flag.String("root", "..", "root directory of the repository")
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()

	if err := run(ctx, *root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, check bool) error {
	plugins, err := protogen.PinnedPlugins(ctx)
	if err != nil {
		return err
	}
	want, err := protogen.Generate(ctx, os.DirFS(root), plugins)
	if err != nil {
		return err
	}
	if check {
		return protogen.Check(root, want)
	}
	changed, err := protogen.Write(root, want)
	for _, name := range changed {
		fmt.Println(name)
	}
	return err
}
