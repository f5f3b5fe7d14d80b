package controlplane

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/client"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/secret/kubeconfig"
)

// kubeconfigFlags are the flags of kubeconfig.
type kubeconfigFlags struct {
	force, merge bool
	context      string
}

func kubeconfigCommand(env command.Env) *cobra.Command {
	var k kubeconfigFlags
	cmd := &cobra.Command{
		Use:   "kubeconfig [PATH]",
		Short: "Get a kubeconfig for an administrator of the cluster",
		Long: "Gets a kubeconfig with new credentials and merges it into PATH, or into the file that $KUBECONFIG names, else\n" +
			"~/.kube/config. An entry whose name is taken by a different one gets a new name, or with --force takes its place.\n" +
			"With --merge=false it is written as a file of its own, kubeconfig if there is no PATH. - is standard output.",
		Example: "  talosctl -n 10.5.0.2 kubeconfig\n  talosctl -n 10.5.0.2 kubeconfig --merge=false ./admin.kubeconfig",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.ExactArgs("PATH")(cmd, args)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&k.force, "force", "f", false, "replace entries of the same name, or the file")
	fl.BoolVarP(&k.merge, "merge", "m", true, "merge with what the file has")
	fl.StringVar(&k.context, "force-context-name", "", "what the context is to be called")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
			data, err := fetchKubeconfig(ctx, s, node)
			if err != nil {
				s.Fail(node, err)
				return nil
			}
			if k.context != "" {
				if data, err = renameContext(data, k.context); err != nil {
					return fmt.Errorf("kubeconfig of %s: %w", node, err)
				}
			}
			path := append(args, "")[0]
			if path == "-" {
				_, err := env.Stdout.Write(data)
				return err
			}
			return k.save(env, path, data)
		})
	}
	return cmd
}

// fetchKubeconfig asks for a kubeconfig, which comes as a compressed archive of one file.
func fetchKubeconfig(ctx context.Context, s *nodes.Session, node string) ([]byte, error) {
	r := nodes.NewReader(ctx, s, node, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
		return c.Machine().Kubeconfig(ctx, &emptypb.Empty{})
	})
	defer r.Close()
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("get the kubeconfig: %w", err)
	}
	archive := tar.NewReader(unzipped)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("get the kubeconfig: the archive has no file")
		}
		if err != nil {
			return nil, fmt.Errorf("get the kubeconfig: %w", err)
		}
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(io.LimitReader(archive, client.MaxMessage))
			if err != nil {
				return nil, fmt.Errorf("get the kubeconfig: %w", err)
			}
			return data, nil
		}
	}
}

// renameContext gives the context of a kubeconfig that has one a new name.
func renameContext(data []byte, name string) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	contexts, ok := doc["contexts"].([]any)
	if !ok || len(contexts) != 1 {
		return nil, errors.New("rename the context: it has not exactly one")
	}
	entry, ok := contexts[0].(map[string]any)
	if !ok {
		return nil, errors.New("rename the context: it is no mapping")
	}
	entry["name"], doc["current-context"] = name, name
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(doc)
	return b.Bytes(), err
}

// where returns the file to write: a folder is one for a file named kubeconfig.
func (k kubeconfigFlags) where(env command.Env, path string) (string, error) {
	if path != "" {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return filepath.Join(path, "kubeconfig"), nil
		}
		return path, nil
	}
	if !k.merge {
		return "kubeconfig", nil
	}
	// The variable may name several files; kubectl writes to the first.
	for _, p := range filepath.SplitList(env.Getenv("KUBECONFIG")) {
		if p != "" {
			return p, nil
		}
	}
	if env.Home == "" {
		return "", errors.New("there is no home directory with a .kube/config: name the file")
	}
	return filepath.Join(env.Home, ".kube", "config"), nil
}

func (k kubeconfigFlags) save(env command.Env, path string, data []byte) error {
	path, err := k.where(env, path)
	if err != nil {
		return err
	}
	if !k.merge {
		return env.Output(path, k.force, data)
	}
	existing, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	merged, err := kubeconfig.Merge(existing, data, kubeconfig.Options{Rename: !k.force, Activate: true})
	if err != nil {
		return fmt.Errorf("merge into %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(path, merged.Data, 0o600, atomicfile.Options{Overwrite: true, Preserve: true}); err != nil {
		return err
	}
	for _, r := range merged.Renames {
		env.Warn("%s: the %s %s is called %s, since there is another one of its name", path, strings.TrimSuffix(string(r.Section), "s"), r.From, r.To)
	}
	for _, e := range merged.Replaced {
		env.Warn("%s: replaced %s in %s", path, e.Name, e.Section)
	}
	env.Warn("%s: the current context is %s", path, merged.Context)
	return nil
}
