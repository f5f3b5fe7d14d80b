package discovery

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/discoverypb"
	"talos.internal/internal/discovery/affiliate"
	"talos.internal/internal/discovery/rendezvous"
)

var (
	testSecret  = bytes.Repeat([]byte{7}, affiliate.SecretSize)
	testCluster = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
)

// detectWithin and healWithin are the promises: a machine that died is marked in that time, if nothing else breaks meanwhile, and
// machines that reach a common server for that time do not think each other gone, and agree.
const (
	detectWithin = 10 * time.Second
	healWithin   = 10 * time.Second
	// learnWithin is how soon a death is marked in any other case, such as by who reaches a server only after it or shortly before,
	// or a server that has just been started: it has to connect and to wait for SettleAfter first. Connecting takes up to 4 s when
	// a link heals, since an attempt that began before has to end; with 5 % loss it can be two attempts more.
	learnWithin = 20 * time.Second
	// confirmWithin is how soon who has a server, and learns only now of a machine that is dead, marks it. Whoever was booted after
	// the death learns of it only when somebody who remembers the dead has told the server (repair).
	confirmWithin = FirstLeaseAfter + 2*judgeEvery
)

// sim is a cluster: machines m0 … of which the first few are the control plane and have a server each.
type sim struct {
	t        *testing.T
	net      *simNet
	machines []*simMachine
	servers  int
	common   map[[3]int]time.Time // since when a, b reach server s
	knows    map[[2]int]time.Time // since when a knows of b
	broken   time.Time            // when something was last cut, killed or restarted
	failed   int
	worst    time.Duration // the longest time to mark a dead machine
	lives    int
	slept    time.Duration
}

type simMachine struct {
	name      string
	client    *Client
	cancel    context.CancelFunc
	done      chan error
	grpc      *grpc.Server
	server    *rendezvous.Server
	served    time.Time
	dead      time.Time // zero: it runs
	forgotten bool
	marked    map[int]bool // observers that have marked it since its death
}

func newSim(t *testing.T, machines, servers int, seed uint64, delay time.Duration, loss float64) *sim {
	s := &sim{t: t, net: newSimNet(seed, delay, loss), servers: servers,
		common: map[[3]int]time.Time{}, knows: map[[2]int]time.Time{}}
	for i := range machines {
		m := &simMachine{name: fmt.Sprintf("m%d", i), marked: map[int]bool{}}
		s.machines = append(s.machines, m)
		if i < servers {
			s.serve(i)
		}
	}
	for i := range machines {
		s.boot(i)
	}
	return s
}

// sleep lets time pass, and checks all the while. It skips a story that takes longer than simulated.
func (s *sim) sleep(d time.Duration) {
	if s.slept += d; s.slept > simulated {
		s.t.Skipf("more than %v: in the tests without the race detector", simulated)
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(250*time.Millisecond, time.Until(end)))
		s.check()
	}
}

// boot starts machine i's client, with all servers but wrong clocks.
func (s *sim) boot(i int) {
	m := s.machines[i]
	c, err := New(Options{ClusterID: testCluster, Secret: testSecret, NodeID: m.name, Dial: s.net.dialer(m.name)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.lives++
	var servers []Server
	for j := range s.servers {
		servers = append(servers, Server{Address: fmt.Sprintf("m%d:1", j), NodeID: fmt.Sprintf("m%d", j)})
	}
	if err := c.SetServers(servers); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Publish(affiliate.Node{Hostname: "host-" + m.name, OperatingSystem: fmt.Sprint("life ", s.lives)}); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	m.client, m.cancel, m.done, m.dead = c, cancel, make(chan error, 1), time.Time{}
	clear(m.marked)
	go func() { m.done <- c.Run(ctx) }()
}

// serve starts machine i's server, or another one in its place.
func (s *sim) serve(i int) {
	m := s.machines[i]
	if m.grpc != nil {
		m.server.Close()
		m.grpc.Stop()
	}
	s.broken = time.Now()
	m.server, m.grpc, m.served = rendezvous.New(rendezvous.Config{}), grpc.NewServer(rendezvous.ServerOptions()...), time.Now()
	discoverypb.RegisterClusterServer(m.grpc, m.server)
	go m.grpc.Serve(s.net.listen(m.name))
}

// kill takes a machine away as a power cut does: nothing is said any more.
func (s *sim) kill(i int) {
	s.machines[i].dead = time.Now()
	for j := range s.machines {
		s.setCut(i, j, true)
	}
	m := s.machines[i]
	m.cancel()
	<-m.done
}

// revive boots a machine that was killed.
func (s *sim) revive(i int) {
	for j, m := range s.machines {
		s.setCut(i, j, !m.dead.IsZero())
	}
	if i < s.servers {
		s.serve(i)
	}
	s.boot(i)
}

func (s *sim) setCut(i, j int, cut bool) {
	if cut {
		s.broken = time.Now()
	}
	if i != j {
		s.net.setCut(s.machines[i].name, s.machines[j].name, cut)
	}
}

// split cuts or heals all links between two groups.
func (s *sim) split(a, b []int, cut bool) {
	for _, i := range a {
		for _, j := range b {
			s.setCut(i, j, cut)
		}
	}
}

func (s *sim) reaches(i, server int) bool {
	m, h := s.machines[i], s.machines[server]
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	return m.dead.IsZero() && h.dead.IsZero() && !s.net.cut[[2]string{m.name, h.name}]
}

// check holds what is promised about every pair of machines against the views.
func (s *sim) check() {
	now := time.Now()
	for a, ma := range s.machines {
		if !ma.dead.IsZero() {
			for b := range s.machines {
				delete(s.knows, [2]int{a, b})
				for srv := range s.servers {
					delete(s.common, [3]int{a, b, srv})
					delete(s.common, [3]int{a, -1 - b, srv})
				}
			}
			continue
		}
		members := map[string]Member{}
		for _, m := range ma.client.View().Members {
			members[m.ID] = m
		}
		for b, mb := range s.machines {
			if a == b {
				continue
			}
			together, alone := time.Duration(0), time.Duration(0)
			for srv := range s.servers {
				served := s.machines[srv].served
				for who, both := range map[*time.Duration]bool{&together: s.reaches(a, srv) && s.reaches(b, srv), &alone: s.reaches(a, srv)} {
					k := [3]int{a, b, srv}
					if who == &alone {
						k = [3]int{a, -1 - b, srv}
					}
					if !both || s.common[k].IsZero() || served.After(s.common[k]) {
						s.common[k] = now
					}
					*who = max(*who, now.Sub(s.common[k]))
				}
			}
			got, known := members[mb.name]
			if pair := [2]int{a, b}; !known {
				delete(s.knows, pair)
			} else if s.knows[pair].IsZero() {
				s.knows[pair] = now
			}
			switch {
			case mb.forgotten:
			case mb.dead.IsZero() && together > healWithin && (!known || got.State == Gone):
				s.errorf("%s thinks %s %v (known: %t) although both have reached a server for %v", ma.name, mb.name, got.State, known, together)
			case !mb.dead.IsZero():
				dead := now.Sub(mb.dead)
				if !known {
					continue // it may have been forgotten with everybody who knew it; agree looks at that
				}
				knew := now.Sub(s.knows[[2]int{a, b}])
				watched := min(alone, knew) > dead+healWithin // when it died
				if got.State == Gone && !mb.marked[a] && watched {
					mb.marked[a] = true
					s.worst = max(s.worst, dead)
				}
				// The last word of a server that breaks before the lease has ended there is believed for FreshFor.
				late := dead > detectWithin && watched && !s.broken.After(mb.dead) || min(dead, alone) > learnWithin && knew > confirmWithin
				if late && got.State != Gone {
					s.errorf("%s thinks %s %v, for %v, although it has been dead for %v; it has known it for %v and reached a server for %v; %s",
						ma.name, mb.name, got.State, now.Sub(got.Since), dead, knew, alone, stands(ma.client.View()))
				}
			}
		}
	}
}

// stands says how it is with the servers of an observer.
func stands(v *View) string {
	var out []string
	for _, st := range v.Servers {
		out = append(out, fmt.Sprintf("%s: healthy %t, waits for %q, last error %q", st.Address, st.Healthy, st.Waits, st.LastError))
	}
	return strings.Join(out, "; ")
}

func (s *sim) errorf(format string, args ...any) {
	if s.failed++; s.failed <= 5 {
		s.t.Errorf(format, args...)
	}
}

// agree fails unless every running machine sees the same states of the same lives.
func (s *sim) agree(want string) {
	s.t.Helper()
	for _, m := range s.machines {
		if !m.dead.IsZero() {
			continue
		}
		if got := states(m.client.View()); got != want {
			s.t.Errorf("%s sees %s; want %s", m.name, got, want)
		}
	}
}

func states(v *View) string {
	var out []string
	for _, m := range v.Members {
		out = append(out, m.ID+" "+m.State.String())
	}
	return strings.Join(out, ", ")
}

func (s *sim) close() {
	for _, m := range s.machines {
		if m.dead.IsZero() {
			m.cancel()
			<-m.done
		}
		if m.grpc != nil {
			m.server.Close()
			m.grpc.Stop()
		}
	}
	s.net.close()
	synctest.Wait()
}

func TestSimulation(t *testing.T) {
	const all = everybody
	rest := []int{0, 1, 2, 4, 5, 6}
	for _, tc := range []struct {
		name string
		loss float64
		run  func(s *sim)
	}{
		{"nothing happens, longer than a record is renewed after", 0, func(s *sim) {
			s.sleep(RecordTTL/2 + time.Minute)
			s.agree(all)
		}},
		{"5 % loss for ten minutes", 0.05, func(s *sim) { s.sleep(10 * time.Minute); s.agree(all) }},
		{"a worker apart for 60 s", 0.05, func(s *sim) {
			s.split([]int{3}, rest, true)
			s.sleep(60 * time.Second)
			if got, want := states(s.machines[3].client.View()), strings.ReplaceAll(strings.ReplaceAll(all, "alive", "gone"), "m3 gone", "m3 alive"); !strings.Contains(got, "m4 suspect") {
				s.t.Errorf("from apart: %s; want workers suspect, unlike %s", got, want)
			}
			s.split([]int{3}, rest, false)
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"control plane split for 60 s", 0.05, func(s *sim) {
			s.split([]int{0, 3, 4}, []int{1, 2, 5, 6}, true)
			s.sleep(60 * time.Second)
			for i, want := range map[int]string{
				3: "m0 alive, m1 gone, m2 gone, m3 alive, m4 alive, m5 gone, m6 gone",
				5: "m0 gone, m1 alive, m2 alive, m3 gone, m4 gone, m5 alive, m6 alive",
			} {
				if got := states(s.machines[i].client.View()); got != want {
					s.t.Errorf("m%d sees %s; want %s", i, got, want)
				}
			}
			s.split([]int{0, 3, 4}, []int{1, 2, 5, 6}, false)
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"each worker reaches another server only", 0, func(s *sim) {
			s.split([]int{3}, []int{0, 1}, true)
			s.split([]int{4}, []int{1, 2}, true)
			s.split([]int{5}, []int{0, 2}, true)
			s.sleep(3 * time.Minute)
			// m3 and m4 have no server in common.
			if got := states(s.machines[3].client.View()); !strings.Contains(got, "m4 gone") || !strings.Contains(got, "m0 alive, m1 alive, m2 alive") {
				s.t.Errorf("m3 sees %s; want the control plane alive and m4 gone", got)
			}
			s.split([]int{3}, []int{0, 1}, false)
			s.split([]int{4}, []int{1, 2}, false)
			s.split([]int{5}, []int{0, 2}, false)
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"a worker dies", 0.05, func(s *sim) {
			s.kill(4)
			s.sleep(detectWithin)
			s.agree(strings.Replace(all, "m4 alive", "m4 gone", 1))
			s.sleep(5 * time.Minute)
			s.revive(4)
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"a control-plane machine dies", 0.05, func(s *sim) {
			s.kill(0)
			s.sleep(detectWithin)
			s.agree(strings.Replace(all, "m0 alive", "m0 gone", 1))
			s.revive(0)
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"two of three control-plane machines die", 0.05, func(s *sim) {
			s.kill(0)
			s.kill(1)
			s.sleep(detectWithin)
			s.agree("m0 gone, m1 gone, m2 alive, m3 alive, m4 alive, m5 alive, m6 alive")
		}},
		{"servers restart, one by one and together", 0.05, func(s *sim) {
			for i := range 3 {
				s.serve(i)
				s.sleep(7 * time.Second)
				s.agree(all)
			}
			for i := range 3 {
				s.serve(i)
			}
			for range 40 {
				s.sleep(250 * time.Millisecond)
				for _, m := range s.machines {
					if got := states(m.client.View()); strings.Contains(got, "gone") || strings.Count(got, "m") != 7 {
						s.t.Fatalf("%s sees %s; want nobody gone or forgotten", m.name, got)
					}
				}
			}
			s.agree(all)
		}},
		{"a dead machine survives restarts of all servers in everybody's memory", 0, func(s *sim) {
			s.kill(4)
			s.sleep(detectWithin)
			for i := range 3 {
				s.serve(i)
			}
			s.sleep(20 * time.Second)
			// One that has just started learns of it too, since others brought it back to the servers.
			s.kill(5)
			s.sleep(time.Second)
			s.revive(5)
			s.sleep(20 * time.Second)
			s.agree(strings.Replace(all, "m4 alive", "m4 gone", 1))
			// After half an hour it ends by itself.
			s.machines[4].forgotten = true
			s.sleep(Lifetime + time.Minute)
			s.agree(strings.Replace(all, "m4 alive, ", "", 1))
		}},
		{"forget, while a server is apart that comes back with the old record", 0.05, func(s *sim) {
			s.kill(4)
			s.sleep(detectWithin)
			s.split([]int{2}, []int{0, 1, 3, 5, 6}, true)
			s.sleep(20 * time.Second)
			s.machines[4].forgotten = true
			if err := s.machines[5].client.Forget(s.t.Context(), "m4"); err != nil {
				s.t.Fatal(err)
			}
			s.sleep(2 * time.Second)
			for _, i := range []int{0, 1, 3, 5, 6} {
				if got := states(s.machines[i].client.View()); strings.Contains(got, "m4") {
					s.t.Errorf("m%d sees %s 2 s after m4 was forgotten", i, got)
				}
			}
			s.split([]int{2}, []int{0, 1, 3, 5, 6}, false)
			s.sleep(healWithin)
			s.agree(strings.Replace(all, "m4 alive, ", "", 1))
			// All servers learn the tombstone, so one who knew nothing does not see it either.
			s.kill(6)
			s.sleep(time.Second)
			s.revive(6)
			s.sleep(healWithin)
			s.agree(strings.Replace(all, "m4 alive, ", "", 1))
			s.machines[4].forgotten = false
			s.revive(4)
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"forget one that runs, apart; it stays away until it rejoins", 0, func(s *sim) {
			s.split([]int{4}, []int{0, 1, 2, 3, 5, 6}, true)
			s.sleep(30 * time.Second)
			s.machines[4].forgotten = true
			if err := s.machines[0].client.Forget(s.t.Context(), "m4"); err != nil {
				s.t.Fatal(err)
			}
			s.split([]int{4}, []int{0, 1, 2, 3, 5, 6}, false)
			s.sleep(60 * time.Second)
			for _, m := range s.machines {
				got := states(m.client.View())
				if strings.Contains(got, "m4") || m.client.View().Forgotten != (m.name == "m4") {
					s.t.Errorf("%s sees %s, forgotten itself: %t; want no m4", m.name, got, m.client.View().Forgotten)
				}
			}
			if err := s.machines[4].client.Rejoin(); err != nil {
				s.t.Fatal(err)
			}
			s.machines[4].forgotten = false
			s.sleep(healWithin)
			s.agree(all)
		}},
		{"leave", 0.05, func(s *sim) {
			s.machines[6].forgotten = true
			if err := s.machines[6].client.Leave(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
			s.sleep(2 * time.Second)
			s.agree(strings.Replace(all, ", m6 alive", "", 1))
			s.sleep(time.Minute)
			s.agree(strings.Replace(all, ", m6 alive", "", 1))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { simulate(t, 1, tc.loss, tc.run) })
	}
}

const everybody = "m0 alive, m1 alive, m2 alive, m3 alive, m4 alive, m5 alive, m6 alive"

// simulate runs a story with seven machines, three of them control plane.
func simulate(t *testing.T, seed uint64, loss float64, run func(s *sim)) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 7, 3, seed, 5*time.Millisecond, loss)
		defer s.close()
		s.sleep(healWithin)
		s.agree(everybody)
		if t.Failed() {
			return
		}
		run(s)
		for _, m := range s.machines {
			for _, st := range m.client.View().Servers {
				if st.Rejected > 0 {
					t.Errorf("%s: %s: %d statements rejected, the last: %s", m.name, st.Address, st.Rejected, st.LastRejected)
				}
			}
		}
		if s.worst > 0 {
			t.Logf("the longest time to mark a dead machine: %v", s.worst)
		}
	})
}

var seeds = flag.Int("seeds", 2, "how many random rows of faults to simulate")

func TestRandomFaults(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			simulate(t, seed, 0.05, func(s *sim) {
				rng := rand.New(rand.NewPCG(seed, 2))
				for range 60 {
					switch i, k := rng.IntN(7), rng.IntN(6); {
					case k == 0 && s.machines[i].dead.IsZero():
						s.kill(i)
					case k == 1:
						s.serve(rng.IntN(3))
					case k <= 3:
						s.setCut(i, rng.IntN(3), true)
					default:
						for a := range s.machines {
							for b := range a {
								s.setCut(a, b, !s.machines[a].dead.IsZero() || !s.machines[b].dead.IsZero())
							}
						}
						if !s.machines[i].dead.IsZero() {
							s.revive(i)
						}
					}
					s.sleep(time.Duration(rng.IntN(25000)) * time.Millisecond)
				}
				for i := range s.machines {
					if !s.machines[i].dead.IsZero() {
						s.revive(i)
					}
				}
				s.split([]int{0, 1, 2, 3, 4, 5, 6}, []int{0, 1, 2, 3, 4, 5, 6}, false)
				s.sleep(healWithin)
				s.agree(everybody)
			})
		})
	}
}
