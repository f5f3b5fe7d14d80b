package layer2

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// machine is the other end of a port.
type machine struct {
	mac   mac
	conns chan net.Conn
	conn  net.Conn
	got   chan string // what each frame says
}

// plug makes a machine with a port of the switch. In a synctest bubble nothing waits for the system: connections are pipes.
func plug(t *testing.T, s *Switch, name string, n byte) *machine {
	t.Helper()
	m := &machine{mac: mac{2, 0, 0, 0, 0, n}, conns: make(chan net.Conn, 1), got: make(chan string, 100)}
	err := s.Add(name, "", func(ctx context.Context) (net.Conn, error) {
		select {
		case c := <-m.conns:
			return c, nil
		default:
			return nil, fs.ErrNotExist
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m.connect()
	return m
}

func (m *machine) connect() {
	near, far := net.Pipe()
	m.conn = near
	m.conns <- far
	go func() {
		r := bufio.NewReader(near)
		for {
			f, err := ReadFrame(r)
			if err != nil {
				return
			}
			m.got <- string(f.Data()[minFrame:])
		}
	}()
}

func frame(from, to mac, text string) Frame {
	return NewFrame(slices.Concat(to[:], from[:], []byte{0x88, 0xb5}, []byte(text)))
}

func (m *machine) send(t *testing.T, to mac, text string) {
	t.Helper()
	if _, err := m.conn.Write(frame(m.mac, to, text)); err != nil {
		t.Fatal(err)
	}
}

// received is what the machine got since the last time.
func (m *machine) received() []string {
	synctest.Wait()
	var out []string
	for {
		select {
		case text := <-m.got:
			out = append(out, text)
		default:
			return out
		}
	}
}

var everyone = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func expect(t *testing.T, what string, m *machine, want ...string) {
	t.Helper()
	if got := m.received(); !slices.Equal(got, want) {
		t.Errorf("%s: got %q; want %q", what, got, want)
	}
}

// net3 is a switch with three machines.
func net3(t *testing.T, chance func() float64) (s *Switch, a, b, c *machine) {
	s = NewSwitch(chance)
	a, b, c = plug(t, s, "a", 1), plug(t, s, "b", 2), plug(t, s, "c", 3)
	time.Sleep(2 * again)
	return s, a, b, c
}

func TestFramesGoToWhoTheyAreFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b, c := net3(t, nil)
		defer func() { _ = s.Close() }()
		a.send(t, b.mac, "unknown")
		expect(t, "b, not known yet", b, "unknown")
		expect(t, "c, flooded", c, "unknown")
		b.send(t, a.mac, "answer")
		expect(t, "a, known", a, "answer")
		expect(t, "c, for whom it is not", c)
		a.send(t, everyone, "all")
		expect(t, "b, of all", b, "all")
		expect(t, "c, of all", c, "all")
		expect(t, "a, its own", a)
		a.send(t, a.mac, "to myself")
		expect(t, "a, to itself", a)
		expect(t, "b, of a to itself", b)
		if _, err := a.conn.Write([]byte{0, 0, 0, 2, 1, 1}); err != nil { // no Ethernet frame
			t.Fatal(err)
		}
		expect(t, "b, of no frame", b)
		want := Port{Name: "a", Connected: true, Received: 3, Sent: 1}
		if got := s.Ports()[0]; got != want {
			t.Errorf("port a = %+v; want %+v", got, want)
		}
	})
}

func TestRulesMakeTheNetworkWorse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var percent atomic.Int64
		percent.Store(50)
		s, a, b, c := net3(t, func() float64 { return float64(percent.Load()) / 100 })
		defer func() { _ = s.Close() }()
		set := func(r Rule) {
			t.Helper()
			if err := s.SetRule(r); err != nil {
				t.Fatal(err)
			}
		}
		set(Rule{From: "a", To: "b", Cut: true})
		a.send(t, everyone, "cut")
		expect(t, "b, cut off", b)
		expect(t, "c, beside", c, "cut")
		b.send(t, everyone, "back")
		expect(t, "a, in the other direction", a, "back")
		c.received()
		set(Rule{From: "a", To: "b", Drop: 0.6})
		a.send(t, b.mac, "lost")
		expect(t, "b, of a lost frame", b)
		percent.Store(70)
		a.send(t, b.mac, "not lost")
		expect(t, "b", b, "not lost")
		set(Rule{From: "a", To: "b", Delay: time.Second})
		a.send(t, b.mac, "late 1")
		a.send(t, b.mac, "late 2")
		expect(t, "b, at once", b)
		c.send(t, b.mac, "from elsewhere")
		expect(t, "b, undelayed", b, "from elsewhere")
		time.Sleep(time.Second - time.Millisecond)
		expect(t, "b, a moment too early", b)
		time.Sleep(time.Millisecond)
		expect(t, "b, in time", b, "late 1", "late 2")
		s.ClearRules()
		a.send(t, b.mac, "well")
		expect(t, "b, after all", b, "well")
		if err := s.SetRule(Rule{Drop: 2}); err == nil {
			t.Error("a rule that is none was taken")
		}
		if got := s.Ports()[1].Lost; got != 2 {
			t.Errorf("%d frames for b were lost; want 2", got)
		}
	})
}

func TestMachinesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b, c := net3(t, nil)
		defer func() { _ = s.Close() }()
		b.send(t, everyone, "here")
		a.received()
		c.received()
		_ = b.conn.Close()
		synctest.Wait()
		if s.Ports()[1].Connected {
			t.Error("a machine that is gone is connected")
		}
		a.send(t, b.mac, "gone")
		expect(t, "c, since nobody knows where b is", c, "gone")
		b.connect()
		time.Sleep(2 * again)
		a.send(t, b.mac, "back")
		expect(t, "b, again", b, "back")
		// What cannot be framed ends the connection, and nothing else.
		_, _ = c.conn.Write([]byte{0xff, 0xff, 0xff, 0xff})
		synctest.Wait()
		if ports := s.Ports(); ports[2].Connected || !ports[0].Connected {
			t.Errorf("after a length that is none: %+v", ports)
		}
		if err := s.Remove("b"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, err := b.conn.Write(frame(b.mac, a.mac, "removed")); err == nil {
			t.Error("a removed port still takes frames")
		}
		if err := s.Remove("b"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Remove again = %v; want fs.ErrNotExist", err)
		}
		if err := s.Add("a", "", nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Add again = %v; want fs.ErrExist", err)
		}
	})
}

// A machine that takes nothing costs the others nothing, and bounded memory.
func TestASlowMachineLosesFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(nil)
		defer func() { _ = s.Close() }()
		a := plug(t, s, "a", 1)
		near, far := net.Pipe() // nobody reads from it
		defer near.Close()
		sent := false
		err := s.Add("slow", "", func(context.Context) (net.Conn, error) {
			if sent {
				return nil, fs.ErrNotExist
			}
			sent = true
			return far, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * again)
		const n = 3 * mostWaiting
		for range n {
			a.send(t, everyone, "x")
		}
		synctest.Wait()
		p := s.Ports()[1]
		// Some frames are in the writer's buffer besides those that wait.
		if p.Lost == 0 || p.Sent+p.Lost != n || p.Sent < mostWaiting {
			t.Errorf("of %d frames %d were sent and %d lost; want all of them counted, and those lost for which there is no room", n, p.Sent, p.Lost)
		}
	})
}

func TestRunTakesOrders(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- Run(run, dir) }()
	c := Client{Path: filepath.Join(dir, Socket)}
	for {
		_, err := c.Ports(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := Run(ctx, dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second switch in the folder = %v; want fs.ErrExist", err)
	}
	// Machines listen, as QEMU does.
	conns := map[string]net.Conn{}
	for _, name := range []string{"a", "b"} {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := c.Add(ctx, name, path); err != nil {
			t.Fatal(err)
		}
		if conns[name], err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		defer conns[name].Close()
	}
	if err := c.Add(ctx, "a", "x"); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "add port a") {
		t.Errorf("Add again = %v; want fs.ErrExist", err)
	}
	if err := c.Remove(ctx, "nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of what is not there = %v; want fs.ErrNotExist", err)
	}
	file := filepath.Join(dir, "capture.pcap")
	if err := c.Capture(ctx, file); err != nil {
		t.Fatal(err)
	}
	hello := frame(mac{2, 0, 0, 0, 0, 1}, everyone, "hello")
	if _, err := conns["a"].Write(hello); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFrame(conns["b"]); err != nil || !bytes.Equal(got, hello) {
		t.Errorf("b got %x, %v; want %x", got, err, hello)
	}
	if err := c.EndCapture(ctx); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || len(data) != 24+16+len(hello.Data()) || !bytes.HasSuffix(data, hello.Data()) ||
		binary.LittleEndian.Uint32(data) != 0xa1b2c3d4 {
		t.Errorf("captured %x, %v; want the frame", data, err)
	}
	if err := c.Capture(ctx, dir); err == nil {
		t.Error("a capture into a folder is no error")
	}
	rule := Rule{From: "a", To: "b", Cut: true, Delay: time.Millisecond}
	if err := c.SetRule(ctx, rule); err != nil {
		t.Error(err)
	}
	if got, err := c.Rules(ctx); err != nil || !slices.Equal(got, []Rule{rule}) {
		t.Errorf("Rules = %v, %v; want %v", got, err, rule)
	}
	if err := c.ClearRules(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.do(ctx, order{Do: "dance"}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("an unknown order = %v; want fs.ErrInvalid", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Stat(c.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestRunEndsWithItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, fmt.Errorf("it did not end"))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, dir) }()
	c := Client{Path: filepath.Join(dir, Socket)}
	for _, err := c.Ports(ctx); err != nil && ctx.Err() == nil; _, err = c.Ports(ctx) {
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || ctx.Err() != nil {
		t.Errorf("Run = %v, %v", err, context.Cause(ctx))
	}
	if err := Run(ctx, dir); err == nil {
		t.Error("Run without a folder is no error")
	}
}
