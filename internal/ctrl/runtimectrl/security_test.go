package runtimectrl

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/authenticode"
	"talos.internal/internal/boot"
	"talos.internal/internal/install"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/pe"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
)

// The keys that a signed image came with are known by their fingerprints, as soon as the disk is that has the image.
func TestSecurityStateTellsWhoSigned(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "owner"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	stub, err := os.ReadFile("../../pe/testdata/stub.efi")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := authenticode.Sign(stub, key, cert)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pcrsig.PublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	file := filepath.Join(root, boot.PolicyKey)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(disk string) (BootImage, error) {
		if disk != "/dev/vda" {
			return BootImage{}, fs.ErrNotExist
		}
		return BootImage{bytes.NewReader(signed), io.NopCloser(nil), int64(len(signed))}, nil
	}
	want := runtime.SecurityState{PCRSigningKeyFingerprint: fmt.Sprintf("%x", pcrsig.Fingerprint(&key.PublicKey))}
	controllertest.Run(t, func(h *controllertest.Harness) {
		alike := func(want runtime.SecurityState) func(*resource.Typed[runtime.SecurityState]) bool {
			return func(r *resource.Typed[runtime.SecurityState]) bool {
				got := r.Spec()
				got.FIPSState = want.FIPSState // that of the test's process
				return got == want
			}
		}
		h.Settle()
		controllertest.WantThat(h, runtime.SecurityStateID, "have the key of PCR signatures", alike(want))
		controllertest.Create(h, block.SystemDiskID, block.SystemDisk{DiskID: "vda", DevPath: "/dev/vda"})
		want.UKISigningKeyFingerprint = fmt.Sprintf("%x", sha256.Sum256(der))
		controllertest.WantThat(h, runtime.SecurityStateID, "have the signer of the image", alike(want))
	}, &SecurityStateController{Root: root, Proc: proc.Reader{Root: root}, Image: open})
}

// The image is that of the slot whose root runs, or that of the medium.
func TestTheImageIsWhatTheMachineStartedFrom(t *testing.T) {
	stub, err := os.ReadFile("../../pe/testdata/stub.efi")
	if err != nil {
		t.Fatal(err)
	}
	line := "roothash=" + strings.Repeat("ab", 32)
	var uki bytes.Buffer
	if err := pe.Append(&uki, stub, []pe.Part{
		{Name: ".osrel", Data: []byte("NAME=Talos\nID=talos\nVERSION_ID=v1.15.0\nPRETTY_NAME=Talos\n")}, {Name: ".cmdline", Data: []byte(line)},
	}); err != nil {
		t.Fatal(err)
	}
	blob := func(b []byte) install.Blob { return install.Blob{Reader: bytes.NewReader(b), Size: int64(len(b))} }
	a := install.Assets{UKI: blob(uki.Bytes()), Root: blob([]byte("root")), BootLoader: blob([]byte("loader"))}
	hash, err := install.ReadRootHash(a.UKI)
	if err != nil {
		t.Fatal(err)
	}
	disk, size := filepath.Join(t.TempDir(), "disk"), install.ImageSize(0)
	plan, err := install.PlanInstall(install.Request{
		Disk: install.Disk{Name: disk, Size: size, SectorSize: 512}, UKI: a.UKI.Size, Root: a.Root.Size, BootLoader: a.BootLoader.Size,
		RootHash: hash, Seed: "test", Image: true, Time: time.Unix(1.7e9, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), install.Execute(t.Context(), plan, &install.Recorder{Target: f}, a, nil), f.Close()); err != nil {
		t.Fatal(err)
	}
	medium := filepath.Join(t.TempDir(), "uki.efi")
	read := func(hash, disk string) (string, error) {
		i, err := StartedFrom(medium, []proc.Param{{Key: "quiet"}, {Key: "roothash", Value: hash}})(disk)
		if err != nil {
			return "", err
		}
		defer i.Close()
		data, err := io.ReadAll(io.NewSectionReader(i, 0, i.Size))
		return string(data), err
	}
	if got, err := read(strings.Repeat("ab", 32), disk); err != nil || got != uki.String() {
		t.Errorf("the image of the slot has %d bytes, %v; want %d", len(got), err, uki.Len())
	}
	for name, args := range map[string][2]string{"no disk yet": {strings.Repeat("ab", 32), ""}, "another root": {strings.Repeat("cd", 32), disk}} {
		if _, err := read(args[0], args[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want fs.ErrNotExist", name, err)
		}
	}
	if err := os.WriteFile(medium, []byte("that of the medium"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(strings.Repeat("ab", 32), disk); err != nil || got != "that of the medium" {
		t.Errorf("with a medium: %d bytes, %v", len(got), err)
	}
}

func TestABrokenKeyOfPCRSignaturesIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	if got, err := pcrKey(file); got != "" || err != nil {
		t.Errorf("pcrKey without a file = %q, %v; want nothing", got, err)
	}
	if err := os.WriteFile(file, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pcrKey(file); err == nil {
		t.Error("a broken key is none")
	}
}
