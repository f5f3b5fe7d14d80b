// Command probe is the program of the tests' pods.
//
//	probe fill FILE MIB    writes so much, says so, and waits
//	probe break DIR        tries to change the file systems of the node below DIR, and says what it could
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "fill":
		err = fill(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "break":
		attack(os.Args[2])
	default:
		err = fmt.Errorf("what is %q", os.Args)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

func fill(file, mib string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for i := range n {
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("after %d MiB: %w", i, err)
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	fmt.Printf("wrote %d MiB\n", n)
	return nil
}

// attack tries what somebody would who wants to stay on the machine. The last line says that it is through.
func attack(root string) {
	for _, name := range []string{"/usr/bin/evil", "/usr/sbin/init", "/etc/evil", "/boot", "/evil", "/usr/lib/modules/evil"} {
		f, err := os.OpenFile(filepath.Join(root, name), os.O_CREATE|os.O_WRONLY, 0o755)
		if err == nil {
			fmt.Println("BROKEN: wrote " + name)
			_ = f.Close()
		}
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_BIND, ""); err == nil {
		if f, err := os.Create(filepath.Join(root, "usr/bin/evil")); err == nil {
			fmt.Println("BROKEN: wrote after a remount of the mount")
			_ = f.Close()
		}
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT, ""); err == nil {
		if f, err := os.Create(filepath.Join(root, "usr/bin/evil")); err == nil {
			fmt.Println("BROKEN: wrote after a remount of the file system")
			_ = f.Close()
		}
	}
	if err := partition(root); err != nil {
		fmt.Println("BROKEN: " + err.Error())
	}
	fmt.Println("tried everything")
}

// partition tries to write to the partition that the root is on, where nothing is: at its end. The error says that it could, or that there
// is no such partition.
func partition(root string) error {
	names, err := filepath.Glob(filepath.Join(root, "sys/block/dm-*/dm/name"))
	if err != nil {
		return err
	}
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(name)) != "root" {
			continue
		}
		below, err := os.ReadDir(filepath.Join(filepath.Dir(file), "../slaves"))
		if err != nil || len(below) != 1 {
			return fmt.Errorf("the root is on %v: %w", below, err)
		}
		device := filepath.Join(root, "dev", below[0].Name())
		f, err := os.OpenFile(device, os.O_RDWR|syscall.O_SYNC, 0)
		if err != nil {
			return err // so far it is allowed
		}
		defer f.Close()
		block := make([]byte, 4096)
		end, err := f.Seek(-int64(len(block)), io.SeekEnd)
		if err == nil {
			_, err = f.ReadAt(block, end)
		}
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(block, end); err == nil {
			return fmt.Errorf("wrote to %s", device)
		}
		fmt.Println("the partition " + device + " cannot be written")
		return nil
	}
	return fmt.Errorf("no mapped device is the root: %v", names)
}
