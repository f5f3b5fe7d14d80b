package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Source gives unpacked packages by name. ErrNoPackage says that it has none of that name.
type Source interface {
	Package(ctx context.Context, name string) (*Deb, error)
}

// Cache is a folder of downloaded packages, each named by its content: SHA256.deb. A package that is in it is never
// asked of the archive again, so a build that has run once needs no network.
type Cache struct {
	Dir     string
	Archive Archive
	Log     func(format string, args ...any) // progress, a line each; may be nil

	refreshed bool
}

func (c *Cache) log(format string, args ...any) {
	if c.Log != nil {
		c.Log(format, args...)
	}
}

// get returns the path of the package's .deb, with the right checksum.
func (c *Cache) get(ctx context.Context, p Locked) (string, error) {
	name := filepath.Join(c.Dir, p.SHA256+".deb")
	if sum, err := sumOf(name); err == nil && sum == p.SHA256 {
		return name, nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(c.Dir, ".fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	c.log("fetch %s %s", p.Name, p.Version)
	fetched, err := c.Archive.Fetch(ctx, p, dir)
	if errors.Is(err, ErrNoPackage) && c.refresh(ctx) {
		fetched, err = c.Archive.Fetch(ctx, p, dir)
	}
	if err != nil {
		return "", err
	}
	sum, err := sumOf(fetched)
	if err != nil {
		return "", err
	}
	if sum != p.SHA256 {
		return "", fmt.Errorf("%s %s from the archive has SHA-256 %s; want %s", p.Name, p.Version, sum, p.SHA256)
	}
	return name, os.Rename(fetched, name)
}

// refresh renews the archive's lists once: on a new machine they are empty. It reports whether to try again.
func (c *Cache) refresh(ctx context.Context) bool {
	if c.refreshed {
		return false
	}
	c.refreshed = true
	if err := c.Archive.Refresh(ctx); err != nil {
		c.log("the list of packages stays as it is: %v", err)
		return false
	}
	return true
}

// Renew asks the archive what it has now; without an answer, what it said last stays.
func (c *Cache) Renew(ctx context.Context) { c.refresh(ctx) }

// candidate is Archive.Candidate, with renewed lists if there is none.
func (c *Cache) candidate(ctx context.Context, name string) (Locked, error) {
	p, err := c.Archive.Candidate(ctx, name)
	if errors.Is(err, ErrNoPackage) && c.refresh(ctx) {
		p, err = c.Archive.Candidate(ctx, name)
	}
	return p, err
}

func sumOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// StaleError says that the archive no longer has a version that the lock names.
type StaleError struct {
	Locked Locked
	Now    string // the version that the archive has, "" if it has none
}

func (e *StaleError) Error() string {
	now := "has it in no version"
	if e.Now != "" {
		now = "has " + e.Now
	}
	return fmt.Sprintf("the lock wants %s %s; the archive no longer has that, it %s", e.Locked.Name, e.Locked.Version, now)
}

// Unwrap makes it an ErrNoPackage.
func (e *StaleError) Unwrap() error { return ErrNoPackage }

// Pinned gives the packages of a lock and no others.
type Pinned struct {
	Lock  Lock
	Cache *Cache
	// Float lets a version that the archive no longer has be replaced by the one that it has now. The result is then
	// not that of the lock.
	Float bool

	open map[string]*Deb
}

// Package implements Source. It is not safe for concurrent use. Without Float it fails with a [StaleError] when the archive no
// longer has the version.
func (s *Pinned) Package(ctx context.Context, name string) (*Deb, error) {
	if d, ok := s.open[name]; ok {
		return d, nil
	}
	p, ok := s.Lock.find(name)
	if !ok {
		return nil, fmt.Errorf("package %s is not in the lock: %w", name, ErrNoPackage)
	}
	file, p, err := s.get(ctx, p)
	if err != nil {
		return nil, err
	}
	d, err := openChecked(file, p)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*Deb{}
	}
	s.open[name] = d
	return d, nil
}

// get returns the .deb of p, or, with Float, of what stands in for it.
func (s *Pinned) get(ctx context.Context, p Locked) (string, Locked, error) {
	file, err := s.Cache.get(ctx, p)
	if !errors.Is(err, ErrNoPackage) {
		return file, p, err
	}
	now, missing := s.Cache.candidate(ctx, p.Name)
	stale := &StaleError{Locked: p, Now: now.Version}
	if !s.Float || missing != nil {
		return "", p, stale
	}
	s.Cache.log("%v; going on with that", stale)
	file, err = s.Cache.get(ctx, now)
	return file, now, err
}

// Fetch downloads all packages of the lock that are not there yet. Its errors are those of Package.
func (s *Pinned) Fetch(ctx context.Context) error {
	for _, p := range s.Lock {
		if _, _, err := s.get(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Newest gives what an archive has now. It is not safe for concurrent use.
type Newest struct {
	Cache *Cache

	open map[string]*Deb
	used Lock
}

// Package implements Source.
func (s *Newest) Package(ctx context.Context, name string) (*Deb, error) {
	if d, ok := s.open[name]; ok {
		return d, nil
	}
	p, err := s.Cache.candidate(ctx, name)
	if err != nil {
		return nil, err
	}
	file, err := s.Cache.get(ctx, p)
	if err != nil {
		return nil, err
	}
	d, err := openChecked(file, p)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*Deb{}
	}
	s.open[name] = d
	s.used = append(s.used, p)
	return d, nil
}

// Lock pins those of the packages given so far whose names are in used.
func (s *Newest) Lock(used map[string]bool) Lock {
	var lock Lock
	for _, p := range s.used {
		if used[p.Name] {
			lock = append(lock, p)
		}
	}
	lock.sort()
	return lock
}

// openChecked unpacks a .deb and makes sure that it is the package that was asked for.
func openChecked(file string, p Locked) (*Deb, error) {
	d, err := Open(file)
	if err != nil {
		return nil, err
	}
	if d.Name() != p.Name || d.Version() != p.Version || d.Arch() != p.Arch {
		return nil, fmt.Errorf("%s says it is %s %s %s; want %s %s %s", file,
			d.Name(), d.Version(), d.Arch(), p.Name, p.Version, p.Arch)
	}
	return d, nil
}
