package hostdnsctrl

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"talos.internal/resource/network"
)

const (
	// mostQueries is how many questions are under way at once.
	mostQueries = 512
	// localTTL is the lifetime, in seconds, of answers from the state.
	localTTL = 10
)

// engine answers questions. It is safe for concurrent use.
type engine struct {
	cache *cache
	slots chan struct{}

	mu        sync.Mutex
	upstreams []*upstream
	hosts     map[string][]netip.Addr // by name, in lower case with its final dot
	flights   map[key]*flight
	changed   func() // is called when the standing of a server changes

	tasks sync.WaitGroup // probes
}

// flight is a question under way, for all who ask it.
type flight struct {
	done   chan struct{}
	answer *dns.Msg
	err    error
}

func newEngine() *engine {
	return &engine{
		cache: newCache(), slots: make(chan struct{}, mostQueries),
		hosts: map[string][]netip.Addr{}, flights: map[key]*flight{}, changed: func() {},
	}
}

// use makes servers the ones that are asked. Those that stay keep their standing. Other servers may know other names, so what was
// remembered is forgotten.
func (e *engine) use(servers []network.NameServer, changed func()) []*upstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changed = changed
	var next []*upstream
	same := len(servers) == len(e.upstreams)
	for i, n := range servers {
		at := slices.IndexFunc(e.upstreams, func(u *upstream) bool { return u.server == n })
		same = same && at == i
		if at >= 0 {
			next = append(next, e.upstreams[at])
			continue
		}
		u := newUpstream(n, 0)
		next = append(next, u)
		e.start(u)
	}
	for _, u := range e.upstreams {
		if !slices.Contains(next, u) {
			u.stop()
		}
	}
	if !same {
		e.upstreams = next
		e.cache.clear()
	}
	return slices.Clone(next)
}

// start begins to probe a server. The caller has the lock.
func (e *engine) start(u *upstream) {
	ctx, cancel := context.WithCancel(context.Background())
	u.stop = cancel
	e.tasks.Go(func() {
		u.probe(ctx, func() {
			e.mu.Lock()
			changed := e.changed
			e.mu.Unlock()
			changed()
		})
	})
}

// rest asks nobody any more.
func (e *engine) rest() {
	e.use(nil, func() {})
	e.tasks.Wait()
}

// know makes hosts the names that need no server.
func (e *engine) know(hosts map[string][]netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hosts = hosts
}

// ServeDNS implements [dns.Handler].
func (e *engine) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := e.answer(context.Background(), q)
	size := dns.MaxMsgSize
	if w.RemoteAddr().Network() == "udp" {
		size = dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, min(int(opt.UDPSize()), udpSize))
		}
	}
	a.Truncate(size)
	_ = w.WriteMsg(a) // who asked may be gone
}

// answer answers a question. It takes no longer than askLimit.
func (e *engine) answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return failure(q, dns.RcodeNotImplemented)
	case len(q.Question) != 1:
		return failure(q, dns.RcodeFormatError)
	case q.Question[0].Qclass != dns.ClassINET, q.Question[0].Qtype == dns.TypeAXFR, q.Question[0].Qtype == dns.TypeIXFR:
		return failure(q, dns.RcodeRefused)
	}
	if a := e.local(q); a != nil {
		return a
	}
	k := keyOf(q)
	if a := e.cache.get(k, time.Now()); a != nil {
		return reply(q, a)
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	default:
		return failure(q, dns.RcodeServerFailure)
	}
	a, err := e.fetch(ctx, k, q)
	if err != nil {
		return failure(q, dns.RcodeServerFailure)
	}
	return reply(q, a)
}

// fetch asks the servers, once for all who ask the same at a time.
func (e *engine) fetch(ctx context.Context, k key, q *dns.Msg) (*dns.Msg, error) {
	e.mu.Lock()
	if f, ok := e.flights[k]; ok {
		e.mu.Unlock()
		<-f.done // no longer than askLimit
		return f.answer, f.err
	}
	f := &flight{done: make(chan struct{})}
	e.flights[k] = f
	servers := slices.Clone(e.upstreams)
	e.mu.Unlock()
	f.answer, f.err = forward(ctx, servers, question(q))
	if f.err == nil {
		e.cache.put(k, f.answer, time.Now())
	}
	e.mu.Lock()
	delete(e.flights, k)
	e.mu.Unlock()
	close(f.done)
	return f.answer, f.err
}

// question is what a server is asked: q without what was said between its asker and here.
func question(q *dns.Msg) *dns.Msg {
	out := new(dns.Msg)
	out.SetQuestion(q.Question[0].Name, q.Question[0].Qtype)
	out.CheckingDisabled = q.CheckingDisabled
	opt := q.IsEdns0()
	out.SetEdns0(udpSize, opt != nil && opt.Do())
	return out
}

// reply is the answer a as q's asker gets it.
func reply(q, a *dns.Msg) *dns.Msg {
	out := a.Copy()
	out.Id, out.Question = q.Id, q.Question
	out.Response, out.RecursionDesired, out.RecursionAvailable, out.Authoritative = true, q.RecursionDesired, true, false
	out.Extra = slices.DeleteFunc(out.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	if opt := q.IsEdns0(); opt != nil {
		out.SetEdns0(udpSize, opt.Do())
	}
	return out
}

func failure(q *dns.Msg, code int) *dns.Msg {
	out := new(dns.Msg)
	out.SetRcode(q, code)
	out.RecursionAvailable = true
	return out
}

// local answers for the names that need no server; nil for others. A name that is known has no address but those that are known.
func (e *engine) local(q *dns.Msg) *dns.Msg {
	name := strings.ToLower(q.Question[0].Name)
	var addresses []netip.Addr
	if name == "localhost." || strings.HasSuffix(name, ".localhost.") { // RFC 6761, section 6.3
		addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	} else {
		e.mu.Lock()
		addresses = e.hosts[name]
		e.mu.Unlock()
	}
	if len(addresses) == 0 {
		return nil
	}
	out := new(dns.Msg)
	out.SetReply(q)
	out.RecursionAvailable = true
	head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: localTTL}
	for _, a := range addresses {
		switch {
		case a.Is4() && head.Rrtype == dns.TypeA:
			out.Answer = append(out.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
		case a.Is6() && head.Rrtype == dns.TypeAAAA:
			out.Answer = append(out.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		out.SetEdns0(udpSize, opt.Do())
	}
	return out
}
