package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// config is the network configuration, as flannel's documentation of its CNI plugin names the keys.
type config struct {
	CNIVersion       string               `json:"cniVersion"`
	Name             string               `json:"name"`
	SubnetFile       string               `json:"subnetFile"` // default /run/flannel/subnet.env
	DataDir          string               `json:"dataDir"`    // default /var/lib/cni/flannel
	IPAM             map[string]any       `json:"ipam"`
	Delegate         delegation           `json:"delegate"`
	RuntimeConfig    map[string]any       `json:"runtimeConfig"`
	PrevResult       map[string]any       `json:"prevResult"`
	ValidAttachments []types.GCAttachment `json:"cni.dev/valid-attachments"`
}

// delegation is the configuration of the plugin that does the work.
type delegation map[string]any

// kind is the delegate's plugin name.
func (d delegation) kind() string {
	kind, _ := d["type"].(string)
	return kind
}

// subnet is what flanneld says of this node.
type subnet struct {
	networks []netip.Prefix // of all nodes
	subnets  []netip.Prefix // of this node; one of each family at most
	mtu      int
	ipMasq   bool // flanneld masquerades, so the delegate need not
}

// parseConfig reads the configuration and sets its defaults.
func parseConfig(stdin []byte) (config, error) {
	conf := config{SubnetFile: "/run/flannel/subnet.env", DataDir: "/var/lib/cni/flannel"}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return conf, fmt.Errorf("network configuration: %w", err)
	}
	for _, key := range []string{"name", "ipam"} {
		if _, there := conf.Delegate[key]; there {
			return conf, fmt.Errorf("network configuration %s: delegate has %q, which flannel sets itself", conf.Name, key)
		}
	}
	if kind, there := conf.Delegate["type"]; there && (conf.Delegate.kind() == "" || strings.ContainsRune(conf.Delegate.kind(), '/')) {
		return conf, fmt.Errorf("network configuration %s: delegate's type %v is not the name of a plugin", conf.Name, kind)
	}
	return conf, nil
}

// parseSubnet reads the subnet file of flanneld: lines KEY=VALUE, lists with commas.
// A key that is missing and needed (a subnet, the MTU) is an error.
func parseSubnet(r io.Reader) (subnet, error) {
	var s subnet
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, found := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !found {
			continue
		}
		value = strings.Trim(value, `"`)
		var err error
		switch key {
		case "FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK":
			s.networks, err = appendPrefixes(s.networks, value)
		case "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET":
			s.subnets, err = appendPrefixes(s.subnets, value)
		case "FLANNEL_MTU":
			s.mtu, err = strconv.Atoi(value)
		case "FLANNEL_IPMASQ":
			s.ipMasq, err = strconv.ParseBool(value)
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", key, err)
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return s, err
	case len(s.subnets) == 0:
		return s, errors.New("no FLANNEL_SUBNET")
	case s.mtu <= 0:
		return s, errors.New("no FLANNEL_MTU")
	}
	return s, nil
}

func appendPrefixes(to []netip.Prefix, list string) ([]netip.Prefix, error) {
	for text := range strings.SplitSeq(list, ",") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return to, err
		}
		to = append(to, prefix.Masked())
	}
	return to, nil
}

// delegateFor completes what conf says of the delegate with the node's subnet. What conf sets wins,
// but for the addresses. conf is left as it is.
func delegateFor(conf config, s subnet) (delegation, error) {
	d := delegation{"type": "bridge", "mtu": s.mtu, "ipMasq": !s.ipMasq}
	maps.Copy(d, conf.Delegate)
	if _, set := d["isGateway"]; d.kind() == "bridge" && !set {
		d["isGateway"] = true
	}
	d["name"] = conf.Name
	if conf.CNIVersion != "" {
		d["cniVersion"] = conf.CNIVersion
	}
	if conf.RuntimeConfig != nil {
		d["runtimeConfig"] = conf.RuntimeConfig
	}
	ipam := map[string]any{"type": "host-local"}
	maps.Copy(ipam, conf.IPAM)
	var ranges [][]map[string]any
	for _, prefix := range s.subnets {
		ranges = append(ranges, []map[string]any{{"subnet": prefix.String()}})
	}
	ipam["ranges"] = ranges
	routes, ok := ipam["routes"].([]any)
	if _, set := ipam["routes"]; set && !ok {
		return nil, fmt.Errorf("network configuration %s: routes of ipam is no list", conf.Name)
	}
	routes = append([]any(nil), routes...)
	for _, prefix := range s.networks {
		routes = append(routes, map[string]any{"dst": prefix.String()})
	}
	ipam["routes"] = routes
	d["ipam"] = ipam
	return d, nil
}
