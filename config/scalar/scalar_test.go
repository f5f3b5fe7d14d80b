package scalar_test

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// parse reads text into a new value of v's type and prints it back, or returns the error.
func parse(v schema.Text, text string) (string, error) {
	n := reflect.New(reflect.TypeOf(v).Elem()).Interface().(schema.Text)
	if err := n.UnmarshalText([]byte(text)); err != nil {
		return "", err
	}
	b, err := n.(encoding.TextMarshaler).MarshalText()
	return string(b), err
}

func TestScalarsPrintWhatTheyRead(t *testing.T) {
	for _, tc := range []struct {
		value schema.Text
		text  string
		want  string // empty: the same
	}{
		{new(scalar.Duration), "1h30m", "1h30m0s"},
		{new(scalar.Duration), "168h0m0s", ""},
		{new(scalar.Addr), "10.5.0.2", ""},
		{new(scalar.Addr), "fd00:0::2", "fd00::2"},
		{new(scalar.Prefix), "10.5.0.2/24", ""},
		{new(scalar.Prefix), "fc00:db8:10::/56", ""},
		{new(scalar.Subnet), "!10.0.0.0/8", ""},
		{new(scalar.AddrPort), "[fd00::2]:51820", ""},
		{new(scalar.HostPort), "example.com:443", ""},
		{new(scalar.HostPort), "[::1]:443", ""},
		{new(scalar.URL), "https://example.com:6443/path", ""},
		{new(scalar.HTTPSURL), "https://10.5.0.2:6443", ""},
		{new(scalar.HTTPURL), "http://[fd00::1]/x.yaml", ""},
		{new(scalar.StreamURL), "udp://10.5.0.1:5000", ""},
		{new(scalar.Endpoint), "https://discovery.talos.dev/", ""},
		{new(scalar.HardwareAddr), "2E:3C:4D:5E:6F:70", "2e:3c:4d:5e:6f:70"},
		{new(scalar.Image), "registry.k8s.io/kube-proxy:v1.37.2", ""},
		{new(scalar.Image), "nginx", ""},
		{new(scalar.Base64), "aGVsbG8=", ""},
		{new(scalar.Size), "10GiB", ""},
		{new(scalar.Limit), "80%", ""},
		{new(scalar.Limit), "-10GiB", ""},
	} {
		t.Run(fmt.Sprintf("%T %s", tc.value, tc.text), func(t *testing.T) {
			want := tc.want
			if want == "" {
				want = tc.text
			}
			if got, err := parse(tc.value, tc.text); err != nil || got != want {
				t.Errorf("parse(%q) = %q, %v; want %q", tc.text, got, err, want)
			}
		})
	}
}

func TestScalarsRefuseWithTheCause(t *testing.T) {
	for _, tc := range []struct {
		value      schema.Text
		text, want string
	}{
		{new(scalar.Duration), "30", "the unit is missing; write 30s for seconds"},
		{new(scalar.Duration), "1 hour", "the units are ns, us, ms, s, m and h"},
		{new(scalar.Addr), "10.5.0.2/24", "leave the prefix length out"},
		{new(scalar.Addr), "10.5.0.256", "it is neither IPv4 nor IPv6"},
		{new(scalar.Addr), "fe80::1%eth0", "a zone is not allowed"},
		{new(scalar.Addr), "", "it is empty"},
		{new(scalar.Prefix), "10.5.0.2", "the prefix length is missing"},
		{new(scalar.Prefix), "10.5.0.2/33", `"33" is no prefix length for that address`},
		{new(scalar.Prefix), "x/8", "the address is neither IPv4 nor IPv6"},
		{new(scalar.Subnet), "!x", "the address is neither IPv4 nor IPv6"},
		{new(scalar.AddrPort), "10.5.0.2", "it is not of the form ADDRESS:PORT"},
		{new(scalar.HostPort), "example.com", "it is not of the form HOST:PORT"},
		{new(scalar.HostPort), "example.com:99999", `"99999" is no port from 1 to 65535`},
		{new(scalar.HostPort), "exa mple:1", `"exa mple" is no host name or address`},
		{new(scalar.URL), "example.com:6443", "the scheme is missing, as in https://"},
		{new(scalar.URL), "https://", "the host is missing"},
		{new(scalar.URL), "https://a:b", `invalid port ":b" after host`},
		{new(scalar.HTTPSURL), "http://a", `the scheme is "http"`},
		{new(scalar.StreamURL), "tcp://a", "the port is missing"},
		{new(scalar.HardwareAddr), "2e:3c", "write pairs of hexadecimal digits with colons between them"},
		{new(scalar.Image), "Registry/UPPER", "invalid reference format"},
		{new(scalar.Base64), "***", "it is not base64"},
		{new(scalar.Size), "10 bananas", `"bananas" is no unit`},
		{new(scalar.Size), "GiB", "it does not start with a number"},
		{new(scalar.Size), "99999999999PiB", "it is too large"},
		{new(scalar.Size), "-1GiB", "it does not start with a number"},
		{new(scalar.Limit), "120%", "a percentage is a whole number from 1 to 100"},
		{new(scalar.CertPEM), "hello", "there is no PEM block in it"},
		{new(scalar.KeyPEM), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", `the PEM block is a "CERTIFICATE"`},
		{new(scalar.EncodedCert), "-----BEGIN CERTIFICATE-----", "it is PEM as it is; encode it in base64"},
		{new(scalar.EncodedKey), "%", "it is not base64"},
	} {
		t.Run(fmt.Sprintf("%T %.20s", tc.value, tc.text), func(t *testing.T) {
			_, err := parse(tc.value, tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("parse(%q) = %v; want %q", tc.text, err, tc.want)
			}
			if tc.value.Expects() == "" {
				t.Errorf("%T expects nothing", tc.value)
			}
		})
	}
}

func TestSizeInBytes(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "1048576": 1 << 20, "10GiB": 10 << 30, "10 gib": 10 << 30, "500MB": 500e6, "1.5GiB": 3 << 29, "2Ti": 2 << 40, "7B": 7,
	} {
		var s scalar.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s.Bytes != want {
			t.Errorf("Size(%q) = %d, %v; want %d", text, s.Bytes, err, want)
		}
	}
	if got := scalar.SizeOf(10 << 30).String(); got != "10GiB" {
		t.Errorf("SizeOf(10 GiB) = %q; want 10GiB", got)
	}
	if got := scalar.SizeOf(1000).String(); got != "1000" {
		t.Errorf("SizeOf(1000) = %q; want 1000", got)
	}
}

func TestKeysAreRedacted(t *testing.T) {
	k, e := scalar.KeyPEM("hunter2"), scalar.EncodedKey("hunter2")
	for _, verb := range []string{"%v", "%s", "%q", "%x", "%+v", "%#v", "%d"} {
		if got := fmt.Sprintf(verb+verb, k, e); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e746572") {
			t.Errorf("Sprintf(%s) = %q; want it redacted", verb, got)
		}
	}
}

func TestImageTag(t *testing.T) {
	for image, want := range map[scalar.Image]string{
		"a/b:v1": "v1", "a/b": "", "localhost:5000/a": "", "a@sha256:" + scalar.Image(strings.Repeat("0", 64)): "", "???": "",
	} {
		if got := image.Tag(); got != want {
			t.Errorf("Tag(%s) = %q; want %q", image, got, want)
		}
	}
}

func TestValidHostname(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a.b-c.d1": true, "a.": true, "": false, ".": false, "-a": false, "a-": false, "a..b": false,
		"a_b": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 127): true, strings.Repeat("a.", 128): false,
	} {
		if got := scalar.ValidHostname(name); got != want {
			t.Errorf("ValidHostname(%.20q) = %v; want %v", name, got, want)
		}
	}
}

func TestArgsAndPorts(t *testing.T) {
	type doc struct {
		Args  scalar.Args        `yaml:"args"`
		Ports []scalar.PortRange `yaml:"ports"`
	}
	read := func(text string) (doc, string) {
		var report schema.Report
		var d doc
		for _, n := range schema.Parse("f", []byte(text), &report) {
			schema.Decode(n, &d, schema.NewReporter(&report, "f", "", n))
		}
		return d, report.String()
	}
	d, problems := read("args: {v: 4, x: [a, b], y: []}\nports: [80, 8000-8100]\n")
	if problems != "" {
		t.Fatal(problems)
	}
	out, err := schema.Encode(schema.EncodeValue(&d))
	if want := "args:\n    v: \"4\"\n    x:\n        - a\n        - b\n    \"y\": []\nports:\n    - 80\n    - 8000-8100\n"; err != nil || string(out) != want {
		t.Errorf("Encode = %q, %v; want %q", out, err, want)
	}
	_, problems = read("args: {v: {a: 1}, x: [[1]]}\nports: [0, 90-80, x, 1-99999, [1]]\n")
	want := `f:1: args.v: expected a string or a list of strings, got a mapping
f:1: args.x[0]: expected a string, got a list
f:2: ports[0]: expected a port or a range such as 443 or 30000-32767, got 0
f:2: ports[1]: expected a port or a range such as 443 or 30000-32767, got "90-80"
f:2: ports[2]: expected a port or a range such as 443 or 30000-32767, got "x"
f:2: ports[3]: expected a port or a range such as 443 or 30000-32767, got "1-99999"
f:2: ports[4]: expected a port or a range such as 443 or 30000-32767, got a list
`
	if problems != want {
		t.Errorf("problems:\n%s\nwant:\n%s", problems, want)
	}
}

func FuzzScalars(f *testing.F) {
	for _, s := range []string{"1h", "10.0.0.0/8", "https://a:1", "10GiB", "-50%", "2e:3c:4d:5e:6f:70", "a/b:c", "aGk="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range []schema.Text{
			new(scalar.Duration), new(scalar.Addr), new(scalar.Prefix), new(scalar.Subnet), new(scalar.AddrPort), new(scalar.HostPort),
			new(scalar.URL), new(scalar.StreamURL), new(scalar.HardwareAddr), new(scalar.Image), new(scalar.Base64), new(scalar.Size),
			new(scalar.Limit), new(scalar.CertPEM), new(scalar.KeyPEM), new(scalar.EncodedCert), new(scalar.EncodedKey),
		} {
			out, err := parse(v, text)
			if err != nil {
				continue
			}
			if again, err := parse(v, out); err != nil || again != out {
				t.Errorf("%T: %q prints %q, which reads as %q, %v", v, text, out, again, err)
			}
		}
	})
}
