package layer2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"talos.internal/internal/sys/pcap"
)

// Dial connects to the socket of a machine.
type Dial func(ctx context.Context) (net.Conn, error)

// dialSocket dials a unix socket.
func dialSocket(path string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// again is the time between two tries to connect to a machine, which may just start.
const again = 100 * time.Millisecond

// Switch is an Ethernet switch. Its methods are safe to call at the same time. Close it at the end.
type Switch struct {
	work   sync.WaitGroup // the ports' goroutines
	chance func() float64

	mu      sync.Mutex
	closed  bool
	ports   map[string]*port
	table   table
	rules   rules
	capture *capture
}

type port struct {
	name   string
	socket string // "" if it has none
	cancel context.CancelFunc

	out    chan waiting // nil while the machine is not connected; under the switch's lock
	queued atomic.Int64 // of out

	received, sent, lost atomic.Uint64
}

// NewSwitch returns a switch without ports. chance returns a number from 0 to less than 1 whenever a rule asks for one; nil is
// a good one.
func NewSwitch(chance func() float64) *Switch {
	if chance == nil {
		chance = rand.Float64
	}
	return &Switch{chance: chance, ports: map[string]*port{}, table: table{}, rules: rules{}}
}

// Close ends the switch and returns when nothing of it runs any more.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.ports {
		p.cancel()
	}
	s.mu.Unlock()
	s.work.Wait()
	return s.EndCapture()
}

// Add adds a port. The switch connects by dial, and again whenever the connection ends. socket is what [Switch.Ports] says of it.
// The error is fs.ErrExist if there is a port of that name.
func (s *Switch) Add(name, socket string, dial Dial) error {
	if name == "" {
		return fmt.Errorf("add a port: %w: it has no name", fs.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ports[name]; ok {
		return fmt.Errorf("add port %s: %w", name, fs.ErrExist)
	}
	if s.closed {
		return fmt.Errorf("add port %s: the switch: %w", name, fs.ErrClosed)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends with Remove or Close
	p := &port{name: name, socket: socket, cancel: cancel}
	s.ports[name] = p
	s.work.Go(func() { s.serve(ctx, p, dial) })
	return nil
}

// Remove removes a port. The error is fs.ErrNotExist if there is none of that name.
func (s *Switch) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.ports[name]
	if !ok {
		return fmt.Errorf("remove port %s: %w", name, fs.ErrNotExist)
	}
	p.cancel()
	delete(s.ports, name)
	s.table.forget(name)
	return nil
}

// serve keeps a port connected until ctx ends.
func (s *Switch) serve(ctx context.Context, p *port, dial Dial) {
	for ctx.Err() == nil {
		if conn, err := dial(ctx); err == nil {
			s.exchange(ctx, p, conn)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// exchange moves frames between a connection and the switch until it ends.
func (s *Switch) exchange(ctx context.Context, p *port, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	out := make(chan waiting, mostWaiting)
	p.queued.Store(0)
	s.mu.Lock()
	p.out = out
	s.mu.Unlock()
	var writer sync.WaitGroup
	writer.Go(func() {
		// What ends the one direction ends the other.
		_ = write(out, conn, func() { p.queued.Add(-1) })
		_ = conn.Close()
	})
	in := bufio.NewReaderSize(conn, 256<<10)
	for {
		f, err := ReadFrame(in)
		if err != nil {
			break
		}
		if f.whole() {
			s.take(p, f)
		}
	}
	s.mu.Lock()
	p.out = nil // nobody sends to it now
	s.table.forget(p.name)
	s.mu.Unlock()
	_ = conn.Close()
	close(out)
	writer.Wait()
}

// take takes a frame from a port and gives it to those that are to have it.
func (s *Switch) take(p *port, f Frame) {
	now := time.Now()
	p.received.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports[p.name] != p {
		return // it was removed meanwhile
	}
	if s.capture != nil {
		s.capture.write(f, now)
	}
	s.table.learn(f.from(), p.name, now)
	if name, ok := s.table.lookup(f.to(), now); ok && !f.to().group() {
		if to := s.ports[name]; to != nil && to != p {
			s.send(p, to, f, now)
		}
		return
	}
	for _, to := range s.ports {
		if to != p {
			s.send(p, to, f, now)
		}
	}
}

// send puts a frame into the queue of a port, if the rules let it.
func (s *Switch) send(from, to *port, f Frame, now time.Time) {
	late, lost := s.rules.of(from.name, to.name).fate(s.chance)
	if lost || to.out == nil || to.queued.Load() >= mostWaiting {
		to.lost.Add(1)
		return
	}
	to.queued.Add(1)
	to.sent.Add(1)
	to.out <- waiting{frame: f, due: now.Add(late)} // there is room: the writer takes from it before it counts down
}

// SetRule sets the rule of a direction. It may name ports that are not there yet.
func (s *Switch) SetRule(r Rule) error {
	if err := r.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules.set(r)
	return nil
}

// Rules returns the rules, sorted.
func (s *Switch) Rules() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rules.list()
}

// ClearRules removes all rules.
func (s *Switch) ClearRules() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.rules)
}

// Port is a port of a switch and what went through it since the switch was started.
type Port struct {
	Name      string `json:"name"`
	Socket    string `json:"socket"`
	Connected bool   `json:"connected"`
	Received  uint64 `json:"received"` // frames from the machine
	Sent      uint64 `json:"sent"`     // frames to the machine
	Lost      uint64 `json:"lost"`     // frames for the machine that were lost: by a rule, or because it is not there or too slow
}

// Ports returns the ports, sorted by name.
func (s *Switch) Ports() []Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Port, 0, len(s.ports))
	for _, p := range s.ports {
		out = append(out, Port{p.name, p.socket, p.out != nil, p.received.Load(), p.sent.Load(), p.lost.Load()})
	}
	slices.SortFunc(out, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// capture is a file with frames.
type capture struct {
	file *os.File
	out  *pcap.Writer
	err  error // the first one; nothing is written after it
}

func (c *capture) write(f Frame, now time.Time) {
	if c.err == nil {
		c.err = c.out.Write(pcap.Packet{Time: now, Data: f.Data(), Length: len(f.Data())})
	}
}

// Capture writes each frame that a machine sends into a file from now on, before rules do something to it. The file is replaced
// if it is there. A capture that goes on is ended first.
func (s *Switch) Capture(name string) error {
	if err := s.EndCapture(); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	out, err := pcap.NewWriter(file, pcap.Ethernet, MaxFrame)
	if err != nil {
		return errors.Join(fmt.Errorf("capture: %w", err), file.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capture = &capture{file: file, out: out}
	return nil
}

// EndCapture ends the capture, if there is one, and returns an error if not all of it was written.
func (s *Switch) EndCapture() error {
	s.mu.Lock()
	c := s.capture
	s.capture = nil
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if err := errors.Join(c.err, c.file.Close()); err != nil {
		return fmt.Errorf("capture %s: %w", c.file.Name(), err)
	}
	return nil
}
