package uki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/pcrsig"
	"talos.internal/internal/pe"
)

func image() Image {
	return Image{
		OSRelease: []byte("ID=talos\n"), Cmdline: "quiet", Release: "6.12", Initramfs: bytes.Repeat([]byte("i"), 5000), Kernel: []byte("kernel"),
	}
}

func write(t *testing.T, i Image) (*pe.File, []byte) {
	t.Helper()
	stub, err := os.ReadFile("../../pe/testdata/stub.efi")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := i.Write(&b, stub); err != nil {
		t.Fatal(err)
	}
	f, err := pe.Read(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return f, b.Bytes()
}

func names(f *pe.File) []string {
	var all []string
	for _, s := range f.Sections[2:] { // the stub's own are the first ones
		all = append(all, s.Name)
	}
	return all
}

func content(t *testing.T, f *pe.File, name string) []byte {
	t.Helper()
	b, err := f.Content(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheKernelIsTheLastSection(t *testing.T) {
	f, _ := write(t, image())
	if diff := cmp.Diff([]string{".osrel", ".cmdline", ".uname", ".initrd", ".linux"}, names(f)); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	if got := string(content(t, f, ".linux")); got != "kernel" {
		t.Errorf("the kernel is %q", got)
	}
}

// What a machine reads in its image says which value of PCR 11 it may unseal with, and that is the one of this image.
func TestAnImageHasTheSignatureOfItself(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := image()
	i.PCRKey = key
	f, first := write(t, i)
	if diff := cmp.Diff([]string{".osrel", ".cmdline", ".uname", ".pcrpkey", ".pcrsig", ".initrd", ".linux"}, names(f)); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	var sections []pcrsig.Section
	for _, s := range f.Sections {
		sections = append(sections, pcrsig.Section{Name: s.Name, Data: content(t, f, s.Name)})
	}
	public, err := pcrsig.ParsePublicKey(content(t, f, pcrsig.SectionKey))
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := pcrsig.Parse(content(t, f, pcrsig.SectionSignature))
	if err != nil {
		t.Fatal(err)
	}
	one, err := signatures.Find(crypto.SHA256, pcrsig.Predict(crypto.SHA256, sections, pcrsig.Phases()), public)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Verify(&key.PublicKey); err != nil {
		t.Error(err)
	}
	if _, second := write(t, i); !bytes.Equal(first, second) {
		t.Error("two images with the same key differ")
	}
}

// pcrsig knows what the stub of this version measures. Another one may measure more, and no disk would open.
func TestTheStubIsOfTheVersionWhoseMeasurementsAreKnown(t *testing.T) {
	lock, err := os.ReadFile("../packages.lock")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lock)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "systemd-boot-efi" {
			if !strings.HasPrefix(f[1], "252.") {
				t.Errorf("systemd-boot-efi %s: read in its source what the stub measures, and correct package pcrsig", f[1])
			}
			return
		}
	}
	t.Error("the lock has no systemd-boot-efi")
}
