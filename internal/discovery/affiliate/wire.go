package affiliate

import (
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/affiliatepb"
)

// Fields of the extension, a message inside of field extensionField of sidero.discovery.client.Affiliate.
const (
	extensionField = 50001

	extKind        = 1 // varint
	extIncarnation = 2 // varint
	extSequence    = 3 // varint
	extEndpoint    = 4 // repeated sidero.discovery.client.Endpoint
	extPadding     = 5 // bytes

	padTo = 128
)

// marshal returns the bytes that are sealed. Their number is a multiple of padTo.
func marshal(p Payload) ([]byte, error) {
	n := &p.Node
	m := &affiliatepb.Affiliate{NodeId: n.ID, Hostname: n.Hostname, Nodename: n.Nodename, MachineType: n.MachineType,
		OperatingSystem: n.OperatingSystem}
	for _, a := range n.Addresses {
		if !a.IsValid() {
			return nil, errors.New("an address is not set")
		}
		m.Addresses = append(m.Addresses, a.AsSlice())
	}
	if k := n.KubeSpan; k != nil {
		m.Kubespan = &affiliatepb.KubeSpan{PublicKey: k.PublicKey, Address: k.Address.AsSlice()}
		for _, q := range k.AdditionalAddresses {
			if !q.IsValid() {
				return nil, errors.New("an additional address is not set")
			}
			m.Kubespan.AdditionalAddresses = append(m.Kubespan.AdditionalAddresses,
				&affiliatepb.IPPrefix{Ip: q.Addr().AsSlice(), Bits: uint32(q.Bits())})
		}
	}
	if c := n.ControlPlane; c != nil {
		m.ControlPlane = &affiliatepb.ControlPlane{ApiServerPort: uint32(c.APIServerPort)}
	}
	public, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}

	var ext []byte
	for i, v := range []uint64{extKind: uint64(p.Kind), extIncarnation: p.Version.Incarnation, extSequence: p.Version.Sequence} {
		if i >= extKind {
			ext = protowire.AppendTag(ext, protowire.Number(i), protowire.VarintType)
			ext = protowire.AppendVarint(ext, v)
		}
	}
	for _, e := range n.Endpoints {
		if !e.IsValid() {
			return nil, errors.New("an endpoint is not set")
		}
		b, err := proto.Marshal(&affiliatepb.Endpoint{Ip: e.Addr().AsSlice(), Port: uint32(e.Port())})
		if err != nil {
			return nil, err
		}
		ext = protowire.AppendTag(ext, extEndpoint, protowire.BytesType)
		ext = protowire.AppendBytes(ext, b)
	}
	// Two lengths stand before the padding and grow with it, so the right amount is searched for. One byte more of padding
	// can make the whole two bytes longer and jump over a multiple, but never twice in a row.
	for pad := 0; ; pad++ {
		size := len(ext) + protowire.SizeTag(extPadding) + protowire.SizeBytes(pad)
		if (len(public)+protowire.SizeTag(extensionField)+protowire.SizeBytes(size))%padTo != 0 {
			continue
		}
		ext = protowire.AppendTag(ext, extPadding, protowire.BytesType)
		ext = protowire.AppendBytes(ext, make([]byte, pad))
		public = protowire.AppendTag(public, extensionField, protowire.BytesType)
		return protowire.AppendBytes(public, ext), nil
	}
}

// unmarshal is the inverse of marshal, and reads what published clients write.
func unmarshal(data []byte) (Payload, error) {
	var m affiliatepb.Affiliate
	if err := proto.Unmarshal(data, &m); err != nil {
		return Payload{}, err
	}
	p := Payload{Node: Node{ID: m.GetNodeId(), Hostname: m.GetHostname(), Nodename: m.GetNodename(),
		MachineType: m.GetMachineType(), OperatingSystem: m.GetOperatingSystem()}}
	for _, b := range m.GetAddresses() {
		a, err := address(b)
		if err != nil {
			return Payload{}, err
		}
		p.Node.Addresses = append(p.Node.Addresses, a)
	}
	if k := m.GetKubespan(); k != nil {
		p.Node.KubeSpan = &KubeSpan{PublicKey: k.GetPublicKey()}
		if len(k.GetAddress()) > 0 {
			a, err := address(k.GetAddress())
			if err != nil {
				return Payload{}, fmt.Errorf("kubespan: %w", err)
			}
			p.Node.KubeSpan.Address = a
		}
		for _, q := range k.GetAdditionalAddresses() {
			a, err := address(q.GetIp())
			if err != nil {
				return Payload{}, fmt.Errorf("kubespan: %w", err)
			}
			if q.GetBits() > uint32(a.BitLen()) {
				return Payload{}, fmt.Errorf("kubespan: a prefix of %d bits for an address of %d", q.GetBits(), a.BitLen())
			}
			p.Node.KubeSpan.AdditionalAddresses = append(p.Node.KubeSpan.AdditionalAddresses, netip.PrefixFrom(a, int(q.GetBits())))
		}
	}
	if c := m.GetControlPlane(); c != nil {
		if c.GetApiServerPort() > 0xffff {
			return Payload{}, fmt.Errorf("API server port %d is above 65535", c.GetApiServerPort())
		}
		p.Node.ControlPlane = &ControlPlane{APIServerPort: uint16(c.GetApiServerPort())}
	}
	return p, eachField(m.ProtoReflect().GetUnknown(), func(num protowire.Number, _ uint64, b []byte) error {
		if num == extensionField && b != nil {
			return unmarshalExtension(b, &p)
		}
		return nil
	})
}

func unmarshalExtension(data []byte, p *Payload) error {
	return eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch {
		case num == extKind && b == nil:
			if v > uint64(Tombstone) {
				return fmt.Errorf("kind %d is not known", v)
			}
			p.Kind = Kind(v)
		case num == extIncarnation && b == nil:
			p.Version.Incarnation = v
		case num == extSequence && b == nil:
			p.Version.Sequence = v
		case num == extEndpoint && b != nil:
			e, err := endpoint(b)
			if err != nil {
				return err
			}
			if len(p.Node.Endpoints) == MaxEndpoints {
				return fmt.Errorf("more than %d endpoints", MaxEndpoints)
			}
			p.Node.Endpoints = append(p.Node.Endpoints, e)
		}
		return nil
	})
}

// eachField calls f for each varint (b is nil) and each length-delimited field (b is not nil) of a message.
func eachField(data []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if typ == protowire.VarintType || typ == protowire.BytesType {
			if err := f(num, v, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// address reads 4 or 16 bytes. An IPv4 address in IPv6 form becomes plain.
func address(b []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return a, fmt.Errorf("an address of %d bytes; want 4 or 16", len(b))
	}
	return a.Unmap(), nil
}

// endpoint reads a sidero.discovery.client.Endpoint.
func endpoint(b []byte) (netip.AddrPort, error) {
	var m affiliatepb.Endpoint
	if err := proto.Unmarshal(b, &m); err != nil {
		return netip.AddrPort{}, err
	}
	a, err := address(m.GetIp())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("endpoint: %w", err)
	}
	if m.GetPort() > 0xffff {
		return netip.AddrPort{}, fmt.Errorf("endpoint: port %d is above 65535", m.GetPort())
	}
	return netip.AddrPortFrom(a, uint16(m.GetPort())), nil
}
