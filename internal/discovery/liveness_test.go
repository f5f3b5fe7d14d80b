package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// row reads "H3 S2 N1" as evidence that stays for so many seconds, judged each second.
func row(t *testing.T, text string) string {
	t.Helper()
	at := time.Unix(1000, 0)
	var m Mark
	var out []string
	for _, word := range strings.Fields(text) {
		var kind rune
		var n int
		if _, err := fmt.Sscanf(word, "%c%d", &kind, &n); err != nil {
			t.Fatal(err)
		}
		for range n {
			m = Judge(m, map[rune]Evidence{'H': Heard, 'S': Silent, 'N': NoEvidence}[kind], at)
			at = at.Add(time.Second)
		}
		out = append(out, m.State.String())
	}
	return strings.Join(out, " ")
}

func TestJudge(t *testing.T) {
	for _, tc := range []struct{ name, evidence, want string }{
		{"heard is alive", "H1", "alive"},
		{"silence makes suspect, then gone", "H1 S1 S1 S1", "alive suspect suspect gone"},
		{"one word ends all doubt", "H1 S2 H1 S2 H1", "alive suspect alive suspect alive"},
		{"gone comes back", "H1 S9 H1", "alive gone alive"},
		{"never heard gets longer", "S4 S1", "suspect gone"},
		{"nothing known at first", "N1", "suspect"},
		{"without evidence alive lasts as long as a lease", "H1 N4 N1", "alive alive suspect"},
		{"without evidence nobody is gone", "H1 N99", "alive suspect"},
		{"without evidence a doubt begins anew", "H1 S2 N1 S2 S1", "alive suspect suspect suspect gone"},
		{"without evidence gone stays gone", "H1 S9 N99", "alive gone gone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := row(t, tc.evidence); got != tc.want {
				t.Errorf("Judge over %q = %s; want %s", tc.evidence, got, tc.want)
			}
		})
	}
}

func TestTheTimesKeepThePromise(t *testing.T) {
	if d := LeaseTTL + ConfirmAfter + judgeEvery; d >= 10*time.Second {
		t.Errorf("a machine that died is marked after %v; want less than 10 s", d)
	}
	if d := SettleAfter + FirstLeaseAfter + judgeEvery; d >= 10*time.Second {
		t.Errorf("who has just started marks after %v; want less than 10 s", d)
	}
	if 3*RenewEvery+3*RenewEvery/10 >= LeaseTTL {
		t.Error("a lease does not outlive two lost renewals")
	}
	if RenewEvery+RenewEvery/10+builtinPace.call >= FreshFor {
		t.Error("a server that just makes each call is not fresh")
	}
}
