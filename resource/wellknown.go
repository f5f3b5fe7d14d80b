package resource

import (
	"encoding"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// wellKnown are Go types which stand for messages of google.protobuf and of the contract's package common.
var wellKnown = map[reflect.Type]*scalar{
	reflect.TypeFor[time.Time](): wellKnownAs(
		func(b []byte, t time.Time) ([]byte, error) {
			return appendNumbers(b, t.Unix(), int64(t.Nanosecond())), nil
		},
		func(p pair) (time.Time, error) {
			return time.Unix(int64(p.first), int64(int32(p.second))).UTC(), nil
		}),
	reflect.TypeFor[time.Duration](): wellKnownAs(
		func(b []byte, d time.Duration) ([]byte, error) {
			return appendNumbers(b, int64(d/time.Second), int64(d%time.Second)), nil
		},
		func(p pair) (time.Duration, error) {
			const most = int64(1<<63-1) / int64(time.Second)
			if s := int64(p.first); s > most || s < -most {
				return 0, fmt.Errorf("duration of %d seconds is out of range", s)
			}
			return time.Duration(p.first)*time.Second + time.Duration(int32(p.second)), nil
		}),
	reflect.TypeFor[netip.Addr](): wellKnownAs(
		func(b []byte, a netip.Addr) ([]byte, error) { return appendAddr(b, a) },
		func(p pair) (a netip.Addr, err error) { return a, unmarshal(&a, p.bytes) }),
	reflect.TypeFor[netip.AddrPort](): wellKnownAs(
		func(b []byte, a netip.AddrPort) ([]byte, error) {
			b, err := appendAddr(b, a.Addr())
			return appendSecond(b, int64(a.Port())), err
		},
		func(p pair) (netip.AddrPort, error) {
			var a netip.Addr
			if p.second > 1<<16-1 {
				return netip.AddrPort{}, fmt.Errorf("port %d is out of range", p.second)
			}
			err := unmarshal(&a, p.bytes)
			return netip.AddrPortFrom(a, uint16(p.second)), err
		}),
	reflect.TypeFor[netip.Prefix](): wellKnownAs(
		func(b []byte, x netip.Prefix) ([]byte, error) {
			if !x.IsValid() && x.Addr().IsValid() {
				return b, fmt.Errorf("prefix of %v has no valid length", x.Addr())
			}
			b, err := appendAddr(b, x.Addr())
			return appendSecond(b, int64(max(x.Bits(), 0))), err // the length of the zero prefix is -1
		},
		func(p pair) (netip.Prefix, error) {
			var a netip.Addr
			if err := unmarshal(&a, p.bytes); err != nil {
				return netip.Prefix{}, err
			}
			if !a.IsValid() && p.second == 0 {
				return netip.Prefix{}, nil
			}
			if p.second > uint64(a.BitLen()) {
				return netip.Prefix{}, fmt.Errorf("prefix length %d is out of range for %v", p.second, a)
			}
			return netip.PrefixFrom(a, int(p.second)), nil
		}),
	reflect.TypeFor[url.URL](): wellKnownAs(
		func(b []byte, u url.URL) ([]byte, error) {
			return protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), u.String()), nil
		},
		func(p pair) (u url.URL, err error) { return u, unmarshal(&u, p.bytes) }),
	reflect.TypeFor[URL](): wellKnownAs(
		func(b []byte, u URL) ([]byte, error) {
			return protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), u.String()), nil
		},
		func(p pair) (u URL, err error) { return u, u.UnmarshalText(p.bytes) }),
	reflect.TypeFor[map[string]any](): {wire: protowire.BytesType,
		content:    appendStruct,
		setContent: setStruct,
		empty:      func(v reflect.Value) bool { return v.Len() == 0 },
	},
}

// pair is a message of at most two fields: 1 a number or bytes, 2 a number.
type pair struct {
	first, second uint64
	bytes         []byte
}

func wellKnownAs[T any](content func([]byte, T) ([]byte, error), from func(pair) (T, error)) *scalar {
	return &scalar{wire: protowire.BytesType,
		content: func(b []byte, v reflect.Value) ([]byte, error) { return content(b, v.Interface().(T)) },
		setContent: func(v reflect.Value, b []byte, _ int) error {
			p, err := parsePair(b)
			if err != nil {
				return err
			}
			t, err := from(p)
			if err != nil {
				return err
			}
			v.Set(reflect.ValueOf(t))
			return nil
		},
	}
}

func parsePair(b []byte) (p pair, err error) {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return p, protowire.ParseError(size)
		}
		b = b[size:]
		switch {
		case n == 1 && t == protowire.VarintType:
			p.first, size = protowire.ConsumeVarint(b)
		case n == 1 && t == protowire.BytesType:
			p.bytes, size = protowire.ConsumeBytes(b)
		case n == 2 && t == protowire.VarintType:
			p.second, size = protowire.ConsumeVarint(b)
		default:
			size = protowire.ConsumeFieldValue(n, t, b)
		}
		if size < 0 {
			return p, protowire.ParseError(size)
		}
		b = b[size:]
	}
	return p, nil
}

func appendNumbers(b []byte, first, second int64) []byte {
	if first != 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), uint64(first))
	}
	return appendSecond(b, second)
}

func appendSecond(b []byte, n int64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(n))
}

// appendAddr writes the binary form of package netip: 4 bytes, or 16 and the zone; none if invalid.
func appendAddr(b []byte, a netip.Addr) ([]byte, error) {
	raw, err := a.MarshalBinary()
	if err != nil || len(raw) == 0 {
		return b, err
	}
	return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), raw), nil
}

func unmarshal(to encoding.BinaryUnmarshaler, b []byte) error { return to.UnmarshalBinary(b) }

func appendStruct(b []byte, v reflect.Value) ([]byte, error) {
	s, err := structpb.NewStruct(v.Interface().(map[string]any))
	if err != nil {
		return b, err
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, s)
}

func setStruct(v reflect.Value, b []byte, _ int) error {
	var s structpb.Struct
	if err := proto.Unmarshal(b, &s); err != nil {
		return err
	}
	v.Set(reflect.ValueOf(s.AsMap()))
	return nil
}
