package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"talos.internal/internal/image/rootfs"
)

func TestReadUnpacksWithUsrMerged(t *testing.T) {
	data := deb(t, "thing", "1:2.0-1", "libc6 (>= 2.34)",
		file{tar.Header{Name: "./sbin/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		regular("./sbin/tool", 0o4755, "odd"),
		link("./lib64/ld.so", "/lib/x/ld.so"),
		file{tar.Header{Name: "./usr/bin/same", Typeflag: tar.TypeLink, Linkname: "./sbin/tool"}, ""},
		regular("./libexec/x", 0o644, ""),
	)
	d, err := Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := []string{d.Name(), d.Version(), d.Arch()}, []string{"thing", "1:2.0-1", "amd64"}; !slices.Equal(got, want) {
		t.Errorf("Read: control %v; want %v", got, want)
	}
	want := []string{"libexec/x", "usr/bin/same", "usr/lib64/ld.so", "usr/sbin/tool", "usr/share/doc/thing/copyright"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(d.Files))); diff != "" {
		t.Errorf("Read: files (-want +got):\n%s", diff)
	}
	for _, name := range []string{"usr/sbin/tool", "usr/bin/same"} {
		e := d.Files[name]
		content, err := read(e)
		if err != nil || string(content) != "odd" || e.Mode != 0o755|fs.ModeSetuid || e.Path != name {
			t.Errorf("%s = %q %v %s, %v; want odd, setuid, its own path", name, content, e.Mode, e.Path, err)
		}
	}
}

func TestReadRefusesWhatIsNoPackage(t *testing.T) {
	good := deb(t, "thing", "1", "")
	control := tarGz(t, regular("control", 0o644, "Package: a\nVersion: 1\nArchitecture: all\n"))
	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"another archive", []byte("PK\x03\x04 and so on")},
		{"cut in a header", good[:len(arMagic)+30]},
		{"cut in the data", good[:len(good)-40]},
		{"no control", arOf(member{"data.tar.gz", tarGz(t)})},
		{"no data", arOf(member{"control.tar.gz", control})},
		{"a name in the long form", arOf(member{"#1/20", nil})},
		{"unknown compression", arOf(member{"control.tar.lzma", nil})},
		{"control twice", arOf(member{"control.tar.gz", control}, member{"control.tar.gz", control}, member{"data.tar.gz", tarGz(t)})},
		{"hard link to nothing", arOf(member{"control.tar.gz", control}, member{"data.tar.gz", tarGz(t,
			file{tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}, ""})})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Read(bytes.NewReader(tc.data)); !errors.Is(err, ErrFormat) {
				t.Errorf("Read = %v; want ErrFormat", err)
			}
		})
	}
}

func TestParseControl(t *testing.T) {
	const text = "# comment\nPackage: a\nDepends: b | c (>= 1) , d:any [amd64]\nPre-Depends: e, b\n" +
		"Description: short\n long\n .\n end\n\n\nPackage: f\nSource: g (1.2)\n"
	got, err := ParseControl(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Stanza{
		{"Package": "a", "Depends": "b | c (>= 1) , d:any [amd64]", "Pre-Depends": "e, b", "Description": "short\nlong\n.\nend"},
		{"Package": "f", "Source": "g (1.2)"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseControl (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"e", "b", "d"}, got[0].needs()); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
	if a, g := got[0].source(), got[1].source(); a != "a" || g != "g" {
		t.Errorf("source = %q, %q; want a, g", a, g)
	}
	for _, bad := range []string{" continues nothing\n", "no colon\n", "A: 1\nA: 2\n", ": no name\n", "A: 1\n\n b\n"} {
		if _, err := ParseControl(strings.NewReader(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("ParseControl(%q) = %v; want ErrFormat", bad, err)
		}
	}
}

func TestLicenceComesFromTheCopyrightFile(t *testing.T) {
	const head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
	for _, tc := range []struct {
		name, text, want string
		refs             []LicenceText
	}{
		{"one", head + "Files: *\nLicense: GPL-2+\n text\n", "GPL-2.0-or-later", nil},
		{"several, once each", head + "Files: *\nLicense: Expat\n\nFiles: b\nLicense: GPL-2\n\nFiles: c\nLicense: Expat\n",
			"GPL-2.0-only AND MIT", nil},
		{"a choice", head + "Files: *\nLicense: GPL-2+ or BSD-3-clause\n", "(GPL-2.0-or-later OR BSD-3-Clause)", nil},
		{"all of two", head + "Files: *\nLicense: LGPL-2.1+ and ISC\n", "LGPL-2.1-or-later AND ISC", nil},
		{"a text of its own", head + "Files: *\nLicense: my own\n\nLicense: my own\n do what\n you like\n",
			"LicenseRef-Debian-src-my-own", []LicenceText{{"LicenseRef-Debian-src-my-own", "my own", "do what\nyou like"}}},
		{"grouping that cannot be told", head + "Files: *\nLicense: ISC and MIT or GPL-2\n",
			"LicenseRef-Debian-src-ISC-and-MIT-or-GPL-2",
			[]LicenceText{{"LicenseRef-Debian-src-ISC-and-MIT-or-GPL-2", "ISC and MIT or GPL-2", "See the package's copyright file."}}},
		{"free text", "This is free software.\n", "", nil},
		{"another format", "Format: mine\n\nFiles: *\nLicense: MIT\n", "", nil},
		{"files without a licence", head + "Files: *\nCopyright: me\n", "", nil},
		{"no files", head + "License: MIT\n text\n", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ParseLicence("src", []byte(tc.text))
			if diff := cmp.Diff(Licence{tc.want, tc.refs}, got); diff != "" {
				t.Errorf("ParseLicence (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLockIsReadAsItIsWritten(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	lock := Lock{{"b", "1:2~3+b1", "amd64", sum}, {"aa", "1", "all", sum}}
	_, err := ParseLock(bytes.NewReader(lock.Text()))
	if err == nil {
		t.Error("ParseLock took a package name of one letter; Debian has none")
	}
	lock[0].Name = "bb"
	got, err := ParseLock(bytes.NewReader(lock.Text()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Lock{lock[1], lock[0]}, got); diff != "" {
		t.Errorf("ParseLock(Text) (-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		"aa 1 all\n", "aa 1 all " + sum[1:] + "\n", "aa v1 all " + sum + "\n", "../a 1 all " + sum + "\n",
		"aa 1 all " + sum + "\naa 2 all " + sum + "\n", "aa 1 a/b " + sum + "\n",
	} {
		if _, err := ParseLock(strings.NewReader(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("ParseLock(%q) = %v; want ErrFormat", bad, err)
		}
	}
}

func TestLockChanges(t *testing.T) {
	old := Lock{{"gone", "1", "all", "x"}, {"moved", "1", "all", "x"}, {"same", "1", "all", "x"}, {"swapped", "1", "all", "x"}}
	now := Lock{{"moved", "2", "all", "y"}, {"new", "1", "all", "x"}, {"same", "1", "all", "x"}, {"swapped", "1", "all", "y"}}
	want := []string{"gone is gone", "moved 1 → 2", "new 1 is new", "swapped 1: another file under the same version"}
	if diff := cmp.Diff(want, now.Changes(old)); diff != "" {
		t.Errorf("Changes (-want +got):\n%s", diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(deb(f, "thing", "1", "libc6", regular("./bin/a", 0o755, "a"), link("./bin/b", "a")))
	f.Add(arOf(member{"control.tar", nil}, member{"data.tar.xz", []byte("\xfd7zXZ\x00")}))
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var tree rootfs.Tree
		for name, e := range d.Files {
			if e.Path != name || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") {
				t.Errorf("file %q of path %q", name, e.Path)
			}
			_ = tree.Add(e) // may be refused, must not panic
		}
	})
}

func FuzzMembers(f *testing.F) {
	f.Add(arOf(member{"a", []byte("1")}, member{"b", []byte("22")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		err := eachMember(bytes.NewReader(data), func(_ string, r io.Reader) error {
			content, err := io.ReadAll(r)
			total += len(content)
			return err
		})
		if total > len(data) {
			t.Errorf("%d bytes of members in %d bytes, error %v", total, len(data), err)
		}
	})
}

func FuzzParseControl(f *testing.F) {
	f.Add([]byte("Package: a\nDepends: b | c, d (>= 1)\nDescription: x\n y\n\nPackage: e\n"))
	f.Add([]byte("Format: copyright-format\n\nFiles: *\nLicense: a and b\n\nLicense: a\n t\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseControl(bytes.NewReader(data))
		for _, s := range all {
			for _, name := range s.needs() {
				if strings.ContainsAny(name, " ,|(") {
					t.Errorf("dependency %q", name)
				}
			}
		}
		if l := ParseLicence("src", data); err != nil && l.Expression != "" {
			t.Errorf("licence %q of what is no control file", l.Expression)
		}
	})
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte("# c\naa 1 all " + strings.Repeat("0", 64) + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := ParseLock(bytes.NewReader(data))
		if err != nil {
			return
		}
		again, err := ParseLock(bytes.NewReader(lock.Text()))
		if err != nil || !slices.Equal(lock, again) {
			t.Errorf("ParseLock(Text) = %v, %v; want %v", again, err, lock)
		}
	})
}

func FuzzLinked(f *testing.F) {
	f.Add([]byte(elfFile("/lib64/ld.so", "$ORIGIN/x", "libc.so.6")))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = linked(data) })
}

// What xz packed is read the same, by its program and, where there is none, by the module.
func TestXZIsReadWithAndWithoutItsProgram(t *testing.T) {
	plain := bytes.Repeat([]byte("a package "), 100_000)
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{os.Getenv("PATH"), t.TempDir()} {
		t.Setenv("PATH", path)
		r, err := openXZ(bytes.NewReader(packed.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("PATH=%s: %d bytes, %v; want %d", path, len(got), err, len(plain))
		}
		for _, broken := range [][]byte{packed.Bytes()[:packed.Len()/2], []byte("no xz at all, but long enough for a header")} {
			r, err := openXZ(bytes.NewReader(broken))
			if err == nil {
				_, err = io.ReadAll(r)
				err = errors.Join(err, r.Close())
			}
			if err == nil {
				t.Errorf("PATH=%s: %d bytes of something else are no error", path, len(broken))
			}
		}
		// Who has enough ends it.
		if r, err = openXZ(bytes.NewReader(packed.Bytes())); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("Close before the end: %v", err)
		}
	}
}
