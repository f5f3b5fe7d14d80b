package compose

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const config = `{"config":{"protocol_version":"v1.0.0","scanner_name":"govulncheck","scan_level":"symbol"}}` + "\n"

func TestOnlyReachableVulnerabilitiesAreFindings(t *testing.T) {
	for _, c := range []struct {
		name, report string
		want         map[string]string
		linked       []string
		fails        bool
	}{
		{name: "clean", report: config, want: map[string]string{}},
		{name: "nothing", report: "", fails: true},
		{name: "cut off", report: config + `{"finding":{"osv":"GO-1"`, fails: true},
		{
			name: "module, package, then symbol",
			report: config + `{"osv":{"id":"GO-2026-1"}}
{"finding":{"osv":"GO-2026-1","fixed_version":"v1.1.0","trace":[{"module":"m","version":"v1.0.0"}]}}
{"finding":{"osv":"GO-2026-2","trace":[{"module":"m","version":"v1.0.0","package":"m/p"}]}}
{"finding":{"osv":"GO-2026-1","fixed_version":"v1.1.0","trace":[{"module":"m","version":"v1.0.0","package":"m/p","function":"F"},{"module":"main","package":"main","function":"main"}]}}
{"finding":{"osv":"GO-2026-3","trace":[{"module":"m","version":"v1.0.0","package":"m/p","function":"G"}]}}`,
			want:   map[string]string{"GO-2026-1": "m@v1.0.0, m/p.F, fixed in v1.1.0", "GO-2026-3": "m@v1.0.0, m/p.G, not fixed"},
			linked: []string{"GO-2026-2"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, linked, err := findings(strings.NewReader(c.report))
			if c.fails != (err != nil) {
				t.Fatalf("findings = %v; want failure: %v", err, c.fails)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(c.linked, linked); diff != "" {
				t.Errorf("linked only: -want +got\n%s", diff)
			}
		})
	}
}

func TestTableNamesWhatIsReachedAndWhyItStays(t *testing.T) {
	accepted := map[string]string{"etcd GO-2026-1": "no fixed version yet"}
	etcd := scanned{component: Component{Name: "etcd", Version: "v3"}, reached: map[string]string{"GO-2026-1": "m@v1, m.F, not fixed"}}
	if err := etcd.refused(accepted); err != nil {
		t.Errorf("accepted with a reason = %v; want no error", err)
	}
	cni := scanned{component: Component{Name: "cni", Version: "v1"}, linked: []string{"GO-2026-2"}, reached: map[string]string{"GO-2026-1": "m@v1, m.F, not fixed"}}
	if err := cni.refused(accepted); err == nil || !strings.Contains(err.Error(), "GO-2026-1 in m@v1, m.F") {
		t.Errorf("accepted for another component = %v; want an error that names it", err)
	}
	got := vulnerabilitiesTable("`db@v0`, 3 entries", []scanned{etcd, cni}, accepted)
	for _, want := range []string{
		"Database: `db@v0`, 3 entries.",
		"| etcd | v3 | 1 | none |",
		"| cni | v1 | 1 | GO-2026-2 |",
		"| etcd | GO-2026-1 | m@v1, m.F, not fixed | no fixed version yet |",
		"| cni | GO-2026-1 | m@v1, m.F, not fixed | **nobody has accepted it** |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %q:\n%s", want, got)
		}
	}
}

func TestDatabaseIsNotFetchedOffline(t *testing.T) {
	b := &Builder{Offline: true}
	if _, _, err := b.database(t.Context()); err == nil || !strings.Contains(err.Error(), "-db file:///FOLDER") {
		t.Errorf("database = %v; want an error that names -db", err)
	}
}

func TestAcceptedVulnerabilityNeedsAReason(t *testing.T) {
	b := Builder{Source: t.TempDir()}
	write(t, b.Source+"/vulnerabilities", "# comment\n\netcd GO-2026-1 no fixed version yet\n")
	got, err := b.accepted()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"etcd GO-2026-1": "no fixed version yet"}, got); diff != "" {
		t.Errorf("accepted: -want +got\n%s", diff)
	}
	write(t, b.Source+"/vulnerabilities", "etcd GO-2026-1\n")
	if _, err := b.accepted(); err == nil {
		t.Error("accepted without a reason = no error; want one")
	}
	if _, err := (&Builder{Source: tree}).accepted(); err != nil {
		t.Errorf("components/vulnerabilities: %v", err)
	}
}

// TestScannerFindsWhatIsReachedAndOnlyThat runs the real govulncheck over pause, with a database of
// one made-up vulnerability of the standard library.
func TestScannerFindsWhatIsReachedAndOnlyThat(t *testing.T) {
	b := &Builder{Source: tree, Out: "../../_out/components", Offline: true}
	if _, err := os.Stat(filepath.Join(b.Out, "govulncheck", "govulncheck")); err != nil {
		t.Skip("govulncheck is not built: go run ./cmd/components build govulncheck")
	}
	for _, c := range []struct{ name, pkg, symbol, want string }{
		{"reached", "os/signal", "Notify", "GO-2026-0001 in stdlib@"},
		{"linked, not reached", "os/signal", "NotifyContext", ""},
		{"not linked", "net/http", "Get", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := t.TempDir()
			for name, text := range map[string]string{
				"index/db.json":      `{"modified":"2026-01-01T00:00:00Z"}`,
				"index/modules.json": `[{"path":"stdlib","vulns":[{"id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z"}]}]`,
				"ID/GO-2026-0001.json": `{"schema_version":"1.3.1","id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z",
					"affected":[{"package":{"name":"stdlib","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
					"ecosystem_specific":{"imports":[{"path":"` + c.pkg + `","symbols":["` + c.symbol + `"]}]}}]}`,
			} {
				name = filepath.Join(db, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, name, text)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			err := b.Vulnerabilities(ctx, io.Discard, "file://"+db, "pause")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Vulnerabilities = %v; want %q", err, c.want)
			}
		})
	}
}
