// The cluster's DNS server: CoreDNS with the few plugins that service discovery needs.
package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

// The order in which a query passes the plugins; CoreDNS itself lists all of its own, of which most are not linked here.
func init() {
	dnsserver.Directives = []string{"errors", "health", "ready", "cache", "kubernetes", "template"}
}

func main() {
	coremain.Run()
}
