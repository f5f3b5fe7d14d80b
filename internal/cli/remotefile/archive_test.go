package remotefile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packed is a compressed archive of members, each with its name as content.
func packed(members ...tar.Header) []byte {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, h := range members {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		_ = w.WriteHeader(&h) // to memory
		if h.Typeflag == tar.TypeReg {
			_, _ = io.WriteString(w, h.Name)
		}
	}
	_, _ = w.Close(), zip.Close()
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg} }

func link(kind byte, name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: kind}
}

func TestNothingIsWrittenOutsideOfTheFolder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		members []tar.Header
		fails   bool
	}{
		{"a name that leads out", []tar.Header{file("../escaped")}, true},
		{"a name that leads out later", []tar.Header{file("a/../../escaped")}, true},
		{"an absolute name is one below", []tar.Header{file("/escaped")}, false},
		{"through a symbolic link to a folder", []tar.Header{link(tar.TypeSymlink, "out", ".."), file("out/escaped")}, true},
		{"through an absolute symbolic link", []tar.Header{link(tar.TypeSymlink, "out", os.TempDir()), file("out/escaped")}, true},
		{"over a symbolic link to a file", []tar.Header{link(tar.TypeSymlink, "f", "../victim"), file("f")}, false},
		{"a folder through a symbolic link", []tar.Header{link(tar.TypeSymlink, "out", ".."), {Name: "out/escaped", Mode: 0o755, Typeflag: tar.TypeDir}}, true},
		{"a hard link to outside", []tar.Header{link(tar.TypeLink, "f", "../victim")}, true},
		{"a hard link through a symbolic one", []tar.Header{link(tar.TypeSymlink, "out", ".."), link(tar.TypeLink, "f", "out/victim")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			victim := filepath.Join(parent, "victim")
			if err := os.WriteFile(victim, []byte("whole"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := extract(bytes.NewReader(packed(tt.members...)), filepath.Join(parent, "in"))
			if (err != nil) != tt.fails {
				t.Errorf("extract = %v; want an error: %t", err, tt.fails)
			}
			entries, err := os.ReadDir(parent)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "in" && e.Name() != "victim" {
					t.Errorf("%s was made outside of the folder", e.Name())
				}
			}
			if data, err := os.ReadFile(victim); string(data) != "whole" || err != nil {
				t.Errorf("the file outside = %q, %v; want it as it was", data, err)
			}
		})
	}
}

func TestExtractKeepsLinksAndModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "in")
	for range 2 { // the second time over what is there
		skipped, err := extract(bytes.NewReader(packed(
			tar.Header{Name: "d/", Mode: 0o500, Typeflag: tar.TypeDir}, file("d/a"), link(tar.TypeSymlink, "d/s", "a"), link(tar.TypeLink, "d/h", "d/a"),
			tar.Header{Name: "null", Typeflag: tar.TypeChar},
		)), dir)
		if err != nil || len(skipped) != 1 {
			t.Fatalf("extract = %q, %v; want the device left out", skipped, err)
		}
	}
	for _, name := range []string{"d/a", "d/s", "d/h"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); string(data) != "d/a" || err != nil {
			t.Errorf("%s = %q, %v; want d/a", name, data, err)
		}
	}
}

// A machine says at the end what it could not send; all that it sent is there nevertheless.
func TestTheLastWordOfTheMachineIsHeard(t *testing.T) {
	dir, last := t.TempDir(), errors.New("one entry is missing")
	_, err := extract(io.MultiReader(bytes.NewReader(packed(file("a"))), failing{last}), dir)
	if !errors.Is(err, last) {
		t.Errorf("extract = %v; want %v", err, last)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestExtractOfWhatIsNoArchive(t *testing.T) {
	for name, data := range map[string][]byte{"text": []byte("no archive"), "cut off": packed(file("a"))[:20], "nothing": nil} {
		if _, err := extract(bytes.NewReader(data), t.TempDir()); err == nil {
			t.Errorf("extract of %s = nil; want an error", name)
		}
	}
}

// FuzzExtract holds that an archive, whatever it has, makes nothing beside its folder.
func FuzzExtract(f *testing.F) {
	f.Add("a", "b", byte(tar.TypeReg))
	f.Add("out/../../x", "..", byte(tar.TypeSymlink))
	f.Add("/x/", "../x", byte(tar.TypeLink))
	f.Fuzz(func(t *testing.T, name, target string, kind byte) {
		parent := t.TempDir()
		_, _ = extract(bytes.NewReader(packed(link(kind, name, target), file(name+"/x"), file(target+"/x"))), filepath.Join(parent, "in")) // any error will do
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "in" && !strings.HasPrefix(e.Name(), "in") {
				t.Errorf("%q was made beside the folder", e.Name())
			}
		}
	})
}
