package netdoc_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/netdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

func TestRoutingTable(t *testing.T) {
	for _, tc := range []struct {
		text string
		ok   bool
		id   uint8
	}{
		{"main", true, 254}, {"local", true, 255}, {"default", true, 253}, {"unspec", true, 0},
		{"0", true, 0}, {"1", true, 1}, {"255", true, 255},
		{"256", false, 254}, {"-1", false, 254}, {"0x10", false, 254}, {"Main", false, 254}, {"", false, 254},
	} {
		t.Run(tc.text, func(t *testing.T) {
			var table netdoc.RoutingTable
			if err := table.UnmarshalText([]byte(tc.text)); (err == nil) != tc.ok {
				t.Errorf("UnmarshalText(%q) = %v; want ok %v", tc.text, err, tc.ok)
			}
			if got := table.ID(); got != tc.id {
				t.Errorf("ID() = %d; want %d", got, tc.id)
			}
		})
	}
}

// TestRuleActionIsKeptAsWritten holds that a number stays a number: the published JSON Schema has one.
func TestRuleActionIsKeptAsWritten(t *testing.T) {
	for _, tc := range []struct {
		text string
		tag  string
		code uint8
	}{
		{"6", "!!int", 6}, {"blackhole", "!!str", 6}, {"1", "!!int", 1}, {"unicast", "!!str", 1},
		{"0", "!!int", 1}, {"unreachable", "!!str", 7}, {"prohibit", "!!str", 8},
	} {
		t.Run(tc.text, func(t *testing.T) {
			var a netdoc.RuleAction
			var report schema.Report
			a.DecodeNode(&yaml.Node{Kind: yaml.ScalarNode, Value: tc.text}, schema.NewReporter(&report, "", "", nil))
			n := a.EncodeNode()
			if len(report) > 0 || n.Value != tc.text || n.ShortTag() != tc.tag || a.Code() != tc.code {
				t.Errorf("%q = %s %q, code %d, %v; want %s, code %d", tc.text, n.ShortTag(), n.Value, a.Code(), report, tc.tag, tc.code)
			}
		})
	}
	if got := netdoc.RuleAction("").Code(); got != 1 {
		t.Errorf("Code() of nothing = %d; want 1", got)
	}
}

// TestWireguardKeys uses the key pair of RFC 7748 §6.1.
func TestWireguardKeys(t *testing.T) {
	b64 := func(s string) string {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	private := b64("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
	public := b64("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
	var k netdoc.WireguardSecret
	if err := k.UnmarshalText([]byte(" " + private + "\n")); err != nil {
		t.Fatal(err)
	}
	if got := k.Public(); string(got) != public {
		t.Errorf("Public() = %s; want %s", got, public)
	}
	if got := (netdoc.WireguardSecret{}).Public(); got != "" {
		t.Errorf("Public() of nothing = %q; want nothing", got)
	}
	doc := netdoc.WireguardConfig{PrivateKey: k, Peers: []netdoc.WireguardPeer{{PresharedKey: k}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{k, &k, doc, &doc} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, private) || strings.Contains(got, private[:20]) {
				t.Errorf("Sprintf(%q, %T) shows the key", verb, v)
			}
		}
	}
}

// TestSecretsAreNotReported gives each secret a wrong value and looks for it in what is reported.
func TestSecretsAreNotReported(t *testing.T) {
	for _, text := range []string{
		"kind: WireguardConfig\nname: wg0\nprivateKey: hush-hush",
		"kind: WireguardConfig\nname: wg0\nprivateKey: aHVzaC1odXNo",
		"kind: WireguardConfig\nname: wg0\nprivateKey: [hush-hush]\npeers: [{publicKey: x, presharedKey: hush-hush}]",
		"kind: HCloudVIPConfig\nname: hush\nlink: a/b\napiToken: {hush-hush: x}",
	} {
		_, report := decode(t, text, true)
		if got := report.String(); got == "" || strings.Contains(got, "hush-hush") || strings.Contains(got, "aHVzaC1odXNo") {
			t.Errorf("report of %q = %s; want one without the secret", text, got)
		}
	}
}

// TestEmptyNames does without the decoder, for which an empty name may be one that is missing.
func TestEmptyNames(t *testing.T) {
	for _, tc := range []struct {
		name string
		doc  schema.Document
		want string
	}{
		{"link", &netdoc.LinkConfig{}, "name: expected the name of a link, got \"\": it is empty\n"},
		{"new link", &netdoc.DummyLinkConfig{}, "name: expected a link name, got \"\": it is empty\n"},
		{"other", &netdoc.TCPProbeConfig{}, "name: expected a name, got an empty string\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var report schema.Report
			schema.Validate(tc.doc, schema.NewReporter(&report, "", "", nil))
			if got := report.String(); got != tc.want {
				t.Errorf("Validate = %q; want %q", got, tc.want)
			}
		})
	}
}

func TestDUID(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string
	}{
		{"kept in lower case", "00:03:AB", "00:03:ab"},
		{"longest", strings.Repeat("00:", 129) + "00", strings.Repeat("00:", 129) + "00"},
		{"too long", strings.Repeat("00:", 130) + "00", ""},
		{"one digit", "0:03:ab", ""},
		{"empty pair", "00::ab", ""},
		{"empty", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var d netdoc.DUID
			if err := d.UnmarshalText([]byte(tc.text)); string(d) != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("UnmarshalText(%q) = %q, %v; want %q", tc.text, d, err, tc.want)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	no, zero, sec := false, uint32(0), scalar.Duration{Duration: time.Second}
	bfd := func(b *netdoc.BGPBFD) string {
		transmit, receive, multiplier := b.OrDefault()
		return fmt.Sprint(transmit, receive, multiplier)
	}
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"up", (&netdoc.LinkConfig{}).UpOrDefault(), true},
		{"not up", (&netdoc.LinkConfig{CommonLink: netdoc.CommonLink{Up: &no}}).UpOrDefault(), false},
		{"route metric", netdoc.Metric(0).OrDefault(), uint32(1024)},
		{"route metric that is set", netdoc.Metric(5).OrDefault(), uint32(5)},
		{"DHCP metric", (&netdoc.DHCPv4Config{}).RouteMetricOrDefault(), uint32(1024)},
		{"DHCP metric zero", (&netdoc.DHCPv6Config{CommonDHCP: netdoc.CommonDHCP{RouteMetric: &zero}}).RouteMetricOrDefault(), uint32(0)},
		{"DHCP client", (&netdoc.DHCPv4Config{}).ClientIdentifierOrDefault(), "mac"},
		{"VLAN mode", (&netdoc.VLANConfig{}).VLANModeOrDefault(), "802.1q"},
		{"miimon", (&netdoc.BondConfig{BondMode: netdoc.BondActiveBackup}).MIIMonOrDefault(), uint32(0)},
		{"miimon of 802.3ad", (&netdoc.BondConfig{BondMode: netdoc.Bond8023AD}).MIIMonOrDefault(), uint32(100)},
		{"miimon off", (&netdoc.BondConfig{BondMode: netdoc.Bond8023AD, MIIMon: &zero}).MIIMonOrDefault(), uint32(0)},
		{"time", (&netdoc.TimeSyncConfig{}).EnabledOrDefault(), true},
		{"no time", (&netdoc.TimeSyncConfig{Enabled: &no}).EnabledOrDefault(), false},
		{"installed routes", (&netdoc.BGPInstanceConfig{}).InstallRoutesOrDefault(), true},
		{"hold time", (&netdoc.BGPNeighbor{}).HoldTimeOrDefault(), 90 * time.Second},
		{"hold time that is set", (&netdoc.BGPNeighbor{HoldTime: sec}).HoldTimeOrDefault(), time.Second},
		{"BFD", bfd(&netdoc.BGPBFD{}), "300ms 300ms 3"},
		{"BFD that is set", bfd(&netdoc.BGPBFD{ReceiveInterval: &sec}), "300ms 1s 3"},
		{"KubeSpan MTU", (&netdoc.KubeSpanConfig{}).MTUOrDefault(), uint32(1420)},
		{"probe interval", (&netdoc.TCPProbeConfig{}).IntervalOrDefault(), time.Second},
		{"probe timeout", (&netdoc.HTTPProbeConfig{}).TimeoutOrDefault(), 10 * time.Second},
		{"alias", (&netdoc.LinkAliasConfig{Name: "net%d"}).Pattern(), true},
		{"default route", (&netdoc.Route{Gateway: scalar.Addr{Addr: netip.MustParseAddr("fd00::1")}}).To().String(), "::/0"},
		{"network of a blackhole", (&netdoc.BlackholeRouteConfig{Name: "10.0.0.1/8"}).Prefix().String(), "10.0.0.0/8"},
		{"priority", (&netdoc.RoutingRuleConfig{Name: "32765"}).Priority(), uint32(32765)},
		{"no priority", (&netdoc.RoutingRuleConfig{Name: "+1"}).Priority(), uint32(0)},
		{"shared address", (&netdoc.Layer2VIPConfig{VIP: netdoc.VIP{Name: "10.5.0.9"}}).Addr().String(), "10.5.0.9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("%s = %v; want %v", tc.name, tc.got, tc.want)
			}
		})
	}
}
