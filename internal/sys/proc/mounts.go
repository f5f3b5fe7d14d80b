package proc

import (
	"io"
	"strconv"
	"strings"
)

// MountEntry is one line of mounts, in the form of fstab(5).
type MountEntry struct {
	Source  string // as it was given to mount(2): a device, or any text
	Point   string // where it is mounted, seen from the root of the reader of the file
	Type    string
	Options []string
}

// ParseMounts parses mounts, or a file in the form of fstab(5).
func ParseMounts(r io.Reader) ([]MountEntry, error) {
	var out []MountEntry
	l := newLines(r)
	for l.next() {
		f := strings.Split(l.text, " ")
		if len(f) == 1 && strings.TrimSpace(f[0]) == "" || strings.HasPrefix(l.text, "#") {
			continue
		}
		if len(f) < 4 {
			return nil, l.errorf("%d columns; want at least 4", len(f))
		}
		out = append(out, MountEntry{unescape(f[0]), unescape(f[1]), unescape(f[2]), options(f[3])})
	}
	return out, l.end()
}

// Mounts reads mounts of the mount namespace of the calling thread, in the order of mounting.
func (r Reader) Mounts() ([]MountEntry, error) {
	return parseFile(r.path("thread-self", "mounts"), ParseMounts)
}

// MountInfo is one line of mountinfo.
type MountInfo struct {
	ID, Parent   int
	Major, Minor uint32   // of the file system's device
	Root         string   // what of the file system is mounted: its root, or the source of a bind mount in it
	Point        string   // where, seen from the root of the reader of the file
	Options      []string // of this mount: ro, nosuid, …
	Shared       int      // peer group that this mount gives its events to and takes them from; 0 means not shared
	Master       int      // peer group that this mount takes events from; 0 means no slave
	Unbindable   bool
	Type         string
	Source       string
	SuperOptions []string // of the file system, the same for all its mounts
}

// HasOption reports whether the mount itself has an option such as "ro".
func (m MountInfo) HasOption(name string) bool { return contains(m.Options, name) }

// HasSuperOption reports whether the file system has an option such as "ro" or the name of a cgroup controller.
func (m MountInfo) HasSuperOption(name string) bool { return contains(m.SuperOptions, name) }

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// ParseMountInfo parses mountinfo (proc.rst, section 3.5). The order is that of the file, which tells nothing after a
// mount was moved: what stands on what is told by ID and Parent.
func ParseMountInfo(r io.Reader) ([]MountInfo, error) {
	var out []MountInfo
	l := newLines(r)
	for l.next() {
		if strings.TrimSpace(l.text) == "" {
			continue
		}
		m, err := parseMountInfoLine(l)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, l.end()
}

func parseMountInfoLine(l *lines) (m MountInfo, err error) {
	f := strings.Split(l.text, " ")
	sep := -1
	for i := 6; i < len(f); i++ {
		if f[i] == "-" {
			sep = i
			break
		}
	}
	if sep < 0 || len(f) < sep+3 {
		return m, l.errorf("no file system after the separator in %q", l.text)
	}
	if m.ID, err = strconv.Atoi(f[0]); err != nil {
		return m, l.errorf("mount id %q is no number", f[0])
	}
	if m.Parent, err = strconv.Atoi(f[1]); err != nil {
		return m, l.errorf("parent id %q is no number", f[1])
	}
	major, minor, _ := strings.Cut(f[2], ":")
	dev := [2]uint64{}
	for i, s := range []string{major, minor} {
		if dev[i], err = strconv.ParseUint(s, 10, 32); err != nil {
			return m, l.errorf("device %q is no pair of numbers", f[2])
		}
	}
	m.Major, m.Minor = uint32(dev[0]), uint32(dev[1])
	m.Root, m.Point, m.Options = unescape(f[3]), unescape(f[4]), options(f[5])
	for _, tag := range f[6:sep] {
		key, value, _ := strings.Cut(tag, ":")
		n, err := strconv.Atoi(value)
		switch key {
		case "shared":
			m.Shared = n
		case "master":
			m.Master = n
		case "unbindable":
			m.Unbindable, err = true, nil
		default: // propagate_from, and what is to come
			err = nil
		}
		if err != nil {
			return m, l.errorf("peer group %q is no number", tag)
		}
	}
	m.Type, m.Source = unescape(f[sep+1]), unescape(f[sep+2])
	if len(f) > sep+3 {
		m.SuperOptions = options(f[sep+3])
	}
	return m, nil
}

// MountInfo reads mountinfo of the mount namespace of the calling thread.
func (r Reader) MountInfo() ([]MountInfo, error) {
	return parseFile(r.path("thread-self", "mountinfo"), ParseMountInfo)
}

// options splits mount options. The kernel writes a comma inside a value as an octal escape, so it splits first.
func options(s string) []string {
	if s == "" {
		return nil
	}
	out := strings.Split(s, ",")
	for i := range out {
		out[i] = unescape(out[i])
	}
	return out
}

// unescape undoes the octal escapes (\040 for a space) that keep a line apart (fs/seq_file.c, mangle_path). A backslash
// that starts none is kept.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
