package proc

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Uptime is uptime: seconds since boot, and seconds that the CPUs together were idle. In a container it is the machine's.
type Uptime struct {
	Up, Idle float64
}

// ParseUptime parses uptime (proc_uptime(5)).
func ParseUptime(r io.Reader) (Uptime, error) {
	l := newLines(r)
	if !l.next() {
		return Uptime{}, emptyOr(l)
	}
	f := strings.Fields(l.text)
	if len(f) < 2 {
		return Uptime{}, l.errorf("%d columns; want 2", len(f))
	}
	up, err := l.float(f[0])
	if err != nil {
		return Uptime{}, err
	}
	idle, err := l.float(f[1])
	return Uptime{up, idle}, err
}

// Uptime reads uptime.
func (r Reader) Uptime() (Uptime, error) { return parseFile(r.path("uptime"), ParseUptime) }

// Param is one parameter of the kernel's command line.
type Param struct {
	Key   string
	Value string // empty if there is none
	Set   bool   // whether there was a "=": "quiet" has none, "quiet=" has
}

// ParseCmdline splits a command line of the kernel as the kernel does (lib/cmdline.c, next_arg): blanks part the
// parameters but inside double quotes; quotes around a whole parameter or a whole value are taken off. A key may come
// several times; the order is kept.
func ParseCmdline(r io.Reader) ([]Param, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, &ParseError{Line: 1, Err: err}
	}
	var out []Param
	rest := strings.Trim(string(b), " \t\r\n\x00")
	for rest != "" {
		quoted := false
		i := 0
		for i < len(rest) && (quoted || !isBlank(rest[i])) {
			if rest[i] == '"' {
				quoted = !quoted
			}
			i++
		}
		if word := rest[:i]; word != "" {
			out = append(out, param(word))
		}
		rest = strings.TrimLeft(rest[i:], " \t\r\n")
	}
	return out, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func param(word string) Param {
	if strings.HasPrefix(word, `"`) {
		word = strings.TrimSuffix(word[1:], `"`)
	}
	key, value, set := strings.Cut(word, "=")
	if strings.HasPrefix(value, `"`) {
		value = strings.TrimSuffix(value[1:], `"`)
	}
	return Param{Key: key, Value: value, Set: set}
}

// Cmdline reads the kernel's command line. In a container it is that of the machine.
func (r Reader) Cmdline() ([]Param, error) { return parseFile(r.path("cmdline"), ParseCmdline) }

// Module is one loaded module of the kernel.
type Module struct {
	Name       string
	Size       uint64 // bytes
	References uint64
	UsedBy     []string
	State      string // Live, Loading, Unloading
	Address    string // in hexadecimal, zeros if the kernel hides it; empty if it shows none
}

// ParseModules parses modules (proc_modules(5)).
func ParseModules(r io.Reader) ([]Module, error) {
	var out []Module
	l := newLines(r)
	for l.next() {
		f := strings.Fields(l.text)
		if len(f) == 0 {
			continue
		}
		if len(f) < 5 {
			return nil, l.errorf("%d columns; want at least 5", len(f))
		}
		m := Module{Name: f[0], State: f[4]}
		if len(f) > 5 && strings.HasPrefix(f[5], "0x") {
			m.Address = f[5]
		}
		if err := l.numbers(f[1:2], &m.Size); err != nil {
			return nil, err
		}
		// A module that cannot be unloaded has "-" for its references.
		if f[2] != "-" {
			if err := l.numbers(f[2:3], &m.References); err != nil {
				return nil, err
			}
		}
		for _, user := range strings.Split(f[3], ",") {
			if user != "" && user != "-" {
				m.UsedBy = append(m.UsedBy, user)
			}
		}
		out = append(out, m)
	}
	return out, l.end()
}

// Modules reads modules. A kernel that cannot load any has none.
func (r Reader) Modules() ([]Module, error) { return optional(r.path("modules"), ParseModules) }

// FileSystems lists the types of file systems that the kernel has now, without those that it could load.
func (r Reader) FileSystems() ([]string, error) {
	return parseFile(r.path("filesystems"), func(f io.Reader) ([]string, error) {
		var out []string
		l := newLines(f)
		for l.next() {
			if f := strings.Fields(l.text); len(f) > 0 {
				out = append(out, f[len(f)-1])
			}
		}
		return out, l.end()
	})
}

// BootID reads the random id of this boot. All containers of a machine see the same.
func (r Reader) BootID() (string, error) { return line(r.path("sys", "kernel", "random", "boot_id")) }

// KernelRelease reads the version of the kernel, such as 6.12.1-amd64.
func (r Reader) KernelRelease() (string, error) { return line(r.path("sys", "kernel", "osrelease")) }

// Hostname reads the host name of the UTS namespace of this process.
func (r Reader) Hostname() (string, error) { return line(r.path("sys", "kernel", "hostname")) }

// Sysctl reads a kernel parameter. Its parts are separated by dots, or by slashes if a part holds a dot
// (net/ipv4/conf/eth0.1/forwarding), as in sysctl.d(5). The error is fs.ErrNotExist if the kernel does not have it.
func (r Reader) Sysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	return line(r.path("sys", path))
}

// SetSysctl sets a kernel parameter. The value is written as it is, in one call. The errors are those of the kernel:
// fs.ErrNotExist, fs.ErrPermission (also EROFS where proc is read-only), EINVAL for a value that it does not take.
func (r Reader) SetSysctl(key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(r.path("sys", path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// sysctlPath turns a key into a path. The first separator decides which of the two forms it is.
func sysctlPath(key string) (string, error) {
	path := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		path = strings.Map(func(c rune) rune {
			switch c {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return c
		}, key)
	}
	if !filepath.IsLocal(path) || strings.Contains(path, "..") {
		return "", fmt.Errorf("sysctl %q: no name of a kernel parameter", key)
	}
	return path, nil
}
