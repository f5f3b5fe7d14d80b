package compose

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// try runs a built program and looks for what it must say. It gets an empty environment, and
// 30 seconds: a program that starts a server instead of printing its version is ended.
func try(ctx context.Context, dir string, p Program, c Check, version string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	as := p.Name
	if c.As != "" {
		as = c.As
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, as), c.Args...)
	cmd.Env = []string{"HOME=" + dir, "PATH=" + dir}
	ownGroup(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("try %s %s: %w\n%s", as, strings.Join(c.Args, " "), err, tail(string(out), 10))
	}
	if want := expand(c.Want, version); !strings.Contains(string(out), want) {
		return fmt.Errorf("try %s %s: it printed %q; want %q in it", as, strings.Join(c.Args, " "), out, want)
	}
	return nil
}

// describe writes into dir what people and the image builder need to know of the programs there:
// licences, modules.txt and files.txt. It returns the programs' size in bytes.
func describe(dir string, s state, linked []pkg) (int64, error) {
	if err := writeLicences(dir, s.component, linked); err != nil {
		return 0, fmt.Errorf("licences: %w", err)
	}
	var list bytes.Buffer
	var total int64
	for _, p := range s.recipe.Programs {
		name := filepath.Join(dir, p.Name)
		if err := os.Chmod(name, 0o755); err != nil {
			return 0, err
		}
		size, sum, err := measure(name)
		if err != nil {
			return 0, err
		}
		total += size
		fmt.Fprintf(&list, "%s %d %s\n", sum, size, p.Name)
	}
	return total, os.WriteFile(filepath.Join(dir, "files.txt"), list.Bytes(), 0o644)
}

// measure returns the size and the SHA-256 of a file.
func measure(name string) (size int64, sum string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return size, hex.EncodeToString(hash.Sum(nil)), err
}

// programFile is a line of files.txt.
type programFile struct {
	name string
	size int64
	sum  string
}

// readFiles reads the files.txt of a result. A line that is not understood is an error.
func readFiles(dir string) ([]programFile, error) {
	text, err := os.ReadFile(filepath.Join(dir, "files.txt"))
	if err != nil {
		return nil, err
	}
	var list []programFile
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return nil, fmt.Errorf("files.txt has the line %q", lines.Text())
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("files.txt: %w", err)
		}
		list = append(list, programFile{f[2], size, f[0]})
	}
	return list, lines.Err()
}

// damaged says what is wrong with the programs of a result: one is gone or has another size.
// It is "" when they are as files.txt says.
func damaged(dir string) string {
	list, err := readFiles(dir)
	if err != nil {
		return err.Error()
	}
	for _, want := range list {
		info, err := os.Stat(filepath.Join(dir, want.name))
		if errors.Is(err, fs.ErrNotExist) {
			return want.name + " is gone"
		}
		if err != nil {
			return err.Error()
		}
		if info.Size() != want.size {
			return fmt.Sprintf("%s has %d bytes, not %d", want.name, info.Size(), want.size)
		}
	}
	return ""
}

// resultSize is the size in bytes of a result's programs, 0 when there is none.
func resultSize(dir string) (total int64) {
	list, err := readFiles(dir)
	if err != nil {
		return 0
	}
	for _, f := range list {
		total += f.size
	}
	return total
}

// replace puts the folder new in the place of old. Both are on one file system. Who looks between
// the two renames finds nothing; nobody finds half of a result. When it fails, old is as it was.
func replace(new, old string) error {
	aside := new + ".old"
	err := os.Rename(old, aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil
	if err := os.Rename(new, old); err != nil {
		if there {
			err = errors.Join(err, os.Rename(aside, old))
		}
		return err
	}
	if there {
		return os.RemoveAll(aside)
	}
	return nil
}

// lock makes the folder of results, waits until no other builder works in it, and removes what a
// builder that was killed left there. The caller unlocks.
func (b *Builder) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(b.Out, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		if !waiting {
			newProgress(b.Log, 0).sayf("components: waiting for another build, which holds %s", file.Name())
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock %s, held by another build: %w", file.Name(), context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
	left, err := filepath.Glob(filepath.Join(b.Out, ".building-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}
