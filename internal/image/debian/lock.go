package debian

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Locked is the one version of a package that may be used.
type Locked struct {
	Name, Version, Arch string
	SHA256              string // of the .deb, in lower-case hex
}

// Lock is what is used of an archive, sorted by name.
type Lock []Locked

var (
	debName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	debVersion = regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)
	debArch    = regexp.MustCompile(`^[a-z0-9-]+$`)
	hexSum     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (l Locked) check() error {
	switch {
	case !debName.MatchString(l.Name):
		return fmt.Errorf("name %q: %w", l.Name, ErrFormat)
	case !debVersion.MatchString(l.Version):
		return fmt.Errorf("%s: version %q: %w", l.Name, l.Version, ErrFormat)
	case !debArch.MatchString(l.Arch):
		return fmt.Errorf("%s: architecture %q: %w", l.Name, l.Arch, ErrFormat)
	case !hexSum.MatchString(l.SHA256):
		return fmt.Errorf("%s: SHA-256 %q: %w", l.Name, l.SHA256, ErrFormat)
	}
	return nil
}

// lockHead says what the file is to a person who opens it.
const lockHead = `# The Debian packages that programs and libraries are taken from: name, version, architecture, SHA-256.
# Written by "imager lock"; what is taken from them and why is in internal/image/tools.go.
`

// ParseLock reads the text of a lock. The error names the line.
func ParseLock(r io.Reader) (Lock, error) {
	var lock Lock
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("line %d: %d fields; want name, version, architecture, SHA-256: %w", n, len(fields), ErrFormat)
		}
		l := Locked{fields[0], fields[1], fields[2], fields[3]}
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, twice := lock.find(l.Name); twice {
			return nil, fmt.Errorf("line %d: %s is there twice: %w", n, l.Name, ErrFormat)
		}
		lock = append(lock, l)
	}
	lock.sort()
	return lock, lines.Err()
}

// Text is the content of the lock's file.
func (l Lock) Text() []byte {
	l = slices.Clone(l)
	l.sort()
	var name, version, arch int
	for _, p := range l {
		name, version, arch = max(name, len(p.Name)), max(version, len(p.Version)), max(arch, len(p.Arch))
	}
	var b bytes.Buffer
	b.WriteString(lockHead)
	for _, p := range l {
		fmt.Fprintf(&b, "%-*s  %-*s  %-*s  %s\n", name, p.Name, version, p.Version, arch, p.Arch, p.SHA256)
	}
	return b.Bytes()
}

func (l Lock) sort() {
	slices.SortFunc(l, func(a, b Locked) int { return strings.Compare(a.Name, b.Name) })
}

func (l Lock) find(name string) (Locked, bool) {
	i := slices.IndexFunc(l, func(p Locked) bool { return p.Name == name })
	if i < 0 {
		return Locked{}, false
	}
	return l[i], true
}

// Changes says what differs from an older lock, a line for each package, sorted.
func (l Lock) Changes(old Lock) []string {
	var lines []string
	for _, p := range l {
		switch o, ok := old.find(p.Name); {
		case !ok:
			lines = append(lines, fmt.Sprintf("%s %s is new", p.Name, p.Version))
		case o.Version != p.Version:
			lines = append(lines, fmt.Sprintf("%s %s → %s", p.Name, o.Version, p.Version))
		case o != p:
			lines = append(lines, fmt.Sprintf("%s %s: another file under the same version", p.Name, p.Version))
		}
	}
	for _, o := range old {
		if _, ok := l.find(o.Name); !ok {
			lines = append(lines, o.Name+" is gone")
		}
	}
	slices.Sort(lines)
	return lines
}
