package trust

import (
	"net"
	"sync"
)

// maxConns is how many connections are served at once; more wait in the kernel's queue. Each that shows no handshake, or is idle, is
// closed after a time, so that who opens connections and does nothing does not keep others out for long.
const maxConns = 2048

// limited is a listener with a bound on the connections that are open.
type limited struct {
	net.Listener
	slots chan struct{}
	ended chan struct{}
	close sync.Once
}

func limitConns(ln net.Listener, n int) *limited {
	return &limited{Listener: ln, slots: make(chan struct{}, n), ended: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.ended:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, release: func() { <-l.slots }}, nil
}

// Close implements [net.Listener].
func (l *limited) Close() error {
	l.close.Do(func() { close(l.ended) })
	return l.Listener.Close()
}

type counted struct {
	net.Conn
	release func()
	once    sync.Once
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
