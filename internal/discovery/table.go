package discovery

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"talos.internal/api/discoverypb"
	"talos.internal/internal/discovery/affiliate"
)

const (
	// Lifetime is how long a record outlives the last word of it at any server; and how long a tombstone works.
	Lifetime = 30 * time.Minute
	// leasePrefix stands before a machine's id in the id of its lease. A colon is in no node id.
	leasePrefix = "lease:"
	// repairAfter is how long something must have been known, and the server been watched, before somebody else than its
	// owner brings it to a server: the owner is quicker.
	repairAfter = 3 * time.Second
)

// table is what a client knows: what each server says, and what follows from all of it. It does no I/O and has no clock;
// it is not safe for concurrent use.
type table struct {
	key    *affiliate.Key
	self   string
	views  []*serverView
	newest map[string]*record
	marks  map[string]Mark
	dirty  bool // records or the set of machines changed since judge last reported
}

// record is one statement about a machine. It is immutable but for the times.
type record struct {
	affiliate.Payload
	sealed    []byte
	endpoints [][]byte // beside the seal
	first     time.Time
	present   time.Time // when a server that is watched last had it
}

// serverView is what one server says.
type serverView struct {
	external bool
	host     string // id of the machine the server runs on; "" if it is not known
	records  map[string]*record
	leases   map[string]lease
	watched  time.Time // since when it is watched; zero if it is not
	answered time.Time // its last answer
	since    time.Time // when it was added
	rejected int       // statements that could not be opened
	lastErr  error     // of the last of them
}

type lease struct {
	incarnation uint64
	sealed      []byte
}

func newTable(key *affiliate.Key, self string) *table {
	return &table{key: key, self: self, newest: map[string]*record{}, marks: map[string]Mark{}}
}

func (t *table) addView(external bool, host string, now time.Time) *serverView {
	v := &serverView{external: external, host: host, since: now, records: map[string]*record{}, leases: map[string]lease{}}
	t.views = append(t.views, v)
	return v
}

// dropView forgets a server. What only it said stays for Lifetime.
func (t *table) dropView(v *serverView) {
	t.views = slices.DeleteFunc(t.views, func(o *serverView) bool { return o == v })
}

// unwatch notes that v is no longer watched. What it said last is kept, but neither its leases nor its silence count.
func (v *serverView) unwatch() { v.watched = time.Time{} }

func (v *serverView) fresh(now time.Time) bool {
	return !v.watched.IsZero() && (v.external || now.Sub(v.answered) <= FreshFor)
}

func (v *serverView) settled(now time.Time) bool {
	return v.fresh(now) && now.Sub(v.watched) >= SettleAfter
}

// snapshot applies the first message of a watch. What the server no longer has was deleted or forgotten by it, which
// cannot be told apart: so it is only no longer said there, and lives on for its Lifetime.
func (t *table) snapshot(v *serverView, all []*discoverypb.Affiliate, now time.Time) {
	old := v.records
	v.records, v.leases = make(map[string]*record, len(all)), make(map[string]lease, len(all))
	v.watched, v.answered = now, now
	for _, a := range all {
		t.apply(v, a, old[a.GetId()], now)
	}
}

// update applies a change.
func (t *table) update(v *serverView, a *discoverypb.Affiliate, now time.Time) {
	t.apply(v, a, v.records[a.GetId()], now)
}

func (t *table) apply(v *serverView, a *discoverypb.Affiliate, old *record, now time.Time) {
	id := a.GetId()
	if rest, ok := strings.CutPrefix(id, leasePrefix); ok && !v.external {
		t.applyLease(v, rest, a.GetData())
		return
	}
	if len(a.GetData()) == 0 {
		return // somebody reported endpoints of a machine that has not registered here
	}
	for _, r := range []*record{t.newest[id], old} {
		if r != nil && bytes.Equal(r.sealed, a.GetData()) && slices.EqualFunc(r.endpoints, a.GetEndpoints(), bytes.Equal) {
			v.records[id] = r
			return
		}
	}
	p, err := t.key.Open(id, a.GetData(), a.GetEndpoints())
	if err == nil && p.Kind == affiliate.Lease {
		err = fmt.Errorf("open what is said about %q: %w: a lease in the place of a record", id, affiliate.ErrContent)
	}
	if err != nil {
		v.rejected++
		v.lastErr = err
		return
	}
	r := &record{Payload: p, sealed: a.GetData(), endpoints: a.GetEndpoints(), first: now, present: now}
	v.records[id] = r
	t.learn(id, r)
}

// learn makes r the newest about id if it is.
func (t *table) learn(id string, r *record) {
	if newer(r, t.newest[id]) {
		t.newest[id] = r
		t.dirty = true
	}
}

// newer reports whether a is to replace b, which may be nil. In an incarnation nothing is newer than its tombstone. What
// has a version is newer than what has none, since only that can be compared; two without are in the order of coming.
func newer(a, b *record) bool {
	if b == nil || a.Version.IsZero() && b.Version.IsZero() {
		return true
	}
	if a.Version.Incarnation == b.Version.Incarnation && (a.Kind == affiliate.Tombstone) != (b.Kind == affiliate.Tombstone) {
		return a.Kind == affiliate.Tombstone
	}
	return a.Version.Compare(b.Version) > 0
}

func (t *table) applyLease(v *serverView, id string, sealed []byte) {
	if bytes.Equal(v.leases[id].sealed, sealed) {
		return
	}
	p, err := t.key.Open(id, sealed, nil)
	if err == nil && p.Kind != affiliate.Lease {
		err = fmt.Errorf("open what is said about %q: %w: a %s in the place of a lease", id, affiliate.ErrContent, p.Kind)
	}
	if err != nil {
		v.rejected++
		v.lastErr = err
		return
	}
	v.leases[id] = lease{incarnation: p.Version.Incarnation, sealed: sealed}
}

// remove applies a deletion: by somebody, or by the server because the time was over. A machine goes with its last record,
// at whatever server, watched or not. A tombstone stays for its Lifetime.
func (t *table) remove(v *serverView, id string, now time.Time) {
	if rest, ok := strings.CutPrefix(id, leasePrefix); ok && !v.external {
		delete(v.leases, rest)
		return
	}
	delete(v.records, id)
	r := t.newest[id]
	if r == nil || r.Kind == affiliate.Tombstone {
		return
	}
	var other *record
	for _, o := range t.views {
		if s := o.records[id]; s != nil && newer(s, other) {
			other = s
		}
	}
	switch {
	case other == nil:
		t.drop(id)
	case r.Version.IsZero():
		t.newest[id] = other
		t.dirty = true
	}
}

func (t *table) drop(id string) {
	delete(t.newest, id)
	delete(t.marks, id)
	t.dirty = true
}

// judge marks every machine and ends what is over. It reports whether anything changed that a reader sees.
func (t *table) judge(now time.Time) bool {
	canJudge, builtin := false, false
	for _, v := range t.views {
		builtin = builtin || !v.external
		canJudge = canJudge || !v.external && v.settled(now)
	}
	for id, r := range t.newest {
		held := false
		for _, v := range t.views {
			if v.records[id] != nil && v.fresh(now) {
				held = true
			}
		}
		if held {
			r.present = now
		} else if now.Sub(r.present) > Lifetime {
			t.drop(id)
			continue
		}
		if r.Kind == affiliate.Tombstone {
			if now.Sub(r.first) > Lifetime {
				t.drop(id)
			}
			continue
		}
		if id == t.self {
			continue
		}
		m := t.marks[id]
		next := Judge(m, t.evidence(id, r, held, builtin, canJudge, now), now)
		t.dirty = t.dirty || next.State != m.State
		t.marks[id] = next
	}
	dirty := t.dirty
	t.dirty = false
	return dirty
}

func (t *table) evidence(id string, r *record, held, builtin, canJudge bool, now time.Time) Evidence {
	if !builtin || r.Version.IsZero() {
		// Nobody keeps leases of it: all there is to know is whether it is registered.
		if held {
			return Heard
		}
		return NoEvidence
	}
	dead := false
	for _, v := range t.views {
		if v.external {
			continue
		}
		if l, ok := v.leases[id]; ok && v.fresh(now) && l.incarnation >= r.Version.Incarnation {
			return Heard
		}
		last := v.answered
		if last.IsZero() {
			last = v.since
		}
		dead = dead || v.host == id && now.Sub(last) >= SettleAfter
	}
	if canJudge || dead {
		return Silent
	}
	return NoEvidence
}

// repair is something that a server lacks or should not have.
type repair struct {
	id     string
	sealed []byte        // nil: delete
	ttl    time.Duration // of sealed
}

// repairs returns what v should be told, at most limit: a built-in server what others say newer than it, an external one
// to delete what has a tombstone. What has no version is never brought anywhere: who deleted it may have meant it.
func (t *table) repairs(v *serverView, now time.Time, limit int) []repair {
	if !v.fresh(now) || now.Sub(v.watched) < repairAfter {
		return nil
	}
	var out []repair
	for id, r := range t.newest {
		has := v.records[id]
		if len(out) >= limit || id == t.self || r.Version.IsZero() || now.Sub(r.first) < repairAfter || has != nil && !newer(r, has) {
			continue
		}
		ttl := Lifetime - now.Sub(r.first)
		switch {
		case v.external && has != nil && r.Kind == affiliate.Tombstone:
			out = append(out, repair{id: id})
		case !v.external && ttl > time.Minute:
			out = append(out, repair{id: id, sealed: r.sealed, ttl: ttl})
		}
	}
	return out
}
