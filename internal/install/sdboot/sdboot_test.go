package sdboot

import "testing"

func entries(files ...string) []Entry {
	var out []Entry
	for _, f := range files {
		out = append(out, Entry{File: f, SortKey: "talos", Version: "1.2.0"})
	}
	return out
}

func TestChoose(t *testing.T) {
	newer := Entry{File: "talos-B.efi", SortKey: "talos", Version: "1.10.0"}
	old := Entry{File: "talos-A.efi", SortKey: "talos", Version: "1.9.0"}
	for _, tc := range []struct {
		name, conf string
		list       []Entry
		want       string
	}{
		{"nothing", "default x", nil, ""},
		{"the newest, without a default", "timeout 0\n", []Entry{old, newer}, "talos-B.efi"},
		{"the default, although it is older", "default talos-a*.efi", []Entry{old, newer}, "talos-A.efi"},
		{"names have no case", "default TALOS-A*.efi", []Entry{old, newer}, "talos-A.efi"},
		{"a default that nothing has", "default talos-c*", []Entry{old, newer}, "talos-B.efi"},
		{"a pattern that is none", "default talos-[", []Entry{old, newer}, "talos-B.efi"},
		{"the last default counts, comments do not", "default talos-b*\n# default x\n default\ttalos-a* \r\n", []Entry{old, newer}, "talos-A.efi"},
		{"one try is left", "default talos-b+1.e*", entries("talos-A.efi", "talos-B+1.efi"), "talos-B+1.efi"},
		{"no try is left", "default talos-b+1.e*", entries("talos-A.efi", "talos-B+0-1.efi"), "talos-A.efi"},
		{"no try is left, and it is newer", "", []Entry{old, {File: "talos-B+0-1.efi", SortKey: "talos", Version: "1.10.0"}}, "talos-A.efi"},
		{"the default has no try left", "default talos-b*", entries("talos-A.efi", "talos-B+0-1.efi"), "talos-B+0-1.efi"},
		{"nothing else has tries", "", entries("talos-B+0-1.efi"), "talos-B+0-1.efi"},
		{"more tries first", "", entries("x+1.efi", "x+2.efi"), "x+2.efi"},
		{"a sort key goes before none", "", []Entry{{File: "z.efi"}, {File: "a.efi", SortKey: "k"}}, "a.efi"},
	} {
		got, ok := Choose(tc.conf, tc.list)
		if got.File != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: Choose = %q, %t; want %q", tc.name, got.File, ok, tc.want)
		}
	}
}

func TestCounters(t *testing.T) {
	for _, tc := range []struct {
		file, next string
		want       Counter
	}{
		{"talos-A.efi", "talos-A.efi", Counter{}},
		{"talos-B+1.efi", "talos-B+0-1.efi", Counter{Left: 1, Counted: true, prefix: "talos-B+"}},
		{"talos-B+0-1.efi", "talos-B+0-2.efi", Counter{Done: 1, Counted: true, prefix: "talos-B+"}},
		{"a+b+3-4.efi", "a+b+2-5.efi", Counter{Left: 3, Done: 4, Counted: true, prefix: "a+b+"}},
		{"a+3.conf", "a+3.conf", Counter{}},
		{"a+.efi", "a+.efi", Counter{}},
		{"a+1-.efi", "a+1-.efi", Counter{}},
		{"a+1x.efi", "a+1x.efi", Counter{}},
		{"a+99999999999.efi", "a+99999999999.efi", Counter{}},
	} {
		if got := ParseCounter(tc.file); got != tc.want {
			t.Errorf("ParseCounter(%s) = %+v; want %+v", tc.file, got, tc.want)
		}
		if got := Bump(tc.file); got != tc.next {
			t.Errorf("Bump(%s) = %s; want %s", tc.file, got, tc.next)
		}
	}
}

func TestNewEntry(t *testing.T) {
	e, ok := NewEntry("talos-A.efi", "ID=talos\nVERSION_ID=\"v1.2\"\nPRETTY_NAME='Talos (v1.2)'\n")
	if want := (Entry{File: "talos-A.efi", SortKey: "talos", Version: "v1.2"}); !ok || e != want {
		t.Errorf("NewEntry = %+v, %t; want %+v", e, ok, want)
	}
	for _, file := range []string{".x.efi", "x.conf", "auto-x.efi"} {
		if _, ok := NewEntry(file, "ID=talos"); ok {
			t.Errorf("%s is an entry", file)
		}
	}
	if _, ok := NewEntry("x.efi", "VERSION=1"); ok {
		t.Error("an image without a name is an entry")
	}
}

// The examples are those of the specification and of systemd's tests.
func TestCompareVersions(t *testing.T) {
	ordered := []string{"~1", "", "ab", "abb", "abc", "0001", "002", "12", "122", "122.9", "123~rc1", "123", "123-a", "123-a.1", "123-a1", "123-a1.1", "123-3", "123-3.1", "123^patch1", "123^1", "123.a-1", "123.1-1", "123a-1", "124"}
	for i, a := range ordered {
		for j, b := range ordered {
			got := CompareVersions(a, b)
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("CompareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
	for _, same := range [][2]string{{"1.2", "1_.2"}, {"007", "7"}} {
		if got := CompareVersions(same[0], same[1]); got != 0 {
			t.Errorf("CompareVersions(%q, %q) = %d", same[0], same[1], got)
		}
	}
}

func FuzzChoose(f *testing.F) {
	f.Add("default talos-b+1.e*\ntimeout 0\n", "talos-A.efi", "talos-B+1.efi", "ID=a\nVERSION=1.2~rc\n")
	f.Fuzz(func(_ *testing.T, conf, a, b, release string) {
		var list []Entry
		for _, file := range []string{a, b} {
			if e, ok := NewEntry(file, release); ok {
				list = append(list, e)
			}
		}
		Choose(conf, list)
		CompareVersions(a, b)
	})
}
