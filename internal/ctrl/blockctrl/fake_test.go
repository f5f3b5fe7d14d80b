package blockctrl

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"talos.internal/internal/gpt"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/internal/sys/dm"
	"talos.internal/resource/block"
)

// machine is a Kernel in memory: disks that keep what is written, partitions that the kernel was told of, uevents.
type machine struct {
	mu      sync.Mutex
	disks   map[string]*memory
	mounted map[string]bool // devices that are in use
	log     []string        // what was done, without reads
	events  chan string
	grown   map[string]int64
	mapped  map[string]string  // devices of the device mapper by their names
	clear   map[string]*memory // what is in encrypted devices, by those and their keys
}

type memory struct {
	blockdev.Disk
	pages map[int64][]byte
	dead  bool
}

const page = 4096

func newMachine() *machine {
	return &machine{disks: map[string]*memory{}, mounted: map[string]bool{}, grown: map[string]int64{}, mapped: map[string]string{}, clear: map[string]*memory{}}
}

func (m *machine) add(name string, size int64, change func(*blockdev.Disk)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := blockdev.Disk{Name: name, Size: size, SectorSize: 512, Transport: "virtio", SysPath: "/sys/devices/x/block/" + name}
	if change != nil {
		change(&d)
	}
	m.disks[name] = &memory{Disk: d, pages: map[int64][]byte{}}
	m.tell(name)
}

func (m *machine) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.disks, name)
	m.tell(name)
}

func (m *machine) put(name string, at int64, b []byte) {
	d, err := m.Open(name, Share)
	if err != nil {
		return
	}
	_, _ = d.WriteAt(b, at)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(name)
}

// tell sends a uevent. The caller holds the lock.
func (m *machine) tell(name string) {
	if m.events != nil {
		m.events <- name
	}
}

func (m *machine) watch(ctx context.Context, changed func(string)) error {
	m.mu.Lock()
	m.events = make(chan string, 1000) // in the bubble of the test
	m.mu.Unlock()
	changed("")
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case name := <-m.events:
			changed(name)
		}
	}
}

func (m *machine) did() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

func (m *machine) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *machine) List() ([]blockdev.Disk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []blockdev.Disk
	for _, d := range m.disks {
		c := d.Disk
		c.Partitions = slices.Clone(d.Partitions)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b blockdev.Disk) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// find returns the disk that a name is on, and the range of it.
func (m *machine) find(name string) (*memory, int64, int64, error) {
	for _, d := range m.disks {
		if d.Name == name {
			return d, 0, d.Size, nil
		}
		for _, p := range d.Partitions {
			if p.Name == name {
				return d, p.Offset, p.Size, nil
			}
		}
	}
	return nil, 0, 0, fmt.Errorf("open /dev/%s: no such file", name)
}

func (m *machine) Open(name string, how Access) (Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, from, size, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if d.dead {
		return nil, errors.New("input/output error")
	}
	if how == Claim {
		for dev := range m.mounted {
			if strings.HasPrefix(dev, name) {
				return nil, fmt.Errorf("open /dev/%s: %w", name, blockdev.ErrBusy)
			}
		}
	}
	return &window{m: m, d: d, from: from, size: size}, nil
}

func (m *machine) Format(_ context.Context, name string, spec block.FilesystemSpec, size int64) error {
	kind, label := spec.Type, spec.Label
	w, err := m.Open(name, Claim)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.note("format %s as %s %q", name, kind, label)
	m.mu.Unlock()
	_, err = w.WriteAt(super(kind, label, size), 0)
	return err
}

// super is a superblock that is recognised.
func super(kind block.FilesystemType, label string, size int64) []byte {
	b := make([]byte, page)
	switch kind {
	case block.FilesystemXFS:
		copy(b, "XFSB")
		binary.BigEndian.PutUint32(b[4:], page)
		binary.BigEndian.PutUint64(b[8:], uint64(size/page))
		copy(b[32:], "0123456789abcdef")
		binary.BigEndian.PutUint16(b[102:], 512)
		copy(b[108:120], label)
	case block.FilesystemSwap:
		b, _ = blockdev.SwapHeader(size, label)
	default:
		b[1024+56], b[1024+57] = 0x53, 0xef
		copy(b[1024+120:], label)
		b[1024+96] = 0x40
	}
	return b
}

func (m *machine) Grow(point string, _ block.FilesystemType, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grown[point] = size
	return nil
}

// Map shows what is in an encrypted device under that key: with another key it is something else.
func (m *machine) Map(name, _ string, spec dm.CryptSpec) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mapped[name] != "" {
		return "", fmt.Errorf("map %s: it is there", name)
	}
	device := fmt.Sprintf("dm-%d", len(m.mapped)+1)
	m.note("open %s as %s", strings.TrimPrefix(spec.Device, "/dev/"), name)
	id := fmt.Sprintf("%s %x %s", spec.Device, spec.Key, spec.Cipher)
	d := m.clear[id]
	if d == nil {
		d = &memory{pages: map[int64][]byte{}}
		m.clear[id] = d
	}
	d.Disk = blockdev.Disk{Name: device, Size: spec.Size, SectorSize: spec.SectorSize, SysPath: "/sys/devices/virtual/block/" + device, Below: []string{strings.TrimPrefix(spec.Device, "/dev/")}}
	m.disks[device], m.mapped[name] = d, device
	m.mounted[strings.TrimPrefix(spec.Device, "/dev/")] = true
	m.tell(device)
	return "/dev/" + device, nil
}

func (m *machine) Unmap(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	device := m.mapped[name]
	m.note("close %s", name)
	delete(m.mounted, m.disks[device].Below[0])
	delete(m.disks, device)
	delete(m.mapped, name)
	m.tell(device)
	return nil
}

// restart is a power cut: what was open is closed, and what was written is there.
func (m *machine) restart() {
	m.events = nil
	for name := range m.mapped {
		_ = m.Unmap(name)
	}
	m.log = nil
}

func (m *machine) SwapOn(name string) error  { return m.swap("on", name) }
func (m *machine) SwapOff(name string) error { return m.swap("off", name) }

func (m *machine) swap(how, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("swap %s %s", how, name)
	return nil
}

type window struct {
	m          *machine
	d          *memory
	from, size int64
}

func (w *window) Close() error    { return nil }
func (w *window) Sync() error     { return nil }
func (w *window) Size() int64     { return w.size }
func (w *window) SectorSize() int { return 512 }

func (w *window) ReadAt(b []byte, off int64) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for n := 0; n < len(b); {
		at := w.from + off + int64(n)
		p := w.d.pages[at/page]
		if p == nil {
			p = make([]byte, page)
		}
		n += copy(b[n:], p[at%page:])
	}
	return len(b), nil
}

func (w *window) WriteAt(b []byte, off int64) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for n := 0; n < len(b); {
		at := w.from + off + int64(n)
		p := w.d.pages[at/page]
		end := min(len(b), n+int(page-at%page))
		if p == nil && len(bytes.Trim(b[n:end], "\x00")) == 0 {
			n = end
			continue
		}
		if p == nil {
			p = make([]byte, page)
			w.d.pages[at/page] = p
		}
		n += copy(p[at%page:], b[n:])
	}
	return len(b), nil
}

func (w *window) Reread(context.Context) error {
	t, err := gpt.Read(w, w.size, 512)
	if err != nil {
		return err
	}
	w.m.mu.Lock()
	w.d.Partitions = nil
	w.m.mu.Unlock()
	for _, p := range t.Partitions {
		if err := w.AddPartition(p.Number, p.Offset, p.Size); err != nil {
			return err
		}
	}
	return nil
}

func (w *window) AddPartition(number int, offset, size int64) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	name := fmt.Sprintf("%s%d", w.d.Name, number)
	w.m.note("add %s: %d MiB", name, size>>20)
	w.d.Partitions = append(w.d.Partitions, blockdev.Partition{Name: name, Number: number, Offset: offset, Size: size, SysPath: w.d.SysPath + "/" + name})
	w.m.tell(name)
	return nil
}

func (w *window) ResizePartition(number int, _, size int64) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for i := range w.d.Partitions {
		if p := &w.d.Partitions[i]; p.Number == number {
			w.m.note("resize %s: %d MiB", p.Name, size>>20)
			p.Size = size
			w.m.tell(p.Name)
		}
	}
	return nil
}

func (w *window) RemovePartition(number int) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.note("remove %s%d", w.d.Name, number)
	w.d.Partitions = slices.DeleteFunc(w.d.Partitions, func(p blockdev.Partition) bool { return p.Number == number })
	w.m.tell(w.d.Name)
	return nil
}
