package resource

import (
	"reflect"
	"time"
)

// equal reports whether a and b, of one type, say the same: as reflect.DeepEqual, but a method
// Equal of an exported field's type decides (times), and empty and absent lists and maps are equal,
// because neither protobuf nor a reader of a spec can tell them apart.
func equal(a, b reflect.Value) bool {
	if a.Kind() != reflect.Interface && a.NumMethod() > 0 && a.CanInterface() {
		if t, ok := a.Interface().(time.Time); ok { // the common case, without a call by reflection
			return t.Equal(b.Interface().(time.Time))
		}
		if m := a.MethodByName("Equal"); m.IsValid() {
			if t := m.Type(); t.NumIn() == 1 && t.In(0) == a.Type() && t.NumOut() == 1 && t.Out(0).Kind() == reflect.Bool {
				if a.Kind() == reflect.Pointer && (a.IsNil() || b.IsNil()) {
					return a.IsNil() && b.IsNil()
				}
				return m.Call([]reflect.Value{b})[0].Bool()
			}
		}
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		if a.Kind() == reflect.Slice && a.UnsafePointer() == b.UnsafePointer() {
			return true
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			other := b.MapIndex(it.Key())
			if !other.IsValid() || !equal(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() || a.UnsafePointer() == b.UnsafePointer() {
			return a.UnsafePointer() == b.UnsafePointer()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return a.Elem().Type() == b.Elem().Type() && equal(a.Elem(), b.Elem())
	}
	// Everything else that a spec may hold is comparable: numbers, strings, booleans.
	return a.Equal(b)
}
