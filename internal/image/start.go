package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"talos.internal/internal/image/oci"
)

// Starter starts images to see that they work. It needs root.
type Starter struct {
	Runc string // path of runc
	Dir  string // an existing folder; what is made in it is removed again
}

// startLimit bounds one start. A program that prints its version needs a second, on a busy machine some.
const startLimit = 2 * time.Minute

// Start unpacks an image, starts it under runc as its config says with the arguments of the spec's check, and then each of its
// tools. It returns what the image printed. It fails if that is not what the spec says, and if a tool does not start. The
// root file system is read-only, there are no capabilities, and the network has no interface that is up.
func (s Starter) Start(ctx context.Context, img oci.Image, spec Spec) (string, error) {
	bundle, err := os.MkdirTemp(s.Dir, "start-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(bundle) // a temporary folder
	if err := oci.Unpack(img, filepath.Join(bundle, "rootfs")); err != nil {
		return "", err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	user, err := parseUser(config.Config.User)
	if err != nil {
		return "", fmt.Errorf("start %s: %w", img.Ref, err)
	}
	env := config.Config.Env
	said, err := s.run(ctx, bundle, user, env, slices.Concat(config.Config.Entrypoint, spec.Check.Args))
	if !strings.Contains(said, spec.Check.Want) {
		return said, errors.Join(fmt.Errorf("start %s: it printed %q; want %q in it", img.Ref, said, spec.Check.Want), err)
	}
	for _, name := range spec.Tools {
		t, ok := tool(name)
		if !ok {
			return said, fmt.Errorf("tool %s is not in the list of tools", name)
		}
		args := []string{"/" + t.Path}
		if t.Version != "" {
			args = append(args, t.Version)
		}
		// Not all of them exit with 0 after that, but all print a number; a missing library would be named instead.
		out, err := s.run(ctx, bundle, user, env, args)
		if strings.Contains(out, "shared libraries") || !strings.ContainsAny(out, "0123456789") {
			return said, errors.Join(fmt.Errorf("start %s of %s: it printed %q; want a version", name, img.Ref, out), err)
		}
	}
	return said, nil
}

// runtimeUser is the user of the OCI runtime specification's process.
type runtimeUser struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

func parseUser(text string) (u runtimeUser, err error) {
	if text == "" {
		return u, nil
	}
	uid, gid, _ := strings.Cut(text, ":")
	for _, id := range []struct {
		text string
		into *uint32
	}{{uid, &u.UID}, {gid, &u.GID}} {
		n, err := strconv.ParseUint(id.text, 10, 32)
		if err != nil {
			return u, fmt.Errorf("user %q: want UID:GID", text)
		}
		*id.into = uint32(n)
	}
	return u, nil
}

// run starts args in the bundle and returns what they printed on either output.
func (s Starter) run(ctx context.Context, bundle string, user runtimeUser, env, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	config, err := json.Marshal(runtimeConfig(user, env, args))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return "", err
	}
	name := filepath.Base(bundle)
	cmd := exec.CommandContext(ctx, s.Runc, "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, name)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v: %w", startLimit, ctx.Err())
	}
	return string(out), err
}

// runtimeConfig is a config.json of the OCI runtime specification with the least that a program needs.
func runtimeConfig(user runtimeUser, env, args []string) any {
	type object = map[string]any
	var namespaces []object
	for _, kind := range []string{"pid", "ipc", "uts", "mount", "network"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	var mounts []object
	for name, kind := range map[string]string{"proc": "proc", "dev": "tmpfs", "tmp": "tmpfs"} {
		mounts = append(mounts, object{"destination": "/" + name, "type": kind, "source": kind})
	}
	return object{
		"ociVersion": "1.0.2",
		"root":       object{"path": "rootfs", "readonly": true},
		"process":    object{"cwd": "/", "args": args, "env": env, "user": user, "noNewPrivileges": true},
		"mounts":     mounts,
		"linux":      object{"namespaces": namespaces},
	}
}
