package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/api/discoverypb"
	"talos.internal/internal/discovery/affiliate"
)

// bench is a table with three servers and a clock that the test turns.
type bench struct {
	*table
	t     *testing.T
	now   time.Time
	s     []*serverView // built-in, built-in, external
	cache map[string]*discoverypb.Affiliate
}

func newBench(t *testing.T) *bench {
	t.Helper()
	key, err := affiliate.NewKey(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{table: newTable(key, "me"), t: t, now: time.Unix(1e6, 0), cache: map[string]*discoverypb.Affiliate{}}
	b.s = []*serverView{b.addView(false, "m0", b.now), b.addView(false, "m1", b.now), b.addView(true, "", b.now)}
	for _, v := range b.s {
		b.snapshot(v, nil, b.now)
	}
	return b
}

// say returns what a server says: "x1.2" is the record 2 of life 1 of x, "x1t" the tombstone of life 1, "x" a published record,
// "lease:x1" a lease. The same text is always the same bytes.
func (b *bench) say(text string) *discoverypb.Affiliate {
	b.t.Helper()
	if a := b.cache[text]; a != nil {
		return a
	}
	rest, isLease := strings.CutPrefix(text, leasePrefix)
	p := affiliate.Payload{Node: affiliate.Node{ID: rest[:1], Hostname: text}}
	if isLease {
		p.Kind = affiliate.Lease
	}
	if strings.HasSuffix(rest, "t") {
		p.Kind, rest = affiliate.Tombstone, rest[:len(rest)-1]
	}
	// The published form has nothing after the letter, or a dash and what makes it another record.
	if len(rest) > 1 && rest[1] != '-' {
		if n, _ := fmt.Sscanf(rest[1:], "%d.%d", &p.Version.Incarnation, &p.Version.Sequence); n == 0 {
			b.t.Fatalf("say %q", text)
		}
	}
	sealed, err := b.key.Seal(p)
	if err != nil {
		b.t.Fatal(err)
	}
	id := p.Node.ID
	if isLease {
		id = leasePrefix + id
	}
	b.cache[text] = &discoverypb.Affiliate{Id: id, Data: sealed}
	return b.cache[text]
}

// do reads "0+x1.1" (server 0 says), "0-x" (server 0 deletes), "0=x1.1,y1.1" (server 0's snapshot), "0." (server 0 is no longer watched),
// "0!" (server 0 answers), "~5" (5 seconds go by with every watched server answering each second) and "!5" (with none answering).
func (b *bench) do(text string) {
	b.t.Helper()
	for _, w := range strings.Fields(text) {
		if w[0] == '~' || w[0] == '!' {
			var n int
			if _, err := fmt.Sscanf(w[1:], "%d", &n); err != nil {
				b.t.Fatal(err)
			}
			for range n {
				b.now = b.now.Add(time.Second)
				for _, v := range b.s {
					if w[0] == '~' && !v.watched.IsZero() {
						v.answered = b.now
					}
				}
				b.judge(b.now)
			}
			continue
		}
		v := b.s[w[0]-'0']
		switch what := w[2:]; w[1] {
		case '+':
			b.update(v, b.say(what), b.now)
		case '-':
			b.remove(v, what, b.now)
		case '=':
			var all []*discoverypb.Affiliate
			for _, s := range strings.FieldsFunc(what, func(r rune) bool { return r == ',' }) {
				all = append(all, b.say(s))
			}
			b.snapshot(v, all, b.now)
		case '.':
			v.unwatch()
		default:
			b.t.Fatalf("do %q", w)
		}
		b.judge(b.now)
	}
}

// seen is the merged view: which record of each machine, and its state.
func (b *bench) seen() string {
	var out []string
	for id, r := range b.newest {
		if r.Kind == affiliate.Record {
			out = append(out, fmt.Sprintf("%s:%s", r.Node.Hostname, b.marks[id].State))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestMerge(t *testing.T) {
	for _, tc := range []struct{ name, do, want string }{
		{"a machine with a lease", "0+lease:x1 0+x1.1", "x1.1:alive"},
		{"the newest statement wins, in any order", "0+lease:x1 0+x1.2 1+x1.1", "x1.2:alive"},
		{"the newest life wins, in any order", "0+lease:x2 0+x2.1 1+x1.9", "x2.1:alive"},
		{"a lease of an old life says nothing about a new one", "0+lease:x1 0+x1.1 ~9 0+x2.1 ~1", "x2.1:suspect"},
		{"deleted at one server, said at another", "0+x1.1 1+x1.1 0+lease:x1 0-x", "x1.1:alive"},
		{"deleted at the last server", "0+x1.1 1+x1.1 0-x 1-x", ""},
		{"a server that was restarted does not delete", "0+x1.1 0. 0=", "x1.1:suspect"},
		{"nor does one that is not watched", "0+x1.1 1+x1.1 0. 1-x", "x1.1:suspect"},
		{"what nobody says any more ends after its lifetime", "0+x1.1 0. 0= ~1799", "x1.1:gone"},
		{"and not later", "0+x1.1 0. 0= ~1801", ""},
		{"what a server says lives on", "0+x1.1 ~4000", "x1.1:gone"},

		{"lease over", "0+lease:x1 0+x1.1 ~9 0-lease:x ~1", "x1.1:suspect"},
		{"lease over for long", "0+lease:x1 0+x1.1 ~9 0-lease:x ~3", "x1.1:gone"},
		{"lease over at one of two", "0+lease:x1 1+lease:x1 0+x1.1 ~9 0-lease:x ~9", "x1.1:alive"},
		{"the only server with the lease stops answering", "0+lease:x1 0+x1.1 ~9 0. ~3", "x1.1:gone"},
		{"no server answers: nobody is gone", "0+lease:x1 0+x1.1 ~9 !60", "x1.1:suspect"},
		{"no server answers, and the machine has the server", "0+lease:m1 1+lease:m1 0+m1.1 ~9 !60", "m1.1:suspect"},
		{"a server that was restarted is not asked at once", "0+lease:x1 0+x1.1 ~9 1. 0= ~5", "x1.1:suspect"},
		{"but later", "0+lease:x1 0+x1.1 ~9 1. 0= ~8", "x1.1:gone"},
		{"the way over an external server is no sign of life", "2+x1.1 ~9", "x1.1:gone"},

		{"a published record has no lease", "2+x ~99", "x:alive"},
		{"of two published records the last counts", "2+x 2+x-b", "x-b:alive"},
		{"a record with a version beats one without", "0+lease:x1 0+x1.1 2+x", "x1.1:alive"},
		{"a published record is deleted", "2+x 2-x", ""},

		{"a tombstone hides its life", "0+x1.1 0+x1t", ""},
		{"and what comes late of it", "0+x1t 1+x1.9 0+x1.9", ""},
		{"and does not end when a server deletes it", "0+x1.1 0+x1t 0-x 1+x1.1", ""},
		{"and not the next life", "0+x1t 0+lease:x2 0+x2.1", "x2.1:alive"},
		{"and is not moved by older tombstones", "0+lease:x2 0+x2.1 1+x1t", "x2.1:alive"},
		{"it ends after its lifetime", "0+x1.1 1+x1t 1-x ~1801 0+lease:x1 0+x1.5", "x1.5:alive"},

		{"a lease in the place of a record is nothing", "0+x1.1 ~1", "x1.1:suspect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.do(tc.do)
			if got := b.seen(); got != tc.want {
				t.Errorf("after %q: %s; want %s", tc.do, got, tc.want)
			}
		})
	}
}

func TestTheOnlyServersMachineIsMarked(t *testing.T) {
	b := newBench(t)
	b.dropView(b.s[1])
	b.s[0].host = "m"
	b.do("0+lease:m1 0+m1.1 0+lease:x1 0+x1.1 ~9 0. !8")
	if got, want := b.seen(), "m1.1:gone x1.1:suspect"; got != want {
		t.Errorf("the only server gone: %s; want %s", got, want)
	}
}

func TestWhatCannotBeOpenedIsCountedAndChangesNothing(t *testing.T) {
	b := newBench(t)
	b.do("0+lease:x1 0+x1.1")
	other := b.say("y1.1")
	for _, a := range []*discoverypb.Affiliate{
		{Id: "x", Data: []byte("short")}, {Id: "x", Data: make([]byte, 200)}, {Id: "x", Data: other.Data}, {Id: "z", Data: b.say("lease:x1").Data},
		{Id: "x", Data: b.say("lease:x1").Data}, {Id: "lease:x", Data: b.say("x1.1").Data}, {Id: "lease:x", Data: []byte{}},
	} {
		b.update(b.s[0], a, b.now)
	}
	b.update(b.s[0], &discoverypb.Affiliate{Id: "w", Endpoints: [][]byte{{1}}}, b.now) // somebody's report, nothing wrong
	b.do("~1")
	if got, want := b.seen(), "x1.1:alive"; got != want {
		t.Errorf("after rubbish: %s; want %s", got, want)
	}
	if b.s[0].rejected != 7 || b.s[0].lastErr == nil {
		t.Errorf("rejected %d, last %v; want 7", b.s[0].rejected, b.s[0].lastErr)
	}
}

func TestRepairs(t *testing.T) {
	for _, tc := range []struct {
		name, do string
		server   int
		want     string
	}{
		{"nothing to say", "0+x1.1 1+x1.1 ~9", 1, ""},
		{"a record that a server lacks", "0+x1.1 ~9", 1, "x1.1"},
		{"an older one", "0+x1.2 1+x1.1 ~9", 1, "x1.2"},
		{"not the owner's hurry", "0+x1.1 ~2", 1, ""},
		{"not to a server just watched", "0+x1.1 ~9 1. 1= ~2", 1, ""},
		{"not to one not watched", "0+x1.1 ~9 1.", 1, ""},
		{"a tombstone over a record", "0+x1.1 1+x1.1 ~9 0+x1t ~9", 1, "x1t"},
		{"nothing published", "0+x ~9", 1, ""},
		{"nothing to an external server", "0+x1.1 ~9", 2, ""},
		{"but it deletes what has a tombstone", "2+x1.1 0+x1t ~9", 2, "delete x"},
		{"not at the end of the lifetime", "0+x1.1 ~1780", 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.do(tc.do)
			var got []string
			for _, r := range b.repairs(b.s[tc.server], b.now, 10) {
				text := "delete " + r.id
				for name, a := range b.cache {
					if r.sealed != nil && string(a.Data) == string(r.sealed) {
						text = name
					}
				}
				got = append(got, text)
				if r.sealed != nil && (r.ttl <= 0 || r.ttl > Lifetime) {
					t.Errorf("ttl %v; want up to %v", r.ttl, Lifetime)
				}
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("repairs after %q = %q; want %q", tc.do, got, tc.want)
			}
		})
	}
	b := newBench(t)
	b.self = "x"
	b.do("0+x1.1 ~9")
	if got := b.repairs(b.s[1], b.now, 10); len(got) != 0 {
		t.Errorf("repairs about oneself = %v; want none", got)
	}
}

// BenchmarkJudge is one look at 1000 machines that three servers know: what a client does twice a second.
func BenchmarkJudge(b *testing.B) {
	key, err := affiliate.NewKey(testSecret)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Unix(1e6, 0)
	t := newTable(key, "me")
	var all []*discoverypb.Affiliate
	for i := range 1000 {
		id := fmt.Sprint("node-", i)
		for _, p := range []affiliate.Payload{
			{Kind: affiliate.Lease, Version: affiliate.Version{Incarnation: 1}, Node: affiliate.Node{ID: id}},
			{Version: affiliate.Version{Incarnation: 1, Sequence: 1}, Node: affiliate.Node{ID: id, Hostname: id}},
		} {
			sealed, err := key.Seal(p)
			if err != nil {
				b.Fatal(err)
			}
			a := &discoverypb.Affiliate{Id: id, Data: sealed}
			if p.Kind == affiliate.Lease {
				a.Id = leasePrefix + id
			}
			all = append(all, a)
		}
	}
	for range 3 {
		t.snapshot(t.addView(false, "", now), all, now)
	}
	b.ReportAllocs()
	for b.Loop() {
		t.judge(now)
	}
}
