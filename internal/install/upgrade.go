package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"talos.internal/internal/fat32"
	"talos.internal/internal/install/sdboot"
	"talos.internal/internal/metastore"
)

// Causes why another version is refused. Nothing was written.
var (
	// ErrSame says that the new system is the one that runs.
	ErrSame = errors.New("the machine runs this system already")
	// ErrOnTrial says that the running system has not proved itself yet.
	ErrOnTrial = errors.New("the running system has not proved itself yet")
	// ErrNoOther says that the other slot has no system that could be started.
	ErrNoOther = errors.New("there is no other system to go back to")
)

// UpgradeRequest is what is to be put into the slot that does not run.
type UpgradeRequest struct {
	Disk   string // for messages
	System *System
	// Running is the root hash of the system that runs.
	Running RootHash
	// Sizes of the assets in bytes.
	UKI, Root int64
	// RootHash is that of the new UKI.
	RootHash RootHash
	// Time is what the UKI gets as its file's time.
	Time time.Time
	// Meta is written before the new system can be started.
	Meta Changes
}

// Changes are values that META gets; those without a value are removed.
type Changes map[metastore.Key]*string

// Set returns c with a value more.
func (c Changes) Set(k metastore.Key, v string) Changes {
	out := maps.Clone(c)
	if out == nil {
		out = Changes{}
	}
	out[k] = &v
	return out
}

// Delete returns c with a value more that is removed.
func (c Changes) Delete(k metastore.Key) Changes {
	out := maps.Clone(c)
	if out == nil {
		out = Changes{}
	}
	out[k] = nil
	return out
}

// encode returns c as a step holds it: JSON, sorted by key.
func (c Changes) encode() string {
	b, _ := json.Marshal(c) // numbers, strings and null: it cannot fail
	return string(b)
}

func decodeChanges(s string) (Changes, error) {
	var c Changes
	if err := json.Unmarshal([]byte(s), &c); err != nil {
		return nil, fmt.Errorf("decode changes of META: %w", err)
	}
	return c, nil
}

func (c Changes) apply(v metastore.Values) {
	for k, value := range c {
		if value == nil {
			delete(v, k)
		} else {
			v[k] = *value
		}
	}
}

// PlanUpgrade decides how another version is put into the slot that does not run, to be tried once at the next start. The slot that runs is not
// touched: no step writes to its root, to its UKI or to a table entry of it.
//
// The last step but a flush is the one that counts: before it is on the medium the running system is started again, after it the new one,
// and if that one ends before [PlanConfirm], the running one again. At each moment both slots that the boot loader can see are complete.
func PlanUpgrade(r UpgradeRequest) (Plan, error) {
	p, err := planUpgrade(r)
	if err != nil {
		return Plan{}, fmt.Errorf("upgrade on %s: %w", r.Disk, err)
	}
	return p, nil
}

func planUpgrade(r UpgradeRequest) (Plan, error) {
	s := r.System
	from, err := s.Proved(r.Running)
	if err != nil {
		return Plan{}, err
	}
	to := from.Other()
	root, ok := s.Table.Find(to.RootLabel())
	switch {
	case r.UKI <= 0 || r.Root <= 0 || r.RootHash == RootHash{}:
		return Plan{}, fmt.Errorf("the assets are not complete: a UKI of %d bytes, a root file system of %d", r.UKI, r.Root)
	case r.RootHash == r.Running:
		return Plan{}, ErrSame
	case !ok:
		return Plan{}, fmt.Errorf("%w: there is no partition %s", ErrNotInstalled, to.RootLabel())
	case r.Root > root.Size:
		return Plan{}, fmt.Errorf("the root file system has %s; its partition has %s", human(r.Root), human(root.Size))
	}
	b := builder{}
	old := s.owned(to)
	// What a reader of these steps should ask at each: what is started if power is cut here?
	if err := b.start(s, from.always(), "the running system is started again"); err != nil {
		return Plan{}, err
	}
	gone, err := s.fs.Put(dirUKIs, nil, old)
	if err != nil {
		return Plan{}, err
	}
	if len(gone) > 0 {
		b.efi(s, fmt.Sprintf("the boot loader does not see slot %s", to), gone)
		b.flush(fmt.Sprintf("slot %s is free", to))
	}
	first, at, tables, err := s.fs.Place(r.UKI, old)
	if err != nil {
		return Plan{}, err
	}
	b.efi(s, "tables", tables)
	b.copy("EFI, UKI of slot "+string(to), s.efi.Offset+at, r.UKI, AssetUKI)
	b.copy(root.Label, root.Offset, r.Root, AssetRoot)
	b.flush(fmt.Sprintf("contents of slot %s", to))
	b.check("EFI, UKI of slot "+string(to), s.efi.Offset+at, r.UKI, AssetUKI)
	b.check(root.Label, root.Offset, r.Root, AssetRoot)
	if root.GUID != r.RootHash.PartitionGUID() {
		b.steps = append(b.steps, Step{
			Do: OpTable, What: fmt.Sprintf("%s gets the GUID of its root hash", root.Label), Size: s.Table.Size, Label: root.Label, Data: r.RootHash.PartitionGUID().String(),
		})
	}
	if err := b.meta(s, r.Meta); err != nil {
		return Plan{}, err
	}
	entry, err := s.fs.Put(dirUKIs, &fat32.New{Name: to.fileOnTrial(), Size: r.UKI, Cluster: first, Time: r.Time}, old)
	if err != nil {
		return Plan{}, err
	}
	b.efi(s, fmt.Sprintf("the boot loader sees slot %s, which may be tried once", to), entry)
	b.flush(fmt.Sprintf("slot %s is complete", to))
	if err := b.start(s, to.whileUntried(), fmt.Sprintf("slot %s is started next", to)); err != nil {
		return Plan{}, err
	}
	table := *s.Table
	return Plan{Disk: r.Disk, Steps: b.steps, Table: &table}, nil
}

// PlanConfirm decides how the running system is made the one that is always started, after it has proved itself. For one that is that
// already only META is written.
func PlanConfirm(disk string, s *System, running RootHash, now time.Time, meta Changes) (Plan, error) {
	slot, err := s.Running(running)
	if err != nil {
		return Plan{}, fmt.Errorf("make the system on %s permanent: %w", disk, err)
	}
	b := builder{}
	// In this order: between the two the pattern matches a name with and without a counter.
	if err := b.start(s, slot.always(), fmt.Sprintf("slot %s is always started", slot)); err != nil {
		return Plan{}, fmt.Errorf("make the system on %s permanent: %w", disk, err)
	}
	if err := b.rename(s, slot, slot.file(), now); err != nil {
		return Plan{}, fmt.Errorf("make the system on %s permanent: %w", disk, err)
	}
	if err := b.meta(s, meta); err != nil {
		return Plan{}, err
	}
	return Plan{Disk: disk, Steps: b.steps, Table: s.Table}, nil
}

// PlanReturn decides how the other slot is started next and from then on, because the running system, which was on trial, has not proved
// itself. The record in META is written first.
func PlanReturn(disk string, s *System, running RootHash, meta Changes) (Plan, error) {
	slot, err := s.Running(running)
	if err != nil {
		return Plan{}, fmt.Errorf("go back on %s: %w", disk, err)
	}
	if err := s.whole(slot.Other()); err != nil {
		return Plan{}, fmt.Errorf("go back on %s: %w", disk, err)
	}
	b := builder{}
	if err := b.meta(s, meta); err != nil {
		return Plan{}, err
	}
	if err := b.start(s, slot.Other().always(), fmt.Sprintf("slot %s is started again", slot.Other())); err != nil {
		return Plan{}, fmt.Errorf("go back on %s: %w", disk, err)
	}
	return Plan{Disk: disk, Steps: b.steps, Table: s.Table}, nil
}

// PlanNote decides how META alone is changed.
func PlanNote(disk string, s *System, meta Changes) (Plan, error) {
	b := builder{}
	if err := b.meta(s, meta); err != nil {
		return Plan{}, fmt.Errorf("note on %s: %w", disk, err)
	}
	return Plan{Disk: disk, Steps: b.steps, Table: s.Table}, nil
}

// PlanRollback decides how the system in the other slot is tried once at the next start, as after an upgrade. One that has failed, or of which
// something is missing, is refused.
func PlanRollback(disk string, s *System, running RootHash, now time.Time, meta Changes) (Plan, error) {
	from, err := s.Proved(running)
	if err != nil {
		return Plan{}, fmt.Errorf("roll back on %s: %w", disk, err)
	}
	to := from.Other()
	if err := s.whole(to); err != nil {
		return Plan{}, fmt.Errorf("roll back on %s: %w", disk, err)
	}
	b := builder{}
	if err := b.start(s, from.always(), "the running system is started again"); err != nil {
		return Plan{}, fmt.Errorf("roll back on %s: %w", disk, err)
	}
	if err := b.meta(s, meta); err != nil {
		return Plan{}, err
	}
	if err := b.rename(s, to, to.fileOnTrial(), now); err != nil {
		return Plan{}, fmt.Errorf("roll back on %s: %w", disk, err)
	}
	if err := b.start(s, to.whileUntried(), fmt.Sprintf("slot %s is started next", to)); err != nil {
		return Plan{}, fmt.Errorf("roll back on %s: %w", disk, err)
	}
	return Plan{Disk: disk, Steps: b.steps, Table: s.Table}, nil
}

// Proved returns the running slot, which must be one that is always started: with another one on trial there would be nothing to go back to.
func (s *System) Proved(running RootHash) (Slot, error) {
	slot, err := s.Running(running)
	if err != nil {
		return "", err
	}
	i, ok := s.Slot(slot)
	switch {
	case !ok:
		return "", fmt.Errorf("the boot loader does not see slot %s, which runs; it cannot be started again", slot)
	case sdboot.ParseCounter(i.File).Counted:
		return "", fmt.Errorf("%w: wait until it is permanent ('talosctl get upgradestatus'), or let it go back", ErrOnTrial)
	}
	return slot, nil
}

// whole returns nil if a slot has an image that can be started, and its root.
func (s *System) whole(slot Slot) error {
	i, ok := s.Slot(slot)
	if !ok {
		return fmt.Errorf("%w: slot %s is empty", ErrNoOther, slot)
	}
	if c := sdboot.ParseCounter(i.File); c.Counted && c.Left == 0 {
		return fmt.Errorf("%w: the system in slot %s (%s) was tried and did not prove itself", ErrNoOther, slot, i.Version)
	}
	if p, ok := s.Root(i); !ok || p.Label != slot.RootLabel() {
		return fmt.Errorf("%w: the root file system of slot %s (%s) is missing", ErrNoOther, slot, i.Version)
	}
	return nil
}

// start makes the boot loader start what a pattern matches.
func (b *builder) start(s *System, pattern, what string) error {
	now := sdboot.Default(s.Conf)
	if b.conf != "" {
		now = b.conf
	}
	if now == pattern {
		return nil
	}
	if len(now) != len(pattern) || !strings.HasPrefix(now, "talos-") {
		return fmt.Errorf("%s has the default %q, which this version does not know; expected a pattern such as %q", PathLoaderConf, now, pattern)
	}
	// Only the pattern changes, so the sector as it was read is good for each change of a plan.
	x, err := s.fs.Overwrite(PathLoaderConf, sdboot.Default(s.Conf), pattern)
	if err != nil {
		return err
	}
	b.efi(s, "loader.conf: "+what, x)
	b.flush(what)
	b.conf = pattern
	return nil
}

// rename gives a slot's UKI another name.
func (b *builder) rename(s *System, slot Slot, name string, now time.Time) error {
	i, ok := s.Slot(slot)
	if !ok {
		return fmt.Errorf("%w: slot %s is empty", ErrNoOther, slot)
	}
	if i.File == name {
		return nil
	}
	x, err := s.fs.Put(dirUKIs, &fat32.New{Name: name, Size: i.Size, Cluster: i.entry.Cluster, Time: now}, []fat32.Entry{i.entry})
	if err != nil {
		return err
	}
	b.efi(s, fmt.Sprintf("%s becomes %s", i.File, name), x)
	b.flush(fmt.Sprintf("slot %s has its name", slot))
	return nil
}

func (b *builder) efi(s *System, what string, extents []fat32.Extent) {
	for _, e := range extents {
		b.write("EFI, "+what, s.efi.Offset+e.Offset, e.Data)
	}
}

func (b *builder) check(what string, offset, size int64, a Asset) {
	b.steps = append(b.steps, Step{Do: OpCheck, What: what, Offset: offset, Size: size, Asset: a})
}

// meta changes META, if there is something to change.
func (b *builder) meta(s *System, c Changes) error {
	if len(c) == 0 {
		return nil
	}
	p, ok := s.Table.Find(LabelMeta)
	if !ok {
		return fmt.Errorf("%w: there is no partition %s", ErrNotInstalled, LabelMeta)
	}
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(c)) {
		keys = append(keys, k.String())
	}
	b.steps = append(b.steps, Step{Do: OpMeta, What: "META, " + strings.Join(keys, ", "), Offset: p.Offset, Size: metastore.Size, Data: c.encode()})
	return nil
}

// PlanBump is what the boot loader does before it starts the next system: it counts the try. Tests of what comes after a start need it; the
// machine itself never counts.
func (s *System) PlanBump() (Plan, error) {
	i, ok := s.Next()
	if !ok {
		return Plan{}, errors.New("count a try: there is nothing to start")
	}
	b := builder{}
	if err := b.rename(s, i.Slot, sdboot.Bump(i.File), time.Time{}); err != nil {
		return Plan{}, fmt.Errorf("count a try: %w", err)
	}
	return Plan{Steps: b.steps, Table: s.Table}, nil
}
