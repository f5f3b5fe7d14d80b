package linkctrl

import (
	"errors"
	"fmt"
	"io/fs"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
)

func addresses(k Kernel, announcer Announcer) controller.Controller {
	return &applier[network.AddressSpec]{
		name: "network.AddressSpecController", kernel: k, watch: rtnl.Links | rtnl.Addresses,
		plan: func(w kept[network.AddressSpec]) ([]step, error) {
			have, err := k.Addresses()
			if err != nil {
				return nil, err
			}
			links, err := k.Links()
			if err != nil {
				return nil, err
			}
			return planAddresses(links, have, w, announcer), nil
		},
	}
}

// index returns the indices of links by their names.
func index(links []rtnl.Link) map[string]int {
	out := make(map[string]int, len(links))
	for _, l := range links {
		out[l.Name] = l.Index
	}
	return out
}

func planAddresses(links []rtnl.Link, have []rtnl.Address, w kept[network.AddressSpec], announcer Announcer) []step {
	byName := index(links)
	find := func(s network.AddressSpec) *rtnl.Address {
		for i, a := range have {
			if a.Link == byName[s.LinkName] && a.Prefix == s.Address {
				return &have[i]
			}
		}
		return nil
	}
	var steps []step
	add := func(s network.AddressSpec, text string, do func(Kernel) error) {
		steps = append(steps, step{s.ID(), fmt.Sprintf("%s %s of link %s", text, s.Address, s.LinkName), do})
	}
	for _, s := range w.gone {
		if a := find(s); a != nil && byName[s.LinkName] != 0 {
			add(s, "remove address", func(k Kernel) error { return k.RemoveAddress(*a) })
		}
	}
	for _, s := range w.want {
		link := byName[s.LinkName]
		if link == 0 {
			continue
		}
		a := find(s)
		if a != nil && (s.Priority == 0 || a.Priority == s.Priority) {
			continue
		}
		if a != nil { // the priority of a route cannot be changed in place
			add(s, "remove, to change its priority, address", func(k Kernel) error { return k.RemoveAddress(*a) })
		}
		next := rtnl.Address{
			Link: link, Prefix: s.Address, Scope: rtnl.Scope(s.Scope), Priority: s.Priority,
			Flags: uint32(s.Flags &^ (network.AddressPermanent | network.AddressTentative | network.AddressDADFailed)),
		}
		add(s, "add address", func(k Kernel) error {
			// The kernel itself gives the loopback its address when it comes up, which is at the same time.
			if err := k.AddAddress(next); !errors.Is(err, fs.ErrExist) {
				return err
			}
			return nil
		})
		if s.AnnounceWithARP && announcer != nil {
			add(s, "announce address", func(Kernel) error { return announcer.Announce(s.LinkName, s.Address.Addr()) })
		}
	}
	return steps
}
