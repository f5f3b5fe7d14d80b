package dashboard

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"talos.internal/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() Sample {
	s := Sample{
		Hostname: "demo-controlplane-1", Version: "v1.15.0", Stage: "running", Ready: true, Uptime: 90 * time.Minute, Load: [3]float64{0.5, 0.25, 0.125},
		CPUUsed: 150, CPUTotal: 600, MemoryUsed: 3e9, MemoryTotal: 8e9, LogOf: "etcd",
		Services: []Service{{"apid", "Running", "OK"}, {"etcd", "Running", "?"}, {"kubelet", "Failed", "Fail"}},
		Type:     "controlplane", Addresses: []string{"10.5.0.2"},
	}
	for i := range 40 {
		s.Log = append(s.Log, fmt.Sprintf("line %d of a log which is longer than what there is room for on this screen", i))
	}
	return s
}

var sgr = regexp.MustCompile("\x1b\\[[0-9]*m")

func TestDraw(t *testing.T) {
	healthy := newScreen([]string{"10.5.0.2", "10.5.0.3"})
	healthy.put("10.5.0.2", Sample{CPUUsed: 100, CPUTotal: 500})
	healthy.put("10.5.0.2", sample())
	healthy.chosen["10.5.0.2"] = 1
	ill := healthy
	ill.samples = map[string]pair{}
	broken := sample()
	broken.Ready, broken.Unmet = false, []string{"services: kubelet is not\x1b[2J healthy"}
	ill.put("10.5.0.2", broken)
	ill.put("10.5.0.3", Sample{Problem: "not available"})
	small := healthy
	small.width, small.height = 30, 9
	empty := newScreen([]string{"10.5.0.2"})
	waiting := newScreen([]string{"talos-1"})
	waiting.put("talos-1", Sample{
		Hostname: "talos-1", Version: "v1.15.0", Stage: "maintenance", Addresses: []string{"10.5.0.2", "fd00::2"},
		Fingerprint: strings.Repeat("5f:03:8d:", 10) + "aa:bb", Services: []Service{{"apid", "Running", "OK"}},
	})
	alone := newScreen([]string{"talos-1"})
	alone.put("talos-1", Sample{Hostname: "talos-1", Version: "v1.15.0", Stage: "maintenance"})
	for name, s := range map[string]*screen{"healthy": &healthy, "ill": &ill, "small": &small, "empty": &empty, "waiting": &waiting, "alone": &alone} {
		t.Run(name, func(t *testing.T) {
			got := s.draw()
			lines := strings.Split(got, "\n")
			if len(lines) > s.height {
				t.Errorf("%d lines; the screen has %d", len(lines), s.height)
			}
			for _, l := range lines {
				if n := len([]rune(sgr.ReplaceAllString(l, ""))); n > s.width {
					t.Errorf("the line %q has %d columns; the screen has %d", l, n, s.width)
				}
			}
			plain := sgr.ReplaceAllString(got, "") + "\n"
			if strings.Contains(plain, "\x1b") {
				t.Errorf("what machines say moves the cursor: %q", plain)
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(plain), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), plain); d != "" {
				t.Errorf("draw (-want +got):\n%s", d)
			}
		})
	}
}

// Whatever the size, drawing is possible.
func TestDrawAtEachSize(t *testing.T) {
	s := newScreen([]string{"a"})
	s.put("a", sample())
	for s.width = range 60 {
		for s.height = range 12 {
			_ = s.draw()
		}
	}
}

func TestChoice(t *testing.T) {
	s := newScreen([]string{"a", "b"})
	s.choose(1) // nothing to choose from yet
	s.put("a", sample())
	s.choose(-1)
	if got := s.service("a"); got != "kubelet" {
		t.Errorf("service = %q; want the last", got)
	}
	s.turn(1)
	s.turn(1)
	s.turn(-1)
	if got := s.machine(); got != "b" {
		t.Errorf("machine = %q; want b", got)
	}
	if got := s.service("b"); got != "" {
		t.Errorf("service of a machine that has not answered = %q; want none", got)
	}
	s.turn(1)
	fewer := sample()
	fewer.Services = fewer.Services[:1]
	s.put("a", fewer)
	if got := s.service("a"); got != "apid" {
		t.Errorf("service when there are fewer = %q; want the last that there is", got)
	}
}

func TestWindow(t *testing.T) {
	lines := []string{"h", "1", "2", "3", "4", "5"}
	for _, tt := range []struct {
		n, at int
		want  string
	}{{6, 5, "h12345"}, {3, 1, "h12"}, {3, 2, "h12"}, {3, 5, "h45"}, {3, 3, "h23"}, {1, 4, "h"}} {
		if got := strings.Join(window(lines, tt.n, tt.at), ""); got != tt.want {
			t.Errorf("window(%d, %d) = %s; want %s", tt.n, tt.at, got, tt.want)
		}
	}
}

// counting is a source that counts how often it was asked.
type counting struct{ asked atomic.Int32 }

func (*counting) Machines() []string { return []string{"10.5.0.2"} }

func (c *counting) Sample(context.Context, string, string) Sample {
	c.asked.Add(1)
	return sample()
}

func TestRunAsksAndEndsByAKey(t *testing.T) {
	src := &counting{}
	in, keys := io.Pipe()
	var out bytes.Buffer
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		ended <- Run(ctx, src, 10*time.Millisecond, in, &out, tea.WithWindowSize(80, 24))
	}()
	for src.asked.Load() < 3 {
		time.Sleep(5 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("the source was not asked three times")
		}
	}
	if _, err := keys.Write([]byte("jq")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || ctx.Err() != nil {
		t.Fatalf("Run = %v, %v; want nil, by the key", err, ctx.Err())
	}
	if !strings.Contains(out.String(), "demo-controlplane-1") {
		t.Error("the screen does not show the machine")
	}
}

func TestTheFingerprintIsThatOfTheServedCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	got, err := fingerprint(t.Context(), server.Listener.Addr().String())
	if want := secret.CertificateFingerprint(server.Certificate()).String(); got != want || err != nil {
		t.Errorf("fingerprint = %s, %v; want %s", got, err, want)
	}
}
