package catalog

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"talos.internal/resource"
	"talos.internal/resource/block"
)

// form is the encoding that a value is made for: an expression has another content in each.
type form int

const (
	inProto form = iota
	inYAML
)

// marker begins every string of a full value.
const marker = "marker-"

// filler sets every field of a value, each to something else.
type filler struct {
	form form
	n    int
}

// full returns a resource of type t with every field of its spec set.
func full(t *testing.T, typ *resource.Type, f form) resource.Resource {
	t.Helper()
	return with(empty(t, typ), fullSpec(t, typ, f))
}

func empty(t *testing.T, typ *resource.Type) resource.Resource {
	t.Helper()
	r, err := typ.Decode(resource.NewMetadata(typ.Kind().Ref("id")), nil, nil)
	if err != nil {
		t.Fatalf("Decode of nothing = %v", err)
	}
	return r
}

func fullSpec(t *testing.T, typ *resource.Type, f form) reflect.Value {
	t.Helper()
	v := reflect.New(spec(empty(t, typ)).Type()).Elem()
	if err := (&filler{form: f}).fill(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// spec returns the result of r.Spec(), for any type of it.
func spec(r resource.Resource) reflect.Value {
	return reflect.ValueOf(r).MethodByName("Spec").Call(nil)[0]
}

// with returns r.With(its metadata, spec).
func with(r resource.Resource, spec reflect.Value) resource.Resource {
	md := reflect.ValueOf(r.Metadata())
	return reflect.ValueOf(r).MethodByName("With").Call([]reflect.Value{md, spec})[0].Interface().(resource.Resource)
}

func (f *filler) fill(v reflect.Value) error {
	f.n++
	n := f.n%100 + 1
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, n%60, 6, time.UTC)
		return nil
	case *time.Duration:
		*p = time.Duration(n)*time.Minute + time.Second
		return nil
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)})
		return nil
	case *netip.Prefix:
		*p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)}), 24)
		return nil
	case *netip.AddrPort:
		*p = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)}), uint16(f.n))
		return nil
	case *resource.URL:
		return p.UnmarshalText(fmt.Appendf(nil, "https://%s%d/path?q=1", marker, f.n))
	case *block.Expression:
		if f.form == inYAML {
			*p = block.Expression{Text: "disk.size > " + strconv.Itoa(f.n)}
			return nil
		}
		// A CheckedExpr with nothing but its expr_version.
		*p = block.Expression{Checked: protowire.AppendString(protowire.AppendTag(nil, 6, protowire.BytesType), strconv.Itoa(f.n))}
		return nil
	case *map[string]any:
		*p = map[string]any{
			"text": f.text(), "number": 1.5, "yes": true, "list": []any{f.text()},
			"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
		}
		return nil
	}
	if _, ok := v.Addr().Interface().(encoding.TextMarshaler); ok && v.Kind() != reflect.Slice && v.Kind() != reflect.Struct {
		return fillNamed(v)
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n))
	case reflect.Float64:
		v.SetFloat(float64(n) + 0.5)
	case reflect.String:
		v.SetString(f.text())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(f.text()))
			return nil
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			if err := f.fill(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		if err := f.fill(key); err != nil {
			return err
		}
		if err := f.fill(elem); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return f.fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			// A field that has no number, beside some that do, does not travel.
			if f.form == inProto && v.Type().Field(0).Tag.Get("proto") != "" && v.Type().Field(i).Tag.Get("proto") == "" {
				continue
			}
			if err := f.fill(v.Field(i)); err != nil {
				return fmt.Errorf("%v.%s: %w", v.Type(), v.Type().Field(i).Name, err)
			}
		}
	default:
		return fmt.Errorf("the test cannot fill a %v: teach it", v.Type())
	}
	return nil
}

func (f *filler) text() string { return marker + strconv.Itoa(f.n) }

// fillNamed sets an enumeration or flags to the lowest positive number which has a name. If there is
// none, as where the only value is 0, it stays 0.
func fillNamed(v reflect.Value) error {
	for n := range 1 << 16 {
		if v.CanInt() {
			v.SetInt(int64(n + 1))
		} else if v.CanUint() {
			v.SetUint(uint64(n + 1))
		} else {
			return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte("named"))
		}
		text, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return err
		}
		if !isNumber(string(text)) {
			return nil
		}
	}
	v.SetZero()
	return nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 0, 64)
	return err == nil
}

// spoil changes everything that v refers to, and nothing of v itself.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		if v.Kind() == reflect.Pointer {
			v.Elem().SetZero()
			return
		}
		spoil(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i))
			v.Index(i).SetZero()
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			spoil(v.MapIndex(k))
			v.SetMapIndex(k, reflect.Value{})
		}
	case reflect.Struct:
		switch v.Interface().(type) {
		case time.Time, netip.Addr, netip.Prefix, netip.AddrPort, resource.URL:
			return // immutable
		}
		for i := range v.NumField() {
			spoil(v.Field(i))
		}
	}
}
