package clusterctrl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/controller"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/volume"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/files"
	"talos.internal/state"
)

const (
	// IdentityFile is the name of the file that keeps the identity.
	IdentityFile = "node-identity.yaml"
	// machineIDFile is /etc/machine-id (machine-id(5)).
	machineIDFile = "machine-id"

	identityBytes = 32
	// identityLen is how many digits of base 62 hold 32 bytes: 62^43 is more than 2^256.
	identityLen = 43
	// maxIdentityLen bounds what is accepted from the file. Discovery takes no longer names.
	maxIdentityLen = 128
	maxFile        = 64 << 10
)

// NodeIdentityController gives the machine an identity when it starts for the first time, and keeps it.
//
// A file that is there and cannot be used is an error, and stays: with another identity the machine would be another member of its
// cluster, and the old one would seem to have died.
//
// With volumes the directory is one, which has to be mounted: an identity in front of it would be another at the next start.
type NodeIdentityController struct {
	Dir     string
	Rand    io.Reader
	Volumes bool
}

// Name implements [controller.Controller].
func (NodeIdentityController) Name() string { return "cluster.NodeIdentityController" }

// Inputs implements [controller.Controller].
func (c NodeIdentityController) Inputs() []controller.Input {
	if !c.Volumes {
		return nil
	}
	return volume.Inputs(volume.State)
}

// Outputs implements [controller.Controller].
func (NodeIdentityController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[cluster.Identity](), controller.Shared[files.EtcFileSpec]()}
}

// Run implements [controller.Controller].
func (c NodeIdentityController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if !c.Volumes {
		return c.keep(ctx, rt, log)
	}
	kept := false
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		where, _, err := volume.Look(ctx, rt, volume.State)
		if err != nil || kept || where != volume.Mounted {
			return err
		}
		err = c.keep(ctx, rt, log)
		kept = err == nil
		return err
	})
}

// keep reads the identity or makes one, and says it.
func (c NodeIdentityController) keep(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	path := filepath.Join(c.Dir, IdentityFile)
	id, err := readIdentity(path)
	if errors.Is(err, fs.ErrNotExist) {
		if id, err = c.create(path); err == nil {
			log.Info("the machine has a new identity", "id", id)
		}
	}
	if err != nil {
		return fmt.Errorf("node identity: %w", err)
	}
	if err := state.Put(ctx, rt, cluster.IdentityID, cluster.Identity{NodeID: id}); err != nil {
		return err
	}
	_, err = state.Modify(ctx, rt, machineIDFile, func(_ *resource.Metadata, f *files.EtcFileSpec) error {
		f.Contents, f.Mode = files.Contents(machineID(id)+"\n"), 0o444
		return nil
	})
	return err
}

func (c NodeIdentityController) create(path string) (string, error) {
	var b [identityBytes]byte
	if _, err := io.ReadFull(c.Rand, b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	id := encodeIdentity(b)
	text, err := yaml.Marshal(cluster.Identity{NodeID: id})
	if err != nil {
		return "", err
	}
	return id, atomicfile.WriteFile(path, text, 0o600, atomicfile.Options{})
}

func readIdentity(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", err
	}
	id, err := parseIdentity(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w; restore the file, or remove it to make this machine a new member", path, err)
	}
	return id, nil
}

func parseIdentity(text []byte) (string, error) {
	var identity cluster.Identity
	if err := yaml.Unmarshal(text, &identity); err != nil {
		return "", err
	}
	id := identity.NodeID
	if id == "" || len(id) > maxIdentityLen || strings.Trim(id, digits) != "" {
		return "", fmt.Errorf("nodeId is %d bytes long and not one to %d letters and digits", len(id), maxIdentityLen)
	}
	return id, nil
}

// digits are those of base 62, in the order that math/big has them.
const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// encodeIdentity writes b as a number in base 62, always with as many digits.
func encodeIdentity(b [identityBytes]byte) string {
	text := new(big.Int).SetBytes(b[:]).Text(len(digits))
	return strings.Repeat("0", identityLen-len(text)) + text
}

// machineID returns what programs of the machine know it by: the first 16 bytes of the identity in hexadecimal. An identity that is
// not as this system makes them, because another one has, stands for its hash.
func machineID(id string) string {
	b := make([]byte, identityBytes)
	if n, ok := new(big.Int).SetString(id, len(digits)); ok && n.Sign() >= 0 && n.BitLen() <= 8*identityBytes {
		n.FillBytes(b)
	} else {
		sum := sha256.Sum256([]byte(id))
		copy(b, sum[:])
	}
	return hex.EncodeToString(b[:16])
}
