package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const bundleGolden = "testdata/secrets.yaml"

func goldenBundle(t testing.TB) string {
	t.Helper()

	return string(must(os.ReadFile(bundleGolden))(t))
}

func TestMarshalWritesTheFormOfThePublicClient(t *testing.T) {
	got := must(must(BundleFromParts(publicParts(t)))(t).Marshal())(t)

	if *update {
		if err := os.WriteFile(bundleGolden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if diff := cmp.Diff(goldenBundle(t), string(got)); diff != "" {
		t.Errorf("secrets.yaml (-want +got):\n%s", diff)
	}

	again := must(must(LoadBundle(got))(t).Marshal())(t)
	if !bytes.Equal(again, got) {
		t.Error("what LoadBundle reads, Marshal writes otherwise")
	}
}

func TestNewBundleIsValidAndRoundTrips(t *testing.T) {
	b := must(NewBundle(testNow, seeded()))(t)
	if err := b.Validate(testNow); err != nil {
		t.Errorf("Validate of a new bundle: %v", err)
	}

	data := must(b.Marshal())(t)

	again := must(LoadBundle(data))(t)
	if !bytes.Equal(must(again.Marshal())(t), data) {
		t.Error("what LoadBundle reads, Marshal writes otherwise")
	}

	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"kind of the OS authority", b.OS.Key().Kind(), Ed25519},
		{"kind of the etcd authority", b.Etcd.Key().Kind(), ECDSAP256},
		{"kind of the Kubernetes authority", b.Kubernetes.Key().Kind(), ECDSAP256},
		{"kind of the front proxy's authority", b.FrontProxy.Key().Kind(), ECDSAP256},
		{"kind of the service account's key", b.ServiceAccount.Kind(), RSA4096},
		{"AES-CBC", b.AESCBCSecret.IsZero(), true},
		{"the same tokens", b.BootstrapToken.Equal(b.MachineToken), false},
		{"the same secrets", b.ClusterSecret.Equal(b.SecretboxSecret), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %v; want %v", tt.name, tt.got, tt.want)
		}
	}

	other := &Bundle{}
	if err := other.fill(seeded()); err != nil {
		t.Fatal(err)
	}

	if other.ClusterID != b.ClusterID || !other.MachineToken.Equal(b.MachineToken) {
		t.Error("the same reader gives other tokens and secrets")
	}

	if _, err := NewBundle(testNow, strings.NewReader("short")); err == nil {
		t.Error("NewBundle with a reader that ends: error = nil")
	}
}

func TestBundleFromParts(t *testing.T) {
	ed := NewText(string(publicClient(t, "os.key")))

	for _, tt := range []struct {
		name   string
		change func(*Parts)
		errs   []string
	}{
		{"complete", func(*Parts) {}, nil},
		{"AES-CBC beside it", func(p *Parts) { p.AESCBCSecret = p.SecretboxSecret }, nil},
		{"AES-CBC alone, as old bundles have it", func(p *Parts) {
			p.AESCBCSecret, p.SecretboxSecret = NewText("AAAAAAAAAAAAAAAAAAAAAA=="), Text{}
		}, nil},
		{"service account with ECDSA, as old bundles have it", func(p *Parts) { p.ServiceAccountKey = p.Etcd.Key }, nil},
		{"service account with Ed25519", func(p *Parts) { p.ServiceAccountKey = ed },
			[]string{"certs.k8sserviceaccount.key: a service account signs with RSA or ECDSA only; found Ed25519"}},
		{"neither encryption secret", func(p *Parts) { p.SecretboxSecret = Text{} },
			[]string{"secrets.secretboxencryptionsecret: missing"}},
		{"short secret", func(p *Parts) { p.ClusterSecret = NewText("AAAA") }, []string{"cluster.secret: want 32 bytes"}},
		{"bad AES-CBC", func(p *Parts) { p.AESCBCSecret = NewText("AAAA") }, []string{"aescbcencryptionsecret: want 16, 24 or 32"}},
		{"mixed up", func(p *Parts) { p.Etcd.Key = p.Kubernetes.Key },
			[]string{"certs.etcd: the private key (ECDSA P-256) does not belong to the certificate (ECDSA P-256, O=etcd)"}},
		{"leaf for an authority", func(p *Parts) {
			p.OS = PairParts{string(publicClient(t, "admin.crt")), NewText(string(publicClient(t, "admin.key")))}
		}, []string{"certs.os.crt: the certificate (Ed25519, O=os:admin) is not that of an authority"}},
		{"nothing", func(p *Parts) { *p = Parts{} }, []string{
			"cluster.id: missing\ncluster.secret: missing\nsecrets.bootstraptoken: missing\n" +
				"secrets.secretboxencryptionsecret: missing\ntrustdinfo.token: missing\n" +
				"certs.etcd.crt: missing\ncerts.etcd.key: missing\ncerts.k8s.crt: missing\ncerts.k8s.key: missing\n" +
				"certs.k8saggregator.crt: missing\ncerts.k8saggregator.key: missing\n" +
				"certs.k8sserviceaccount.key: missing\ncerts.os.crt: missing\ncerts.os.key: missing",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parts := publicParts(t)
			tt.change(&parts)

			b, err := BundleFromParts(parts)
			wantError(t, "BundleFromParts", err, tt.errs...)

			if err == nil {
				wantError(t, "Validate", b.Validate(time.Time{}))
			}
		})
	}
}

func TestValidateTellsTheTime(t *testing.T) {
	b := must(BundleFromParts(publicParts(t)))(t)
	wantError(t, "Validate now", b.Validate(testNow))

	err := b.Validate(testNow.AddDate(20, 0, 0))
	wantError(t, "Validate in 20 years", err, "certs.etcd: the clock says 2047", "certs.os:", "certs.k8s:", "certs.k8saggregator:")

	if !errors.Is(err, ErrClock) {
		t.Errorf("Validate: %v does not wrap ErrClock", err)
	}

	var problems BundleError
	if !errors.As(err, &problems) || len(problems) != 4 {
		t.Errorf("Validate: %d problems; want 4", len(problems))
	}

	broken := &Bundle{OS: &Authority{}}
	wantError(t, "Validate of an empty bundle", broken.Validate(testNow), "certs.os.crt: missing")

	_, err = broken.Marshal()
	wantError(t, "Marshal of an empty bundle", err, "certs.os.crt: missing")
}

func TestLoadBundleReportsEveryProblemWithItsLine(t *testing.T) {
	golden := goldenBundle(t)
	lines := strings.Split(golden, "\n")

	// edit returns the file with one line changed; n counts from one.
	edit := func(n int, change func(string) string) string {
		out := append([]string(nil), lines...)
		out[n-1] = change(out[n-1])

		return strings.Join(out, "\n")
	}
	value := func(v string) func(string) string {
		return func(line string) string { return line[:strings.Index(line, ":")+1] + " " + v }
	}
	b64 := func(name string) string { return base64.StdEncoding.EncodeToString(publicClient(t, name)) }

	for _, tt := range []struct {
		name, data string
		want       string // all of the error
	}{
		{"good", golden, ""},
		{"comments and quotes", "# mine\n" + edit(5, value(`"8pxg71.5h2p0vhtul7pv901" # token`)), ""},
		{"block scalar", edit(5, value("|\n        8pxg71.5h2p0vhtul7pv901")), ""},
		{"token that looks like a number", edit(5, value("123456.1234567890123456")), ""},
		{"anchor", edit(2, func(s string) string { return strings.Replace(s, "id: ", "id: &x ", 1) }), ""},
		{"null is not there", edit(8, value("null")), "line 8: trustdinfo.token: missing"},
		{"empty", edit(8, value(`""`)), "line 8: trustdinfo.token: missing"},
		{"missing line", edit(8, func(string) string { return "" }), "line 7: trustdinfo: want a mapping; found nothing"},
		{"missing mapping", edit(7, func(string) string { return "" }), "trustdinfo.token: missing\nline 8: secrets.\"token\": unknown key"},
		{"unknown key", golden + "    extra: 1\n", `line 24: certs."extra": unknown key`},
		{"unknown key at the top", golden + "extra: 1\n", `line 24: "extra": unknown key`},
		{"twice", golden + "trustdinfo: {token: x}\n", "line 24: trustdinfo: the same key is on line 7"},
		{"bad token", edit(5, value("nonsense")), "line 5: secrets.bootstraptoken: token: want 6 lower-case letters or digits, a dot and 16 more; found 8 characters"},
		{"list for a string", edit(5, value("[a]")), "line 5: secrets.bootstraptoken: want a string; found a list"},
		{"mapping for a string", edit(5, value("{{ token }}")), "line 5: secrets.bootstraptoken: want a string; found a mapping"},
		{"string for a mapping", strings.Join(append(lines[:6:6], append([]string{"trustdinfo: x"}, lines[8:]...)...), "\n"), "line 7: trustdinfo: want a mapping; found a single value"},
		{"tag", edit(5, value("!mine x")), `line 5: secrets.bootstraptoken: want a string; found a value with a tag`},
		{"not base64", edit(11, value("'*'")), "line 11: certs.etcd.crt: not base64: illegal base64 data at input byte 0"},
		{"PEM itself", edit(11, value("|\n            -----BEGIN CERTIFICATE-----\n            x")), "line 11: certs.etcd.crt: want base64 of PEM; found PEM itself"},
		{"base64 of something else", edit(11, value("aGVsbG8=")), "line 11: certs.etcd.crt: want a certificate in PEM; found 5 bytes without a PEM block"},
		{"key for a certificate", edit(11, value(b64("etcd.key"))), `line 11: certs.etcd.crt: want a certificate in PEM; found a block "EC PRIVATE KEY"`},
		{"key of another", edit(12, value(b64("kubernetes.key"))), "line 10: certs.etcd: the private key (ECDSA P-256) does not belong to the certificate (ECDSA P-256, O=etcd)"},
		{
			"several",
			strings.Replace(edit(2, value("short")), "    etcd:\n", "    etcd:\n        color: red\n", 1),
			"line 2: cluster.id: not base64: illegal base64 data at input byte 4\nline 11: certs.etcd.\"color\": unknown key",
		},
		{"nothing", "", "the document is empty"},
		{"comment only", "# nothing\n", "the document is empty"},
		{"two documents", golden + "---\n" + golden, "want one YAML document; found more"},
		{"a list", "- a\n", "line 1: want a mapping; found a list"},
		{"certs missing", strings.Split(golden, "certs:")[0] + "certs:\n", "line 9: certs: want a mapping; found nothing"},
		{"merge key", "<<: {cluster: {}}\n" + golden, `line 1: "<<": unknown key`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadBundle([]byte(tt.data))
			got := ""
			if err != nil {
				got = err.Error()
			}

			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("LoadBundle: error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadBundleReadsOtherFormsOfYAML(t *testing.T) {
	want := goldenBundle(t)

	// JSON, with its keys in another order.
	var js bytes.Buffer

	js.WriteString(`{"certs":{`)

	parts := publicParts(t)
	for _, p := range []struct {
		name string
		pair PairParts
	}{{"os", parts.OS}, {"k8saggregator", parts.FrontProxy}, {"k8s", parts.Kubernetes}, {"etcd", parts.Etcd}} {
		encode := base64.StdEncoding.EncodeToString
		js.WriteString(`"` + p.name + `":{"key":"` + encode([]byte(p.pair.Key.Reveal())) + `","crt":"` + encode([]byte(p.pair.Certificate)) + `"},`)
	}

	js.WriteString(`"k8sserviceaccount":{"key":"` + base64.StdEncoding.EncodeToString(publicClient(t, "sa.key")) + `"}},`)
	js.WriteString(`"trustdinfo":{"token":"` + parts.MachineToken.Reveal() + `"},"secrets":{"bootstraptoken":"` +
		parts.BootstrapToken.Reveal() + `","secretboxencryptionsecret":"` + parts.SecretboxSecret.Reveal() +
		`"},"cluster":{"secret":"` + parts.ClusterSecret.Reveal() + `","id":"` + parts.ClusterID + `"}}`)

	got := must(must(LoadBundle(js.Bytes()))(t).Marshal())(t)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("the bundle from JSON (-want +got):\n%s", diff)
	}
}

func TestBundleErrorsDoNotQuoteValues(t *testing.T) {
	golden := goldenBundle(t)

	// Every value is damaged in every of these ways; none of the texts may show in the error.
	for _, damage := range []func(string) string{
		func(s string) string { return s[1:] },
		func(s string) string { return s + "x" },
		func(s string) string { return "[" + s + "]" },
		func(s string) string { return "{" + s + ": " + s + "}" },
		func(s string) string { return "!!int " + s },
		func(s string) string { return "!!binary " + s },
		func(s string) string { return `"` + s },
		func(s string) string { return "*" + s },
		func(s string) string { return "!" + s },
		func(s string) string { return "&" + s },
	} {
		for line := range strings.Lines(golden) {
			key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			if !ok {
				continue
			}

			_, err := LoadBundle([]byte(strings.Replace(golden, line, key+": "+damage(value)+"\n", 1)))
			if err != nil && strings.Contains(err.Error(), value[:min(len(value), 12)]) {
				t.Errorf("LoadBundle: the error about %s shows its value: %.200s", strings.TrimSpace(key), err)
			}
		}
	}
}
