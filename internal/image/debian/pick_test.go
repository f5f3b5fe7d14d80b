package debian

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shelf is a source with packages that are there.
type shelf map[string]*Deb

func (s shelf) Package(_ context.Context, name string) (*Deb, error) {
	if d, ok := s[name]; ok {
		return d, nil
	}
	return nil, ErrNoPackage
}

func shelfOf(t *testing.T, debs ...[]byte) shelf {
	t.Helper()
	s := shelf{}
	for _, data := range debs {
		d, err := Read(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		s[d.Name()] = d
	}
	return s
}

func samplePackages(t *testing.T) shelf {
	const dir = "./lib/x86_64-linux-gnu/"
	return shelfOf(t,
		deb(t, "tool", "1", "libnone1 | x, libfoo-bar1, libc6, python3",
			regular("./sbin/tool", 0o4755, elfFile("/lib64/ld.so.2", "", "libfoo_bar.so.1", "libc.so.6")),
			link("./sbin/alias", "tool"),
			link("./usr/bin/dangling", "nothing"),
			regular("./usr/bin/private", 0o755, elfFile("", "$ORIGIN/../lib/tool", "libown.so")),
			regular("./usr/lib/tool/libown.so", 0o644, elfFile("", "")),
			regular("./usr/bin/lost", 0o755, elfFile("", "", "libmissing.so.9")),
			regular("./usr/bin/script", 0o755, "#!/bin/sh\n"),
			regular("./usr/share/data/a", 0o644, "a"), regular("./usr/share/data/b/c", 0o644, "c"),
		),
		// It needs libextra, and does not say so: the package of the wanted file has to.
		deb(t, "libfoo-bar1", "2", "libc6",
			link(dir+"libfoo_bar.so.1", "libfoo_bar.so.1.5"),
			regular(dir+"libfoo_bar.so.1.5", 0o644, elfFile("", "", "libc.so.6", "libextra.so.3"))),
		deb(t, "libc6", "3", "",
			regular(dir+"libc.so.6", 0o755, elfFile("", "")), link("./lib64/ld.so.2", "/lib/x86_64-linux-gnu/ld.so.2"),
			regular(dir+"ld.so.2", 0o755, elfFile("", "")), regular(dir+"libunused.so", 0o644, elfFile("", ""))),
		deb(t, "python3", "4", "libextra3"),
		deb(t, "libextra3", "5", "", regular("./usr/lib/libextra.so.3", 0o644, elfFile("", ""))),
	)
}

func TestPickTakesWhatIsNeededAndNothingElse(t *testing.T) {
	shelf := samplePackages(t)
	shelf["tool"].Control["Depends"] += ", libextra3"
	for _, tc := range []struct {
		name string
		path string
		want []string
		used []string
	}{
		{"a link, its program, libraries of libraries and the loader", "usr/sbin/alias", []string{
			"bin", "lib", "lib64",
			"sbin",
			"usr/lib/libextra.so.3", "usr/lib/x86_64-linux-gnu/ld.so.2", "usr/lib/x86_64-linux-gnu/libc.so.6",
			"usr/lib/x86_64-linux-gnu/libfoo_bar.so.1", "usr/lib/x86_64-linux-gnu/libfoo_bar.so.1.5",
			"usr/lib64/ld.so.2", "usr/sbin/alias", "usr/sbin/tool",
			"usr/share/doc/libc6/copyright", "usr/share/doc/libextra3/copyright", "usr/share/doc/libfoo-bar1/copyright",
			"usr/share/doc/tool/copyright",
		}, []string{"libc6", "libextra3", "libfoo-bar1", "tool"}},
		{"a library that only the program's own path leads to", "usr/bin/private", []string{
			"bin", "lib", "lib64", "sbin", "usr/bin/private", "usr/lib/tool/libown.so", "usr/share/doc/tool/copyright",
		}, []string{"tool"}},
		{"a folder", "usr/share/data", []string{
			"bin", "lib", "lib64", "sbin", "usr/share/data/a", "usr/share/data/b/c", "usr/share/doc/tool/copyright",
		}, []string{"tool"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			picked, err := Pick(t.Context(), shelf, []Want{{"tool", tc.path}})
			if err != nil {
				t.Fatal(err)
			}
			var got, used []string
			for _, e := range picked.Tree.Entries() {
				if e.Mode&fs.ModeSetuid != 0 {
					t.Errorf("%s is setuid", e.Path)
				}
				if !e.Mode.IsDir() {
					got = append(got, e.Path)
				}
			}
			for _, u := range picked.Used {
				used = append(used, u.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.used, used); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPickSaysWhatIsMissing(t *testing.T) {
	shelf := samplePackages(t)
	for _, tc := range []struct {
		name string
		want Want
		is   error
		text string
	}{
		{"a package", Want{"other", "usr/bin/x"}, ErrNoPackage, "take usr/bin/x: no such package"},
		{"a file", Want{"tool", "usr/bin/x"}, fs.ErrNotExist, "take usr/bin/x from tool: file does not exist"},
		{"a library", Want{"tool", "usr/bin/lost"}, fs.ErrNotExist, "take usr/bin/lost from tool: library of usr/bin/lost: " +
			"libmissing.so.9 is neither in tool nor in a package that it depends on: file does not exist"},
		{"a link's target", Want{"tool", "usr/bin/dangling"}, fs.ErrNotExist, "take usr/bin/dangling from tool: " +
			"usr/bin/nothing is neither in tool nor in a package that it depends on: file does not exist"},
		{"a library that no one declares", Want{"tool", "usr/sbin/tool"}, fs.ErrNotExist, "take usr/sbin/tool from tool: " +
			"library of usr/sbin/tool: library of usr/lib/x86_64-linux-gnu/libfoo_bar.so.1.5: " +
			"libextra.so.3 is neither in libfoo-bar1 nor in a package that it depends on: file does not exist"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Pick(t.Context(), shelf, []Want{tc.want})
			if !errors.Is(err, tc.is) || err.Error() != tc.text {
				t.Errorf("Pick = %v; want %s", err, tc.text)
			}
		})
	}
}

func TestPickTakesTheLicenceOfAnotherPackageOfTheSource(t *testing.T) {
	shelf := samplePackages(t)
	main := shelf["libextra3"]
	delete(main.Files, "usr/share/doc/libextra3/copyright")
	other := shelfOf(t, deb(t, "gone", "1", "", link("./usr/share/doc/libextra3", "tool")))["gone"]
	main.Files["usr/share/doc/libextra3"] = other.Files["usr/share/doc/libextra3"]
	picked, err := Pick(t.Context(), shelf, []Want{{"libextra3", "usr/lib/libextra.so.3"}})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := picked.Tree.Get("usr/share/doc/libextra3/copyright")
	text, err := read(e)
	if string(text) != "all rights of tool" || err != nil {
		t.Errorf("copyright = %q, %v; want tool's", text, err)
	}
	if !picked.Read["tool"] || len(picked.Used) != 1 {
		t.Errorf("read %v, used %v; want tool to be read, not used", picked.Read, picked.Used)
	}
}
