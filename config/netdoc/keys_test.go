package netdoc_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
)

const commonKeys = " up mtu addresses routes multicast"

// wireKeys are the keys of each object that configs of the published system have; required ones end in "*".
var wireKeys = []struct {
	object any
	keys   string
}{
	{netdoc.Address{}, "address* routePriority"},
	{netdoc.BGPBFD{}, "transmitInterval receiveInterval detectMultiplier"},
	{netdoc.BGPImport{}, "bgpInstance* prefixes*"},
	{netdoc.BGPInstanceConfig{}, "name* vrf localASN* routerID routeSource advertise multipath maxPaths installRoutes importRoutes neighbors"},
	{netdoc.BGPNeighbor{}, "address link peerASN localASN passive holdTime bfd"},
	{netdoc.BlackholeRouteConfig{}, "name* metric"},
	{netdoc.BondConfig{}, "name* hardwareAddr links* bondMode* miimon updelay downdelay useCarrier xmitHashPolicy arpInterval arpIpTargets " +
		"nsIp6Targets arpValidate arpAllTargets lacpRate failOverMac adSelect adActorSysPrio adUserPortKey adLACPActive primary " +
		"primaryReselect resendIGMP minLinks lpInterval packetsPerSlave numPeerNotif tlbLogicalLb allSlavesActive peerNotifDelay " +
		"missedMax" + commonKeys},
	{netdoc.BridgeConfig{}, "name* hardwareAddr links* stp vlan" + commonKeys},
	{netdoc.BridgeSTP{}, "enabled"},
	{netdoc.BridgeVLAN{}, "filtering"},
	{netdoc.DHCPv4Config{}, "name* routeMetric ignoreHostname ignoreRoutes clientIdentifier duidRaw"},
	{netdoc.DHCPv6Config{}, "name* routeMetric ignoreHostname clientIdentifier duidRaw"},
	{netdoc.NetworkDefaultActionConfig{}, "ingress"},
	{netdoc.DummyLinkConfig{}, "name* hardwareAddr" + commonKeys},
	{netdoc.EthernetChannels{}, "rx tx other combined"},
	{netdoc.EthernetConfig{}, "name* features rings channels wakeOnLan"},
	{netdoc.EthernetRings{}, "rx tx rx-mini rx-jumbo rx-buf-len cqe-size tx-push rx-push tx-push-buf-len tcp-data-split"},
	{netdoc.HCloudVIPConfig{}, "name* link apiToken"},
	{netdoc.HTTPProbeConfig{}, "name* interval failureThreshold url* timeout"},
	{netdoc.HostDNS{}, "enabled forwardKubeDNSToHost resolveMemberNames"},
	{netdoc.HostnameConfig{}, "auto hostname"},
	{netdoc.Ingress{}, "subnet except"},
	{netdoc.KubeSpanConfig{}, "enabled advertiseKubernetesNetworks allowDownPeerBypass harvestExtraEndpoints mtu filters"},
	{netdoc.KubeSpanFilters{}, "endpoints excludeAdvertisedNetworks"},
	{netdoc.KubeSpanEndpointsConfig{}, "extraAnnouncedEndpoints"},
	{netdoc.Layer2VIPConfig{}, "name* link"},
	{netdoc.LinkAliasConfig{}, "name* selector"},
	{netdoc.LinkConfig{}, "name*" + commonKeys},
	{netdoc.LinkSelector{}, "match"},
	{netdoc.NTP{}, "servers useNTS"},
	{netdoc.Nameserver{}, "address protocol tlsServerName"},
	{netdoc.PTP{}, "devices"},
	{netdoc.ResolverConfig{}, "nameservers searchDomains hostDNS"},
	{netdoc.Route{}, "destination gateway source metric mtu table"},
	{netdoc.RoutingRuleConfig{}, "name* src dst table* action iifName oifName fwMark fwMask"},
	{netdoc.NetworkRuleConfig{}, "name* portSelector ingress"},
	{netdoc.PortSelector{}, "ports protocol"},
	{netdoc.SearchDomains{}, "domains disableDefault"},
	{netdoc.StaticHostConfig{}, "name* hostnames"},
	{netdoc.TCPProbeConfig{}, "name* interval failureThreshold endpoint* timeout"},
	{netdoc.TimeSyncConfig{}, "enabled bootTimeout ntp ptp"},
	{netdoc.VLANConfig{}, "name* vlanID* vlanMode parent*" + commonKeys},
	{netdoc.VRFConfig{}, "name* hardwareAddr links* table*" + commonKeys},
	{netdoc.VethConfig{}, "name* peer*" + commonKeys},
	{netdoc.VethPeer{}, "name*" + commonKeys},
	{netdoc.WireguardConfig{}, "name* privateKey* listenPort firewallMark peers" + commonKeys},
	{netdoc.WireguardPeer{}, "publicKey* presharedKey endpoint persistentKeepaliveInterval allowedIPs"},
}

// wireEnums are the values of each key that has a closed set of them.
var wireEnums = map[string]string{
	"BondConfig.bondMode":                "balance-rr|active-backup|balance-xor|broadcast|802.3ad|balance-tlb|balance-alb",
	"BondConfig.xmitHashPolicy":          "layer2|layer3+4|layer2+3|encap2+3|encap3+4",
	"BondConfig.arpValidate":             "none|active|backup|all|filter|filter-active|filter-backup",
	"BondConfig.arpAllTargets":           "any|all",
	"BondConfig.lacpRate":                "slow|fast",
	"BondConfig.failOverMac":             "none|active|follow",
	"BondConfig.adSelect":                "stable|bandwidth|count",
	"BondConfig.adLACPActive":            "on|off",
	"BondConfig.primaryReselect":         "always|better|failure",
	"DHCPv4Config.clientIdentifier":      "none|mac|duid",
	"DHCPv6Config.clientIdentifier":      "none|mac|duid",
	"NetworkDefaultActionConfig.ingress": "accept|block",
	"EthernetConfig.wakeOnLan":           "phy|unicast|multicast|broadcast|magic|magicsecure|filter",
	"HostnameConfig.auto":                "stable|off",
	"Nameserver.protocol":                "Do53|DoT|DoH",
	"PortSelector.protocol":              "tcp|udp|icmp|icmpv6",
	"VLANConfig.vlanMode":                "802.1q|802.1ad",
}

func TestKeys(t *testing.T) {
	enums := map[string]string{}
	for _, tc := range wireKeys {
		typ := schema.TypeOf(reflect.TypeOf(tc.object))
		t.Run(typ.Go.Name(), func(t *testing.T) {
			var got []string
			for _, f := range typ.Fields {
				if f.Required {
					got = append(got, f.Name+"*")
				} else {
					got = append(got, f.Name)
				}
				if len(f.Enum) > 0 {
					enums[typ.Go.Name()+"."+f.Name] = strings.Join(f.Enum, "|")
				}
			}
			want := strings.Fields(tc.keys)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(wireEnums, enums); diff != "" {
		t.Errorf("enums (-want +got):\n%s", diff)
	}
}

// TestEveryObjectHasItsKeysListed finds objects that wireKeys forgets.
func TestEveryObjectHasItsKeysListed(t *testing.T) {
	listed := map[string]bool{}
	for _, tc := range wireKeys {
		listed[reflect.TypeOf(tc.object).Name()] = true
	}
	var visit func(*schema.Type)
	visit = func(typ *schema.Type) {
		if typ.Class == schema.Struct && !listed[typ.Go.Name()] {
			t.Errorf("wireKeys has no %s; want all objects", typ.Go.Name())
		}
		for _, f := range typ.Fields {
			visit(f.Type)
		}
		if typ.Elem != nil {
			visit(typ.Elem)
		}
	}
	for _, k := range netdoc.Kinds() {
		visit(schema.TypeOf(reflect.TypeOf(k.New())))
	}
}

// TestMergeAndSecrets holds which lists a patch replaces and which values never show.
func TestMergeAndSecrets(t *testing.T) {
	var replaced, secret []string
	for _, tc := range wireKeys {
		typ := schema.TypeOf(reflect.TypeOf(tc.object))
		for _, f := range typ.Fields {
			if f.Replace {
				replaced = append(replaced, typ.Go.Name()+"."+f.Name)
			}
			if f.Secret {
				secret = append(secret, typ.Go.Name()+"."+f.Name)
			}
		}
	}
	wantReplaced := []string{
		"BGPInstanceConfig.advertise", "BGPInstanceConfig.importRoutes", "BGPInstanceConfig.neighbors",
		"NetworkRuleConfig.ingress", "PortSelector.ports",
	}
	if diff := cmp.Diff(wantReplaced, replaced); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	wantSecret := []string{"HCloudVIPConfig.apiToken", "WireguardConfig.privateKey", "WireguardPeer.presharedKey"}
	if diff := cmp.Diff(wantSecret, secret); diff != "" {
		t.Errorf("secret (-want +got):\n%s", diff)
	}
}
