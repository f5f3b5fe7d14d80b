package hostinfo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/mount"
)

// sink is the server's end of a stream, which keeps what is sent.
type sink[T any] struct {
	grpc.ServerStream
	ctx context.Context

	mu   sync.Mutex
	sent []*T
}

func (s *sink[T]) Context() context.Context { return s.ctx }

func (s *sink[T]) Send(m *T) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, m)
	return s.ctx.Err()
}

func open[T any](t *testing.T) *sink[T] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return &sink[T]{ctx: ctx}
}

func bytesOf(s *sink[commonpb.Data]) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, d := range s.sent {
		b.Write(d.GetBytes())
	}
	return b.String()
}

// tree makes a root with files of all kinds.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{"etc/hosts": "127.0.0.1 localhost\n", "etc/deep/er/file": "x", "var/log/big": strings.Repeat("0123456789", 10_000), "etc/bad\xff": "y"} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "etc/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"etc/link": "hosts", "etc/out": "/../../../../etc/passwd", "etc/loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestList(t *testing.T) {
	h := New(tree(t))
	for _, tc := range []struct {
		name string
		in   *machinepb.ListRequest
		want []string
		err  error
	}{
		{"a directory", &machinepb.ListRequest{Root: "/etc"}, []string{".", "bad\uFFFD", "deep", "fifo", "hosts", "link", "loop", "out"}, nil},
		{"the root", &machinepb.ListRequest{}, []string{".", "etc", "var"}, nil},
		{"all below", &machinepb.ListRequest{Root: "/etc/deep", Recurse: true}, []string{".", "er", "er/file"}, nil},
		{"to a depth", &machinepb.ListRequest{Root: "/etc/deep", Recurse: true, RecursionDepth: 1}, []string{".", "er"}, nil},
		{"links alone", &machinepb.ListRequest{Root: "/etc", Types: []machinepb.ListRequest_Type{machinepb.ListRequest_SYMLINK}}, []string{"link", "loop", "out"}, nil},
		{"what is not there", &machinepb.ListRequest{Root: "/nothing"}, nil, fs.ErrNotExist},
		{"a relative path", &machinepb.ListRequest{Root: "etc"}, nil, syscall.EINVAL},
		{"a type that is none", &machinepb.ListRequest{Types: []machinepb.ListRequest_Type{7}}, nil, syscall.EINVAL},
		{"a path with a zero", &machinepb.ListRequest{Root: "/a\x00b"}, nil, syscall.EINVAL},
	} {
		s := open[machinepb.FileInfo](t)
		if err := h.List(tc.in, s); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.err)
		}
		var got []string
		for _, f := range s.sent {
			got = append(got, f.GetRelativeName())
			if _, err := proto.Marshal(f); err != nil {
				t.Errorf("%s: %s: %v", tc.name, f.GetName(), err)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
	s := open[machinepb.FileInfo](t)
	if err := h.List(&machinepb.ListRequest{Root: "/etc/link"}, s); err != nil {
		t.Fatal(err)
	}
	if f := s.sent[0]; f.GetSize() != 20 || fs.FileMode(f.GetMode()) != 0o640 || f.GetIsDir() || f.GetModified() == 0 {
		t.Errorf("a link to a file is listed as %v", f)
	}
}

func TestRead(t *testing.T) {
	h := New(tree(t))
	for _, tc := range []struct {
		name, path, want string
		err              error
	}{
		{"a file", "/etc/hosts", "127.0.0.1 localhost\n", nil},
		{"a large one", "/var/log/big", strings.Repeat("0123456789", 10_000), nil},
		{"through a link", "/etc/link", "127.0.0.1 localhost\n", nil},
		{"a link that leads out", "/etc/out", "", fs.ErrNotExist},
		{"a path that leads out", "/../../../etc/hosts", "127.0.0.1 localhost\n", nil},
		{"a link in a circle", "/etc/loop", "", syscall.ELOOP},
		{"a pipe", "/etc/fifo", "", syscall.EINVAL},
		{"a directory", "/etc", "", syscall.EISDIR},
		{"what is not there", "/nothing", "", fs.ErrNotExist},
		{"a relative path", "etc/hosts", "", syscall.EINVAL},
	} {
		s := open[commonpb.Data](t)
		if err := h.Read(&machinepb.ReadRequest{Path: tc.path}, s); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.err)
		}
		if got := bytesOf(s); got != tc.want {
			t.Errorf("%s: %d bytes; want %d", tc.name, len(got), len(tc.want))
		}
		for _, d := range s.sent {
			if len(d.GetBytes()) > ChunkSize {
				t.Errorf("%s: a message of %d bytes", tc.name, len(d.GetBytes()))
			}
		}
	}
}

// TestReadingAFileWithoutAnEndEndsWithTheContext reads the page map of this process, which has a byte for each 512 of the address
// space.
func TestReadingAFileWithoutAnEndEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s := &counting{ctx: ctx}
	start := time.Now()
	err := New("").Read(&machinepb.ReadRequest{Path: "/proc/self/pagemap"}, s)
	if !errors.Is(err, context.DeadlineExceeded) || s.n == 0 || time.Since(start) > 5*time.Second {
		t.Errorf("Read: %v after %v and %d bytes; want %v", err, time.Since(start), s.n, context.DeadlineExceeded)
	}
}

// counting drops what is sent.
type counting struct {
	grpc.ServerStream
	ctx context.Context
	n   int
}

func (s *counting) Context() context.Context { return s.ctx }

func (s *counting) Send(d *commonpb.Data) error {
	s.n += len(d.GetBytes())
	return nil
}

func TestCopyPacksWhatIsThereAndDoesNotWaitForPipes(t *testing.T) {
	h := New(tree(t))
	s := open[commonpb.Data](t)
	if err := h.Copy(&machinepb.CopyRequest{RootPath: "/etc"}, s); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(strings.NewReader(bytesOf(s)))
	if err != nil {
		t.Fatal(err)
	}
	files, got := tar.NewReader(zip), map[string]byte{}
	for {
		f, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[strings.TrimSuffix(f.Name, "/")] = f.Typeflag
	}
	for name, kind := range map[string]byte{"hosts": tar.TypeReg, "fifo": tar.TypeFifo, "link": tar.TypeSymlink, "deep/er": tar.TypeDir} {
		if got[name] != kind {
			t.Errorf("%s is %q in the archive; want %q", name, got[name], kind)
		}
	}
	if err := h.Copy(&machinepb.CopyRequest{RootPath: "/nothing"}, open[commonpb.Data](t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Copy of nothing: %v; want %v", err, fs.ErrNotExist)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Copy(&machinepb.CopyRequest{RootPath: "/"}, &sink[commonpb.Data]{ctx: ctx}); !errors.Is(err, context.Canceled) {
		t.Errorf("Copy after the end: %v; want %v", err, context.Canceled)
	}
}

func TestDiskUsage(t *testing.T) {
	h := New(tree(t))
	for _, tc := range []struct {
		name string
		in   *machinepb.DiskUsageRequest
		want []string
		err  error
	}{
		{"the start alone", &machinepb.DiskUsageRequest{Paths: []string{"/etc/deep"}}, []string{"."}, nil},
		{"without paths the root", &machinepb.DiskUsageRequest{}, []string{"."}, nil},
		{"to a depth", &machinepb.DiskUsageRequest{Paths: []string{"/etc"}, RecursionDepth: 1}, []string{"deep", "."}, nil},
		{"all directories", &machinepb.DiskUsageRequest{Paths: []string{"/etc"}, RecursionDepth: -5}, []string{"deep/er", "deep", "."}, nil},
		{"files, too", &machinepb.DiskUsageRequest{Paths: []string{"/etc/deep"}, RecursionDepth: -1, All: true}, []string{"er/file", "er", "."}, nil},
		{"a relative path", &machinepb.DiskUsageRequest{Paths: []string{"etc"}}, nil, syscall.EINVAL},
		{"too many", &machinepb.DiskUsageRequest{Paths: make([]string, maxPaths+1)}, nil, syscall.EINVAL},
	} {
		s := open[machinepb.DiskUsageInfo](t)
		if err := h.DiskUsage(tc.in, s); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.err)
		}
		var got []string
		for _, u := range s.sent {
			got = append(got, u.GetRelativeName())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
	s := open[machinepb.DiskUsageInfo](t)
	if err := h.DiskUsage(&machinepb.DiskUsageRequest{Paths: []string{"/nothing"}}, s); err != nil || len(s.sent) != 1 || s.sent[0].GetError() == "" {
		t.Errorf("what is not there: %v, %v; want it with its error", s.sent, err)
	}
}

// TestTheMachineDescribesItself asks this machine everything that needs no root.
func TestTheMachineDescribesItself(t *testing.T) {
	h, ctx, none := New(""), t.Context(), &emptypb.Empty{}
	hostname, err := h.Hostname(ctx, none)
	if want, _ := os.Hostname(); err != nil || hostname.GetMessages()[0].GetHostname() != want {
		t.Errorf("Hostname: %v, %v; want %s", hostname, err, want)
	}
	if _, err := h.LoadAvg(ctx, none); err != nil {
		t.Errorf("LoadAvg: %v", err)
	}
	memory, err := h.Memory(ctx, none)
	if m := memory.GetMessages()[0].GetMeminfo(); err != nil || m.GetMemtotal() == 0 || m.GetMemfree() >= m.GetMemtotal() {
		t.Errorf("Memory: %v, %v", memory, err)
	}
	cpus, err := h.CPUInfo(ctx, none)
	if err != nil || len(cpus.GetMessages()[0].GetCpuInfo()) == 0 {
		t.Errorf("CPUInfo: %v, %v", cpus, err)
	}
	if _, err := h.CPUFreqStats(ctx, none); err != nil {
		t.Errorf("CPUFreqStats: %v", err)
	}
	stat, err := h.SystemStat(ctx, none)
	if s := stat.GetMessages()[0]; err != nil || s.GetBootTime() == 0 || len(s.GetCpu()) == 0 || s.GetCpuTotal() == nil {
		t.Errorf("SystemStat: %v, %v", stat, err)
	}
	if _, err := h.DiskStats(ctx, none); err != nil {
		t.Errorf("DiskStats: %v", err)
	}
	network, err := h.NetworkDeviceStats(ctx, none)
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, d := range network.GetMessages()[0].GetDevices() {
		sum += d.GetRxBytes()
	}
	if got := network.GetMessages()[0].GetTotal().GetRxBytes(); got != sum {
		t.Errorf("the total of the devices is %d; want %d", got, sum)
	}
	processes, err := h.Processes(ctx, none)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(processes.GetMessages()[0].GetProcesses(), func(p *machinepb.ProcessInfo) bool { return int(p.GetPid()) == os.Getpid() })
	if i < 0 {
		t.Fatal("Processes: this one is missing")
	}
	if p := processes.GetMessages()[0].GetProcesses()[i]; p.GetResidentMemory() == 0 || p.GetThreads() == 0 || !strings.Contains(p.GetArgs(), "-test.") {
		t.Errorf("this process is %v", p)
	}
	mounts, err := h.Mounts(ctx, none)
	if err != nil || !slices.ContainsFunc(mounts.GetMessages()[0].GetStats(), func(m *machinepb.MountStat) bool { return m.GetMountedOn() == "/" && m.GetSize() > 0 }) {
		t.Errorf("Mounts has no root with a size: %v, %v", mounts, err)
	}
	fs, err := h.Statfs(ctx, &machinepb.StorageServiceStatfsRequest{Path: t.TempDir()})
	if err != nil || fs.GetSize() == 0 || fs.GetUsed() > fs.GetSize() {
		t.Errorf("Statfs: %v, %v", fs, err)
	}
}

func TestAFileSystemThatDoesNotAnswer(t *testing.T) {
	h := New("")
	never := make(chan struct{})
	defer close(never)
	h.usage = func(string) (mount.Usage, error) { <-never; return mount.Usage{}, nil }
	for range maxUnanswered {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := h.Statfs(ctx, &machinepb.StorageServiceStatfsRequest{Path: "/stuck"})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "/stuck") {
			t.Fatalf("Statfs: %v; want %v with the path", err, context.DeadlineExceeded)
		}
	}
	_, err := h.Statfs(t.Context(), &machinepb.StorageServiceStatfsRequest{Path: "/stuck"})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more: %v; want %s", err, codes.ResourceExhausted)
	}
	h = New("")
	h.usage = func(string) (mount.Usage, error) { panic("broken") }
	if _, err := h.Statfs(t.Context(), &machinepb.StorageServiceStatfsRequest{Path: "/x"}); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("a panic: %v; want an error that says so", err)
	}
}

func TestNetstat(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	h, port := New(""), uint32(l.Addr().(*net.TCPAddr).Port)
	for _, tc := range []struct {
		name   string
		in     *machinepb.NetstatRequest
		listen bool
		conn   bool
		err    error
	}{
		{"all", &machinepb.NetstatRequest{}, true, true, nil},
		{"listening", &machinepb.NetstatRequest{Filter: machinepb.NetstatRequest_LISTENING}, true, false, nil},
		{"connected", &machinepb.NetstatRequest{Filter: machinepb.NetstatRequest_CONNECTED, L4Proto: &machinepb.NetstatRequest_L4Proto{Tcp: true}}, false, true, nil},
		{"another protocol", &machinepb.NetstatRequest{L4Proto: &machinepb.NetstatRequest_L4Proto{Udp6: true}}, false, false, nil},
		{"all namespaces", &machinepb.NetstatRequest{Netns: &machinepb.NetstatRequest_NetNS{Allnetns: true}}, true, true, nil},
		{"the host's by name", &machinepb.NetstatRequest{Netns: &machinepb.NetstatRequest_NetNS{Netns: []string{"host"}}}, true, true, nil},
		{"a namespace that is not there", &machinepb.NetstatRequest{Netns: &machinepb.NetstatRequest_NetNS{Netns: []string{"none"}}}, false, false, fs.ErrNotExist},
		{"a filter that is none", &machinepb.NetstatRequest{Filter: 8}, false, false, syscall.EINVAL},
	} {
		tc.in.Feature = &machinepb.NetstatRequest_Feature{Pid: true}
		out, err := h.Netstat(t.Context(), tc.in)
		if !errors.Is(err, tc.err) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.err)
		}
		var listen, conn bool
		if err == nil {
			for _, r := range out.GetMessages()[0].GetConnectrecord() {
				if r.GetLocalport() == port && r.GetState() == machinepb.ConnectRecord_LISTEN {
					listen = true
					if int(r.GetProcess().GetPid()) != os.Getpid() || r.GetNetns() != "host" || r.GetLocalip() != "127.0.0.1" {
						t.Errorf("%s: %v", tc.name, r)
					}
				}
				conn = conn || r.GetRemoteport() == port && r.GetState() == machinepb.ConnectRecord_ESTABLISHED
			}
		}
		if listen != tc.listen || conn != tc.conn {
			t.Errorf("%s: listening %t, connection %t; want %t, %t", tc.name, listen, conn, tc.listen, tc.conn)
		}
	}
}

func TestPacketCaptureStreamsACaptureFile(t *testing.T) {
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	h := New("")
	for _, in := range []*machinepb.PacketCaptureRequest{
		{Interface: "lo", BpfFilter: []*machinepb.BPFInstruction{{Op: 1 << 16}}},
		{Interface: "lo", BpfFilter: []*machinepb.BPFInstruction{{Jt: 256}}},
	} {
		if err := h.PacketCapture(in, open[commonpb.Data](t)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("PacketCapture(%v): %v; want %v", in, err, syscall.EINVAL)
		}
	}
	if err := h.PacketCapture(&machinepb.PacketCaptureRequest{Interface: "nothing"}, open[commonpb.Data](t)); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("a device that is not there: %v; want %v", err, syscall.ENODEV)
	}
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_RAW; CI runs as root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s := &sink[commonpb.Data]{ctx: ctx}
	done := make(chan error, 1)
	go func() { done <- h.PacketCapture(&machinepb.PacketCaptureRequest{Interface: "lo", SnapLen: 200}, s) }()
	from, err := net.Dial("udp4", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for !strings.Contains(bytesOf(s), "a packet to be seen") {
		if ctx.Err() != nil {
			t.Fatalf("the packet was not seen within 10 s; %d bytes came", len(bytesOf(s)))
		}
		if _, err := from.Write([]byte("a packet to be seen")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("PacketCapture: %v; want %v", err, context.Canceled)
	}
	if !bytes.HasPrefix([]byte(bytesOf(s)), []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0}) {
		t.Errorf("it begins with %x", bytesOf(s)[:8])
	}
}

func TestDmesg(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"proc/uptime": "100.00 50.00\n", "dev/kmsg": "6,1,5000000,-;a line\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open[commonpb.Data](t)
	if err := New(root).Dmesg(&machinepb.DmesgRequest{}, s); err != nil {
		t.Fatal(err)
	}
	if got := bytesOf(s); !strings.HasPrefix(got, "kern:") || !strings.HasSuffix(got, ": a line\n") {
		t.Errorf("Dmesg: %q", got)
	}
	if err := os.Remove(filepath.Join(root, "dev/kmsg")); err != nil {
		t.Fatal(err)
	}
	if err := New(root).Dmesg(&machinepb.DmesgRequest{}, open[commonpb.Data](t)); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("without a log: %v; want %s", err, codes.FailedPrecondition)
	}
}
