package netdoc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"talos.internal/config/schema"
)

// DUID is a DHCP unique identifier (RFC 8415 §11): hexadecimal bytes with colons between them.
type DUID string

// maxDUID is the longest identifier in bytes: 128 and two for the type (RFC 8415 §11.1).
const maxDUID = 130

// Expects implements [schema.Text].
func (DUID) Expects() string { return "a DUID such as 00:03:00:01:2e:3c:4d:5e:6f:70" }

// UnmarshalText checks text and keeps it in lower case.
func (d *DUID) UnmarshalText(text []byte) error {
	pairs := strings.Split(string(text), ":")
	for _, pair := range pairs {
		if _, err := hex.DecodeString(pair); err != nil || len(pair) != 2 {
			return errors.New("write pairs of hexadecimal digits with colons between them")
		}
	}
	switch {
	case len(pairs) < 3:
		return errors.New("there is nothing after the type's two bytes")
	case len(pairs) > maxDUID:
		return fmt.Errorf("it has %d bytes; the most are %d", len(pairs), maxDUID)
	}
	*d = DUID(strings.ToLower(string(text)))
	return nil
}

// MarshalText prints d.
func (d DUID) MarshalText() ([]byte, error) { return []byte(d), nil }

// CommonDHCP is what both versions of DHCP have in common.
type CommonDHCP struct {
	// Name is the link's name or alias.
	Name string `yaml:"name" required:"true"`
	// RouteMetric is the metric of the routes that are learnt: of two to the same destination the lowest is used.
	// Default: 1024.
	RouteMetric *uint32 `yaml:"routeMetric"`
	// IgnoreHostname leaves the host name alone that the server gives. Default: false.
	IgnoreHostname bool `yaml:"ignoreHostname"`
	// ClientIdentifier is what the machine tells the server that it is: nothing (none), the link's hardware address (mac),
	// or an identifier of its own (duid). Default: mac.
	ClientIdentifier string `yaml:"clientIdentifier" enum:"none|mac|duid"`
	// DUIDRaw is the identifier for duid, which needs it: hexadecimal bytes with colons between them, from 3 to 130.
	//
	// Example:
	//
	//	duidRaw: 00:03:00:01:2e:3c:4d:5e:6f:70
	DUIDRaw DUID `yaml:"duidRaw"`
}

// DocumentName implements [schema.NamedDocument].
func (c *CommonDHCP) DocumentName() string { return c.Name }

// RouteMetricOrDefault returns the metric of the routes that are learnt.
func (c *CommonDHCP) RouteMetricOrDefault() uint32 {
	return orDefault(c.RouteMetric, defaultRouteMetric)
}

// ClientIdentifierOrDefault returns what the machine tells the server that it is.
func (c *CommonDHCP) ClientIdentifierOrDefault() string {
	if c.ClientIdentifier == "" {
		return "mac"
	}
	return c.ClientIdentifier
}

func (c *CommonDHCP) Validate(r *schema.Reporter) {
	checkLink(r.At("name"), c.Name)
	switch uses := c.ClientIdentifier == "duid"; {
	case uses && c.DUIDRaw == "":
		r.At("clientIdentifier").Hintf("set duidRaw", "the client identifier duid needs the identifier")
	case !uses && c.DUIDRaw != "":
		r.At("duidRaw").Hintf("set clientIdentifier: duid, or remove it",
			"the identifier is not used with the client identifier %s", c.ClientIdentifierOrDefault())
	}
}

// DHCPv4Config gets a link's IPv4 address, routes, resolvers and more from a DHCP server.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: DHCPv4Config
//	name: enp1s2
type DHCPv4Config struct {
	CommonDHCP `yaml:",inline"`
	// IgnoreRoutes leaves the routes alone that the server gives, the default route too. Default: false.
	IgnoreRoutes bool `yaml:"ignoreRoutes"`
}

func (*DHCPv4Config) DocumentKind() string { return "DHCPv4Config" }

// DHCPv6Config gets a link's IPv6 address, resolvers and more from a DHCP server. The default route comes from router
// advertisements, which need no document.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: DHCPv6Config
//	name: enp1s2
type DHCPv6Config struct {
	CommonDHCP `yaml:",inline"`
}

func (*DHCPv6Config) DocumentKind() string { return "DHCPv6Config" }
