// Package sdboot says which entry systemd-boot starts.
//
// The rules are those of version 252 of systemd-boot (loader.conf(5), "Automatic Boot Assessment" and the Boot Loader Specification, type #2):
// a unified kernel image in EFI/Linux is an entry whose id is its file name in lower case, counter included. The entries are sorted:
// those without tries left last, then by sort key, newer versions first, and by id. The first that the pattern "default" of loader.conf
// matches is started, whatever its counter; if none does, the first of all. Before an entry with a counter is started, [Bump] is its name.
//
// The EFI variables LoaderEntryOneShot and LoaderEntryDefault, which go before loader.conf, are nobody's here; neither are entries in
// loader/entries. The package is pure, and imports nothing of ours.
package sdboot

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Entry is a unified kernel image.
type Entry struct {
	File    string // its name in EFI/Linux
	SortKey string
	Version string
}

// ID is what patterns match.
func (e Entry) ID() string { return strings.ToLower(e.File) }

// Counter is what a file name says of tries: name+LEFT.efi or name+LEFT-DONE.efi.
type Counter struct {
	Left, Done int
	// Counted says that there is a counter. Without one an entry may be tried for ever.
	Counted bool

	prefix string // of the name, with the plus sign
}

const suffix = ".efi"

// ParseCounter reads the counter of a file name.
func ParseCounter(file string) Counter {
	i := strings.LastIndexByte(file, '+')
	if i < 0 || !strings.HasSuffix(file, suffix) {
		return Counter{}
	}
	left, done, both := strings.Cut(strings.TrimSuffix(file[i+1:], suffix), "-")
	c := Counter{Counted: true, prefix: file[:i+1]}
	var err error
	if c.Left, err = number(left); err != nil {
		return Counter{}
	}
	if both {
		if c.Done, err = number(done); err != nil {
			return Counter{}
		}
	}
	return c
}

func number(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}

// Bump returns the name that systemd-boot gives a file before it starts it.
func Bump(file string) string {
	c := ParseCounter(file)
	if !c.Counted {
		return file
	}
	return fmt.Sprintf("%s%d-%d%s", c.prefix, max(0, c.Left-1), c.Done+1, suffix)
}

// NewEntry makes an entry of a file and its section .osrel. ok is false if systemd-boot shows no such entry.
func NewEntry(file, osRelease string) (e Entry, ok bool) {
	if !strings.HasSuffix(strings.ToLower(file), suffix) || strings.HasPrefix(file, ".") || strings.HasPrefix(file, "auto-") {
		return Entry{}, false
	}
	v := map[string]string{}
	lines(osRelease, "=", func(key, value string) { v[key] = value })
	first := func(keys ...string) string {
		for _, k := range keys {
			if v[k] != "" {
				return v[k]
			}
		}
		return ""
	}
	if first("PRETTY_NAME", "IMAGE_ID", "NAME", "ID") == "" {
		return Entry{}, false
	}
	return Entry{File: file, SortKey: first("IMAGE_ID", "ID"), Version: first("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID")}, true
}

// lines calls f for each line with a key and a value.
func lines(text, separators string, f func(key, value string)) {
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.Trim(line, " \t"+separators)
		i := strings.IndexAny(line, separators)
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		value := strings.TrimLeft(line[i:], separators)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		f(line[:i], value)
	}
}

// Default returns the pattern "default" of a loader.conf, in lower case; empty if it has none.
func Default(conf string) string {
	pattern := ""
	lines(conf, " \t", func(key, value string) {
		if key == "default" {
			pattern = strings.ToLower(value)
		}
	})
	return pattern
}

// Choose returns the entry that is started. ok is false if there is none.
func Choose(conf string, list []Entry) (chosen Entry, ok bool) {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, compare)
	if pattern := Default(conf); pattern != "" {
		for _, e := range sorted {
			if match, err := path.Match(pattern, e.ID()); err == nil && match {
				return e, true
			}
		}
	}
	if len(sorted) == 0 {
		return Entry{}, false
	}
	return sorted[0], true
}

func compare(a, b Entry) int {
	x, y := ParseCounter(a.File), ParseCounter(b.File)
	last := func(c Counter) int {
		if c.Counted && c.Left == 0 {
			return 1
		}
		return 0
	}
	none := func(s string) int {
		if s == "" {
			return 1
		}
		return 0
	}
	if r := cmp.Or(last(x)-last(y), none(a.SortKey)-none(b.SortKey)); r != 0 {
		return r
	}
	if a.SortKey != "" {
		if r := cmp.Or(cmp.Compare(a.SortKey, b.SortKey), -CompareVersions(a.Version, b.Version)); r != 0 {
			return r
		}
	}
	if r := -CompareVersions(a.ID(), b.ID()); r != 0 || !x.Counted || !y.Counted {
		return r
	}
	return cmp.Or(-cmp.Compare(x.Left, y.Left), cmp.Compare(x.Done, y.Done))
}

// CompareVersions compares versions as the UAPI Group's Version Format Specification says.
func CompareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, separator), strings.TrimLeftFunc(b, separator)
		// "~" is before everything, the end included; then "-", "^", and "." are each before what is no such sign.
		if r, more := sign(a, b, '~', -1); more || r != 0 {
			if r != 0 {
				return r
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		handled := false
		for _, c := range []byte{'-', '^', '.'} {
			r, more := sign(a, b, c, -1)
			if r != 0 {
				return r
			}
			if more {
				a, b, handled = a[1:], b[1:], true
				break
			}
		}
		if handled {
			continue
		}
		class := digit
		numeric := digit(rune(a[0])) || digit(rune(b[0]))
		if !numeric {
			class = letter
		}
		n, m := run(a, class), run(b, class)
		x, y := a[:n], b[:m]
		a, b = a[n:], b[m:]
		if numeric {
			if x == "" || y == "" {
				return cmp.Compare(len(x), len(y))
			}
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if r := cmp.Compare(len(x), len(y)); r != 0 {
				return r
			}
		}
		if r := cmp.Compare(x, y); r != 0 {
			return r
		}
	}
}

// sign compares by a sign at the beginning: more says that both have it.
func sign(a, b string, c byte, order int) (r int, more bool) {
	x, y := a != "" && a[0] == c, b != "" && b[0] == c
	switch {
	case x && y:
		return 0, true
	case x:
		return order, false
	case y:
		return -order, false
	}
	return 0, false
}

func digit(r rune) bool  { return r >= '0' && r <= '9' }
func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func separator(r rune) bool { return !digit(r) && !letter(r) && !strings.ContainsRune("~-^.", r) }

func run(s string, class func(rune) bool) int {
	n := 0
	for n < len(s) && class(rune(s[n])) {
		n++
	}
	return n
}
