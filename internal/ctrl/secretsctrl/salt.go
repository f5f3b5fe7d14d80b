package secretsctrl

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"talos.internal/controller"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/volume"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

const (
	saltFile = "encryption-salt.yaml"
	saltSize = 32
	maxSalt  = 4096 // the file is some fifty bytes
)

// EncryptionSaltController keeps the salt of encrypted disks in the file encryption-salt.yaml of the volume STATE. A file that is
// there is never replaced: with another salt the disks could not be opened any more.
type EncryptionSaltController struct {
	// Dir is where STATE is mounted. With Volumes there is no salt before that is so.
	Dir     string
	Volumes bool
}

// Name implements [controller.Controller].
func (*EncryptionSaltController) Name() string { return "secrets.EncryptionSaltController" }

// Inputs implements [controller.Controller].
func (c *EncryptionSaltController) Inputs() []controller.Input {
	if !c.Volumes {
		return nil
	}
	return volume.Inputs(volume.State)
}

// Outputs implements [controller.Controller].
func (*EncryptionSaltController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.EncryptionSalt]()}
}

// Run implements [controller.Controller].
func (c *EncryptionSaltController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		if c.Volumes {
			if where, _, err := volume.Look(ctx, rt, volume.State); err != nil || where != volume.Mounted {
				return err
			}
		}
		salt, err := loadSalt(filepath.Join(c.Dir, saltFile))
		if err != nil {
			return err
		}
		return state.Put(ctx, rt, secrets.EncryptionSaltID, secrets.EncryptionSalt{DiskSalt: salt})
	})
}

// saltForm is the content of the file: the resource's spec.
type saltForm struct {
	DiskSalt string `yaml:"diskSalt"`
}

// loadSalt returns the salt in a file, which it makes if it is not there.
func loadSalt(path string) ([]byte, error) {
	data, err := readSmall(path)
	if err == nil {
		return parseSalt(path, data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the disk encryption salt: %w", err)
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	text := "diskSalt: " + base64.StdEncoding.EncodeToString(salt) + "\n"
	if err := atomicfile.WriteFile(path, []byte(text), 0o600, atomicfile.Options{}); err != nil {
		return nil, fmt.Errorf("write the disk encryption salt: %w", err)
	}
	return salt, nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return io.ReadAll(io.LimitReader(f, maxSalt))
}

func parseSalt(path string, data []byte) ([]byte, error) {
	var form saltForm
	err := yaml.Unmarshal(data, &form)
	var salt []byte
	if err == nil {
		salt, err = base64.StdEncoding.DecodeString(form.DiskSalt)
	}
	if err != nil || len(salt) != saltSize {
		return nil, fmt.Errorf("read the disk encryption salt from %s: expected diskSalt with %d bytes in base64; "+
			"restore the file, or remove it if no disk is encrypted", path, saltSize)
	}
	return salt, nil
}
