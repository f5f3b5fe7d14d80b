package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoPackage is the error for a package, or a version of one, that a source does not have.
var ErrNoPackage = errors.New("no such package")

// Archive is where packages come from.
type Archive interface {
	// Candidate returns the version that the archive would give now. It fails with ErrNoPackage if there is none of
	// that name.
	Candidate(ctx context.Context, name string) (Locked, error)
	// Fetch writes the .deb of p into the folder dir, under any name, and returns its path. It fails with ErrNoPackage
	// if the archive does not have that version.
	Fetch(ctx context.Context, p Locked, dir string) (string, error)
	// Refresh asks the archive's servers what there is now.
	Refresh(ctx context.Context) error
}

// Apt is the archive that this machine's apt is set up for, with its mirrors, proxies and keys.
type Apt struct {
	// Arch is Debian's name of the architecture to get packages for, such as amd64.
	Arch string
	// run runs a program in a folder and returns what it printed, for tests.
	run func(ctx context.Context, dir, name string, args ...string) (stdout []byte, err error)
}

// NewApt returns the archive of this machine's apt.
func NewApt(arch string) *Apt { return &Apt{Arch: arch, run: runProgram} }

// runProgram's error ends with what the program printed on its standard error.
func runProgram(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// Candidate implements Archive. The package is of Arch or of all architectures.
func (a *Apt) Candidate(ctx context.Context, name string) (Locked, error) {
	if !debName.MatchString(name) {
		return Locked{}, fmt.Errorf("package %q: %w", name, ErrFormat)
	}
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", name+":"+a.Arch)
	var exit *exec.ExitError
	if errors.As(err, &exit) || err == nil && len(out) == 0 {
		return Locked{}, fmt.Errorf("package %s: %w", name, ErrNoPackage) // exit status 100
	}
	if err != nil {
		return Locked{}, err
	}
	all, err := ParseControl(bytes.NewReader(out))
	if err != nil {
		return Locked{}, fmt.Errorf("apt-cache show %s: %w", name, err)
	}
	for _, s := range all {
		p := Locked{s["Package"], s["Version"], s["Architecture"], s["SHA256"]}
		// A version that is installed but in no archive has no checksum, and cannot be fetched.
		if p.Name == name && p.SHA256 != "" {
			return p, p.check()
		}
	}
	return Locked{}, fmt.Errorf("package %s: %w", name, ErrNoPackage)
}

// Fetch implements Archive.
func (a *Apt) Fetch(ctx context.Context, p Locked, dir string) (string, error) {
	if err := p.check(); err != nil {
		return "", err
	}
	_, err := a.run(ctx, dir, "apt-get", "download", "--quiet", p.Name+":"+a.Arch+"="+p.Version)
	if err != nil {
		for _, text := range []string{"was not found", "Unable to locate package", "Can't find a source", "404"} {
			if strings.Contains(err.Error(), text) {
				return "", fmt.Errorf("%s %s: %w", p.Name, p.Version, ErrNoPackage)
			}
		}
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, p.Name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get download %s: %d files in its folder; want 1", p.Name, len(found))
	}
	return found[0], nil
}

// Refresh implements Archive. Only root may.
func (a *Apt) Refresh(ctx context.Context) error {
	_, err := a.run(ctx, "", "apt-get", "update", "--quiet")
	return err
}
