package runtimectrl

import (
	"context"
	"crypto/fips140"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"talos.internal/controller"
	"talos.internal/internal/authenticode"
	"talos.internal/internal/boot"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// SecurityStateController says which protections of firmware and kernel are on, and who has signed what runs: once, and again when the
// disk is known that the machine started from.
type SecurityStateController struct {
	Root string // where the files of the image are
	Proc proc.Reader
	// Image opens what the machine started from; disk is the path of the system's disk, or empty while there is none. fs.ErrNotExist
	// says that there is no such image, or not yet. nil: there is none.
	Image func(disk string) (BootImage, error)
}

// Name implements [controller.Controller].
func (*SecurityStateController) Name() string { return "runtime.SecurityStateController" }

// Inputs implements [controller.Controller].
func (*SecurityStateController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[block.SystemDisk]()}
}

// Outputs implements [controller.Controller].
func (*SecurityStateController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.SecurityState]()}
}

// Run implements [controller.Controller].
func (c *SecurityStateController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	facts, err := c.Proc.Security()
	if err != nil {
		return err
	}
	s := securityState(facts, fips140.Enabled(), fips140.Enforced())
	if s.PCRSigningKeyFingerprint, err = pcrKey(filepath.Join(c.Root, boot.PolicyKey)); err != nil {
		log.Warn("the key of PCR signatures that came with the image cannot be read", "error", err)
	}
	for {
		if err := state.Put(ctx, rt, runtime.SecurityStateID, s); err != nil {
			return err
		}
		if c.Image == nil || s.UKISigningKeyFingerprint != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		}
		disk, _, err := state.Find[block.SystemDisk](ctx, rt, block.SystemDiskID)
		if err != nil {
			return err
		}
		s.UKISigningKeyFingerprint, err = c.signer(disk.DevPath)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, authenticode.ErrUnsigned) {
			log.Warn("who signed what the machine started from is not known", "error", err)
		}
	}
}

// signer returns the fingerprint of the certificate whose key has signed the image.
func (c *SecurityStateController) signer(disk string) (string, error) {
	image, err := c.Image(disk)
	if err != nil {
		return "", err
	}
	defer image.Close() // it was only read
	who, err := authenticode.Signers(image, image.Size, nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(who[0].Raw)), nil
}

// pcrKey returns the fingerprint of a key of PCR signatures; empty if the file is not there.
func pcrKey(name string) (string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	key, err := pcrsig.ParsePublicKey(text)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", pcrsig.Fingerprint(key)), nil
}

func securityState(s proc.Security, fips, strict bool) runtime.SecurityState {
	out := runtime.SecurityState{SecureBoot: s.SecureBoot, BootedWithUKI: s.UKI, ModuleSignatureEnforced: s.ModuleSignatures}
	switch {
	case s.Enforcing:
		out.SELinuxState = runtime.SELinuxEnforcing
	case s.SELinux:
		out.SELinuxState = runtime.SELinuxPermissive
	}
	switch {
	case fips && strict:
		out.FIPSState = runtime.FIPSStrict
	case fips:
		out.FIPSState = runtime.FIPSEnabled
	}
	return out
}
