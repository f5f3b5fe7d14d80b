package filesctrl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/controller/controllertest"
	"talos.internal/resource"
	"talos.internal/resource/files"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// binder records what is bound, and can refuse.
type binder struct {
	calls []string
	err   error
}

func (b *binder) Bind(name string) error {
	if b.err != nil {
		return b.err
	}
	b.calls = append(b.calls, "bind "+name)
	return nil
}

func (b *binder) Unbind(name string) error {
	b.calls = append(b.calls, "unbind "+name)
	return nil
}

func read(t *testing.T, path string) (string, fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), info.Mode()
}

func TestAFileFollowsItsWish(t *testing.T) {
	root, b := t.TempDir(), &binder{}
	path := filepath.Join(root, "cri", "base.json")
	controllertest.Run(t, func(h *controllertest.Harness) {
		set := func(contents string, mode fs.FileMode) {
			t.Helper()
			r := controllertest.Modify(h, "cri/base.json", func(s *files.EtcFileSpec) { s.Contents, s.Mode = files.Contents(contents), mode })
			controllertest.Want(h, "cri/base.json", files.EtcFileStatus{SpecVersion: r.Metadata().Version().String()})
			if got, m := read(t, path); got != contents || m != mode {
				t.Errorf("%s = %q, %s; want %q, %s", path, got, m, contents, mode)
			}
		}
		set("one and more", 0o600)
		first, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		set("two", 0o600)
		set("", 0o600)
		set("a longer one, after all", 0o644)
		if now, err := os.Stat(path); err != nil || !os.SameFile(first, now) {
			t.Errorf("the file was replaced, and is not seen where it is mounted: %v", err)
		}
		before := len(b.calls)
		h.Advance(time.Hour)
		if len(b.calls) != before {
			t.Errorf("bound %v; want nothing without a change", b.calls[before:])
		}
		h.Remove(state.RefOf[files.EtcFileSpec]("cri/base.json"))
		controllertest.WantGone[files.EtcFileStatus](h, "cri/base.json")
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat of a file that nobody wants = %v", err)
		}
	}, Controllers(Deps{Root: root, Binder: b})...)
	if want := []string{"bind cri/base.json", "unbind cri/base.json"}; !slices.Equal(b.calls, want) {
		t.Errorf("calls = %v; want %v", b.calls, want)
	}
}

func TestABindThatFailsIsTriedAgainAndHasNoStatus(t *testing.T) {
	root, b := t.TempDir(), &binder{err: fs.ErrPermission}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "hosts", files.EtcFileSpec{Contents: files.Contents("x"), Mode: 0o644})
		controllertest.Create(h, "../shadow", files.EtcFileSpec{Contents: files.Contents("x"), Mode: 0o644})
		controllertest.WantNever[files.EtcFileStatus](h, "hosts")
		b.err = nil
		controllertest.WantThat(h, "hosts", "be there", there)
		controllertest.WantNever[files.EtcFileStatus](h, "../shadow")
	}, Controllers(Deps{Root: root, Binder: b})...)
	if _, err := os.Stat(filepath.Join(root, "../shadow")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file outside of the root: %v", err)
	}
}

func TestFilesOfTheConfig(t *testing.T) {
	root, b := t.TempDir(), &binder{}
	config := func(names ...string) string {
		var text strings.Builder
		for _, n := range names {
			text.WriteString("---\napiVersion: v1alpha1\nkind: EtcFileConfig\nname: " + n + "\nmode: 0o600\ncontents: of the config\n")
		}
		return text.String()
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "taken.conf", files.EtcFileSpec{Contents: files.Contents("of the system"), Mode: 0o644}, state.As("someone"))
		set := func(names ...string) {
			controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = config(names...) })
		}
		set("nfsmount.conf", "taken.conf")
		controllertest.Want(h, "nfsmount.conf", files.EtcFileSpec{Contents: files.Contents("of the config"), Mode: 0o600})
		controllertest.WantThat(h, "nfsmount.conf", "be there", there)
		controllertest.Want(h, "taken.conf", files.EtcFileSpec{Contents: files.Contents("of the system"), Mode: 0o644})
		set("taken.conf")
		controllertest.WantGone[files.EtcFileSpec](h, "nfsmount.conf")
		if _, err := os.Stat(filepath.Join(root, "nfsmount.conf")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat = %v; want it gone", err)
		}
		set("nfsmount.conf")
		controllertest.WantThat(h, "nfsmount.conf", "be there", there)
	}, Controllers(Deps{Root: root, Binder: b})...)
}

func there(*resource.Typed[files.EtcFileStatus]) bool { return true }
