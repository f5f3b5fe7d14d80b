package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is where the machine API listens.
const DefaultPort = 50000

// Endpoint is an address of the machine API. The zero Endpoint is none.
type Endpoint struct {
	// Host is an IP address, without brackets and perhaps with a zone, or a DNS name in lower case.
	Host string
	// Port is never zero.
	Port uint16
}

// String is the host and the port as for a dialer, with brackets around an IPv6 address.
func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }

// authority is what the endpoint calls itself: the same without a zone, which only means something on this side.
func (e Endpoint) authority() string {
	host, _, _ := strings.Cut(e.Host, "%")

	return Endpoint{Host: host, Port: e.Port}.String()
}

// ParseEndpoint reads one endpoint of a talosconfig or a command line: an address or a name, with or without a port, an
// IPv6 address with a port in brackets; or a URL of the scheme https with nothing after the host. Without a port it is
// [DefaultPort]; in a URL it is 443, as RFC 9110 section 4.2.2 has it.
//
// Names are of letters, digits, hyphens, underscores and dots: others are to be given in their ASCII form (RFC 5891).
func ParseEndpoint(s string) (Endpoint, error) {
	e, err := parseEndpoint(strings.TrimSpace(s))
	if err != nil {
		return Endpoint{}, fmt.Errorf("endpoint %q: %w", s, err)
	}

	return e, nil
}

func parseEndpoint(s string) (Endpoint, error) {
	if strings.Contains(s, "://") {
		return parseURL(s)
	}

	return parseHostPort(s, DefaultPort)
}

func parseURL(s string) (Endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		// url.Error repeats the whole text, which may hold a password.
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}

		return Endpoint{}, err
	}

	switch {
	case u.Scheme != "https":
		return Endpoint{}, fmt.Errorf("the scheme is %s; the machine API has only https", u.Scheme)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#"):
		return Endpoint{}, errors.New("a URL of an endpoint has only a host and a port")
	case u.Path != "" && u.Path != "/":
		return Endpoint{}, fmt.Errorf("the machine API is not under a path such as %s", u.Path)
	}

	// u.Host would have the escaped form of a zone decoded, and an empty port dropped silently.
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}

	if _, after, found := strings.Cut(u.Host[strings.LastIndex(u.Host, "]")+1:], ":"); found {
		host += ":" + after
	}

	return parseHostPort(host, 443)
}

// parseHostPort tells a port from the end of a bare IPv6 address: whatever has two colons and no brackets is one.
func parseHostPort(s string, port uint16) (Endpoint, error) {
	host, bracketed := s, strings.HasPrefix(s, "[")

	if bracketed && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	} else if bracketed || strings.Count(s, ":") == 1 {
		h, p, err := net.SplitHostPort(s)
		if err != nil {
			// The text of net.AddrError repeats the address.
			if inner := (*net.AddrError)(nil); errors.As(err, &inner) {
				err = errors.New(inner.Err)
			}

			return Endpoint{}, err
		}

		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 || p[0] == '0' {
			return Endpoint{}, fmt.Errorf("port %q is not a number from 1 to 65535", p)
		}

		host, port = h, uint16(n)
	}

	if strings.Contains(host, ":") || bracketed {
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() {
			return Endpoint{}, fmt.Errorf("%q is not an IPv6 address", host)
		}

		// A zone is the name of an interface. It becomes part of an address to dial and of nothing else, but an
		// empty word or a bracket in it would not be read back.
		if strings.ContainsAny(ip.Zone(), "[]%") {
			return Endpoint{}, fmt.Errorf("zone %q is not the name of an interface", ip.Zone())
		}

		return Endpoint{Host: ip.String(), Port: port}, nil
	}

	if ip, err := netip.ParseAddr(host); err == nil {
		return Endpoint{Host: ip.String(), Port: port}, nil
	}

	if err := checkName(host); err != nil {
		return Endpoint{}, err
	}

	return Endpoint{Host: strings.ToLower(host), Port: port}, nil
}

// checkName refuses what cannot be a name in the DNS (RFC 1035 section 2.3.4 for the lengths) and what was meant as an
// address: no top-level domain is a number (RFC 3696 section 2), but resolvers of C libraries take "10.1" for 10.0.0.1.
func checkName(name string) error {
	trimmed := strings.TrimSuffix(name, ".")

	switch {
	case trimmed == "":
		return errors.New("there is no host")
	case len(trimmed) > 253:
		return fmt.Errorf("the name has %d bytes; at most 253 are allowed", len(trimmed))
	}

	labels := strings.Split(trimmed, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("the part %q of the name is empty or longer than 63 bytes", label)
		}

		if strings.IndexFunc(label, notInName) >= 0 {
			return fmt.Errorf("the name has %q, which is not of letters, digits, hyphens and underscores", label)
		}
	}

	last := labels[len(labels)-1]
	if strings.IndexFunc(last, func(r rune) bool { return r < '0' || r > '9' }) < 0 {
		return errors.New("neither an IP address nor a name")
	}

	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// parseEndpoints reads all, joins the errors, and drops what is there twice. The order stays.
func parseEndpoints(all []string) ([]Endpoint, error) {
	var (
		endpoints []Endpoint
		errs      []error
	)

	for _, s := range all {
		e, err := ParseEndpoint(s)
		errs = append(errs, err)

		if err == nil && !slices.Contains(endpoints, e) {
			endpoints = append(endpoints, e)
		}
	}

	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	if len(endpoints) == 0 {
		return nil, errors.New("no endpoint is given: name one in the talosconfig or with --endpoints")
	}

	return endpoints, nil
}
