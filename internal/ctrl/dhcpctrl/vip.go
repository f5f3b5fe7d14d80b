package dhcpctrl

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"talos.internal/internal/netconf"
	"talos.internal/resource/network"
)

// electionRetry is the pause after an election that could not be held: etcd is not there yet, or not any more.
const electionRetry = 5 * time.Second

// share has a shared address whenever it is this machine's turn.
func share(ctx context.Context, s network.OperatorSpec, e Election, offer func(offers), log *slog.Logger) {
	ip := s.VIP.IP
	switch {
	case e == nil:
		log.Warn("a shared address needs etcd, which does not run on this machine", "address", ip)
		<-ctx.Done()
		return
	case s.VIP.HCloud != nil || s.VIP.EquinixMetal != nil:
		// To have it without telling the cloud would take it from the machine that the cloud sends its packets to.
		log.Error("this version cannot move an address by the API of a cloud", "address", ip)
		<-ctx.Done()
		return
	}
	a := netconf.Address(network.LayerOperator, s.LinkName, netip.PrefixFrom(ip, ip.BitLen()))
	a.AnnounceWithARP = s.VIP.GratuitousARP
	if ip.Is6() {
		a.Flags |= network.AddressNoDAD // the one who had it may be there for a moment still
	}
	said := ""
	for ctx.Err() == nil {
		err := e.Hold(ctx, "talos:v1:vip:election:"+ip.String(), func(turn context.Context) {
			log.Info("this machine has the shared address now", "address", ip, "link", s.LinkName)
			offer(offers{addresses: []network.AddressSpec{a}})
			<-turn.Done()
			offer(offers{})
			log.Info("this machine gives the shared address up", "address", ip, "link", s.LinkName)
		})
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			log.Warn("no election for the shared address yet", "address", ip, "error", err)
		}
		if _, ok := pause(ctx, nil, electionRetry); !ok {
			return
		}
	}
}
