package logctrl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/supervise/logring"
	"talos.internal/internal/sys/kmsg"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/volume"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

func logs(t *testing.T) *logring.Set {
	t.Helper()
	s, err := logring.NewSet(0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// receiving is a network with receivers, some of which are not there.
type receiving struct {
	mu   sync.Mutex
	down map[string]bool
	got  []string // "address service text"
}

func (r *receiving) dial(_ context.Context, network, address string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down[address] {
		return nil, errors.New("connection refused")
	}
	in, out := net.Pipe()
	go func() {
		buf := make([]byte, 1<<20)
		for lines := bufio.NewReaderSize(in, len(buf)); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				m = map[string]any{"msg": "no JSON: " + line}
			}
			r.mu.Lock()
			r.got = append(r.got, strings.TrimSpace(fmt.Sprint(network, " ", address, " ", m["talos-service"], " ", m["msg"], " ", m["rack"])))
			r.mu.Unlock()
		}
	}()
	return out, nil
}

// taken returns what came since it was last asked, sorted.
func (r *receiving) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	slices.Sort(got)
	return got
}

func (r *receiving) set(address string, down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[address] = down
}

func set(h *controllertest.Harness, text string) {
	controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
}

const destinations = `version: v1alpha1
machine:
    type: worker
    logging:
        destinations:
            - endpoint: tcp://10.5.0.1:5000
              format: json_lines
              extraTags:
                  rack: b12
            - endpoint: tcp://10.5.0.2:5000
              format: json_lines
`

func TestLogsGoToEachReceiver(t *testing.T) {
	set0 := logs(t)
	say := func(id, text string) {
		w := set0.Open(id)
		defer w.Close()
		fmt.Fprintln(w, text)
	}
	say("machined", "before the config")
	r := &receiving{down: map[string]bool{"10.5.0.2:5000": true}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		set(h, destinations)
		h.Settle()
		say("etcd", "a new service")
		say(KernelService, "not for them")
		h.Settle()
		want := []string{"tcp 10.5.0.1:5000 etcd a new service b12", "tcp 10.5.0.1:5000 machined before the config b12"}
		if d := cmp.Diff(want, r.taken()); d != "" {
			t.Errorf("with one receiver that is away (-want +got):\n%s", d)
		}
		// The other one comes, and gets all that it has missed.
		r.set("10.5.0.2:5000", false)
		h.Advance(2 * time.Minute)
		want = []string{"tcp 10.5.0.2:5000 etcd a new service <nil>", "tcp 10.5.0.2:5000 machined before the config <nil>"}
		if d := cmp.Diff(want, r.taken()); d != "" {
			t.Errorf("when it came (-want +got):\n%s", d)
		}
		// Without the config nothing is sent any more.
		set(h, "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n")
		h.Settle()
		say("etcd", "for nobody")
		h.Advance(time.Hour)
		if got := r.taken(); len(got) > 0 {
			t.Errorf("sent %q to nobody", got)
		}
	}, &deliveryController{logs: set0, dial: r.dial})
}

func TestTheKernelsLogIsSentAndKept(t *testing.T) {
	set0 := logs(t)
	r := &receiving{down: map[string]bool{}}
	deps := Deps{
		Logs: set0, Dial: r.dial, Keeper: NewKeeper(t.TempDir(), set0),
		Cmdline: []proc.Param{{Key: "talos.logging.kernel", Value: "tcp://10.5.0.1:514", Set: true}},
		Boot:    func() time.Time { return time.Unix(0, 0) },
		Kernel: func(ctx context.Context, fn func(kmsg.Record) error) error {
			for _, n := range []uint64{1, 2, 9} {
				if err := fn(kmsg.Record{Sequence: n, Priority: kmsg.Info, Message: fmt.Sprint("record ", n)}); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return context.Cause(ctx)
		},
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		set(h, "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\nurl: tcp://10.5.0.2:514\n")
		controllertest.WantThat(h, runtime.KmsgLogConfigID, "has both", func(r *resource.Typed[runtime.KmsgLogConfig]) bool {
			d := r.Spec().Destinations
			return len(d) == 2 && d[0].String() == "tcp://10.5.0.1:514" && d[1].String() == "tcp://10.5.0.2:514"
		})
		h.Settle()
		var want []string
		for _, a := range []string{"10.5.0.1:514", "10.5.0.2:514"} {
			for _, text := range []string{"--- 6 records were dropped: they came faster than they were sent ---", "record 1", "record 2", "record 9"} {
				want = append(want, "tcp "+a+" kernel "+text+" <nil>")
			}
		}
		if d := cmp.Diff(want, r.taken()); d != "" {
			t.Errorf("sent (-want +got):\n%s", d)
		}
		if got := set0.Tail(KernelService, logring.All); len(got) != 3 || !strings.HasSuffix(got[2], "record 9") {
			t.Errorf("kept %q", got)
		}
	}, Controllers(deps)...)
}

func TestTheKernelsLogOfAHostStaysThere(t *testing.T) {
	set0 := logs(t)
	deps := Deps{
		Logs: set0, Keeper: NewKeeper(t.TempDir(), set0), NoKernel: errors.New("it is the host's"),
		Kernel: func(context.Context, func(kmsg.Record) error) error { t.Error("the log was read"); return nil },
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		set(h, "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\nurl: tcp://10.5.0.2:514\n")
		h.Advance(time.Minute)
	}, Controllers(deps)...)
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestLogsOutliveTheStart(t *testing.T) {
	dir := t.TempDir()
	set0 := logs(t)
	w := set0.Open("etcd")
	fmt.Fprintln(w, "one")
	k := NewKeeper(dir, set0)
	name := filepath.Join(dir, "etcd.log")
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(time.Hour)
		if _, err := os.Stat(name); err == nil {
			t.Fatal("written in front of the volume")
		}
		controllertest.Create(h, volume.Ephemeral, block.MountStatus{Target: "/var"}, state.As("test"))
		h.Settle()
		text := read(t, name)
		if !strings.HasPrefix(text, "--- the machine has started") || !strings.HasSuffix(text, "---\none\n") {
			t.Errorf("kept %q", text)
		}
		fmt.Fprintln(w, "two")
		h.Advance(keepEvery)
		if text = read(t, name); !strings.HasSuffix(text, "---\none\ntwo\n") {
			t.Errorf("kept %q", text)
		}
		fmt.Fprintln(w, "the end")
		if err := errors.Join(k.Close(), k.Close(), k.Write()); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(w, "after the end")
		if err := k.Write(); err != nil {
			t.Fatal(err)
		}
		// The next start.
		next := logs(t)
		w = next.Open("etcd")
		fmt.Fprintln(w, "three")
		if err := NewKeeper(dir, next).Write(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(read(t, name), "\n")
		if len(lines) != 7 || lines[3] != "the end" || !strings.HasPrefix(lines[4], "---") || lines[5] != "three" {
			t.Errorf("kept %q", lines)
		}
	}, &persistenceController{keeper: k, volumes: true})
}

func TestWhatCannotBeWrittenYetIsWrittenLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	set0 := logs(t)
	w := set0.Open("a")
	for i := range 5000 {
		fmt.Fprintln(w, "before the folder is there", i)
	}
	k := NewKeeper(dir, set0)
	for range 3 {
		if err := k.Write(); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("Write without the folder = %v; want fs.ErrNotExist", err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "after")
	if err := k.Write(); err != nil {
		t.Fatal(err)
	}
	text := read(t, filepath.Join(dir, "a.log"))
	if n := strings.Count(text, "\n"); n != 5002 || !strings.Contains(text, "is there 0\n") || !strings.HasSuffix(text, "is there 4999\nafter\n") {
		t.Errorf("kept %d lines; want all 5001 and the first", n)
	}
}

func TestAFileMakesWayAndBadNamesAreRefused(t *testing.T) {
	dir := t.TempDir()
	set0 := logs(t)
	k := NewKeeper(dir, set0)
	k.most = 1000
	w := set0.Open("a")
	for i := range 30 {
		fmt.Fprintln(w, strings.Repeat("x", 99), i)
		if err := k.Write(); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "a.log")
	now, before := read(t, name), read(t, name+".1")
	if len(now) > 1000 || len(before) > 1000 || !strings.HasSuffix(now, " 29\n") || !strings.Contains(before, " 20\n") {
		t.Errorf("kept %d and %d bytes, ending with %q", len(now), len(before), now[max(0, len(now)-10):])
	}
	fmt.Fprintln(set0.Open("../b"), "out")
	// A link that somebody has put there is not followed.
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "c.log")); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(set0.Open("c"), "out")
	err := k.Write()
	if err == nil || !strings.Contains(err.Error(), "../b") || !strings.Contains(err.Error(), "c.log is no file") {
		t.Errorf("Write = %v; want both refused", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a link was followed")
	}
	if st, err := os.Stat(name); err != nil || st.Mode() != 0o600 {
		t.Errorf("stat = %v, %v; want a file that nobody else reads", st, err)
	}
}
