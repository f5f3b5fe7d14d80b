package dhcpctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/resource/network"
)

// script is a client whose answers are written down. It notes when it is asked.
type script struct {
	mu      sync.Mutex
	begun   time.Time
	log     []string
	acquire func(n int) (*Lease, error)
	extend  func(n int, anyone bool) (*Lease, error)
	asked   [2]int
}

func (s *script) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf("%v ", time.Since(s.begun).Round(time.Second))+fmt.Sprintf(format, args...))
}

func (s *script) Acquire(context.Context) (*Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[0]++
	l, err := s.acquire(s.asked[0])
	if err == nil {
		s.note("acquire: ok")
	}
	return l, err
}

func (s *script) Extend(_ context.Context, _ *Lease, anyone bool) (*Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[1]++
	l, err := s.extend(s.asked[1], anyone)
	s.note("extend (anyone %t): %v", anyone, map[bool]any{true: "ok", false: err}[err == nil])
	return l, err
}

var errSilent = errors.New("silent")

func hour() *Lease {
	return &Lease{Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Expire: time.Hour}
}

// play runs an operator for a time and returns what happened.
func play(t *testing.T, s *script, d time.Duration, meanwhile func(wake chan<- struct{})) (log []string, offered []bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.begun = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		wake := make(chan struct{}, 1)
		o := leased{spec: network.OperatorSpec{LinkName: "eth0"}, client: s, log: slog.New(slog.DiscardHandler), publish: func(l *Lease) { offered = append(offered, l != nil) }}
		done := make(chan struct{})
		go func() { defer close(done); o.run(ctx, wake) }()
		if meanwhile != nil {
			meanwhile(wake)
		}
		time.Sleep(d)
		cancel()
		<-done
	})
	return s.log, offered
}

func TestALeaseIsExtended(t *testing.T) {
	ok := func(int) (*Lease, error) { return hour(), nil }
	for _, tc := range []struct {
		name    string
		s       *script
		d       time.Duration
		wake    time.Duration
		log     []string
		offered []bool
	}{
		{"at half of its time, by its server", &script{acquire: ok, extend: func(int, bool) (*Lease, error) { return hour(), nil }}, 70 * time.Minute, 0,
			[]string{"0s acquire: ok", "30m0s extend (anyone false): ok", "1h0m0s extend (anyone false): ok"}, []bool{true, true, true, false}},
		{"by anyone, if its server is silent", &script{acquire: ok, extend: func(_ int, anyone bool) (*Lease, error) {
			if anyone {
				return hour(), nil
			}
			return nil, errSilent
		}}, 60 * time.Minute, 0, []string{
			"0s acquire: ok", "30m0s extend (anyone false): silent", "41m15s extend (anyone false): silent", "46m53s extend (anyone false): silent",
			"49m41s extend (anyone false): silent", "51m6s extend (anyone false): silent", "52m6s extend (anyone false): silent", "53m6s extend (anyone true): ok",
		}, []bool{true, true, false}},
		{"until it has expired, if all are silent", &script{acquire: func(n int) (*Lease, error) {
			if n == 1 || n > 3 {
				return hour(), nil
			}
			return nil, errSilent
		}, extend: func(n int, _ bool) (*Lease, error) { return nil, errSilent }}, 65 * time.Minute, 0, nil, []bool{true, false, true, false}},
		{"not, if the server refuses", &script{acquire: ok, extend: func(int, bool) (*Lease, error) { return nil, ErrRefused }}, 40 * time.Minute, 0,
			[]string{"0s acquire: ok", "30m0s extend (anyone false): the server refuses the lease", "30m0s acquire: ok"}, []bool{true, false, true, false}},
		{"at once when the link comes back", &script{acquire: ok, extend: func(int, bool) (*Lease, error) { return hour(), nil }}, 10 * time.Minute, time.Minute,
			[]string{"0s acquire: ok", "1m0s extend (anyone true): ok"}, []bool{true, true, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log, offered := play(t, tc.s, tc.d, func(wake chan<- struct{}) {
				if tc.wake != 0 {
					time.Sleep(tc.wake)
					wake <- struct{}{}
				}
			})
			if d := cmp.Diff(tc.log, log); tc.log != nil && d != "" {
				t.Errorf("what was asked (-want +got):\n%s", d)
			}
			if !slices.Equal(tc.offered, offered) {
				t.Errorf("offered %v; want %v", offered, tc.offered)
			}
		})
	}
}

func TestALeaseForEverIsNotExtended(t *testing.T) {
	s := &script{acquire: func(int) (*Lease, error) { return &Lease{Addresses: hour().Addresses}, nil }}
	log, _ := play(t, s, 10000*time.Hour, nil)
	if d := cmp.Diff([]string{"0s acquire: ok"}, log); d != "" {
		t.Errorf("what was asked (-want +got):\n%s", d)
	}
}

func TestASilentNetworkIsAskedWithoutHaste(t *testing.T) {
	s := &script{acquire: func(int) (*Lease, error) { return nil, errSilent }}
	play(t, s, time.Hour, nil)
	if n := s.asked[0]; n < 90 || n > 150 {
		t.Errorf("%d attempts in an hour; want about 115", n)
	}
}

func TestTimesOfALease(t *testing.T) {
	for _, tc := range []struct{ in, want [3]time.Duration }{
		{[3]time.Duration{0, 0, 0}, [3]time.Duration{0, 0, 0}},
		{[3]time.Duration{0, 0, 80 * time.Minute}, [3]time.Duration{40 * time.Minute, 70 * time.Minute, 80 * time.Minute}},
		{[3]time.Duration{10 * time.Minute, 20 * time.Minute, 80 * time.Minute}, [3]time.Duration{10 * time.Minute, 20 * time.Minute, 80 * time.Minute}},
		{[3]time.Duration{50 * time.Minute, 20 * time.Minute, 80 * time.Minute}, [3]time.Duration{20 * time.Minute, 20 * time.Minute, 80 * time.Minute}},
		{[3]time.Duration{10 * time.Minute, 90 * time.Minute, 80 * time.Minute}, [3]time.Duration{10 * time.Minute, 70 * time.Minute, 80 * time.Minute}},
		{[3]time.Duration{0, 0, time.Second}, [3]time.Duration{15 * time.Second, 26250 * time.Millisecond, 30 * time.Second}},
	} {
		l := Lease{Renew: tc.in[0], Rebind: tc.in[1], Expire: tc.in[2]}
		a, b, c := l.times()
		if got := [3]time.Duration{a, b, c}; got != tc.want {
			t.Errorf("times of %v = %v; want %v", tc.in, got, tc.want)
		}
	}
}
