package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// simNet is a network between named hosts in virtual time: packets take time and get lost, which TCP makes into later; links
// and hosts can be cut, and then even the end of a connection does not get through.
type simNet struct {
	delay time.Duration

	mu        sync.Mutex
	rng       *rand.Rand
	loss      float64
	cut       map[[2]string]bool
	listeners map[string]*simListener
	conns     []net.Conn
	closed    chan struct{}
}

func newSimNet(seed uint64, delay time.Duration, loss float64) *simNet {
	return &simNet{delay: delay, rng: rand.New(rand.NewPCG(seed, 1)), loss: loss, cut: map[[2]string]bool{},
		listeners: map[string]*simListener{}, closed: make(chan struct{})}
}

// setCut cuts or heals the link between two hosts.
func (n *simNet) setCut(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}], n.cut[[2]string{b, a}] = cut, cut
}

// through reports whether a packet gets from a to b now.
func (n *simNet) through(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[[2]string{a, b}] && n.rng.Float64() >= n.loss
}

// close ends all connections and refuses new ones.
func (n *simNet) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.closed)
	for _, c := range n.conns {
		c.Close()
	}
}

type simAddr string

func (a simAddr) Network() string { return "sim" }
func (a simAddr) String() string  { return string(a) }

type simListener struct {
	n      *simNet
	host   string
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

// listen listens on a host, in the place of who did before.
func (n *simNet) listen(host string) *simListener {
	l := &simListener{n: n, host: host, accept: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	n.listeners[host] = l
	n.mu.Unlock()
	return l
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *simListener) Addr() net.Addr { return simAddr(l.host) }

// dialer returns the Dial of a host. Addresses are "host:port"; the port is ignored.
func (n *simNet) dialer(from string) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		to, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		for rto := time.Second; ; rto *= 2 {
			wait := rto
			ok := n.through(from, to) && n.through(to, from)
			if ok {
				wait = 2 * n.delay
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil, fmt.Errorf("dial %s from %s: %w", to, from, ctx.Err())
			case <-n.closed:
				return nil, net.ErrClosed
			}
			if !ok {
				continue
			}
			n.mu.Lock()
			l := n.listeners[to]
			n.mu.Unlock()
			if l == nil {
				return nil, errors.New("connection refused")
			}
			ours, far := net.Pipe()
			theirs, near := net.Pipe()
			n.mu.Lock()
			select {
			case <-n.closed:
				n.mu.Unlock()
				return nil, net.ErrClosed
			default:
			}
			n.conns = append(n.conns, ours, far, theirs, near)
			n.mu.Unlock()
			select {
			case l.accept <- near:
			case <-l.done:
				return nil, errors.New("connection refused")
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			go n.relay(from, to, far, theirs)
			go n.relay(to, from, theirs, far)
			return ours, nil
		}
	}
}

// relay carries bytes from one end to the other, late by the delay and by what was lost on the way.
func (n *simNet) relay(from, to string, src, dst net.Conn) {
	type packet struct {
		data []byte
		sent time.Time
	}
	var mu sync.Mutex
	var queue []packet // an empty one is the end
	more := make(chan struct{}, 1)
	go func() {
		for {
			buf := make([]byte, 4096)
			k, err := src.Read(buf)
			mu.Lock()
			if k > 0 {
				queue = append(queue, packet{buf[:k], time.Now()})
			}
			if err != nil {
				queue = append(queue, packet{nil, time.Now()})
			}
			mu.Unlock()
			select {
			case more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		mu.Lock()
		var p packet
		have := len(queue) > 0
		if have {
			p, queue = queue[0], queue[1:]
		}
		mu.Unlock()
		if !have {
			select {
			case <-more:
			case <-n.closed:
				return
			}
			continue
		}
		at := p.sent.Add(n.delay)
		for rto := 200 * time.Millisecond; ; rto *= 2 {
			select {
			case <-time.After(time.Until(at)):
			case <-n.closed:
				return
			}
			if n.through(from, to) {
				break
			}
			at = time.Now().Add(rto)
		}
		if p.data == nil {
			dst.Close()
			return
		}
		if _, err := dst.Write(p.data); err != nil {
			src.Close()
			return
		}
	}
}
