package client

import (
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name, in, want string
		authority      string // empty if it is the same
	}{
		{name: "IPv4 gets the default port", in: "10.0.0.2", want: "10.0.0.2:50000"},
		{name: "IPv4 with port", in: "10.0.0.2:443", want: "10.0.0.2:443"},
		{name: "bare IPv6 is no port", in: "fd00::2:443", want: "[fd00::2:443]:50000"},
		{name: "IPv6 in brackets", in: "[fd00::2]", want: "[fd00::2]:50000"},
		{name: "IPv6 with port", in: "[fd00::2]:443", want: "[fd00::2]:443"},
		{name: "IPv6 has one form", in: "FD00:0:0::2", want: "[fd00::2]:50000"},
		{name: "a zone is for dialing only", in: "fe80::1%eth0", want: "[fe80::1%eth0]:50000", authority: "[fe80::1]:50000"},
		{name: "zone with port", in: "[fe80::1%eth0]:1", want: "[fe80::1%eth0]:1", authority: "[fe80::1]:1"},
		{name: "name in lower case", in: "CP.example.org", want: "cp.example.org:50000"},
		{name: "name with port", in: "cp:6000", want: "cp:6000"},
		{name: "rooted name", in: "cp.example.org.", want: "cp.example.org.:50000"},
		{name: "space around", in: " cp\n", want: "cp:50000"},
		{name: "URL has the port of https", in: "https://cp.example.org", want: "cp.example.org:443"},
		{name: "URL with port and slash", in: "https://cp.example.org:50000/", want: "cp.example.org:50000"},
		{name: "URL with IPv6", in: "https://[fd00::2]:7", want: "[fd00::2]:7"},
		{name: "URL with IPv6 without port", in: "https://[fd00::2]", want: "[fd00::2]:443"},
		{name: "URL with a zone", in: "https://[fe80::1%25eth0]:7", want: "[fe80::1%eth0]:7", authority: "[fe80::1]:7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			e, err := ParseEndpoint(tt.in)
			if err != nil || e.String() != tt.want {
				t.Fatalf("ParseEndpoint(%q) = %s, %v; want %s", tt.in, e, err, tt.want)
			}

			if tt.authority == "" {
				tt.authority = tt.want
			}

			if got := e.authority(); got != tt.authority {
				t.Errorf("authority of %q = %s; want %s", tt.in, got, tt.authority)
			}
		})
	}
}

func TestParseEndpointRefuses(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "there is no host"},
		{"only a port", ":50000", "there is no host"},
		{"port zero", "cp:0", "port \"0\" is not a number from 1 to 65535"},
		{"port too large", "cp:65536", "port \"65536\""},
		{"port is a word", "cp:api", "port \"api\""},
		{"empty port", "cp:", "port \"\""},
		{"port with leading zero", "cp:050", "port \"050\""},
		{"half an address", "10.1", "neither an IP address nor a name"},
		{"five parts", "10.0.0.1.2", "neither an IP address nor a name"},
		{"open bracket", "[fd00::2", "missing ']' in address"},
		{"IPv4 in brackets", "[10.0.0.2]", "not an IPv6 address"},
		{"name in brackets", "[cp]:1", "not an IPv6 address"},
		{"empty part", "a..b", "is empty or longer"},
		{"space inside", "a b", "not of letters"},
		{"not ASCII", "knöten", "not of letters"},
		{"path without scheme", "cp/x", "not of letters"},
		{"long name", strings.Repeat("a.", 130) + "b", "at most 253"},
		{"http", "http://cp", "the machine API has only https"},
		{"path", "https://cp/api", "not under a path such as /api"},
		{"query", "https://cp/?a=b", "only a host and a port"},
		{"fragment", "https://cp/#", "only a host and a port"},
		{"URL without host", "https://", "there is no host"},
		{"URL with empty port", "https://cp:", "port \"\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			e, err := ParseEndpoint(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseEndpoint(%q) = %s, %v; want an error with %q", tt.in, e, err, tt.want)
			}
		})
	}
}

func TestEndpointsAreReportedTogetherAndOnce(t *testing.T) {
	t.Parallel()

	_, err := parseEndpoints([]string{"cp:0", "ok", "a b"})
	if err == nil || !strings.Contains(err.Error(), `"cp:0"`) || !strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("parseEndpoints = %v; want both mistakes", err)
	}

	got, err := parseEndpoints([]string{"cp", "CP:50000", "cp:1"})
	if err != nil || len(got) != 2 {
		t.Errorf("parseEndpoints = %v, %v; want two endpoints", got, err)
	}
}

// FuzzParseEndpoint holds that what is accepted is read back as the same, and has a host and a port.
func FuzzParseEndpoint(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.2", "10.0.0.2:1", "[fd00::2]:443", "fe80::1%eth0", "cp.example.org", "https://cp:50000/",
		"https://[fe80::1%25eth0]:7", "::ffff:10.0.0.1", "https://[::1", "[", "a:b:c", "https://u:p@h", "%", "::%[",
	} {
		f.Add(seed)
	}

	f.Fuzz(func(t *testing.T, in string) {
		e, err := ParseEndpoint(in)
		if err != nil {
			if e != (Endpoint{}) {
				t.Errorf("ParseEndpoint(%q) = %v with error %v; want none", in, e, err)
			}

			return
		}

		if e.Host == "" || e.Port == 0 {
			t.Errorf("ParseEndpoint(%q) = %#v; want a host and a port", in, e)
		}

		again, err := ParseEndpoint(e.String())
		if err != nil || again != e {
			t.Errorf("ParseEndpoint(%q) = %#v, read back %#v, %v", in, e, again, err)
		}
	})
}
