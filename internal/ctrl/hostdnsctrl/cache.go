package hostdnsctrl

import (
	"container/list"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Limits of the cache.
const (
	mostEntries  = 4096
	mostBytes    = 2 << 20
	longestTTL   = time.Hour
	longestNoTTL = 5 * time.Minute // of an answer that there is nothing (RFC 2308, section 5)
)

// key is what an answer is remembered by.
type key struct {
	name    string // in lower case
	qtype   uint16
	dnssec  bool // the DO bit: the answer has signatures
	noCheck bool // the CD bit
}

func keyOf(q *dns.Msg) key {
	k := key{name: strings.ToLower(q.Question[0].Name), qtype: q.Question[0].Qtype, noCheck: q.CheckingDisabled}
	if opt := q.IsEdns0(); opt != nil {
		k.dnssec = opt.Do()
	}
	return k
}

// entry is an answer as it came, packed: a message takes several times that as Go values.
type entry struct {
	key     key
	packed  []byte
	stored  time.Time
	expires time.Time
}

// cache remembers answers as long as they hold, within its limits: what was not asked for the longest goes first. It is safe for
// concurrent use.
type cache struct {
	mu      sync.Mutex
	entries map[key]*list.Element
	order   list.List // the last asked for at the front
	bytes   int
}

func newCache() *cache { return &cache{entries: map[key]*list.Element{}} }

// get returns the answer to k with what is left of its lifetimes, nil if there is none.
func (c *cache) get(k key, now time.Time) *dns.Msg {
	c.mu.Lock()
	e, ok := c.entries[k]
	if !ok {
		c.mu.Unlock()
		return nil
	}
	v := e.Value.(*entry)
	if !v.expires.After(now) {
		c.drop(e)
		c.mu.Unlock()
		return nil
	}
	c.order.MoveToFront(e)
	c.mu.Unlock()
	m := new(dns.Msg)
	if m.Unpack(v.packed) != nil {
		return nil
	}
	age := uint32(now.Sub(v.stored) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return m
}

// put remembers an answer, if it may be.
func (c *cache) put(k key, m *dns.Msg, now time.Time) {
	ttl := lifetime(m)
	if ttl <= 0 {
		return
	}
	packed, err := m.Pack()
	if err != nil || len(packed) > mostBytes/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[k]; ok {
		c.drop(e)
	}
	c.entries[k] = c.order.PushFront(&entry{k, packed, now, now.Add(ttl)})
	c.bytes += len(packed)
	for c.order.Len() > mostEntries || c.bytes > mostBytes {
		c.drop(c.order.Back())
	}
}

// drop forgets an answer. The caller has the lock.
func (c *cache) drop(e *list.Element) {
	v := c.order.Remove(e).(*entry)
	delete(c.entries, v.key)
	c.bytes -= len(v.packed)
}

// clear forgets everything: other servers may say something else.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.order.Init()
	c.bytes = 0
}

// lifetime returns how long an answer may be remembered; zero if it may not.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	least, found := uint32(0), false
	note := func(ttl uint32) {
		if !found || ttl < least {
			least, found = ttl, true
		}
	}
	if len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				note(min(soa.Hdr.Ttl, soa.Minttl))
			}
		}
		for _, rr := range m.Answer { // aliases on the way to nothing
			note(rr.Header().Ttl)
		}
		if !found || !hasSOA(m) {
			return 0
		}
		return min(time.Duration(least)*time.Second, longestNoTTL)
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				note(rr.Header().Ttl)
			}
		}
	}
	return min(time.Duration(least)*time.Second, longestTTL)
}

func hasSOA(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return true
		}
	}
	return false
}
