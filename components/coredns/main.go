// Command coredns is CoreDNS with the plugins that a cluster's Corefile uses, and no others.
//
// Left out are the plugins for authoritative zones, cloud providers, other transports and tracing:
// a Corefile that names one of them is refused when it is loaded, with the plugin's name. The order
// in which plugins see a query is CoreDNS's own.
package main

import (
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// What the cluster's default Corefile names.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"

	// What people add to it: names of their own, and where to listen.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

// directives are the names by which a Corefile uses the plugins above.
var directives = []string{
	"bind", "cache", "errors", "forward", "health", "hosts", "kubernetes", "loadbalance", "log",
	"loop", "prometheus", "ready", "reload", "rewrite", "template",
}

// restrict leaves in known only what allowed has. A directive without its plugin would otherwise
// be accepted by the parser and fail later, with a less helpful message.
func restrict(known, allowed []string) []string {
	return slices.DeleteFunc(slices.Clone(known), func(name string) bool { return !slices.Contains(allowed, name) })
}

func main() {
	dnsserver.Directives = restrict(dnsserver.Directives, directives)
	coremain.Run()
}
