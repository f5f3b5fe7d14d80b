package resource

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"sync"
	"time"
)

// A copier makes a value that was copied by assignment independent of its origin: it replaces, in
// place, everything that both still share. v is addressable. A nil copier means nothing is shared.
type copier func(v reflect.Value)

// shareable types have references inside but no way to write through them.
var shareable = map[reflect.Type]bool{
	reflect.TypeFor[time.Time]():      true,
	reflect.TypeFor[netip.Addr]():     true,
	reflect.TypeFor[netip.Prefix]():   true,
	reflect.TypeFor[netip.AddrPort](): true,
	reflect.TypeFor[url.URL]():        true, // its User is a *Userinfo, which is immutable
}

var copiers sync.Map // reflect.Type to copierResult, for the dynamic types of interfaces

type copierResult struct {
	copy copier
	err  error
}

// copierOf compiles the copier of t once; see [Spec] for what it can copy.
func copierOf(t reflect.Type) (copier, error) {
	if c, ok := copiers.Load(t); ok {
		return c.(copierResult).copy, c.(copierResult).err
	}
	c, err := (&copierCompiler{open: map[reflect.Type]*copier{}}).compile(t)
	copiers.Store(t, copierResult{c, err})
	return c, err
}

// copierCompiler holds the types whose compilation has begun, so that recursive types end.
type copierCompiler struct {
	open map[reflect.Type]*copier
}

func (cc *copierCompiler) compile(t reflect.Type) (copier, error) {
	if shareable[t] {
		return nil, nil
	}
	if c := byCloneMethod(t); c != nil {
		return c, nil
	}
	if slot, ok := cc.open[t]; ok {
		return func(v reflect.Value) {
			if *slot != nil {
				(*slot)(v)
			}
		}, nil
	}
	slot := new(copier)
	cc.open[t] = slot
	defer delete(cc.open, t)
	c, err := cc.build(t)
	*slot = c
	return c, err
}

func (cc *copierCompiler) build(t reflect.Type) (copier, error) {
	switch t.Kind() {
	case reflect.Struct:
		return cc.structure(t)
	case reflect.Slice:
		elem, err := cc.compile(t.Elem())
		if err != nil {
			return nil, err
		}
		return func(v reflect.Value) {
			if v.IsNil() {
				return
			}
			s := reflect.MakeSlice(t, v.Len(), v.Len())
			reflect.Copy(s, v)
			v.Set(s)
			copyElems(s, elem)
		}, nil
	case reflect.Array:
		elem, err := cc.compile(t.Elem())
		if err != nil || elem == nil {
			return nil, err
		}
		return func(v reflect.Value) { copyElems(v, elem) }, nil
	case reflect.Map:
		return cc.mapping(t)
	case reflect.Pointer:
		elem, err := cc.compile(t.Elem())
		if err != nil {
			return nil, err
		}
		return func(v reflect.Value) {
			if v.IsNil() {
				return
			}
			p := reflect.New(t.Elem())
			p.Elem().Set(v.Elem())
			if elem != nil {
				elem(p.Elem())
			}
			v.Set(p)
		}, nil
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return nil, fmt.Errorf("a field of type %v cannot be copied", t)
		}
		return copyDynamic, nil
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr:
		return nil, fmt.Errorf("a field of type %v cannot be copied", t)
	}
	return nil, nil
}

func copyElems(v reflect.Value, elem copier) {
	if elem == nil {
		return
	}
	for i := range v.Len() {
		elem(v.Index(i))
	}
}

// copyDynamic copies what an any holds. A value that cannot be copied is dropped rather than shared:
// documents decoded from YAML or JSON, for which any is meant, hold no such value.
func copyDynamic(v reflect.Value) {
	if v.IsNil() {
		return
	}
	held := v.Elem()
	c, err := copierOf(held.Type())
	switch {
	case err != nil:
		v.SetZero()
	case c != nil:
		p := reflect.New(held.Type()).Elem()
		p.Set(held)
		c(p)
		v.Set(p)
	}
}

func (cc *copierCompiler) mapping(t reflect.Type) (copier, error) {
	key, err := cc.compile(t.Key())
	if err != nil {
		return nil, err
	}
	if key != nil {
		return nil, fmt.Errorf("a map with keys of type %v cannot be copied", t.Key())
	}
	elem, err := cc.compile(t.Elem())
	if err != nil {
		return nil, err
	}
	return func(v reflect.Value) {
		if v.IsNil() {
			return
		}
		m := reflect.MakeMapWithSize(t, v.Len())
		for it := v.MapRange(); it.Next(); {
			val := it.Value()
			if elem != nil {
				p := reflect.New(t.Elem()).Elem()
				p.Set(val)
				elem(p)
				val = p
			}
			m.SetMapIndex(it.Key(), val)
		}
		v.Set(m)
	}, nil
}

func (cc *copierCompiler) structure(t reflect.Type) (copier, error) {
	type fieldCopier struct {
		index int
		copy  copier
	}
	var fields []fieldCopier
	for i := range t.NumField() {
		f := t.Field(i)
		c, err := cc.compile(f.Type)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		if c == nil {
			continue
		}
		if !f.IsExported() {
			return nil, fmt.Errorf("field %s: %v is unexported and shares memory when it is copied; give the struct a method Clone", f.Name, f.Type)
		}
		fields = append(fields, fieldCopier{i, c})
	}
	if len(fields) == 0 {
		return nil, nil
	}
	return func(v reflect.Value) {
		for _, f := range fields {
			f.copy(v.Field(f.index))
		}
	}, nil
}

// byCloneMethod returns a copier that calls Clone() T of t, nil if t has no such method.
func byCloneMethod(t reflect.Type) copier {
	m, ok := t.MethodByName("Clone")
	if !ok || m.Type.NumIn() != 1 || m.Type.NumOut() != 1 || m.Type.Out(0) != t {
		return nil
	}
	return func(v reflect.Value) {
		if t.Kind() == reflect.Pointer && v.IsNil() {
			return
		}
		v.Set(v.MethodByName("Clone").Call(nil)[0])
	}
}
