package install

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"talos.internal/internal/authenticode"
	"talos.internal/internal/pe"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/uefi"
)

// ErrUntrusted is the error for an image that the firmware would refuse to start.
var ErrUntrusted = errors.New("the firmware of this machine would not start it")

// FirmwareTrusts checks that this machine's firmware will start an image, if it insists on signatures. Not every firmware goes on by
// itself after one that it refuses: a machine could stand still. The error wraps ErrUntrusted if it will not.
func FirmwareTrusts(uki Blob) error {
	r := proc.Reader{}
	s, err := r.Security()
	if err != nil || !s.SecureBoot {
		return err
	}
	db, err := r.FirmwareVariable(uefi.DB.File())
	if err != nil {
		return fmt.Errorf("read whom the firmware trusts: %w", err)
	}
	return CheckTrust(uki, db)
}

// CheckTrust checks that a firmware with the variable db starts an image: it is signed by a certificate that is there, or issued by one,
// or its hash is. What the variable dbx forbids is not looked at. The error wraps ErrUntrusted, and says whom the firmware trusts.
func CheckTrust(uki Blob, db []byte) error {
	list, err := uefi.ParseSignatures(db)
	if err != nil {
		return fmt.Errorf("read whom the firmware trusts: %w", err)
	}
	f, err := pe.Read(io.NewSectionReader(uki.Reader, 0, uki.Size))
	if err != nil {
		return err
	}
	sum := sha256.New()
	if err := f.Authenticode(sum, uki.Size); err != nil {
		return err
	}
	for _, s := range list {
		if s.Type == uefi.TypeSHA256 && string(s.Data) == string(sum.Sum(nil)) {
			return nil
		}
	}
	certs := list.Certificates()
	var names []string
	for _, c := range certs {
		names = append(names, c.Subject.String())
	}
	if len(certs) == 0 {
		return fmt.Errorf("%w: it trusts no certificate", ErrUntrusted)
	}
	if _, err := authenticode.Signers(uki.Reader, uki.Size, certs); err != nil {
		return fmt.Errorf("%w: it trusts %s: %w", ErrUntrusted, strings.Join(names, ", "), err)
	}
	return nil
}
