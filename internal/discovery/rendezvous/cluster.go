package rendezvous

import (
	"bytes"
	"container/heap"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/discoverypb"
)

// cluster is what the service knows of one cluster. It has no goroutine: a timer stands at the next expiry.
type cluster struct {
	id     string
	limits Limits
	count  *counters

	mu         sync.Mutex
	affiliates map[string]*entry
	bytes      int
	due        expiries
	timer      *time.Timer
	changes    []change
	first      uint64        // position of changes[0]
	wake       chan struct{} // closed and replaced at each change that somebody waits for
	waited     bool
	watchers   int
	ended      bool // it was empty and is no longer in the server's map
}

// entry is an affiliate.
type entry struct {
	// msg is shared with watchers and lists, so it is replaced, never changed.
	msg           *discoverypb.Affiliate
	hasData       bool
	dataUntil     time.Time
	endpointUntil []time.Time // as msg.Endpoints
	index         int         // in due
	next          time.Time   // when something of it expires
}

type change struct {
	affiliate *discoverypb.Affiliate // if deleted, only its id
	deleted   bool
	at        time.Time
}

func newCluster(id string, limits Limits, count *counters) *cluster {
	return &cluster{id: id, limits: limits, count: count, affiliates: map[string]*entry{}, wake: make(chan struct{})}
}

// update is AffiliateUpdate. The request's slices are kept.
func (c *cluster) update(req *discoverypb.AffiliateUpdateRequest, ttl time.Duration, now time.Time) error {
	id := req.GetAffiliateId()
	old := c.affiliates[id]
	until := now.Add(ttl)
	var e entry
	msg := &discoverypb.Affiliate{Id: id}
	if old != nil {
		e = *old
		msg.Data, msg.Endpoints = old.msg.Data, slices.Clone(old.msg.Endpoints)
		e.endpointUntil = slices.Clone(old.endpointUntil)
	} else if len(c.affiliates) >= c.limits.Affiliates {
		return status.Errorf(codes.ResourceExhausted, "the cluster has %d affiliates, which is the limit", len(c.affiliates))
	}
	changed := old == nil
	if req.AffiliateData != nil {
		changed = changed || !e.hasData || !bytes.Equal(msg.Data, req.AffiliateData)
		msg.Data, e.hasData, e.dataUntil = req.AffiliateData, true, until
	}
	for _, ep := range req.GetAffiliateEndpoints() {
		if i := slices.IndexFunc(msg.Endpoints, func(b []byte) bool { return bytes.Equal(b, ep) }); i >= 0 {
			e.endpointUntil[i] = until
			continue
		}
		if len(msg.Endpoints) >= c.limits.Endpoints {
			return status.Errorf(codes.ResourceExhausted, "the affiliate has %d endpoints, which is the limit", len(msg.Endpoints))
		}
		msg.Endpoints = append(msg.Endpoints, ep)
		e.endpointUntil = append(e.endpointUntil, until)
		changed = true
	}
	if req.AffiliateData == nil && len(req.GetAffiliateEndpoints()) == 0 {
		if old == nil {
			return status.Error(codes.InvalidArgument, "neither data nor endpoints of an affiliate that is not there")
		}
		e.dataUntil = until
		for i := range e.endpointUntil {
			e.endpointUntil[i] = until
		}
	}
	grown := size(msg)
	if old != nil {
		grown -= size(old.msg)
	}
	if grown > 0 && c.bytes+grown > c.limits.ClusterBytes {
		return status.Errorf(codes.ResourceExhausted, "the cluster would have more than %d bytes of data", c.limits.ClusterBytes)
	}
	c.bytes += grown
	if old == nil {
		old = &entry{index: -1}
		c.affiliates[id] = old
	}
	e.index, e.next = old.index, e.nextExpiry()
	if !changed {
		msg = old.msg
	}
	e.msg = msg
	*old = e
	if old.index < 0 {
		heap.Push(&c.due, old)
	} else {
		heap.Fix(&c.due, old.index)
	}
	c.arm(now)
	if changed {
		c.announce(change{affiliate: msg, at: now})
	}
	return nil
}

// size is how many bytes an affiliate counts for; what the service needs for itself is about that constant.
func size(m *discoverypb.Affiliate) int {
	n := 256 + len(m.Id) + len(m.Data)
	for _, e := range m.Endpoints {
		n += len(e) + 48
	}
	return n
}

func (e *entry) nextExpiry() time.Time {
	var next time.Time
	if e.hasData {
		next = e.dataUntil
	}
	for _, t := range e.endpointUntil {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// remove is AffiliateDelete. It reports whether the affiliate was there.
func (c *cluster) remove(id string, now time.Time) bool {
	e := c.affiliates[id]
	if e == nil {
		return false
	}
	delete(c.affiliates, id)
	heap.Remove(&c.due, e.index)
	c.bytes -= size(e.msg)
	c.announce(change{affiliate: &discoverypb.Affiliate{Id: id}, deleted: true, at: now})
	c.arm(now)
	return true
}

// expire removes what is over.
func (c *cluster) expire(now time.Time) {
	for len(c.due) > 0 && !c.due[0].next.After(now) {
		e := c.due[0]
		if dataOver := e.hasData && !e.dataUntil.After(now); dataOver {
			c.remove(e.msg.Id, now)
			c.count.expired.Add(1)
			continue
		}
		msg := &discoverypb.Affiliate{Id: e.msg.Id, Data: e.msg.Data}
		var until []time.Time
		for i, t := range e.endpointUntil {
			if t.After(now) {
				msg.Endpoints, until = append(msg.Endpoints, e.msg.Endpoints[i]), append(until, t)
			}
		}
		if !e.hasData && len(until) == 0 {
			c.remove(e.msg.Id, now)
			c.count.expired.Add(1)
			continue
		}
		c.bytes += size(msg) - size(e.msg)
		e.msg, e.endpointUntil = msg, until
		e.next = e.nextExpiry()
		heap.Fix(&c.due, e.index)
		c.announce(change{affiliate: msg, at: now})
	}
	c.arm(now)
}

// arm sets the timer to the next expiry.
func (c *cluster) arm(now time.Time) {
	if len(c.due) == 0 {
		if c.timer != nil {
			c.timer.Stop()
		}
		return
	}
	d := c.due[0].next.Sub(now)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.ended {
				c.expire(time.Now())
			}
		})
		return
	}
	c.timer.Reset(d)
}

// announce appends a change for watchers. What nobody can want any more goes: everything if nobody watches; what is older
// than the time after which a watcher is cut off; and what is more than History back.
func (c *cluster) announce(ch change) {
	if c.watchers == 0 {
		c.first += uint64(len(c.changes)) + 1
		c.changes = nil
		return
	}
	drop := max(0, len(c.changes)+1-History)
	for drop < len(c.changes) && ch.at.Sub(c.changes[drop].at) > 2*SendTimeout {
		drop++
	}
	// Deleting shifts what stays, so it is put off until it is worth it.
	if drop > History/8 || drop > 0 && len(c.changes) >= History {
		drop = max(drop, min(History/8, len(c.changes)))
		c.changes = slices.Delete(c.changes, 0, drop)
		c.first += uint64(drop)
	}
	c.changes = append(c.changes, ch)
	c.count.changes.Add(1)
	if c.waited {
		close(c.wake)
		c.wake, c.waited = make(chan struct{}), false
	}
}

// list returns everything.
func (c *cluster) list() []*discoverypb.Affiliate {
	all := make([]*discoverypb.Affiliate, 0, len(c.affiliates))
	for _, e := range c.affiliates {
		all = append(all, e.msg)
	}
	return all
}

// since returns the changes from position pos on as messages, at most batch changes, and the position after them. If there are none,
// wake is closed at the next one. ok is false if some of them are no longer there.
func (c *cluster) since(pos uint64) (out []*discoverypb.WatchResponse, next uint64, wake <-chan struct{}, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pos < c.first {
		return nil, pos, nil, false
	}
	todo := c.changes[pos-c.first:]
	if len(todo) == 0 {
		c.waited = true
		return nil, pos, c.wake, true
	}
	todo = todo[:min(len(todo), batch)]
	for _, ch := range todo {
		if n := len(out); n == 0 || out[n-1].Deleted != ch.deleted {
			out = append(out, &discoverypb.WatchResponse{Deleted: ch.deleted})
		}
		last := out[len(out)-1]
		last.Affiliates = append(last.Affiliates, ch.affiliate)
	}
	return out, pos + uint64(len(todo)), nil, true
}

func (c *cluster) empty() bool { return len(c.affiliates) == 0 && c.watchers == 0 }

// expiries is a heap of entries by what expires next.
type expiries []*entry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h expiries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *expiries) Push(x any) {
	if e, ok := x.(*entry); ok {
		e.index = len(*h)
		*h = append(*h, e)
	}
}

// Pop implements [heap.Interface].
func (h *expiries) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
