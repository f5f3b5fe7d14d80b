package assets

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"talos.internal/internal/authenticode"
	"talos.internal/internal/gpt"
	"talos.internal/internal/image/bootkeys"
	"talos.internal/internal/install"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/pe"
)

// keyFolder makes a folder of all keys.
func keyFolder(t *testing.T) string {
	t.Helper()
	dir, now := t.TempDir(), time.Unix(1.7e9, 0)
	add := func(files []bootkeys.File, err error) {
		for _, f := range files {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add(bootkeys.New("owner", now))
	add(bootkeys.NewPCR())
	k, err := bootkeys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSecureBoot(k, EnrollForce); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("keys without a database = %v; want fs.ErrInvalid", err)
	}
	add(bootkeys.Database([]*x509.Certificate{k.Certificate}, k.Signer, now))
	return dir
}

// secured is a builder with keys.
func secured(t *testing.T, dir string, e Enrollment) *Builder {
	t.Helper()
	k, err := bootkeys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := builder(t)
	if b.Secure, err = NewSecureBoot(k, e); err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, b *Builder, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestASignedBuild(t *testing.T) {
	dir := keyFolder(t)
	b := secured(t, dir, EnrollForce)
	sums := all(t, b)
	trusted := []*x509.Certificate{b.Secure.Certificate}
	for _, name := range []string{UKI, BootLoader} {
		data := read(t, b, name)
		if who, err := authenticode.Signers(bytes.NewReader(data), int64(len(data)), trusted); err != nil || len(who) != 1 {
			t.Errorf("%s: Signers = %v, %v; want the owner", name, who, err)
		}
	}
	checkPolicy(t, b)
	iso := read(t, b, ISO)
	disk := espOf(t, b)
	for _, f := range b.Secure.Enrol {
		for name, data := range map[string][]byte{ISO: iso, Disk: disk} {
			if n := bytes.Count(data, f.Data); n != 1 {
				t.Errorf("%s has %s %d times; want once", name, f.Name, n)
			}
		}
	}
	if !bytes.Contains(disk, []byte(install.LoaderConf+"secure-boot-enroll force\n")) || !bytes.Contains(iso, []byte("timeout 0\neditor no\nsecure-boot-enroll force\n")) {
		t.Error("the boot loader is not told to enrol")
	}
	if err := b.WriteManifest(t.Context(), map[string]bool{UKI: true, Cmdline: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := ReadManifest(b.Dir); err != nil || len(m.Signer) != 64 {
		t.Errorf("the manifest's signer is %q, %v; want a digest", m.Signer, err)
	}
	// The same keys give the same files.
	again := all(t, secured(t, dir, EnrollForce))
	for name, sum := range sums {
		if again[name] != sum {
			t.Errorf("two builds of %s differ", name)
		}
	}
}

// checkPolicy looks for the signature of the value that PCR 11 has when this image starts.
func checkPolicy(t *testing.T, b *Builder) {
	t.Helper()
	f, err := pe.Read(bytes.NewReader(read(t, b, UKI)))
	if err != nil {
		t.Fatal(err)
	}
	var sections []pcrsig.Section
	for _, s := range f.Sections {
		data, err := f.Content(s.Name, 1<<26)
		if err != nil {
			t.Fatal(err)
		}
		sections = append(sections, pcrsig.Section{Name: s.Name, Data: data})
	}
	text, err := f.Content(pcrsig.SectionSignature, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := pcrsig.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	key, err := f.Content(pcrsig.SectionKey, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pcrsig.ParsePublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signatures.Find(crypto.SHA256, pcrsig.Predict(crypto.SHA256, sections, pcrsig.Phases()), public); err != nil {
		t.Error(err)
	}
}

// espOf returns the beginning of the disk's EFI partition, in which all its files are.
func espOf(t *testing.T, b *Builder) []byte {
	t.Helper()
	f, err := os.Open(b.path(Disk))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 32<<20)
	if _, err := f.ReadAt(data, gpt.Align); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAMediumWaitsForWhoEnrolsByHand(t *testing.T) {
	s := &SecureBoot{Enroll: EnrollManual}
	if got := s.isoConf(); got != "timeout 10\neditor no\nsecure-boot-enroll manual\n" {
		t.Errorf("loader.conf of a medium: %q", got)
	}
	if got := (*SecureBoot)(nil).isoConf(); got != "timeout 0\neditor no\n" {
		t.Errorf("loader.conf of a medium without keys: %q", got)
	}
	if _, err := NewSecureBoot(&bootkeys.Keys{Enrol: []bootkeys.File{{}}}, "if-safe"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("enrol if-safe = %v; want fs.ErrInvalid", err)
	}
}
