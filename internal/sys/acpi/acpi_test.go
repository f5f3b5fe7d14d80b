package acpi

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// message is what the kernel sends of an event: generic header, attribute, struct.
func message(class, device string, kind, data uint32) []byte {
	b := make([]byte, genericSize+unix.SizeofNlAttr+structSize)
	b[0], b[1] = command, 1
	binary.NativeEndian.PutUint16(b[genericSize:], unix.SizeofNlAttr+structSize)
	binary.NativeEndian.PutUint16(b[genericSize+2:], attribute)
	v := b[genericSize+unix.SizeofNlAttr:]
	copy(v, class)
	copy(v[classSize:], device)
	binary.NativeEndian.PutUint32(v[numbers:], kind)
	binary.NativeEndian.PutUint32(v[numbers+4:], data)
	return b
}

func TestAPressedButtonIsRead(t *testing.T) {
	e, err := Parse(message("button/power", "LNXPWRBN:00", 0x80, 3))
	if d := cmp.Diff(Event{Class: "button/power", Device: "LNXPWRBN:00", Type: 0x80, Data: 3}, e); d != "" || err != nil {
		t.Errorf("Parse() (-want +got):\n%s%v", d, err)
	}
	if !e.PowerButton() {
		t.Error("it is no power button")
	}
	lid, err := Parse(message("button/lid", "a name of 15 by", 0x80, 1))
	if err != nil || lid.PowerButton() || lid.Device != "a name of 15 by" {
		t.Errorf("Parse(a lid) = %+v, %v", lid, err)
	}
	good := message("button/power", "x", 0, 0)
	unknown := append(append([]byte{command, 1, 0, 0}, 5, 0, 9, 0, 'x', 0, 0, 0), good[genericSize:]...) // an attribute before it, padded
	if e, err := Parse(unknown); err != nil || !e.PowerButton() {
		t.Errorf("behind another attribute: %+v, %v", e, err)
	}
	for _, bad := range [][]byte{nil, {2, 1, 0, 0}, good[:4], good[:20], append([]byte{command, 1, 0, 0}, 0, 0, 1, 0)} {
		if _, err := Parse(bad); !errors.Is(err, errFormat) {
			t.Errorf("Parse(%x) = %v; want that it is none", bad, err)
		}
	}
}

func TestADatagramOfAnotherFamilyIsNone(t *testing.T) {
	body := message("button/power", "x", 0x80, 1)
	datagram := func(size int, family uint16) []byte {
		head := make([]byte, unix.SizeofNlMsghdr)
		binary.NativeEndian.PutUint32(head, uint32(size))
		binary.NativeEndian.PutUint16(head[4:], family)
		return append(head, body...)
	}
	l, whole := &Listener{id: 30}, unix.SizeofNlMsghdr+len(body)
	if e, ok := l.event(datagram(whole, 30)); !ok || !e.PowerButton() {
		t.Errorf("event() = %+v, %t", e, ok)
	}
	for _, b := range [][]byte{nil, datagram(whole, 31), datagram(whole+1, 30), datagram(3, 30)} {
		if e, ok := l.event(b); ok {
			t.Errorf("event(%x) = %+v", b, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message("button/power", "LNXPWRBN:00", 0x80, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := Parse(b); err == nil && (len(e.Class) > classSize || len(e.Device) > deviceSize) {
			t.Errorf("Parse(%x) = %+v", b, e)
		}
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	l, err := Listen()
	if errors.Is(err, fs.ErrNotExist) {
		return // a kernel without ACPI says just that
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := errors.New("long enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, ended)
	defer cancel()
	if _, err := l.Next(ctx); !errors.Is(err, ended) {
		t.Errorf("Next() = %v; want the cause of its context", err)
	}
}
