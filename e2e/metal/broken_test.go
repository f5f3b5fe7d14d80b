package metal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/authenticode"
	"talos.internal/internal/image/assets"
	"talos.internal/internal/provision/qemu"
)

// Each of a catalogue of broken systems ends in the one from before, by itself, with the reason, and says how long that took. Its upgrade was written by
// what a machine upgrades itself with, before the machine was made: what is tried here is what comes after.
func TestBrokenUpgrades(t *testing.T) {
	const untold = "before it could prove itself" // by whoever has not come so far
	for _, tc := range []struct {
		name, args string
		damage     func(root []byte, data int64)
		reasons    []string
	}{
		{"kernel panics", "rdinit=/nothing panic=1", nil, []string{untold}},
		{"init exits", "rdinit=/sbin/modprobe panic=1", nil, []string{untold}},
		{"init breaks off", "talos.platform=none", nil, []string{untold}},
		{"no root", "test.root=none", func(root []byte, data int64) { clear(root[data : data+4096]) }, []string{untold}},
		{"damaged root", "test.root=damaged", func(root []byte, data int64) { clear(root[data/4 : data*3/4]) }, []string{untold}},
		// etcd was not begun, so that neither it nor kubelet runs: the gate itself goes back.
		{"no kubelet", "talos.upgrade.limit=2m", nil, []string{"it did not prove itself within 2m0s", "nodeReady", "kubelet not running"}},
		{"no network", "talos.upgrade.limit=2m module_blacklist=virtio_net", nil, []string{"it did not prove itself within 2m0s", "network"}},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "-"), func(t *testing.T) {
			next, version := anotherVersion(t, tc.args, tc.damage)
			disk := upgradedDisk(t, sameVersion(t), next, assets.DiskOptions{}, nil)
			began := time.Now()
			m := newMachine(t, "metal-broken", disk, false, qemu.Options{UEFI: true})
			m.says(commandLine, 1)
			tried := time.Since(began)
			m.says(commandLine, 2)
			back := time.Since(began)
			m.shows("upgradestatus", append([]string{"phase: failed", "running: A", "to: " + version}, tc.reasons...)...)
			m.says("the last upgrade has failed; this is the system from before", 1)
			t.Logf("| %s | kernel of the new system after %s, of the old one again after %s, its API after %s |", tc.name,
				seconds(tried), seconds(back), seconds(time.Since(began)))
		})
	}
}

// An upgrade that does not find room for its image says so, to who waits for it and in the machine's status, and the machine goes on as it is.
func TestAnUpgradeWithoutRoomChangesNothing(t *testing.T) {
	b, _ := anotherVersion(t, "test.room=none", nil)
	f, err := os.OpenFile(filepath.Join(b.Dir, assets.Root), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyN(f, rand.Reader, 200<<20) // which does not get smaller in an image
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "metal-full", withInstaller(t, installer(t, map[string]*assets.Builder{installerRef: b})), false, qemu.Options{UEFI: true},
		"apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning:\n  minSize: 400MB\n  maxSize: 400MB\n  grow: false\n")
	m.answers()
	m.holdsContainers()
	ctx, cancel := context.WithTimeout(t.Context(), sendLimit)
	defer cancel()
	const want = "no space left on device"
	if out, err := m.talosctl(ctx, "upgrade", "--image", installerRef, "--stage"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the upgrade says %q (%v); want %q", out, err, want)
	}
	m.do("upgrade", "--legacy", "--force", "--image", installerRef, "--wait=false")
	m.shows("upgradestatus", "phase: failed", "running: A", want)
	m.survives()
}

// A system that the owner has not signed is refused by the machine before it is written. If it is on the disk all the same, the firmware refuses it, and
// the system from before is started.
func TestAWronglySignedUpgradeEndsInTheOldSystem(t *testing.T) {
	rogue := newKeys(t, "rogue")
	next, _ := anotherVersion(t, "test.signer=rogue", nil)
	name := filepath.Join(next.Dir, assets.UKI)
	program, err := os.ReadFile(name)
	if err == nil {
		program, err = authenticode.Sign(program, rogue.Key, rogue.Certificate)
	}
	if err := errors.Join(err, os.WriteFile(name, program, 0o600)); err != nil {
		t.Fatal(err)
	}
	first := signed(t, newKeys(t, "owner"))
	if err := first.WriteImageCache(t.Context(), installer(t, map[string]*assets.Builder{installerRef: next})); err != nil {
		t.Fatal(err)
	}
	disk := upgradedDisk(t, first, next, assets.DiskOptions{ImageCache: true}, nil)
	began := time.Now()
	m := newMachine(t, "metal-rogue", disk, false, qemu.Options{UEFI: true, SecureBoot: true, TPM: true})
	m.says(denied, 1) // after the keys were enrolled
	refused := time.Since(began)
	m.says(commandLine, 1)
	m.shows("upgradestatus", "phase: failed", "running: A", "before it could prove itself")
	t.Logf("| wrong signature | refused after %s, API of the old system after %s |", seconds(refused), seconds(time.Since(began)))
	m.holdsContainers()
	ctx, cancel := context.WithTimeout(t.Context(), sendLimit)
	defer cancel()
	const want = "the firmware of this machine would not start it"
	if out, err := m.talosctl(ctx, "upgrade", "--image", installerRef, "--stage"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the upgrade says %q (%v); want %q", out, err, want)
	}
	m.shows("upgradestatus", "phase: failed", "running: A", want)
}

// commandLine is what each start of a kernel says.
const commandLine = "] Kernel command line: "

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
