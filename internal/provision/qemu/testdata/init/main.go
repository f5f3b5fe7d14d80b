// Command init is PID 1 of test machines: see the package provisiontest for what it has to say. It also answers questions on the
// port of the API: a line with a command, and an answer until the end of the connection.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"talos.internal/internal/sys/rtnl"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

var stubborn atomic.Bool

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		_ = os.Mkdir(m[1], 0o755)
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	modules, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(modules)) {
		if err := load("/modules/" + name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	seed, err := openDisk("cidata")
	if err != nil {
		return err
	}
	files, err := readSeed(seed)
	if err != nil {
		return fmt.Errorf("read the seed: %w", err)
	}
	if err := network(string(files["network-config"])); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	n, err := count()
	if err != nil {
		return fmt.Errorf("count starts: %w", err)
	}
	l, err := net.Listen("tcp4", ":50000")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, files)
		}
	}()
	button, err := powerButton()
	if err != nil {
		return err
	}
	fmt.Printf("start %d of %s\n", n, strings.TrimPrefix(string(files["user-data"]), "word: "))
	for range button {
		if !stubborn.Load() {
			fmt.Println("bye")
			return nil
		}
	}
	return nil
}

// load loads a module that is compressed by xz (finit_module(2), MODULE_INIT_COMPRESSED_FILE).
func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	empty, err := syscall.BytePtrFromString("")
	if err != nil {
		return err
	}
	const finitModule = 313
	if _, _, errno := syscall.Syscall(finitModule, f.Fd(), uintptr(unsafe.Pointer(empty)), 4); errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}

// openDisk opens the disk with a serial number.
func openDisk(serial string) (*os.File, error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		all, _ := filepath.Glob("/sys/block/vd*")
		for _, dir := range all {
			if text, err := os.ReadFile(dir + "/serial"); err == nil && strings.TrimSpace(string(text)) == serial {
				if f, err := os.OpenFile("/dev/"+filepath.Base(dir), os.O_RDWR|os.O_SYNC, 0); err == nil {
					return f, nil
				}
				if f, err := os.Open("/dev/" + filepath.Base(dir)); err == nil {
					return f, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("there is no disk %s", serial)
}

// readSeed mounts a disk and reads its files. The file system has to say what it is, as blkid(8) does: by its label.
func readSeed(disk *os.File) (map[string][]byte, error) {
	label := make([]byte, 32)
	if _, err := disk.ReadAt(label, 16*2048+40); err != nil {
		return nil, err
	}
	if got := strings.TrimRight(string(label), " "); got != "cidata" {
		return nil, fmt.Errorf("its label is %q", got)
	}
	if err := os.Mkdir("/seed", 0o755); err != nil {
		return nil, err
	}
	if err := syscall.Mount(disk.Name(), "/seed", "iso9660", syscall.MS_RDONLY, ""); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	entries, err := os.ReadDir("/seed")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join("/seed", e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

var (
	addressLine = regexp.MustCompile(`addresses:\s+- (\S+/\d+)`)
	macLine     = regexp.MustCompile(`macaddress: (\S+)`)
)

// network gives the interface its address.
func network(config string) error {
	address, mac := addressLine.FindStringSubmatch(config), macLine.FindStringSubmatch(config)
	if address == nil || mac == nil {
		return fmt.Errorf("network-config %q has no address", config)
	}
	want := strings.Trim(mac[1], `"'`)
	prefix, err := netip.ParsePrefix(address[1])
	if err != nil {
		return err
	}
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		links, err := c.Links()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.HardwareAddr.String() == want {
				if err := c.AddAddress(rtnl.Address{Link: l.Index, Prefix: prefix}); err != nil {
					return err
				}
				return c.SetUp(l.Index, true)
			}
		}
	}
	return fmt.Errorf("there is no interface %s", want)
}

// count returns how often the machine was started, from 1. The number is on its disk.
func count() (int, error) {
	disk, err := openDisk("system")
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	block := make([]byte, 512)
	if _, err := disk.ReadAt(block, 0); err != nil {
		return 0, err
	}
	n := int(binary.LittleEndian.Uint32(block)) + 1
	binary.LittleEndian.PutUint32(block, uint32(n))
	_, err = disk.WriteAt(block, 0)
	return n, err
}

// powerButton opens the devices by which the power button may speak.
func powerButton() (<-chan struct{}, error) {
	pressed := make(chan struct{}, 1)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		all, _ := filepath.Glob("/dev/input/event*")
		if len(all) == 0 {
			continue
		}
		for _, name := range all {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			go func() {
				event := make([]byte, 24)
				for {
					if _, err := io.ReadFull(f, event); err != nil {
						return
					}
					const key, power = 1, 116
					if binary.LittleEndian.Uint16(event[16:]) == key && binary.LittleEndian.Uint16(event[18:]) == power && event[20] == 1 {
						pressed <- struct{}{}
					}
				}
			}()
		}
		return pressed, nil
	}
	return nil, errors.New("there is no power button")
}

func answer(c net.Conn, files map[string][]byte) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	var text []byte
	switch verb {
	case "hello":
		text = []byte("hello")
	case "stubborn":
		stubborn.Store(true)
	case "seed":
		text = files[arg]
	case "read":
		text, err = os.ReadFile(arg)
	case "write":
		err = os.WriteFile(arg, []byte("written"), 0o600)
		text = []byte("done")
	case "dial":
		var out net.Conn
		if out, err = net.DialTimeout("tcp4", arg, 3*time.Second); err == nil {
			text = []byte(out.LocalAddr().String())
			_ = out.Close()
		}
	default:
		err = syscall.ENOSYS
	}
	if err != nil {
		text = []byte("error: " + err.Error())
	}
	_, _ = c.Write(text)
}
