package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mirror is an archive in memory. What is in late is only there after a refresh.
type mirror struct {
	has, late map[Locked][]byte
	refreshed int
	fetched   int
}

func (m *mirror) Candidate(_ context.Context, name string) (Locked, error) {
	for p := range m.has {
		if p.Name == name {
			return p, nil
		}
	}
	return Locked{}, ErrNoPackage
}

func (m *mirror) Fetch(_ context.Context, p Locked, dir string) (string, error) {
	for have, data := range m.has {
		if have.Name == p.Name && have.Version == p.Version {
			m.fetched++
			file := filepath.Join(dir, "fetched.deb")
			return file, os.WriteFile(file, data, 0o600)
		}
	}
	return "", ErrNoPackage
}

func (m *mirror) Refresh(context.Context) error {
	m.refreshed++
	for p, data := range m.late {
		m.has[p] = data
	}
	return nil
}

func pack(t *testing.T, name, version string) (Locked, []byte) {
	t.Helper()
	data := deb(t, name, version, "")
	sum := sha256.Sum256(data)
	return Locked{name, version, "amd64", hex.EncodeToString(sum[:])}, data
}

func TestPinnedGivesWhatTheLockSays(t *testing.T) {
	v1, data1 := pack(t, "thing", "1")
	v2, data2 := pack(t, "thing", "2")
	wrong := v1
	wrong.SHA256 = v2.SHA256
	lying := Locked{"thing", "3", "amd64", v1.SHA256}
	for _, tc := range []struct {
		name      string
		lock      Locked
		has, late map[Locked][]byte
		float     bool
		version   string // of what comes
		want      string // in the error
		refreshed int
	}{
		{name: "it is there", lock: v1, has: map[Locked][]byte{v1: data1}, version: "1"},
		{name: "the lists were empty", lock: v1, late: map[Locked][]byte{v1: data1}, version: "1", refreshed: 1},
		{name: "it is gone", lock: v1, has: map[Locked][]byte{v2: data2}, refreshed: 1,
			want: "the lock wants thing 1; the archive no longer has that, it has 2"},
		{name: "it is gone in all versions", lock: v1, float: true, refreshed: 1,
			want: "the lock wants thing 1; the archive no longer has that, it has it in no version"},
		{name: "it is gone, and that is accepted", lock: v1, has: map[Locked][]byte{v2: data2}, float: true, version: "2", refreshed: 1},
		{name: "another file under the version", lock: wrong, has: map[Locked][]byte{v1: data1},
			want: "thing 1 from the archive has SHA-256 " + v1.SHA256 + "; want " + v2.SHA256},
		{name: "another package under the name", lock: lying, has: map[Locked][]byte{lying: data1}, want: "says it is thing 1 amd64; want thing 3 amd64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &mirror{has: tc.has, late: tc.late}
			if m.has == nil {
				m.has = map[Locked][]byte{}
			}
			s := &Pinned{Lock: Lock{tc.lock}, Cache: &Cache{Dir: t.TempDir(), Archive: m}, Float: tc.float}
			d, err := s.Package(t.Context(), "thing")
			switch {
			case tc.want == "" && (err != nil || d.Version() != tc.version):
				t.Errorf("Package = %v, %v; want version %s", d, err, tc.version)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Package = %v; want %q", err, tc.want)
			}
			if m.refreshed != tc.refreshed {
				t.Errorf("%d refreshes; want %d", m.refreshed, tc.refreshed)
			}
			if _, err := s.Package(t.Context(), "other"); !errors.Is(err, ErrNoPackage) {
				t.Errorf("Package(other) = %v; want ErrNoPackage", err)
			}
		})
	}
}

func TestCacheAsksOnceAndTrustsNoFile(t *testing.T) {
	p, data := pack(t, "thing", "1")
	m := &mirror{has: map[Locked][]byte{p: data}}
	dir := t.TempDir()
	fetch := func() error { return (&Pinned{Lock: Lock{p}, Cache: &Cache{Dir: dir, Archive: m}}).Fetch(t.Context()) }
	for range 2 {
		if err := fetch(); err != nil {
			t.Fatal(err)
		}
	}
	if m.fetched != 1 {
		t.Errorf("fetched %d times; want once", m.fetched)
	}
	if err := os.WriteFile(filepath.Join(dir, p.SHA256+".deb"), data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetch(); err != nil || m.fetched != 2 {
		t.Errorf("a cut file: fetched %d times in all, %v; want a second time", m.fetched, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 || err != nil {
		t.Errorf("the cache has %v; want the one package", left)
	}
}

func TestNewestLocksWhatWasUsed(t *testing.T) {
	a, dataA := pack(t, "aa", "1")
	b, dataB := pack(t, "bb", "2")
	s := &Newest{Cache: &Cache{Dir: t.TempDir(), Archive: &mirror{has: map[Locked][]byte{a: dataA, b: dataB}}}}
	for _, name := range []string{"bb", "aa", "bb"} {
		if _, err := s.Package(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(Lock{a, b}, s.Lock(map[string]bool{"aa": true, "bb": true})); diff != "" {
		t.Errorf("Lock (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Lock{b}, s.Lock(map[string]bool{"bb": true})); diff != "" {
		t.Errorf("Lock (-want +got):\n%s", diff)
	}
}

func TestAptIsAskedAndUnderstood(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	exit := exec.Command("false").Run() // any exit status
	for _, tc := range []struct {
		name   string
		stdout string
		err    error
		want   Locked
		is     error
	}{
		{name: "one", stdout: "Package: thing\nVersion: 1-1\nArchitecture: all\nSHA256: " + sum + "\n", want: Locked{"thing", "1-1", "all", sum}},
		{name: "installed from elsewhere, and in the archive",
			stdout: "Package: thing\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n\n" +
				"Package: thing\nVersion: 1\nArchitecture: all\nSHA256: " + sum + "\n", want: Locked{"thing", "1", "all", sum}},
		{name: "only installed", stdout: "Package: thing\nVersion: 2\nArchitecture: all\n", is: ErrNoPackage},
		{name: "none", err: fmt.Errorf("apt-cache: %w: E: No packages found", exit), is: ErrNoPackage},
		{name: "virtual", is: ErrNoPackage},
		{name: "no apt", err: exec.ErrNotFound, is: exec.ErrNotFound},
		{name: "garbage", stdout: "nonsense\n", is: ErrFormat},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &Apt{Arch: "amd64", run: func(_ context.Context, _, name string, args ...string) ([]byte, error) {
				if got := name + " " + strings.Join(args, " "); got != "apt-cache show --no-all-versions thing:amd64" {
					t.Errorf("ran %s", got)
				}
				return []byte(tc.stdout), tc.err
			}}
			got, err := a.Candidate(t.Context(), "thing")
			if !errors.Is(err, tc.is) || tc.is == nil && got != tc.want {
				t.Errorf("Candidate = %v, %v; want %v, %v", got, err, tc.want, tc.is)
			}
		})
	}
	if _, err := NewApt("amd64").Candidate(t.Context(), "-o=x"); !errors.Is(err, ErrFormat) {
		t.Errorf("Candidate(-o=x) = %v; want ErrFormat: names are arguments of apt", err)
	}
}

func TestAptFetch(t *testing.T) {
	p, data := pack(t, "thing", "1")
	dir := t.TempDir()
	a := &Apt{Arch: "amd64", run: func(_ context.Context, in, name string, args ...string) ([]byte, error) {
		if got := name + " " + strings.Join(args, " "); got != "apt-get download --quiet thing:amd64=1" {
			t.Errorf("ran %s", got)
		}
		return nil, os.WriteFile(filepath.Join(in, "thing_1_amd64.deb"), data, 0o600)
	}}
	file, err := a.Fetch(t.Context(), p, dir)
	got, readErr := os.ReadFile(file)
	if err != nil || readErr != nil || !bytes.Equal(got, data) {
		t.Errorf("Fetch = %s, %v; want the package", file, err)
	}
	for text, is := range map[string]error{
		"E: Version '1' for 'thing' was not found":      ErrNoPackage,
		"E: Unable to locate package thing":             ErrNoPackage,
		"E: Failed to fetch x  404  Not Found":          ErrNoPackage,
		"E: Could not get lock /var/lib/dpkg/lock-held": os.ErrPermission,
	} {
		a.run = func(context.Context, string, string, ...string) ([]byte, error) {
			return nil, fmt.Errorf("apt-get: %w: %s", os.ErrPermission, text)
		}
		if _, err := a.Fetch(t.Context(), p, dir); !errors.Is(err, is) {
			t.Errorf("Fetch with %q = %v; want %v", text, err, is)
		}
	}
}
