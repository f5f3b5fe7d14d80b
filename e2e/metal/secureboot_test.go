package metal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/image"
	"talos.internal/internal/image/assets"
	"talos.internal/internal/image/bootkeys"
	"talos.internal/internal/image/debian"
	"talos.internal/internal/install"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/pe"
	"talos.internal/internal/provision/qemu"
	"talos.internal/internal/sys/pcr"
)

// newKeys makes a folder of keys and reads it.
func newKeys(t *testing.T, owner string) *bootkeys.Keys {
	t.Helper()
	dir := t.TempDir()
	add := func(files []bootkeys.File, err error) {
		for _, f := range files {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	load := func() *bootkeys.Keys {
		k, err := bootkeys.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	add(bootkeys.New(owner, time.Now()))
	add(bootkeys.NewPCR())
	k := load()
	add(bootkeys.Database([]*x509.Certificate{k.Certificate}, k.Signer, time.Now()))
	return load()
}

// signed makes boot loader and image anew from what a build made, signed by the keys, or unsigned without; and returns the folder.
func signed(t *testing.T, k *bootkeys.Keys) *assets.Builder {
	t.Helper()
	from := filepath.Dir(built(t, assets.UKI))
	b := &assets.Builder{Images: &image.Builder{Arch: runtime.GOARCH, Debian: pinned(t)}, Dir: t.TempDir()}
	for _, name := range []string{assets.Kernel, assets.Initramfs, assets.Cmdline, assets.Root} {
		if err := os.Symlink(filepath.Join(from, name), filepath.Join(b.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if k != nil {
		var err error
		if b.Secure, err = assets.NewSecureBoot(k, assets.EnrollForce); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Unify(t.Context(), string(section(t, filepath.Join(from, assets.UKI), ".uname"))); err != nil {
		t.Fatal(err)
	}
	return b
}

// pinned are the packages of the lock that a build has downloaded.
func pinned(t *testing.T) debian.Source {
	t.Helper()
	f, err := os.Open("../../internal/image/packages.lock")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock, err := debian.ParseLock(f)
	if err != nil {
		t.Fatal(err)
	}
	return &debian.Pinned{Lock: lock, Cache: &debian.Cache{Dir: "../../_out/cache/debs", Archive: debian.NewApt(runtime.GOARCH)}}
}

// section returns the content of a section of a program.
func section(t *testing.T, file, name string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := pe.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Content(name, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// predicted is what PCR 11 has when all of a start is over.
func predicted(t *testing.T, uki string) string {
	t.Helper()
	f, err := os.Open(uki)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := pe.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var sections []pcrsig.Section
	for _, s := range p.Sections {
		sections = append(sections, pcrsig.Section{Name: s.Name, Data: section(t, uki, s.Name)})
	}
	return fmt.Sprintf("%x", pcrsig.Predict(crypto.SHA256, sections, append(pcrsig.Phases(), pcr.StartTheWorld)))
}

// From an empty firmware and an empty disk: the boot loader enrols the keys that are on the medium, the firmware starts again and insists on them, the
// machine installs itself, and its TPM encrypts its volumes, which nobody has asked for. The machine knows who signed what it runs, and its TPM has
// measured what the image's signatures are of.
func TestSecureBoot(t *testing.T) {
	k := newKeys(t, "owner")
	b := signed(t, k)
	if err := b.WriteISO(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "metal-secure", filepath.Join(b.Dir, assets.ISO), true, qemu.Options{UEFI: true, SecureBoot: true, TPM: true})
	m.says(enrolling, 1)
	m.apply(m.config)
	m.answers()
	m.shows("systemdisk", "vda")
	m.shows("volumestatus", "phase: ready", "encryptionProvider: luks2", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2", "- tpm")
	m.shows("recoverykeys", "id: STATE", "id: EPHEMERAL")
	m.shows("securitystate", "secureBoot: true", "bootedWithUKI: true", "moduleSignatureEnforced: true",
		fmt.Sprintf("ukiSigningKeyFingerprint: %x", sha256.Sum256(k.Certificate.Raw)),
		fmt.Sprintf("pcrSigningKeyFingerprint: %x", pcrsig.Fingerprint(k.PCR.Public().(*rsa.PublicKey))))
	want := predicted(t, filepath.Join(b.Dir, assets.UKI))
	m.until("PCR 11 to be "+want, func(ctx context.Context) error {
		got, err := m.talosctl(ctx, "read", "/sys/class/tpm/tpm0/pcr-sha256/11")
		if err == nil && !strings.EqualFold(strings.TrimSpace(got), want) {
			err = fmt.Errorf("it is %s", got)
		}
		return err
	})
}

// enrolling is what the boot loader says when it enrols keys.
const enrolling = "Enrolling secure boot keys"

// A firmware that has the owner's keys, which it got from the disk, starts what he signed, and nothing else.
func TestFirmwareRefusesWhatTheOwnerHasNotSigned(t *testing.T) {
	good := signed(t, newKeys(t, "owner"))
	unsigned, rogue := signed(t, nil), signed(t, newKeys(t, "rogue"))
	vars := emptyVars(t)
	if err := good.WriteDisk(t.Context(), assets.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	if console := firmware(t, vars, filepath.Join(good.Dir, assets.Disk), insists); !strings.Contains(console, enrolling) {
		t.Fatalf("the boot loader has not enrolled the keys:\n%s", console)
	}
	read := func(b *assets.Builder, name string) []byte {
		data, err := os.ReadFile(filepath.Join(b.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	goodImage, goodLoader := read(good, assets.UKI), read(good, assets.BootLoader)
	altered := bytes.Clone(goodImage)
	altered[bytes.Index(altered, []byte("slab_nomerge"))] = 'S'
	for _, c := range []struct {
		name          string
		loader, image []byte
		says, not     string
	}{
		{"what the owner signed", goodLoader, goodImage, insists, denied},
		{"an unsigned image", goodLoader, read(unsigned, assets.UKI), denied, starts},
		{"an altered image", goodLoader, altered, denied, starts},
		{"an image signed by somebody else", goodLoader, read(rogue, assets.UKI), denied, starts},
		{"an unsigned boot loader", read(unsigned, assets.BootLoader), goodImage, denied, starts},
		{"a boot loader signed by somebody else", read(rogue, assets.BootLoader), goodImage, denied, starts},
	} {
		t.Run(c.name, func(t *testing.T) {
			console := firmware(t, vars, smallDisk(t, c.loader, c.image), c.says)
			if strings.Contains(console, c.not) {
				t.Errorf("the console says %q, too:\n%s", c.not, console)
			}
		})
	}
}

// What firmware, and the kernel that it starts, say.
const (
	denied  = "Access Denied"
	starts  = "Linux version"
	insists = "secureboot: Secure boot enabled"
)

// smallDisk writes a disk with a boot loader and an image, and nothing that the image could go on with.
func smallDisk(t *testing.T, loader, uki []byte) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	blob := func(b []byte) install.Blob { return install.Blob{Reader: bytes.NewReader(b), Size: int64(len(b))} }
	a := install.Assets{UKI: blob(uki), BootLoader: blob(loader), Root: blob(make([]byte, 4096))}
	hash, err := install.ReadRootHash(a.UKI)
	if err != nil {
		t.Fatal(err)
	}
	size := install.ImageSize(0)
	plan, err := install.PlanInstall(install.Request{
		Disk: install.Disk{Name: disk, Size: size, SectorSize: 512}, UKI: a.UKI.Size, Root: a.Root.Size, BootLoader: a.BootLoader.Size,
		RootHash: hash, Seed: t.Name(), Time: time.Unix(1.7e9, 0), Image: true,
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
	return disk
}

// firmware starts a machine without a TPM, which changes vars and leaves the disk as it is, until the console says a text. It returns
// what the console says by then.
func firmware(t *testing.T, vars, disk, text string) string {
	t.Helper()
	console := filepath.Join(t.TempDir(), "console")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35,smm=on", "-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-display", "none",
		"-serial", "file:"+console, "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+secureCode(t), "-drive", "if=pflash,unit=1,format=raw,file="+vars,
		"-drive", "if=none,id=disk,format=raw,snapshot=on,file="+disk, "-device", "virtio-blk-pci,drive=disk,bootindex=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it is of no more use
		_ = cmd.Wait()         // it was killed
	}()
	for {
		said, err := os.ReadFile(console)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if strings.Contains(string(said), text) {
			return string(said)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited for the console to say %q; it says:\n%s", text, said)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// emptyVars is a file with the variables of a firmware that trusts nobody yet.
func emptyVars(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "vars.fd")
	text, err := os.ReadFile(strings.Replace(secureCode(t), "CODE_4M.secboot", "VARS_4M", 1))
	if err := errors.Join(err, os.WriteFile(name, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return name
}

// secureCode is a firmware that insists on signatures.
func secureCode(t *testing.T) string {
	t.Helper()
	const name = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	if _, err := os.Stat(name); err != nil {
		t.Skipf("%v: Debian's package ovmf has it", err)
	}
	return name
}
