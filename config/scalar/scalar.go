// Package scalar has the values that a configuration writes as one string and means as something more: durations,
// sizes, addresses, URLs, image references, PEM blocks. Each type parses strictly, says what it expects, and prints the
// form that it was given or the canonical one.
//
// Zero values mean "not set" and print as the empty string. All types are values: copies are independent, and equal
// values compare equal with == unless the type says otherwise. Only packages below config import this one.
package scalar

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// errEmpty is the cause for an empty string where a value is expected.
var errEmpty = errors.New("it is empty")

// Duration is a span of time in the syntax of [time.ParseDuration].
type Duration struct{ time.Duration }

// Expects implements [schema.Text].
func (Duration) Expects() string { return "a duration such as 90s or 1h30m" }

// UnmarshalText parses text.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return durationCause(string(text))
	}
	d.Duration = v
	return nil
}

func durationCause(s string) error {
	if s != "" && strings.Trim(s, "0123456789.") == "" {
		return fmt.Errorf("the unit is missing; write %ss for seconds", s)
	}
	return errors.New("the units are ns, us, ms, s, m and h")
}

// MarshalText prints d as [time.Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Addr is an IPv4 or IPv6 address without a zone.
type Addr struct{ netip.Addr }

// Expects implements [schema.Text].
func (Addr) Expects() string { return "an IP address such as 10.5.0.2 or fd00::2" }

// UnmarshalText parses text.
func (a *Addr) UnmarshalText(text []byte) error {
	v, err := netip.ParseAddr(string(text))
	if err != nil {
		return addressCause(string(text))
	}
	if v.Zone() != "" {
		return errors.New("a zone is not allowed")
	}
	a.Addr = v
	return nil
}

func addressCause(s string) error {
	switch {
	case s == "":
		return errEmpty
	case strings.Contains(s, "/"):
		return errors.New("leave the prefix length out")
	default:
		return errors.New("it is neither IPv4 nor IPv6")
	}
}

// Prefix is an address with a prefix length. The address may have bits beyond the prefix, as an interface's has.
type Prefix struct{ netip.Prefix }

// Expects implements [schema.Text].
func (Prefix) Expects() string { return "a prefix in CIDR notation such as 10.244.0.0/16" }

// UnmarshalText parses text.
func (p *Prefix) UnmarshalText(text []byte) error {
	v, err := netip.ParsePrefix(string(text))
	if err != nil {
		return prefixCause(string(text))
	}
	p.Prefix = v
	return nil
}

func prefixCause(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return errors.New("the prefix length is missing")
	}
	if s == "" {
		return errEmpty
	}
	addr, length, ok := strings.Cut(s, "/")
	if _, err := netip.ParseAddr(addr); ok && err == nil {
		return fmt.Errorf("%q is no prefix length for that address", length)
	}
	return errors.New("the address is neither IPv4 nor IPv6")
}

// Subnet selects addresses: a prefix that matches, or with a leading "!" one that does not.
type Subnet struct {
	netip.Prefix
	Not bool
}

// Expects implements [schema.Text].
func (Subnet) Expects() string {
	return "a prefix in CIDR notation such as 10.0.0.0/8, or !10.0.0.0/8 for all that are not in it"
}

// UnmarshalText parses text.
func (s *Subnet) UnmarshalText(text []byte) error {
	rest, not := strings.CutPrefix(string(text), "!")
	var p Prefix
	if err := p.UnmarshalText([]byte(rest)); err != nil {
		return err
	}
	s.Prefix, s.Not = p.Prefix, not
	return nil
}

// MarshalText prints s.
func (s Subnet) MarshalText() ([]byte, error) {
	if s.Not {
		return []byte("!" + s.Prefix.String()), nil
	}
	return s.Prefix.MarshalText()
}

// AddrPort is an address and a port.
type AddrPort struct{ netip.AddrPort }

// Expects implements [schema.Text].
func (AddrPort) Expects() string {
	return "an address and a port such as 10.5.0.2:51820 or [fd00::2]:51820"
}

// UnmarshalText parses text.
func (a *AddrPort) UnmarshalText(text []byte) error {
	v, err := netip.ParseAddrPort(string(text))
	if err != nil {
		return errors.New("it is not of the form ADDRESS:PORT")
	}
	a.AddrPort = v
	return nil
}

// HostPort is a host name or address and a port.
type HostPort struct{ Host, Port string }

// Expects implements [schema.Text].
func (HostPort) Expects() string { return "a host and a port such as example.com:443" }

// UnmarshalText parses text.
func (h *HostPort) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return errors.New("it is not of the form HOST:PORT")
	}
	if !validPort(port) {
		return fmt.Errorf("%q is no port from 1 to 65535", port)
	}
	if !validHost(host) {
		return fmt.Errorf("%q is no host name or address", host)
	}
	h.Host, h.Port = host, port
	return nil
}

// MarshalText prints h.
func (h HostPort) MarshalText() ([]byte, error) {
	if h == (HostPort{}) {
		return nil, nil
	}
	return []byte(net.JoinHostPort(h.Host, h.Port)), nil
}

func validPort(s string) bool {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return s != "" && n >= 1 && n <= 65535
}

func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return ValidHostname(s)
}

// ValidHostname reports whether s is a DNS host name (RFC 1123 §2.1): at most 253 bytes of labels of 1 to 63 letters,
// digits and inner hyphens. A trailing dot is allowed.
func ValidHostname(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(s string) bool {
	if len(s) < 1 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// URL is an absolute URL. Compare two by their text.
type URL struct{ *url.URL }

// Expects implements [schema.Text].
func (URL) Expects() string { return "a URL such as https://example.com:6443" }

// UnmarshalText parses text.
func (u *URL) UnmarshalText(text []byte) error {
	v, err := url.Parse(string(text))
	switch {
	case err != nil:
		if ue, ok := errors.AsType[*url.Error](err); ok {
			return ue.Err
		}
		return err
	case v.Scheme == "" || !strings.Contains(string(text), "://"):
		return errors.New("the scheme is missing, as in https://")
	case v.Hostname() == "" && v.Scheme != "unix":
		return errors.New("the host is missing")
	case v.Port() != "" && !validPort(v.Port()):
		return fmt.Errorf("%q is no port from 1 to 65535", v.Port())
	}
	u.URL = v
	return nil
}

// MarshalText prints u.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// String prints u; the zero value is empty.
func (u URL) String() string {
	if u.URL == nil {
		return ""
	}
	return u.URL.String()
}

// HTTPSURL is a URL whose scheme is https.
type HTTPSURL struct{ URL }

// Expects implements [schema.Text].
func (HTTPSURL) Expects() string { return "an https URL such as https://10.5.0.2:6443" }

// UnmarshalText parses text.
func (u *HTTPSURL) UnmarshalText(text []byte) error { return schemeURL(&u.URL, text, "https") }

// HTTPURL is a URL whose scheme is http or https.
type HTTPURL struct{ URL }

// Expects implements [schema.Text].
func (HTTPURL) Expects() string {
	return "an http or https URL such as https://example.com/manifest.yaml"
}

// UnmarshalText parses text.
func (u *HTTPURL) UnmarshalText(text []byte) error { return schemeURL(&u.URL, text, "http", "https") }

// StreamURL is the URL of a receiver of logs, tcp or udp, with a port.
type StreamURL struct{ URL }

// Expects implements [schema.Text].
func (StreamURL) Expects() string { return "a tcp or udp URL with a port such as tcp://10.5.0.1:5000" }

// UnmarshalText parses text.
func (u *StreamURL) UnmarshalText(text []byte) error {
	if err := schemeURL(&u.URL, text, "tcp", "udp"); err != nil {
		return err
	}
	if u.Port() == "" {
		u.URL = URL{}
		return errors.New("the port is missing")
	}
	return nil
}

// schemeURL parses text to u if its scheme is one of schemes.
func schemeURL(u *URL, text []byte, schemes ...string) error {
	var v URL
	if err := v.UnmarshalText(text); err != nil {
		return err
	}
	for _, s := range schemes {
		if v.Scheme == s {
			*u = v
			return nil
		}
	}
	return fmt.Errorf("the scheme is %q", v.Scheme)
}

// Endpoint is the URL of a service of ours: http, https or grpc.
type Endpoint struct{ URL }

// Expects implements [schema.Text].
func (Endpoint) Expects() string {
	return "an https, http or grpc URL such as https://discovery.talos.dev/"
}

// UnmarshalText parses text.
func (u *Endpoint) UnmarshalText(text []byte) error {
	return schemeURL(&u.URL, text, "https", "http", "grpc")
}

// HardwareAddr is a link-layer address of six bytes or more.
type HardwareAddr string

// Expects implements [schema.Text].
func (HardwareAddr) Expects() string { return "a hardware address such as 2e:3c:4d:5e:6f:70" }

// UnmarshalText parses text and keeps it in lower case with colons.
func (h *HardwareAddr) UnmarshalText(text []byte) error {
	v, err := net.ParseMAC(string(text))
	if err != nil {
		return errors.New("write pairs of hexadecimal digits with colons between them")
	}
	*h = HardwareAddr(v.String())
	return nil
}

// MarshalText prints h.
func (h HardwareAddr) MarshalText() ([]byte, error) { return []byte(h), nil }

// Image is a reference to a container image with a tag or a digest, as it was written.
type Image string

// Expects implements [schema.Text].
func (Image) Expects() string {
	return "an image reference with a tag or a digest such as registry.k8s.io/kube-proxy:v1.37.2"
}

// UnmarshalText checks text (the grammar of distribution/reference) and keeps it as it is. The version need not be
// there: an image without a tag is one that floats, and [Image.Tag] tells.
func (i *Image) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errEmpty
	}
	if _, err := reference.ParseNormalizedNamed(string(text)); err != nil {
		return err
	}
	*i = Image(text)
	return nil
}

// MarshalText prints i.
func (i Image) MarshalText() ([]byte, error) { return []byte(i), nil }

// Tag returns the tag, or "" if i has none.
func (i Image) Tag() string {
	named, err := reference.ParseNormalizedNamed(string(i))
	if err != nil {
		return ""
	}
	if t, ok := named.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

// Base64 is bytes written in base64 (RFC 4648 §4, padded).
type Base64 string

// Expects implements [schema.Text].
func (Base64) Expects() string { return "bytes in base64" }

// UnmarshalText decodes text; white space in it is ignored.
func (b *Base64) UnmarshalText(text []byte) error {
	v, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return errors.New("it is not base64")
	}
	*b = Base64(v)
	return nil
}

// MarshalText encodes b.
func (b Base64) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString([]byte(b))), nil
}

// Bytes returns the decoded bytes.
func (b Base64) Bytes() []byte { return []byte(b) }
