package assets

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"io/fs"

	"talos.internal/internal/authenticode"
	"talos.internal/internal/image/bootkeys"
	"talos.internal/internal/install"
)

// Enrollment says what the boot loader does with the keys on its partition while the firmware is in setup mode (loader.conf(5)). The
// boot loader of systemd 252 does not know the mode if-safe.
type Enrollment string

// The ways to enrol.
const (
	EnrollManual Enrollment = "manual" // somebody chooses it in the boot loader's menu
	EnrollForce  Enrollment = "force"  // by itself, after some seconds in which a key stops it
)

// SecureBoot is what a build is signed with.
type SecureBoot struct {
	*bootkeys.Keys
	Enroll Enrollment
}

// NewSecureBoot returns the keys with a way to enrol them. It refuses another way, and keys that cannot be enrolled, with fs.ErrInvalid.
func NewSecureBoot(k *bootkeys.Keys, e Enrollment) (*SecureBoot, error) {
	if e != EnrollManual && e != EnrollForce {
		return nil, fmt.Errorf("enrol keys by %q: there are %s and %s: %w", e, EnrollManual, EnrollForce, fs.ErrInvalid)
	}
	if len(k.Enrol) == 0 {
		return nil, fmt.Errorf("the folder of keys has nothing to enrol; make it with: talosctl gen secureboot database: %w", fs.ErrInvalid)
	}
	return &SecureBoot{k, e}, nil
}

// keysDir is where the boot loader looks for keys.
const keysDir = "loader/keys/auto/"

// sign signs a program; without keys it stays as it is.
func (s *SecureBoot) sign(program []byte) ([]byte, error) {
	if s == nil {
		return program, nil
	}
	return authenticode.Sign(program, s.Key, s.Certificate)
}

// pcrKey is the key for PCR signatures, or nil.
func (s *SecureBoot) pcrKey() crypto.Signer {
	if s == nil {
		return nil
	}
	return s.PCR
}

// files are what the EFI partition has more.
func (s *SecureBoot) files() []install.File {
	if s == nil {
		return nil
	}
	var all []install.File
	for _, f := range s.Enrol {
		all = append(all, install.File{Path: keysDir + f.Name, Data: string(f.Data)})
	}
	return all
}

// lines are what the boot loader's configuration has more.
func (s *SecureBoot) lines() string {
	if s == nil {
		return ""
	}
	return "secure-boot-enroll " + string(s.Enroll) + "\n"
}

// isoConf is the boot loader's configuration on a medium: it starts the only entry there is. If there are keys that somebody has to
// choose, it shows its menu for as long as that takes.
func (s *SecureBoot) isoConf() string {
	timeout := 0
	if s != nil && s.Enroll == EnrollManual {
		timeout = 10
	}
	return fmt.Sprintf("timeout %d\neditor no\n%s", timeout, s.lines())
}

// signer names the certificate in a manifest.
func (s *SecureBoot) signer() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(s.Certificate.Raw))
}
