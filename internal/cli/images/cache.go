package images

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/log"
	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/imagecache"
	"talos.internal/internal/registryd"
)

// cacheLimit is the longest that collecting a cache may take. A transfer that stands still ends much earlier.
const cacheLimit = 6 * time.Hour

// cacheFlags are those of cache-create.
type cacheFlags struct {
	images, from, platforms              []string
	dir, layers, layout                  string
	signatures, force, insecure, verbose bool
}

func cacheCreateCommand(env command.Env) *cobra.Command {
	var f cacheFlags
	cmd := &cobra.Command{
		Use: "cache-create", Short: "Collect images into an image cache",
		Long: "Collects images into an image cache: a folder that a machine, 'talosctl image cache-serve' or any registry tool can\n" +
			"serve them from. The layout oci is an OCI image layout, which has an index; flat has none, so that caches are put\n" +
			"together by copying.\n\n" +
			"Images come from what --from names, in that order, and then from their registries, with the credentials of\n" +
			"~/.docker/config.json. Everything is compared with its digest; what is cut or altered is taken from the next source.",
		Example: "  talosctl image default | talosctl image cache-create --images - --image-cache-path cache\n" +
			"  talosctl image cache-create --images registry.k8s.io/pause:3.10.2 --from _out/images --layout flat --image-cache-path cache",
		Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error { return createCache(cmd, env, f) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.images, "images", nil, "the images; - reads them from standard input, one a line (required)")
	fl.StringVar(&f.dir, "image-cache-path", "", "the folder that becomes the cache (required)")
	fl.StringVar(&f.layers, "image-layer-cache-path", "", "a folder in which layers are kept between runs")
	fl.StringVar(&f.layout, "layout", string(imagecache.Layout), "the form of the cache: oci or flat")
	fl.StringSliceVar(&f.platforms, "platform", []string{"linux/amd64"}, "platforms that are taken of images for several")
	fl.StringArrayVar(&f.from, "from", nil, "a cache's folder, or the URL of a registry's mirror, to ask before the registries; may be given several times")
	fl.BoolVar(&f.signatures, "cosign-signatures", false, "take the images' cosign signatures as well")
	fl.BoolVar(&f.insecure, "insecure", false, "reach registries without checking their certificates, or without TLS")
	fl.BoolVar(&f.force, "force", false, "replace a cache that is there")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "say what comes from where")
	command.Require(cmd, "images", "image-cache-path")
	command.Complete(cmd, "layout", cobra.FixedCompletions([]string{"oci", "flat"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func createCache(cmd *cobra.Command, env command.Env, f cacheFlags) error {
	form := imagecache.Form(f.layout)
	if form != imagecache.Layout && form != imagecache.Flat {
		return command.Usagef(cmd, "expected --layout to be oci or flat, got %q", f.layout)
	}
	images, err := readImages(env, f.images)
	if err != nil {
		return err
	}
	access := imagecache.Access{Insecure: f.insecure, Credentials: dockerCredentials(env)}
	var sources []imagecache.Source
	for _, from := range f.from {
		s, err := source(from, access)
		if err != nil {
			return command.Usagef(cmd, "--from: %w", err)
		}
		sources = append(sources, s)
	}
	// The library that talks to registries has a log of its own, in which each attempt that fails is a line; the errors say it all.
	if err := log.SetLevel("fatal"); err != nil {
		return err
	}
	var one sync.Mutex // lines come from several transfers
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), cacheLimit, fmt.Errorf("not done after %v", cacheLimit))
	defer cancel()
	got, err := imagecache.Create(ctx, imagecache.Options{
		Dir: f.dir, Form: form, Replace: f.force, Images: images, Sources: append(sources, imagecache.Registries(access)),
		Platforms: f.platforms, Signatures: f.signatures, Layers: f.layers,
		Log: func(format string, args ...any) {
			one.Lock()
			defer one.Unlock()
			if f.verbose || strings.Contains(format, "is not taken") || strings.Contains(format, "no signature") {
				env.Warn("%s", nodes.Clean(fmt.Sprintf(format, args...)))
			}
		},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s: %d images, %d blobs, %s\n", f.dir, got.Images, got.Blobs, nodes.Bytes(uint64(got.Bytes)))
	return err
}

// source is what --from names.
func source(from string, access imagecache.Access) (imagecache.Source, error) {
	if strings.Contains(from, "://") {
		return imagecache.Mirror(from, access)
	}
	return imagecache.Folder(from)
}

// readImages returns the images of a list; - stands for those on standard input. Empty lines, and lines that begin with #, are
// no images.
func readImages(env command.Env, list []string) ([]string, error) {
	var out []string
	for _, name := range list {
		if name != "-" {
			out = append(out, name)
			continue
		}
		lines := bufio.NewScanner(env.Stdin)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
				out = append(out, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read the images from standard input: %w", err)
		}
	}
	return out, nil
}

// serveFlags are those of cache-serve.
type serveFlags struct {
	address, cert, key string
	dirs, mirrors      []string
}

func cacheServeCommand(env command.Env) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: "cache-serve", Short: "Serve image caches from this computer",
		Long: "Serves image caches as a mirror of every registry, until it is interrupted. The patch that makes machines use it is\n" +
			"printed first. Who can reach the address can read the images.",
		Example: "  talosctl image cache-serve --image-cache-path cache --address 10.5.0.1:3172 >patch.yaml\n" +
			"  talosctl image cache-serve --image-cache-path cache --address 10.5.0.1:3172 --tls-cert-file tls.crt --tls-key-file tls.key",
		Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error { return serveCache(cmd, env, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.address, "address", "127.0.0.1:3172", "the address to serve on")
	fl.StringSliceVar(&f.dirs, "image-cache-path", nil, "the folder of a cache; may be given several times (required)")
	fl.StringSliceVar(&f.mirrors, "mirror", []string{"*"}, "the registries for the patch; * is every one")
	fl.StringVar(&f.cert, "tls-cert-file", "", "the certificate to serve with, in PEM; without one there is no TLS")
	fl.StringVar(&f.key, "tls-key-file", "", "the certificate's private key, in PEM")
	command.Require(cmd, "image-cache-path")
	return cmd
}

func serveCache(cmd *cobra.Command, env command.Env, f serveFlags) error {
	if (f.cert == "") != (f.key == "") {
		return command.Usagef(cmd, "--tls-cert-file and --tls-key-file belong together")
	}
	for _, dir := range f.dirs {
		if _, err := imagecache.Folder(dir); err != nil {
			return err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", f.address)
	if err != nil {
		return fmt.Errorf("serve image caches: %w", err)
	}
	scheme := "http"
	if f.cert != "" {
		scheme = "https"
		if l, err = withTLS(l, f.cert, f.key); err != nil {
			return err
		}
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip.IsLoopback() || ip.IsUnspecified() {
		env.Warn("the patch says %s, which is no address that machines reach this computer by: serve on one that is, or change the patch", host)
	}
	if _, err := fmt.Fprint(env.Stdout, mirrorPatch(f.mirrors, scheme+"://"+net.JoinHostPort(host, port))); err != nil {
		return err
	}
	env.Warn("serving %s on %s; interrupt to end", strings.Join(f.dirs, ", "), l.Addr())
	return registryd.New(slog.New(slog.NewTextHandler(env.Stderr, nil)), f.dirs...).Serve(cmd.Context(), l)
}
