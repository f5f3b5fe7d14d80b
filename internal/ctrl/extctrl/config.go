package extctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
)

// configs says what the machine config has for services of extensions.
func configs() controller.Controller {
	return effective.Pass("runtime.ExtensionServiceConfigController",
		[]controller.Output{controller.Exclusive[runtime.ExtensionServiceConfig]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			for _, doc := range schema.All[*sysdoc.ExtensionServiceConfig](c.Set) {
				spec := runtime.ExtensionServiceConfig{Environment: slices.Clone(doc.Environment)}
				for _, f := range doc.ConfigFiles {
					spec.Files = append(spec.Files, runtime.ExtensionServiceConfigFile{Content: f.Content, MountPath: f.MountPath})
				}
				if err := controller.Put(ctx, rt, doc.Name, spec); err != nil {
					return err
				}
			}
			return nil
		})
}

// fileOf is the file of a config with a number, as it is on the machine.
func fileOf(dir, name string, number int) string {
	return filepath.Join(dir, name, strconv.Itoa(number))
}

// files writes the files of configs.
func files(dir string) controller.Controller {
	return controller.Transform[runtime.ExtensionServiceConfig, runtime.ExtensionServiceConfigStatus]{
		ControllerName: "runtime.ExtensionServiceConfigFilesController",
		Reconcile: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[runtime.ExtensionServiceConfig],
			_ *resource.Metadata, out *runtime.ExtensionServiceConfigStatus) error {
			name, version := in.Metadata().ID(), in.Metadata().Version().String()
			if out.SpecVersion == version {
				return nil
			}
			if err := writeFiles(dir, name, in.Spec().Files); err != nil {
				return fmt.Errorf("write the config of the service %s: %w", name, err)
			}
			out.SpecVersion = version
			return nil
		},
		Finalize: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[runtime.ExtensionServiceConfig]) error {
			return os.RemoveAll(filepath.Join(dir, in.Metadata().ID()))
		},
	}
}

// writeFiles writes new files in place of old ones: a container that still runs sees those that it was started with.
func writeFiles(dir, name string, list []runtime.ExtensionServiceConfigFile) error {
	if name != filepath.Base(name) {
		return fmt.Errorf("%q is no name of a service: %w", name, fs.ErrInvalid)
	}
	own := filepath.Join(dir, name)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	for i, f := range list {
		if err := atomicfile.WriteFile(fileOf(dir, name, i), []byte(f.Content), 0o600, atomicfile.Options{Overwrite: true}); err != nil {
			return err
		}
	}
	for i := len(list); ; i++ {
		err := os.Remove(fileOf(dir, name, i))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
