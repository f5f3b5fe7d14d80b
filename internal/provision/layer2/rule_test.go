package layer2

import (
	"math"
	"testing"
	"time"
)

func TestTheMostSpecialRuleHolds(t *testing.T) {
	rs := rules{}
	for _, r := range []Rule{
		{Drop: 0.1},
		{From: "a", Drop: 0.2},
		{To: "b", Drop: 0.3},
		{From: "a", To: "b", Drop: 0.4},
		{From: "c", To: "b"},
	} {
		rs.set(r)
	}
	for _, tc := range []struct {
		from, to string
		want     float64
	}{{"a", "b", 0.4}, {"a", "c", 0.2}, {"d", "b", 0.3}, {"d", "e", 0.1}, {"c", "b", 0}} {
		if got := rs.of(tc.from, tc.to).Drop; got != tc.want {
			t.Errorf("from %s to %s frames are lost by %v; want %v", tc.from, tc.to, got, tc.want)
		}
	}
	if got := (rules{}).of("a", "b"); got != (Rule{}) {
		t.Errorf("without rules there is %v", got)
	}
}

func TestFate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rule   Rule
		chance float64
		late   time.Duration
		lost   bool
	}{
		{"no rule", Rule{}, 0, 0, false},
		{"cut", Rule{Cut: true, Delay: time.Second}, 0.99, 0, true},
		{"all are lost", Rule{Drop: 1}, 0.99, 0, true},
		{"one is lost", Rule{Drop: 0.5}, 0.49, 0, true},
		{"another is not", Rule{Drop: 0.5}, 0.5, 0, false},
		{"delay", Rule{Delay: time.Second}, 0, time.Second, false},
		{"jitter comes on top", Rule{Delay: time.Second, Jitter: time.Second}, 0.5, 1500 * time.Millisecond, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			late, lost := tc.rule.fate(func() float64 { return tc.chance })
			if late != tc.late || lost != tc.lost {
				t.Errorf("fate = %v, %v; want %v, %v", late, lost, tc.late, tc.lost)
			}
		})
	}
}

func TestRulesThatAreNoneAreRefused(t *testing.T) {
	for _, r := range []Rule{{Drop: -0.1}, {Drop: 1.1}, {Drop: math.NaN()}, {Delay: -1}, {Delay: time.Minute}, {Jitter: -1}, {Jitter: time.Minute}} {
		if r.Check() == nil {
			t.Errorf("rule %v is taken", r)
		}
	}
	if err := (Rule{Drop: 1, Delay: time.Second, Jitter: time.Second}).Check(); err != nil {
		t.Error(err)
	}
}

func TestAddressesAreLearntAndForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	tab := table{}
	a, group := mac{2, 0, 0, 0, 0, 1}, mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	tab.learn(a, "one", now)
	tab.learn(group, "one", now)
	if port, ok := tab.lookup(a, now.Add(agesAfter)); port != "one" || !ok {
		t.Errorf("lookup = %s, %v", port, ok)
	}
	if _, ok := tab.lookup(group, now); ok {
		t.Error("a group's address was learnt")
	}
	if _, ok := tab.lookup(a, now.Add(agesAfter+1)); ok {
		t.Error("an old address is still known")
	}
	tab.learn(a, "two", now)
	if port, _ := tab.lookup(a, now); port != "two" {
		t.Errorf("a station that moved is at %s", port)
	}
	tab.forget("two")
	if len(tab) != 0 {
		t.Errorf("after its port is forgotten there is %v", tab)
	}
	for i := range mostAddresses + 10 {
		tab.learn(mac{2, 1, 0, 0, byte(i >> 8), byte(i)}, "one", now)
	}
	tab.learn(a, "two", now)
	if len(tab) != mostAddresses {
		t.Errorf("the table has %d addresses; want %d", len(tab), mostAddresses)
	}
	tab.learn(a, "two", now.Add(2*agesAfter))
	if port, _ := tab.lookup(a, now.Add(2*agesAfter)); port != "two" || len(tab) != 1 {
		t.Errorf("old addresses make no room: %d", len(tab))
	}
}
