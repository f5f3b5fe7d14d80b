package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"talos.internal/config/blockdoc"
	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/luks"
	"talos.internal/internal/superblock"
	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/pcr"
	"talos.internal/resource/block"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// opened is an encrypted volume that is open.
type opened struct {
	device string // that has its data in clear: "dm-1"
	slot   int64
	with   []block.EncryptionKey // the keys that opened it, or others that were tried
	synced []block.EncryptionKey // what its slots were brought in line with; nil if that was not tried yet
	failed []string              // what of that failed
}

// refusal is a volume that its keys do not open.
type refusal struct {
	keys []block.EncryptionKey
	why  string
}

// luksName is what an encrypted volume is recognised by.
const luksName = "luks"

// isMapped reports whether a disk is one that was made of others here: it is never chosen for a volume.
func isMapped(id string) bool { return strings.HasPrefix(id, "dm-") }

// withKeys fills in what is known of the keys of a volume.
func withKeys(s block.VolumeStatus, e block.Encryption) block.VolumeStatus {
	s.EncryptionProvider, s.EncryptionAllowDiscards = e.Provider, e.AllowDiscards
	for _, k := range e.Keys {
		s.ConfiguredEncryptionKeys = append(s.ConfiguredEncryptionKeys, k.Type.String())
		s.EncryptionLockedToState = s.EncryptionLockedToState || k.LockToState
		if k.Type == block.KeyTPM {
			s.TPMEncryptionOptions = &block.TPMEncryptionOptions{PCRs: k.TPMPCRs, PubKeyPCRs: k.TPMPubKeyPCRs}
		}
	}
	return s
}

// byDefault returns how a volume is encrypted. One that the config does not speak of is encrypted by the TPM, if that can keep keys, and if the volume is
// made now or was made so. What is there in clear stays what it is. A raw volume may have contents that nobody recognises, so nothing is made of it.
func byDefault(id string, c block.VolumeConfig, f facts) block.Encryption {
	made := isMade(c) || id == blockdoc.State
	if c.Encryption.Provider != block.EncryptionNone || !f.seals || !made || c.Provisioning.FilesystemSpec.Type == block.FilesystemNone {
		return c.Encryption
	}
	if at, why := locate(id, c, f); why != "" || at == nil || at.Name != "" && at.Name != luksName {
		return c.Encryption
	}
	return block.Encryption{Provider: block.EncryptionLUKS2, Cipher: defaultCipher, Keys: []block.EncryptionKey{
		{Type: block.KeyTPM, TPMPCRs: []int64{pcr.SecureBoot}, TPMPubKeyPCRs: []int64{pcr.Image}},
	}}
}

// defaultCipher is what a volume is encrypted with if the config says nothing.
var defaultCipher = (&blockdoc.Encryption{}).CipherOrDefault()

// waitsForState says why the keys of a volume cannot be had yet: what follows from STATE is known when that is there.
func waitsForState(id string, e block.Encryption, f facts) string {
	if id == blockdoc.State {
		return ""
	}
	for _, k := range e.Keys {
		switch {
		case k.LockToState && !f.salted:
			return "the salt of the volume STATE, which its key is locked to, is not there yet"
		case k.Type == block.KeyTPM && !f.measured:
			return "the volume STATE, which is measured before the TPM gives the key, is not there yet"
		}
	}
	return ""
}

// encrypted decides on a volume that is to be encrypted and whose device is there.
func encrypted(id string, c block.VolumeConfig, f facts, s, before block.VolumeStatus, v found) (block.VolumeStatus, action) {
	s = withKeys(s, c.Encryption)
	s.MountLocation = ""
	o, open := f.opened[id]
	why := waitsForState(id, c.Encryption, f)
	switch {
	case v.Name != "" && v.Name != luksName:
		return fail(s, before, "%s has %s, and the volume is to be encrypted: it is not overwritten; wipe it (talosctl wipe disk %s) if nobody needs what is there", v.id, describe(v), v.id)
	case open:
	case why != "":
		return wait(s, "%s", why)
	case reflect.DeepEqual(f.refused[id].keys, c.Encryption.Keys) && f.refused[id].why != "":
		return fail(s, before, "%s", f.refused[id].why)
	case v.Name == "" && c.Type == block.VolumeDisk && f.system == "":
		return wait(s, "the system is not installed on a disk yet")
	case v.Name == "":
		s.Phase = block.PhaseLocated
		return s, action{verb: encrypt, device: v.id, size: int64(v.Size)}
	default:
		s.Phase = block.PhaseProvisioned
		if a := growth(c, f, v); a.verb != nothing {
			return s, a // while nobody has it open
		}
		return s, action{verb: unlock, device: v.id, size: int64(v.Size)}
	}
	s.EncryptionSlot, s.EncryptionFailedSyncs = o.slot, o.failed
	i := slices.IndexFunc(f.volumes, func(v found) bool { return v.id == o.device })
	if i < 0 {
		return wait(s, "the opened volume %s is still being looked at", o.device)
	}
	inner := f.volumes[i]
	s.MountLocation, s.UUID, s.Size, s.PrettySize = inner.DevPath, inner.UUID, inner.Size, inner.PrettySize
	want := c.Provisioning.FilesystemSpec.Type
	switch {
	case want == block.FilesystemNone:
		s.Filesystem, _ = filesystemOf(inner.Name)
	case inner.Name == "":
		s.Phase, s.Filesystem = block.PhasePrepared, want
		return s, action{verb: format, device: inner.id, size: int64(inner.Size)}
	case inner.Name != want.String():
		return fail(s, before, "the encrypted volume on %s has %s, and is to have %s: it is not overwritten; wipe %s (talosctl wipe disk %s) if nobody needs what is there", v.id, describe(inner), want, v.id, v.id)
	}
	s.Phase, s.Filesystem = block.PhaseReady, want
	// What STATE had before there was a config may be another list, and was not looked at then.
	if follows(id, c) && !reflect.DeepEqual(o.synced, c.Encryption.Keys) {
		return s, action{verb: resync, device: v.id}
	}
	return s, action{}
}

// follows reports whether the keys of a volume are those of the config. STATE's may be what META remembers of it.
func follows(id string, c block.VolumeConfig) bool { return id != blockdoc.State || isMade(c) }

// crypt carries out what encryption asks for, on the manager's account.
func (c *VolumeManagerController) crypt(ctx context.Context, w wanted, a action, f facts, log *slog.Logger) (err error) {
	d, err := c.Kernel.Open(a.device, Share)
	if err != nil {
		return err
	}
	closed := false
	end := func() error {
		if closed {
			return nil
		}
		closed = true
		return d.Close()
	}
	defer func() { err = errors.Join(err, end()) }()
	if a.verb == resync {
		return c.resync(ctx, d, w, log)
	}
	var o diskkey.Opened
	mine := opened{with: w.Encryption.Keys}
	if a.verb == encrypt {
		o, err = c.encrypt(ctx, d, w, a.device, f)
		mine.synced = w.Encryption.Keys
		if err == nil {
			c.recover(d, w, o, log)
		}
	} else {
		o, err = c.unlock(ctx, d, w, &mine, log)
	}
	if err != nil {
		return err
	}
	if err := end(); err != nil { // the kernel claims it
		return err
	}
	mine.slot = o.Slot
	if w.id == blockdoc.State {
		c.measure(diskkey.Identity(o.UUID, o.Key), log)
	}
	path, err := c.Kernel.Map(mappedName(w.id), fmt.Sprintf("CRYPT-LUKS2-%s-%s", strings.ReplaceAll(o.UUID, "-", ""), mappedName(w.id)), dm.CryptSpec{
		Cipher: o.Mapping.Cipher, Key: o.Key, Tweak: o.Mapping.Tweak, Device: devPath(a.device), Offset: o.Mapping.Offset, Size: a.size - o.Mapping.Offset,
		SectorSize: o.Mapping.SectorSize, Discards: w.Encryption.AllowDiscards, Options: w.Encryption.PerfOptions,
	})
	if err != nil {
		return fmt.Errorf("open the volume %s: %w", w.id, err)
	}
	mine.device = strings.TrimPrefix(path, "/dev/")
	c.opened[w.id] = mine
	delete(c.refused, w.id)
	log.Info("an encrypted volume is open", "volume", w.id, "device", a.device, "slot", mine.slot)
	return nil
}

// mappedName is what the device mapper calls a volume.
func mappedName(id string) string { return boot.VolumeDevice + id }

func (c *VolumeManagerController) encrypt(ctx context.Context, d Device, w wanted, device string, f facts) (diskkey.Opened, error) {
	// The kernel says whether somebody else has it; Share does not ask.
	if claimed, err := c.Kernel.Open(device, Claim); err != nil {
		return diskkey.Opened{}, err
	} else if err := claimed.Close(); err != nil {
		return diskkey.Opened{}, err
	}
	if found, ok, err := superblock.Probe(d, d.Size(), d.SectorSize()); err != nil || ok {
		if ok {
			err = fmt.Errorf("it has %s meanwhile, which is not overwritten", found)
		}
		return diskkey.Opened{}, fmt.Errorf("encrypt %s: %w", device, err)
	}
	if d.Size() < luks.DataOffset+xfsAlmostNothing {
		return diskkey.Opened{}, fmt.Errorf("encrypt %s: it has %s, of which %s are for keys", device, pretty(d.Size()), pretty(luks.DataOffset))
	}
	// Where its keys are found comes before it: without that it could not be opened at the next start.
	if w.id == blockdoc.State {
		if err := c.State.Keep(ctx, w.Encryption); err != nil {
			return diskkey.Opened{}, err
		}
	}
	disk := f.disks[device]
	if i := slices.IndexFunc(f.volumes, func(v found) bool { return v.id == device }); i >= 0 && f.volumes[i].Parent != "" {
		disk = f.disks[f.volumes[i].Parent]
	}
	return diskkey.Format(ctx, d, c.Keys, w.id, w.Encryption, int(disk.SectorSize), int(disk.IOSize))
}

// recover gives a volume that opens by what the machine is, and by nothing that a person has, a recovery key. All volumes of one start have the same.
func (c *VolumeManagerController) recover(d Device, w wanted, o diskkey.Opened, log *slog.Logger) {
	if !slices.ContainsFunc(w.Encryption.Keys, func(k block.EncryptionKey) bool { return k.Type == block.KeyTPM }) ||
		slices.ContainsFunc(w.Encryption.Keys, func(k block.EncryptionKey) bool { return k.Type == block.KeyStatic }) {
		return
	}
	text := diskkey.NewRecovery()
	for _, have := range c.recovery {
		text = have
	}
	if err := diskkey.AddRecovery(d, o, w.Encryption.Keys, text); err != nil {
		log.Warn("a volume has no recovery key", "volume", w.id, "error", err)
		return
	}
	c.recovery[w.id] = text
	log.Info("a volume has a recovery key, which is shown until the next start: talosctl get recoverykeys -o yaml", "volume", w.id)
}

// xfsAlmostNothing is what an encrypted volume has for data at least.
const xfsAlmostNothing = 32 << 20

func (c *VolumeManagerController) unlock(ctx context.Context, d Device, w wanted, mine *opened, log *slog.Logger) (diskkey.Opened, error) {
	o, err := diskkey.Unlock(ctx, d, c.Keys, w.id, w.Encryption.Keys)
	if err != nil {
		if len(w.Encryption.Keys) == 0 && w.id == blockdoc.State {
			if _, _, why := c.State.Get(); why != nil {
				err = fmt.Errorf("%w: %w", err, why)
			}
		}
		if ctx.Err() == nil {
			c.refused[w.id] = refusal{keys: w.Encryption.Keys, why: err.Error()}
		}
		return o, err
	}
	for _, why := range o.Refused {
		log.Warn("a key does not open a volume; another one does", "volume", w.id, "reason", why)
	}
	if follows(w.id, w.VolumeConfig) {
		c.sync(ctx, d, w, o, mine, log)
	}
	return o, nil
}

// sync brings the slots in line with the config and notes what came of it.
func (c *VolumeManagerController) sync(ctx context.Context, d Device, w wanted, o diskkey.Opened, mine *opened, log *slog.Logger) {
	done, failed := diskkey.Sync(ctx, d, c.Keys, w.id, o, w.Encryption.Keys)
	for _, change := range done {
		log.Info("the key slots of a volume follow the config", "volume", w.id, "change", change)
	}
	for _, why := range failed {
		log.Warn("a key slot of a volume does not follow the config", "volume", w.id, "reason", why)
	}
	mine.synced, mine.failed = w.Encryption.Keys, failed
}

// resync follows a change of the config's keys while the volume is open. The keys that it was opened with give the volume's key again.
func (c *VolumeManagerController) resync(ctx context.Context, d Device, w wanted, log *slog.Logger) error {
	mine := c.opened[w.id]
	both := append(slices.Clone(w.Encryption.Keys), mine.with...)
	if w.id == blockdoc.State {
		// Until the slots have changed the old keys are needed, and afterwards the new ones.
		e := w.Encryption
		e.Keys = both
		if err := c.State.Keep(ctx, e); err != nil {
			return err
		}
	}
	o, err := diskkey.Unlock(ctx, d, c.Keys, w.id, both)
	if err != nil {
		mine.synced, mine.failed = w.Encryption.Keys, []string{fmt.Sprintf("the slots follow the config at the next start: %v", err)}
	} else {
		c.sync(ctx, d, w, o, &mine, log)
	}
	if len(mine.failed) == 0 {
		mine.with = w.Encryption.Keys
		if w.id == blockdoc.State {
			if err := c.State.Keep(ctx, w.Encryption); err != nil {
				return err
			}
		}
	}
	c.opened[w.id] = mine
	return nil
}

// measure measures STATE, once, before anything is read from it or any other volume is opened.
func (c *VolumeManagerController) measure(identity []byte, log *slog.Logger) {
	if c.measured {
		return
	}
	c.measured = true
	if c.Measure == nil {
		return
	}
	if err := c.Measure(pcr.Volumes, identity); err != nil && !errors.Is(err, pcr.ErrNone) {
		log.Warn("the volume STATE is not measured; what the TPM has sealed for other volumes stays closed", "error", err)
	}
}

// close closes the encrypted volumes that nobody has any more.
func (c *VolumeManagerController) close(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var failed error
	for id := range c.opened {
		// One that is on its way out is still mounted.
		if _, err := state.Get[block.VolumeStatus](ctx, rt, id); !errors.Is(err, state.NotFound) {
			failed = errors.Join(failed, err)
			continue
		}
		if err := c.Kernel.Unmap(mappedName(id)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("close the volume %s: %w", id, err))
			continue
		}
		delete(c.opened, id)
		log.Info("an encrypted volume is closed", "volume", id)
	}
	return failed
}

// cryptFacts adds to the facts what is about encryption.
func (c *VolumeManagerController) cryptFacts(ctx context.Context, rt controller.Runtime, f *facts) error {
	if c.opened == nil {
		c.opened, c.refused, c.recovery = map[string]opened{}, map[string]refusal{}, map[string]string{}
		c.seals = c.Default && c.Keys != nil && c.Keys.Seals()
	}
	f.keys, f.seals = c.Keys != nil, c.seals
	f.opened, f.refused, f.measured = c.opened, c.refused, c.measured
	salt, there, err := state.Find[secrets.EncryptionSalt](ctx, rt, secrets.EncryptionSaltID)
	if err != nil {
		return err
	}
	f.salted = there
	if c.Keys != nil && there {
		c.Keys.Salt = salt.DiskSalt
	}
	return nil
}
