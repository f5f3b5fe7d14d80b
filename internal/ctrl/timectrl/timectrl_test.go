package timectrl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/effective"
	"talos.internal/resource/clock"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
)

// world is a clock and the servers that know how far it is off.
type world struct {
	mu      sync.Mutex
	offsets map[string]time.Duration // by server; one that is not there does not answer
	log     []string
}

func (w *world) Step(d time.Duration) error { return w.add(fmt.Sprint("step ", d), d) }
func (w *world) Slew(d time.Duration) error { return w.add(fmt.Sprint("slew ", d), d) }

func (w *world) add(line string, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, line)
	for server := range w.offsets {
		w.offsets[server] -= d
	}
	return nil
}

func (w *world) query(_ context.Context, server string) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, "ask "+server)
	if d, ok := w.offsets[server]; ok {
		return d, nil
	}
	return 0, errors.New("no answer from " + server)
}

// lines returns what happened since the last call.
func (w *world) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.log
	w.log = nil
	return out
}

func (w *world) set(server string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offsets[server] = d
}

const doc = "apiVersion: v1alpha1\nkind: TimeSyncConfig\n"

func TestDecide(t *testing.T) {
	servers := func(names ...string) *network.TimeServerStatus { return &network.TimeServerStatus{Servers: names} }
	for _, tt := range []struct {
		name, text string
		servers    *network.TimeServerStatus
		fixed      bool // nobody may set the clock
		want       settings
	}{
		{"nothing yet", "", nil, false, settings{}},
		{"servers without a config", "", servers("a", "b"), false, settings{servers: []string{"a", "b"}}},
		{"on", doc + "bootTimeout: 2m\n", servers("a"), false, settings{bootTimeout: 2 * time.Minute, servers: []string{"a"}}},
		{"off", doc + "enabled: false\n", servers("a"), false, settings{off: true}},
		{"a container", doc + "enabled: true\n", servers("a"), true, settings{off: true}},
		{"a device", "", servers("/dev/ptp0", "a"), false,
			settings{servers: []string{"a"}, problem: "the time has to be taken from /dev/ptp0, which this version cannot do"}},
		{"NTS is not done in the plain way", "", &network.TimeServerStatus{Servers: []string{"a"}, UseNTS: true}, false,
			settings{problem: "time servers have to be asked with NTS, which this version cannot do"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg *effective.Config
			if tt.text != "" {
				var err error
				if cfg, err = effective.Parse(tt.text); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, decide(cfg, tt.servers, !tt.fixed), cmp.AllowUnexported(settings{})); diff != "" {
				t.Errorf("decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContainerBelievesItsClock(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{Synced: true, SyncDisabled: true})
	}, Controllers(Deps{})...)
}

func TestClockIsKeptRight(t *testing.T) {
	w := &world{offsets: map[string]time.Duration{}}
	want := func(h *controllertest.Harness, lines ...string) {
		h.T.Helper()
		if diff := cmp.Diff(lines, w.lines()); diff != "" {
			h.T.Errorf("what happened (-want +got):\n%s", diff)
		}
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{})
		want(h)
		controllertest.Create(h, network.TimeServerStatusID, network.TimeServerStatus{Servers: []string{"a", "b"}})
		h.Settle()
		want(h, "ask a", "ask b")
		h.Advance(retry)
		want(h, "ask a", "ask b")
		controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{})

		w.set("b", time.Hour)
		h.Advance(retry)
		want(h, "ask a", "ask b", "step 1h0m0s")
		controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{Synced: true, Epoch: 1})

		w.set("b", -20*time.Millisecond)
		h.Advance(minPoll)
		want(h, "ask a", "ask b", "slew -20ms")
		h.Advance(minPoll) // the pause is twice as long now
		want(h)
		h.Advance(minPoll)
		want(h, "ask a", "ask b", "slew 0s")

		w.set("c", 0)
		controllertest.Modify(h, network.TimeServerStatusID, func(s *network.TimeServerStatus) { s.Servers = []string{"c"} })
		h.Settle()
		want(h, "ask c", "slew 0s") // without waiting for the pause
		controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{Synced: true, Epoch: 1})

		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: doc + "enabled: false\n"})
		controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{Synced: true, Epoch: 1, SyncDisabled: true})
		h.Advance(2 * maxPoll)
		want(h)
	}, Controllers(Deps{Clock: w, Query: w.query})...)
}

func TestBootTimeout(t *testing.T) {
	for _, servers := range [][]string{nil, {"silent"}} {
		t.Run(fmt.Sprint(len(servers), " servers"), func(t *testing.T) {
			w := &world{}
			controllertest.Run(t, func(h *controllertest.Harness) {
				controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: doc + "bootTimeout: 1m\n"})
				controllertest.Create(h, network.TimeServerStatusID, network.TimeServerStatus{Servers: servers})
				h.Advance(time.Minute - time.Second)
				controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{})
				h.Advance(retry)
				controllertest.Want(h, clock.TimeStatusID, clock.TimeStatus{Synced: true})
			}, Controllers(Deps{Clock: w, Query: w.query})...)
		})
	}
}

// serveTime answers each question on loopback as answer says, and returns its address.
func serveTime(t *testing.T, answer func(question []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if a := answer(b[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

// ahead answers as a server whose clock is ahead of this machine's (RFC 5905, section 7.3).
func ahead(d time.Duration, stratum byte) func([]byte) []byte {
	return func(q []byte) []byte {
		const toUnix = 2208988800 // seconds from 1900 to 1970
		now := time.Now().Add(d)
		stamp := uint64(now.Unix()+toUnix)<<32 | uint64(now.Nanosecond())<<32/1e9
		a := make([]byte, 48)
		a[0], a[1], a[3] = 4<<3|4, stratum, 0xec // version 4, mode server
		binary.BigEndian.PutUint64(a[16:], stamp)
		copy(a[24:32], q[40:48])
		binary.BigEndian.PutUint64(a[32:], stamp)
		binary.BigEndian.PutUint64(a[40:], stamp)
		return a
	}
}

func TestSNTP(t *testing.T) {
	got, err := SNTP(t.Context(), serveTime(t, ahead(time.Hour, 1)))
	if err != nil || (got-time.Hour).Abs() > 100*time.Millisecond {
		t.Errorf("SNTP = %v, %v; want about 1h", got, err)
	}
	if got, err := SNTP(t.Context(), serveTime(t, ahead(time.Hour, 16))); err == nil || !strings.Contains(err.Error(), "ask time server 127.0.0.1") {
		t.Errorf("SNTP of a server that is not right itself = %v, %v; want an error with its name", got, err)
	}
}

func TestSNTPEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serveTime(t, func([]byte) []byte { cancel(); return nil })
	begun := time.Now()
	if _, err := SNTP(ctx, server); err == nil {
		t.Error("SNTP of a server that is silent: no error")
	}
	if took := time.Since(begun); took > queryTimeout/2 {
		t.Errorf("SNTP took %v after its context had ended", took)
	}
}
