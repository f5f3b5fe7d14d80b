package install

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/metastore"
)

var upgradeTime = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)

// installed returns a lab with version 1 on its disk.
func installed(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, size: 8 << 30, sector: 512, disk: newMedium(nil), versions: []version{newVersion("1.0", 20_000, 30_000), newVersion("2.0", 31_000, 25_000)}}
	v := l.versions[0]
	p, err := PlanInstall(Request{
		Disk: Disk{Name: "vda", Size: l.size, SectorSize: 512}, UKI: v.UKI.Size, Root: v.Root.Size, BootLoader: v.BootLoader.Size, RootHash: v.hash, Seed: "seed",
		Time: upgradeTime,
	})
	l.run(p, err, v.Assets)
	return l
}

func (l *lab) system() *System {
	l.t.Helper()
	s, err := ReadSystem(l.disk, l.size, l.sector)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func (l *lab) request() UpgradeRequest {
	v := l.versions[1]
	return UpgradeRequest{
		Disk: "vda", System: l.system(), Running: l.versions[0].hash, UKI: v.UKI.Size, Root: v.Root.Size, RootHash: v.hash, Time: upgradeTime,
		Meta: Changes{}.Set(metastore.Upgrade, "talos-A.efi").Delete(metastore.StagedUpgradeImage),
	}
}

func TestThePlansOfAnUpgrade(t *testing.T) {
	l := installed(t)
	var b strings.Builder
	show := func(title string, p Plan, err error) Plan {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s\n", title)
		for _, s := range p.Steps {
			fmt.Fprintf(&b, "%s", s)
			switch {
			case s.Do == OpTable || s.Do == OpMeta:
				fmt.Fprintf(&b, ": %s", s.Data)
			case s.Data != "":
				fmt.Fprintf(&b, " (SHA-256 %.8x)", sha256.Sum256([]byte(s.Data)))
			}
			b.WriteByte('\n')
		}
		return p
	}
	p, err := PlanUpgrade(l.request())
	show("upgrade from A to B", p, err)
	again, err := PlanUpgrade(l.request())
	if err != nil || !cmp.Equal(p.Steps, again.Steps) {
		t.Errorf("the same request has another plan (%v)", err)
	}
	l.run(p, nil, l.versions[1].Assets)
	l.bump(l.disk)
	p, err = PlanReturn("vda", l.system(), l.versions[1].hash, Changes{}.Set(metastore.Upgrade, "failed"))
	show("return to A", p, err)
	p, err = PlanConfirm("vda", l.system(), l.versions[1].hash, upgradeTime, Changes{}.Delete(metastore.Upgrade))
	show("make B permanent", p, err)
	l.run(p, nil, Assets{})
	p, err = PlanRollback("vda", l.system(), l.versions[1].hash, upgradeTime, Changes{}.Set(metastore.Upgrade, "talos-B.efi"))
	show("roll back to A", p, err)

	file := filepath.Join("testdata", "upgrade.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the plans have changed (-want +got):\n%s", diff)
	}
}

func TestWhatAnUpgradeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*lab, *UpgradeRequest)
		err    error
		text   string
	}{
		{"nothing new", func(l *lab, r *UpgradeRequest) { r.RootHash = r.Running }, ErrSame, ""},
		{"another disk's system", func(_ *lab, r *UpgradeRequest) { r.Running[0]++ }, ErrNotInstalled, "neither ROOT-A nor ROOT-B"},
		{"no root", func(_ *lab, r *UpgradeRequest) { r.Root = 0 }, errAny, "not complete"},
		{"large root", func(_ *lab, r *UpgradeRequest) { r.Root = SizeRoot + 1 }, errAny, "its partition has 1.0 GiB"},
		{"large UKI", func(_ *lab, r *UpgradeRequest) { r.UKI = SizeEFI }, errAny, "no free piece"},
		{"no META", func(_ *lab, r *UpgradeRequest) {
			p, _ := r.System.Table.Find(LabelMeta)
			r.System.Table.Remove(p.Number)
		}, ErrNotInstalled, "META"},
		{"a loader.conf of somebody else", func(_ *lab, r *UpgradeRequest) { r.System.Conf = "default @saved\n" }, errAny, `"@saved"`},
		{"a system on trial", func(l *lab, r *UpgradeRequest) {
			p, err := PlanUpgrade(l.request())
			l.run(p, err, l.versions[1].Assets)
			l.bump(l.disk)
			r.System, r.Running, r.RootHash = l.system(), l.versions[1].hash, l.versions[0].hash
		}, ErrOnTrial, "get upgradestatus"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := installed(t)
			r := l.request()
			tc.change(l, &r)
			p, err := PlanUpgrade(r)
			if err == nil || !errors.Is(tc.err, errAny) && !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("PlanUpgrade = %v; want %v, %q", err, tc.err, tc.text)
			}
			if len(p.Steps) > 0 {
				t.Errorf("a plan that is refused has %d steps", len(p.Steps))
			}
		})
	}
	l := installed(t)
	if _, err := PlanRollback("vda", l.system(), l.versions[0].hash, upgradeTime, nil); !errors.Is(err, ErrNoOther) {
		t.Errorf("a rollback to an empty slot = %v", err)
	}
	if _, err := PlanReturn("vda", l.system(), l.versions[0].hash, nil); !errors.Is(err, ErrNoOther) {
		t.Errorf("a return to an empty slot = %v", err)
	}
	if _, err := ReadSystem(newMedium(nil), l.size, 512); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("ReadSystem of an empty disk = %v", err)
	}
}

// A staged upgrade that nobody started is replaced by the next one.
func TestAnUpgradeReplacesOneThatWasNotTried(t *testing.T) {
	l := installed(t)
	p, err := PlanUpgrade(l.request())
	l.run(p, err, l.versions[1].Assets)
	l.versions = append(l.versions, newVersion("3.0", 50_000, 40_000))
	r := l.request()
	v := l.versions[2]
	r.UKI, r.Root, r.RootHash = v.UKI.Size, v.Root.Size, v.hash
	before := l.disk
	l.disk = newMedium(before)
	p, err = PlanUpgrade(r)
	log := l.run(p, err, v.Assets)
	if s, err := l.start(l.disk); err != nil || s.name != "3.0" || !s.complete || !s.everything {
		t.Errorf("%+v is started (%v)", s, err)
	}
	l.cuts(before, log, func(c cut, m *medium) {
		if s, err := l.start(m); err != nil || !s.complete {
			t.Errorf("cut at write %d, %s: %+v is started (%v)", c.write, c.how, s, err)
		}
	})
}
