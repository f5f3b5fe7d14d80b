package main

import (
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
)

func TestEveryDirectiveHasItsPlugin(t *testing.T) {
	plugins := caddy.ListPlugins()["others"]
	registered := make(map[string]bool)
	for _, name := range plugins {
		registered[strings.TrimPrefix(name, "dns.")] = true
	}
	for _, name := range directives {
		if !registered[name] {
			t.Errorf("plugin %q is not linked; linked are %q", name, plugins)
		}
	}
	if got, want := len(restrict(dnsserver.Directives, directives)), len(directives); got != want {
		t.Errorf("restrict: %d directives are known to CoreDNS; want all %d", got, want)
	}
}

const clusterCorefile = `.:0 {
    errors
    health :0 {
        lameduck 5s
    }
    ready :0
    log . {
        class error
    }
    prometheus localhost:0

    kubernetes cluster.local in-addr.arpa ip6.arpa {
        endpoint http://127.0.0.1:1
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . 127.0.0.1:53 {
        max_concurrent 1000
    }
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`

func TestCorefileIsCheckedAgainstTheLinkedPlugins(t *testing.T) {
	all := dnsserver.Directives
	t.Cleanup(func() { dnsserver.Directives = all })
	dnsserver.Directives = restrict(all, directives)
	for _, c := range []struct{ name, corefile, want string }{
		{"the cluster's", clusterCorefile, ""},
		{"names of one's own", ".:0 {\n hosts {\n 192.0.2.1 a.example\n fallthrough\n }\n rewrite name a b\n template ANY ANY {\n rcode NXDOMAIN\n }\n bind 127.0.0.1\n}\n", ""},
		{"a plugin that is left out", ".:0 {\n whoami\n}\n", "whoami"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := caddy.ValidateAndExecuteDirectives(caddy.CaddyfileInput{Contents: []byte(c.corefile), ServerTypeName: "dns"}, nil, true)
			if c.want == "" && err != nil {
				t.Errorf("Corefile is refused: %v; want it accepted", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Corefile gives %v; want an error that names %q", err, c.want)
			}
		})
	}
}
