package blockctrl

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/metastore"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/swtpm"
	"talos.internal/internal/sys/tpm"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
)

const machineUUID = "4f8b0d3e-6a1c-4d27-9b5f-2c7e81a0d963"

// encryptedBy is a config with STATE and EPHEMERAL encrypted; keys is what is below keys.
func encryptedBy(keys string) string {
	out := root
	for _, name := range []string{"STATE", "EPHEMERAL"} {
		out += "---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: " + name + "\nencryption:\n  provider: luks2\n  keys:\n" + keys
	}
	return out
}

const nodeIDKey = "    - slot: 0\n      nodeID: {}\n"

func staticKey(slot, passphrase string) string {
	return "    - slot: " + slot + "\n      static:\n        passphrase: " + passphrase + "\n"
}

// disk10 is a machine with an installed disk.
func disk10() *machine {
	m := newMachine()
	m.add("vda", 10<<30, nil)
	installed(m, "vda")
	return m
}

func keeper() *diskkey.Keeper { return &diskkey.Keeper{UUID: machineUUID, Stretch: 64} }

func (r *rig) wantMounted(id, source string) {
	r.T.Helper()
	controllertest.WantThat(r.Harness, id, "mounted from "+source, func(s *resource.Typed[block.MountStatus]) bool { return s.Spec().Source == source })
}

func TestEncryptedVolumesAreMadeOnceAndOpenedAtEachStart(t *testing.T) {
	m := disk10()
	start(t, m, keeper(), func(r *rig) {
		r.config(encryptedBy(nodeIDKey))
		s := r.wantVolume("STATE", "ready", ready)
		if s.EncryptionProvider != block.EncryptionLUKS2 || s.Location != "/dev/vda5" || s.MountLocation != "/dev/dm-1" || s.Size != 84<<20 ||
			!slices.Equal(s.ConfiguredEncryptionKeys, []string{"nodeID"}) || len(s.EncryptionFailedSyncs) > 0 {
			t.Errorf("STATE = %+v", s)
		}
		r.wantMounted("STATE", "/dev/dm-1")
		r.wantMounted("EPHEMERAL", "/dev/dm-2")
		want := []string{"open vda5 as luks2-STATE", `format dm-1 as xfs "STATE"`, "add vda6: 7577 MiB", "open vda6 as luks2-EPHEMERAL", `format dm-2 as xfs "EPHEMERAL"`}
		if diff := cmp.Diff(want, r.m.did()); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
		if want := []string{"15: STATE"}; !slices.Equal(r.measured, want) {
			t.Errorf("measured %q; want %q", r.measured, want)
		}
		controllertest.Want(r.Harness, metastore.StateEncryption.String(), runtime.MetaKey{Value: "(keys)"})
	})
	m.restart()
	start(t, m, keeper(), func(r *rig) {
		r.wantMounted("STATE", "/dev/dm-1") // before there is a config: META has how
		r.config(encryptedBy(nodeIDKey))
		r.wantMounted("EPHEMERAL", "/dev/dm-2")
		r.Settle()
		want := []string{"open vda5 as luks2-STATE", "open vda6 as luks2-EPHEMERAL"}
		if diff := cmp.Diff(want, r.m.did()); diff != "" {
			t.Errorf("done at the second start (-want +got):\n%s", diff)
		}
	})
	m.restart()
	other := keeper()
	other.UUID = "9f8b0d3e-6a1c-4d27-9b5f-2c7e81a0d963"
	start(t, m, other, func(r *rig) {
		r.wantVolume("STATE", "failed on another machine", func(s block.VolumeStatus) bool {
			return s.Phase == block.PhaseFailed && strings.Contains(s.ErrorMessage, "key slot 0 (nodeID): key slot 0: the secret does not open it")
		})
		r.config(root)
		r.wantVolume("EPHEMERAL", "failed: it has something else", says("vda6 has luks"))
		if did := r.m.did(); len(did) > 0 {
			t.Errorf("done: %q; want nothing", did)
		}
	})
}

func TestKeySlotsFollowAConfigThatChanges(t *testing.T) {
	m := disk10()
	start(t, m, keeper(), func(r *rig) {
		r.config(encryptedBy(staticKey("0", "first")))
		r.wantMounted("EPHEMERAL", "/dev/dm-2")
		r.config(encryptedBy(nodeIDKey + staticKey("3", "second")))
		r.wantVolume("EPHEMERAL", "has the new keys", func(s block.VolumeStatus) bool {
			return slices.Equal(s.ConfiguredEncryptionKeys, []string{"nodeID", "static"}) && len(s.EncryptionFailedSyncs) == 0
		})
		r.Settle()
	})
	for _, tc := range []struct {
		keys string
		want string
	}{{staticKey("0", "first"), "does not open it"}, {staticKey("3", "second"), ""}} {
		m.restart()
		start(t, m, keeper(), func(r *rig) {
			r.wantMounted("STATE", "/dev/dm-1")
			r.config(encryptedBy(tc.keys))
			if tc.want == "" {
				r.wantMounted("EPHEMERAL", "/dev/dm-2")
				return
			}
			r.wantVolume("EPHEMERAL", tc.want, says(tc.want))
			// The right key opens it without a restart.
			r.config(encryptedBy(nodeIDKey + staticKey("3", "second")))
			r.wantMounted("EPHEMERAL", "/dev/dm-2")
		})
	}
}

func TestAVolumeLockedToStateWaitsForItsSalt(t *testing.T) {
	start(t, disk10(), keeper(), func(r *rig) {
		r.config(root + "---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nencryption:\n  provider: luks2\n  keys:\n    - slot: 0\n      nodeID: {}\n      lockToState: true\n")
		r.wantVolume("EPHEMERAL", "waiting for the salt", says("the salt of the volume STATE"))
		controllertest.Create(r.Harness, secrets.EncryptionSaltID, secrets.EncryptionSalt{DiskSalt: []byte("0123456789abcdef0123456789abcdef")})
		s := r.wantVolume("EPHEMERAL", "ready", ready)
		if !s.EncryptionLockedToState {
			t.Errorf("EPHEMERAL = %+v", s)
		}
	})
}

func TestAnEncryptedVolumeThatNobodyWantsIsClosed(t *testing.T) {
	const swap = "---\napiVersion: v1alpha1\nkind: SwapVolumeConfig\nname: swap\nprovisioning:\n  diskSelector:\n    match: disk.serial == \"S2\"\n  maxSize: 1GiB\nencryption:\n  provider: luks2\n  keys:\n    - slot: 0\n      nodeID: {}\n"
	m := disk10()
	m.add("vdb", 4<<30, serial("S2"))
	start(t, m, keeper(), func(r *rig) {
		r.config(root + swap)
		r.wantMounted("s-swap", "/dev/dm-1")
		r.config(root)
		controllertest.WantGone[block.VolumeStatus](r.Harness, "s-swap")
		r.Settle()
		did := r.m.did()
		if got := did[len(did)-2:]; !slices.Equal(got, []string{"swap off dm-1", "close luks2-s-swap"}) {
			t.Errorf("done at last: %q", got)
		}
	})
}

// TestTheTPM has a machine with a TPM, which starts signed images.
func TestTheTPM(t *testing.T) {
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pcrsig.PublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	image := []pcrsig.Section{{Name: ".linux", Data: []byte("kernel")}, {Name: pcrsig.SectionKey, Data: key}}
	signed, err := pcrsig.Sign(signer, image, pcrsig.Phases())
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := signed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	chip := swtpm.Start(t)
	// boot starts the machine, with the firmware's measurements.
	boot := func(m *machine, chip *swtpm.TPM, firmware string, test func(r *rig)) {
		t.Helper()
		m.restart()
		chip.Restart()
		events := []struct {
			register int
			data     string
		}{{pcr.SecureBoot, firmware}, {pcr.Image, ".linux\x00"}, {pcr.Image, "kernel"}, {pcr.Image, pcrsig.SectionKey + "\x00"}, {pcr.Image, string(key)}}
		for _, w := range pcrsig.Phases() {
			events = append(events, struct {
				register int
				data     string
			}{pcr.Image, w})
		}
		for _, e := range events {
			if err := pcr.ExtendBy(chip, e.register, []byte(e.data)); err != nil {
				t.Fatal(err)
			}
		}
		k := keeper()
		k.PolicyKey, k.Signatures = key, signatures
		k.OpenTPM = func() (diskkey.TPM, error) { return tpm.New(kept{chip}), nil }
		startMeasured(t, m, k, func(register int, data []byte) error { return pcr.ExtendBy(chip, register, data) }, test)
	}
	const tpmKey = "    - slot: 0\n      tpm: {}\n"
	m := disk10()
	recovery := ""
	boot(m, chip, "keys of the operator", func(r *rig) {
		r.config(encryptedBy(tpmKey))
		r.wantMounted("STATE", "/dev/dm-1")
		for _, id := range []string{"STATE", "EPHEMERAL"} {
			recovery = controllertest.WantThat(r.Harness, id, "with a recovery key", func(k *resource.Typed[block.RecoveryKey]) bool {
				return recovery == "" || k.Spec().Key == recovery
			}).Spec().Key
		}
		s := r.wantVolume("EPHEMERAL", "ready", ready)
		if s.TPMEncryptionOptions == nil || !slices.Equal(s.TPMEncryptionOptions.PCRs, []int64{7}) || !slices.Equal(s.TPMEncryptionOptions.PubKeyPCRs, []int64{11}) {
			t.Errorf("EPHEMERAL = %+v", s)
		}
	})
	boot(m, chip, "keys of the operator", func(r *rig) {
		r.wantMounted("STATE", "/dev/dm-1")
		r.config(encryptedBy(tpmKey))
		r.wantMounted("EPHEMERAL", "/dev/dm-2")
	})
	boot(m, swtpm.Start(t), "keys of the operator", func(r *rig) {
		r.wantVolume("STATE", "not opened by another TPM", says("another TPM has sealed it"))
	})
	boot(m, chip, "other keys", func(r *rig) {
		r.wantVolume("STATE", "not opened after other firmware", says("a measured value is another than the one it is sealed to"))
		// With a key that opens them they are sealed to what is measured now.
		r.config(encryptedBy(tpmKey + staticKey("1", "spare")))
		r.wantVolume("STATE", "not opened by a key that it does not have", says("key slot 1 is empty"))
		controllertest.WantNever[block.RecoveryKey](r.Harness, "STATE")
	})
	t.Run("the recovery key opens them, and has them sealed anew", func(t *testing.T) {
		boot(m, chip, "replaced board", func(r *rig) {
			r.wantVolume("STATE", "closed", says("a measured value is another"))
			r.config(encryptedBy(tpmKey + staticKey("1", recovery)))
			r.wantMounted("STATE", "/dev/dm-1")
			r.wantMounted("EPHEMERAL", "/dev/dm-2")
			r.Settle()
		})
		boot(m, chip, "replaced board", func(r *rig) {
			r.wantMounted("STATE", "/dev/dm-1")
			r.config(encryptedBy(tpmKey))
			r.wantMounted("EPHEMERAL", "/dev/dm-2")
			r.wantVolume("EPHEMERAL", "has the TPM's key alone", func(s block.VolumeStatus) bool { return len(s.ConfiguredEncryptionKeys) == 1 })
			r.Settle()
		})
		boot(m, chip, "keys of the operator", func(r *rig) { // the board is back
			r.wantVolume("STATE", "closed", says("a measured value is another"))
			r.config(encryptedBy(tpmKey + staticKey("1", recovery)))
			r.wantMounted("STATE", "/dev/dm-1")
			r.wantMounted("EPHEMERAL", "/dev/dm-2")
			r.config(encryptedBy(tpmKey))
			r.wantVolume("EPHEMERAL", "has the TPM's key alone", func(s block.VolumeStatus) bool { return len(s.ConfiguredEncryptionKeys) == 1 })
			r.Settle()
		})
	})
	boot(m, chip, "keys of the operator", func(r *rig) {
		r.wantMounted("STATE", "/dev/dm-1")
		r.config(encryptedBy(tpmKey + staticKey("1", "spare")))
		r.wantVolume("EPHEMERAL", "has both keys", func(s block.VolumeStatus) bool {
			return s.Phase == block.PhaseReady && len(s.ConfiguredEncryptionKeys) == 2
		})
		r.Settle()
	})
	boot(m, chip, "newer firmware", func(r *rig) {
		r.wantMounted("STATE", "/dev/dm-1") // by the spare key
		r.config(encryptedBy(tpmKey + staticKey("1", "spare")))
		r.wantVolume("EPHEMERAL", "ready", ready)
		r.Settle()
	})
	boot(m, chip, "newer firmware", func(r *rig) { // and now by the TPM alone
		r.wantMounted("STATE", "/dev/dm-1")
		r.config(encryptedBy(tpmKey))
		r.wantMounted("EPHEMERAL", "/dev/dm-2")
	})
	t.Run("a machine whose config says nothing of it is encrypted by its TPM", func(t *testing.T) {
		m := disk10()
		m.add("vdb", 4<<30, serial("S2"))
		const raw = "---\napiVersion: v1alpha1\nkind: RawVolumeConfig\nname: raw\nprovisioning:\n  diskSelector:\n    match: disk.serial == \"S2\"\n  maxSize: 1GiB\n"
		want := []string{"tpm"}
		boot(m, chip, "keys of the operator", func(r *rig) {
			r.config(root + raw)
			r.wantMounted("STATE", "/dev/dm-1")
			r.wantMounted("EPHEMERAL", "/dev/dm-2")
			s := r.wantVolume("EPHEMERAL", "encrypted", ready)
			if s.EncryptionProvider != block.EncryptionLUKS2 || !slices.Equal(s.ConfiguredEncryptionKeys, want) {
				t.Errorf("EPHEMERAL = %+v; want it encrypted by %v", s, want)
			}
			if s := r.wantVolume("r-raw", "in clear", ready); s.EncryptionProvider != block.EncryptionNone {
				t.Errorf("r-raw = %+v; want it in clear", s)
			}
			controllertest.WantThat(r.Harness, "STATE", "with a recovery key", func(*resource.Typed[block.RecoveryKey]) bool { return true })
		})
		boot(m, chip, "keys of the operator", func(r *rig) {
			r.wantMounted("STATE", "/dev/dm-1")
			r.config(root)
			r.wantMounted("EPHEMERAL", "/dev/dm-2")
		})
		clear := disk10()
		start(t, clear, keeper(), func(r *rig) { r.config(root); r.wantMounted("EPHEMERAL", "/dev/vda6") })
		boot(clear, chip, "keys of the operator", func(r *rig) { // what is there in clear stays so
			r.wantMounted("STATE", "/dev/vda5")
			r.config(root)
			r.wantMounted("EPHEMERAL", "/dev/vda6")
		})
	})
	t.Run("the passphrase of STATE is in META for the TPM alone", func(t *testing.T) {
		const passphrase = "a passphrase that nobody may read"
		m := disk10()
		boot(m, chip, "keys of the operator", func(r *rig) {
			r.config(encryptedBy(staticKey("0", passphrase)))
			r.wantMounted("STATE", "/dev/dm-1")
		})
		disk := make([]byte, 1<<20)
		if meta, err := m.Open("vda4", Read); err != nil {
			t.Fatal(err)
		} else if _, err := meta.ReadAt(disk, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(disk, []byte("sealedKey")) || bytes.Contains(disk, []byte(base64.StdEncoding.EncodeToString([]byte(passphrase)))) || bytes.Contains(disk, []byte(passphrase)) {
			t.Error("META has the passphrase in clear, or not at all")
		}
		boot(m, chip, "other keys", func(r *rig) { r.wantMounted("STATE", "/dev/dm-1") })
		boot(m, swtpm.Start(t), "keys of the operator", func(r *rig) {
			r.wantVolume("STATE", "closed on another machine", says("another TPM has sealed it"))
			r.config(encryptedBy(staticKey("0", passphrase))) // whoever knows it may open it
			r.wantMounted("STATE", "/dev/dm-1")
		})
	})
	t.Run("a STATE of somebody else opens nothing", func(t *testing.T) {
		m.restart()
		m.put("vda5", 0, make([]byte, 1<<20))
		boot(m, chip, "newer firmware", func(r *rig) {
			r.config(root + "---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nencryption:\n  provider: luks2\n  keys:\n" + tpmKey)
			r.wantMounted("STATE", "/dev/dm-1") // made anew
			r.wantVolume("EPHEMERAL", "closed", says("a measured value is another"))
		})
	})
}

// kept is a TPM that is not closed when it was used.
type kept struct{ *swtpm.TPM }

func (kept) Close() error { return nil }
