package hostdnsctrl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"

	"talos.internal/resource/network"
)

const (
	// tryLimit is how long one server may take, and askLimit all of them: libraries wait five seconds.
	tryLimit = 1500 * time.Millisecond
	askLimit = 4 * time.Second
	// A server that answers is probed each probeInterval; one that does not after probeSoonest, and then less and less often.
	probeInterval = time.Minute
	probeSoonest  = time.Second
	probeLatest   = 10 * time.Second

	dotPort = 853
	dohPort = 443
	// udpSize is what fits into a packet nearly everywhere (DNS Flag Day 2020).
	udpSize = 1232
)

// standing is what is known of a server.
type standing uint8

const (
	unknown standing = iota // it was not asked yet
	healthy
	silent
)

// upstream is a server of the node.
type upstream struct {
	server network.NameServer
	port   uint16
	https  *http.Client   // for DNS over HTTPS alone
	roots  *x509.CertPool // nil means the system's
	kick   chan struct{}
	stop   context.CancelFunc

	mu       sync.Mutex
	standing standing
}

// id is the address, by which a server is known in the state.
func (u *upstream) id() string { return u.server.Addr.String() }

// address is where it is asked.
func (u *upstream) address() string {
	return netip.AddrPortFrom(u.server.Addr, u.port).String()
}

func (u *upstream) is() standing {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.standing
}

// set notes how the server is, and reports whether that is new.
func (u *upstream) set(s standing) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.standing
	u.standing = s
	return was != s
}

func newUpstream(n network.NameServer, port uint16) *upstream {
	u := &upstream{server: n, port: port, kick: make(chan struct{}, 1)}
	if u.port == 0 {
		u.port = map[network.DNSProtocol]uint16{network.DNSDoT: dotPort, network.DNSDoH: dohPort}[n.Protocol]
	}
	if u.port == 0 {
		u.port = dnsPort
	}
	if n.Protocol == network.DNSDoH {
		u.https = &http.Client{Transport: &http.Transport{
			// The name is of the certificate; nobody may resolve it, since that is what this is for.
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conf := u.tls()
				conf.NextProtos = []string{"h2", "http/1.1"}
				return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: tryLimit}, Config: conf}).DialContext(ctx, "tcp", u.address())
			},
			ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second,
		}}
	}
	return u
}

func (u *upstream) tls() *tls.Config {
	name := u.server.TLSServerName
	if name == "" {
		name = u.server.Addr.String()
	}
	return &tls.Config{RootCAs: u.roots, ServerName: name, MinVersion: tls.VersionTLS12}
}

// close ends its connections.
func (u *upstream) close() {
	if u.https != nil {
		u.https.CloseIdleConnections()
	}
}

// ask asks the server. What comes back answers the question that was asked.
func (u *upstream) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	m, err := u.exchange(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", u.server.Protocol, u.address(), err)
	}
	if !m.Response || len(m.Question) != 1 || keyOf(m).name != keyOf(q).name || m.Question[0].Qtype != q.Question[0].Qtype {
		return nil, fmt.Errorf("%s %s: the answer is to another question", u.server.Protocol, u.address())
	}
	return m, nil
}

func (u *upstream) exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	q = q.Copy()
	q.Id = dns.Id()
	switch u.server.Protocol {
	case network.DNSDoH:
		return u.overHTTPS(ctx, q)
	case network.DNSDoT:
		m, _, err := (&dns.Client{Net: "tcp-tls", TLSConfig: u.tls(), Timeout: tryLimit}).ExchangeContext(ctx, q, u.address())
		return m, err
	}
	m, _, err := (&dns.Client{UDPSize: udpSize, Timeout: tryLimit}).ExchangeContext(ctx, q, u.address())
	if err == nil && m.Truncated {
		m, _, err = (&dns.Client{Net: "tcp", Timeout: tryLimit}).ExchangeContext(ctx, q, u.address())
	}
	return m, err
}

// overHTTPS is RFC 8484.
func (u *upstream) overHTTPS(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	q.Id = 0 // section 4.1: so that answers can be cached
	body, err := q.Pack()
	if err != nil {
		return nil, err
	}
	const media = "application/dns-message"
	target := "https://" + net.JoinHostPort(u.tls().ServerName, strconv.Itoa(int(u.port))) + "/dns-query"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", media)
	r.Header.Set("Accept", media)
	answer, err := u.https.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, dns.MaxMsgSize))
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	return m, m.Unpack(data)
}

// probe asks the server again and again whether it is there, until ctx ends. Whatever it says about the root is an answer.
func (u *upstream) probe(ctx context.Context, changed func()) {
	defer u.close()
	q := new(dns.Msg)
	q.SetQuestion(".", dns.TypeNS)
	wait := time.Duration(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-u.kick:
			if gap := probeSoonest - time.Since(last); gap > 0 { // however many questions there are
				timer.Reset(gap)
				continue
			}
		}
		last = time.Now()
		_, err := u.ask(ctx, q)
		if ctx.Err() != nil {
			return
		}
		now, next := healthy, probeInterval
		if err != nil {
			wait = min(max(2*wait, probeSoonest), probeLatest)
			now, next = silent, wait
		} else {
			wait = 0
		}
		timer.Reset(next)
		if u.set(now) {
			changed()
		}
	}
}

// suspect has the server be probed now.
func (u *upstream) suspect() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

var errNobody = errors.New("no server answers")

// forward asks servers in order until one knows something. Those that were silent last are not asked at all: they are probed until
// they answer, and nobody waits for that.
func forward(ctx context.Context, servers []*upstream, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var failed []error
	var refusal *dns.Msg
	var first, then []*upstream
	for _, u := range servers {
		switch u.is() {
		case healthy:
			first = append(first, u)
		case unknown:
			then = append(then, u)
		case silent:
			u.suspect() // it may be back for the next question
		}
	}
	for _, u := range append(first, then...) {
		if ctx.Err() != nil {
			break
		}
		m, err := u.ask(ctx, q)
		if err != nil {
			failed = append(failed, err)
			u.suspect()
			continue
		}
		switch m.Rcode {
		case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented:
			refusal = m // another may know it
			continue
		}
		return m, nil
	}
	if refusal != nil {
		return refusal, nil
	}
	return nil, fmt.Errorf("%w: %w", errNobody, errors.Join(failed...))
}
